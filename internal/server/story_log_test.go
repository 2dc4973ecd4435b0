package server_test

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport"
	"sallyport/client"
	"sallyport/verify"
)

// leaves reads the whole log through the auditor's door.
func (r *story) leaves() []sallyport.Logged {
	r.t.Helper()
	alba, err := r.person(r.t.Context(), "alba")
	if err != nil {
		r.t.Fatal(err)
	}
	var all []sallyport.Logged
	for short := 0; ; {
		part, err := alba.client.Entries(r.t.Context(), uint64(len(all)))
		if err != nil {
			r.t.Fatal(err)
		}
		if len(part) == 0 {
			return all
		}
		for _, e := range part {
			l, err := sallyport.DecodeLogged(e.Leaf)
			if err != nil || l.Seq != uint64(len(all)) {
				r.t.Fatalf("entry %d of the log says %d, error %v", len(all), l.Seq, err)
			}
			all = append(all, l)
		}
		if short++; len(part) >= 10 {
			short = 0
		}
		if short == 2 { // reading makes entries too: the end runs away; one short part may be the end of a bundle
			return all
		}
	}
}

// verified waits until a published checkpoint covers size entries, and verifies
// the files of the log.
func (r *story) verified(size uint64) verify.Report {
	r.t.Helper()
	var report verify.Report
	var err error
	if !soon(func() bool {
		report, err = verify.Log(r.t.Context(), verify.Dir(r.server.LogDir()), r.server.LogKey(), verify.Options{})
		return err == nil && report.Size >= size
	}) {
		r.t.Fatalf("the log is verified up to %d of %d: %v", report.Size, size, err)
	}
	return report
}

// refresh shows a refresh token at the token endpoint.
func (r *story) refresh(token string) (int, string) {
	r.t.Helper()
	return r.tokenForm(url.Values{"grant_type": {"refresh_token"}, "client_id": {"sallyport-cli"}, "refresh_token": {token}})
}

func (r *story) tokenForm(form url.Values) (int, string) {
	r.t.Helper()
	a, err := r.wire.PostForm(r.server.External()+"/oauth/token", form)
	if err != nil {
		r.t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return a.StatusCode, string(body)
}

// Why: in full for the auditor, the safe part for the person it was about, and for
// others there is no such decision.
func TestWhyIsForThoseConcerned(t *testing.T) {
	r := tell(t)
	r.As("ana").Pull(fraud)
	r.Want(denied)
	id := r.last.decision
	own, err := r.As("ana").who.client.Why(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if own.Facts != nil || own.Replay != nil || len(own.Remedies) == 0 || len(own.Policies) != 1 || own.Policies[0].Text == "" || own.Policies[0].Code != "" {
		t.Errorf("the person reads %+v", own)
	}
	_, full := r.decided(id)
	if full.Facts == nil || full.Replay == nil || !full.Replay.Same || len(full.Policies) != 1 || !strings.Contains(full.Policies[0].Code, "forbid") {
		t.Errorf("the auditor reads %+v", full)
	}
	for _, name := range []string{"nora", "eva", "rita.nobody"} {
		if name == "rita.nobody" {
			id, name = "D-000000000000", "ana"
		}
		_, err := r.As(name).who.client.Why(t.Context(), id)
		r.heard("why", err)
		r.WantStatus(404)
	}
}

// What happened can be found by who, action, resource and outcome, by auditors.
func TestSearch(t *testing.T) {
	r := tell(t)
	r.As("ana").Pull(fraud)
	r.Want(denied)
	id := r.last.decision
	alba := r.As("alba").who.client
	for name, q := range map[string]client.Search{
		"by decision": {Decision: id},
		"by all":      {Who: "user:ana", Action: "model.pull", On: fraud + "*", Outcome: denied, Types: []string{"decided"}, Most: 5},
	} {
		found, err := alba.Search(t.Context(), q)
		ok := false
		for _, f := range found {
			ok = ok || f.Decision == id && f.Who == "user:ana" && f.Outcome == denied
		}
		if err != nil || !ok {
			t.Errorf("%s: %+v, error %v", name, found, err)
		}
	}
	if found, err := alba.Search(t.Context(), client.Search{Who: "user:ana", Outcome: allowed, Action: "model.pull", On: fraud + "@v1"}); err != nil {
		t.Error(err)
	} else {
		for _, f := range found {
			if f.Outcome != allowed || f.Action != "model.pull" {
				t.Errorf("found %+v", f)
			}
		}
	}
	_, err := r.As("ana").who.client.Search(t.Context(), client.Search{})
	r.heard("search", err)
	r.Want(denied)
}

// copyLog copies the files of the log while it is written: partial tiles come and
// go, so a copy may have to be begun again.
func (r *story) copyLog() string {
	r.t.Helper()
	for range 50 {
		dir := filepath.Join(r.t.TempDir(), "log")
		err := os.CopyFS(dir, os.DirFS(r.server.LogDir()))
		if err == nil {
			return dir
		}
		if !errors.Is(err, fs.ErrNotExist) {
			r.t.Fatal(err)
		}
	}
	r.t.Fatal("the log never stood still")
	return ""
}

// A receipt proves an entry offline, and the files of the log verify; flipped by
// one bit they do not.
func TestReceiptAndLogVerify(t *testing.T) {
	r := tell(t)
	r.As("ana").Pull(fraud)
	l, _ := r.decided(r.last.decision)
	report := r.verified(l.Seq + 1)
	if report.Origin != l.Log || report.Checked < l.Seq {
		t.Errorf("the report is %+v", report)
	}
	receipt, err := r.As("alba").who.client.Receipt(t.Context(), l.Seq)
	if err != nil {
		t.Fatal(err)
	}
	proven, err := verify.Receipt(receipt, r.server.LogKey())
	if err != nil || proven.Index != l.Seq {
		t.Fatalf("the receipt proves %+v, error %v", proven, err)
	}
	if again, err := sallyport.DecodeLogged(proven.Leaf); err != nil || again.Decision != l.Decision {
		t.Errorf("the receipt is for %q, error %v", again.Decision, err)
	}
	copied := r.copyLog()
	bundles, err := filepath.Glob(filepath.Join(copied, "tile", "entries", "*"))
	if err != nil || len(bundles) == 0 {
		t.Fatalf("no bundles of entries: %v", err)
	}
	flipped := 0
	for _, b := range bundles {
		if text, err := os.ReadFile(b); err == nil && len(text) > 100 {
			text[len(text)/2] ^= 1
			if err := os.WriteFile(b, text, 0o600); err != nil {
				t.Fatal(err)
			}
			flipped++
		}
	}
	if _, err := verify.Log(t.Context(), verify.Dir(copied), r.server.LogKey(), verify.Options{}); flipped > 0 && err == nil {
		t.Error("a log with flipped bits verifies")
	}
}

// The log's hashes are for everybody, its entries for who may read them.
func TestLogFilesAreServed(t *testing.T) {
	r := tell(t)
	r.verified(1)
	for path, want := range map[string]int{"/log/checkpoint": 200, "/log/tile/entries/000.p/1": 401, "/log/secrets": 404, "/log/tile/0/x": 404} {
		r.Nobody().Send(request{path: path})
		r.WantStatus(want)
	}
	alba, err := r.person(t.Context(), "alba")
	if err != nil {
		t.Fatal(err)
	}
	report, err := verify.Log(t.Context(), alba.client.LogFile, r.server.LogKey(), verify.Options{})
	if err != nil || report.Size == 0 {
		t.Errorf("verified over HTTP: %+v, %v", report, err)
	}
	ana, err := r.person(t.Context(), "ana")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verify.Log(t.Context(), ana.client.LogFile, r.server.LogKey(), verify.Options{}); err == nil {
		t.Error("somebody without the right read the entries")
	}
	r.Nobody().Send(request{path: "/log/checkpoint", method: http.MethodPost})
	r.WantStatus(404)
}
