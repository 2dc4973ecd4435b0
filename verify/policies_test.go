package verify_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/approval/signed"
	"sallyport/verify"
)

// rules writes a log of policy sets that came into force: one by the configuration, one that somebody else approved.
type rules struct {
	at     time.Time
	events []sallyport.Event
}

func (r *rules) note(kind sallyport.EventType, who sallyport.PrincipalID, on string, detail map[string]string) {
	r.at = r.at.Add(time.Minute)
	r.events = append(r.events, sallyport.Event{Type: kind, At: r.at.UnixMicro(), Who: who, On: on, Detail: detail})
}

func (r *rules) propose(id, version, base string) {
	q := signed.Question{ID: id, Topic: "policy", Asker: "user:adam", AskerPerson: "user:adam", Subject: "x", Need: 1, Approvers: "others", Nonce: strings.Repeat("0", 32),
		Canonical: fmt.Appendf(nil, `{"version":%q,"base":%q}`, version, base), Created: r.at, Expires: r.at.Add(7 * 24 * time.Hour)}
	text := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return string(raw)
	}
	detail := map[string]string{"request": id, "hash": q.Hash(), "question": text(q)}
	r.note(sallyport.EventPolicyProposed, q.Asker, version, maps.Clone(detail))
	detail["vote"], detail["state"] = text(signed.Vote{Voter: "user:rita", Person: "user:rita", Yes: true, At: r.at.Add(time.Minute)}), "approved"
	r.note(sallyport.EventPolicyVoted, "user:rita", version, detail)
	r.activate(2, version, base, "approved", map[string]string{"request": id, "hash": q.Hash()})
}

func (r *rules) activate(number int, version, before, kind string, more map[string]string) {
	detail := map[string]string{"epoch": fmt.Sprint(number), "before": before, "kind": kind}
	maps.Copy(detail, more)
	r.note(sallyport.EventPolicyActivated, "user:adam", version, detail)
}

func honest() *rules {
	r := &rules{at: time.Unix(1_700_000_000, 0).UTC()}
	r.activate(1, "sha256:one", "", "first", nil)
	r.propose("R-1", "sha256:two", "sha256:one")
	return r
}

// verified signs the events as a log, and walks it.
func (r *rules) verified(t *testing.T, k keys, a verify.Approvals) verify.ApprovalReport {
	t.Helper()
	dir := t.TempDir()
	var all [][]byte
	for i, e := range r.events {
		raw, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, leaf(i, string(raw)))
	}
	k.extend(t, dir, all)
	if _, err := verify.Log(t.Context(), verify.Dir(dir), k.vkey, verify.Options{Each: a.Each}); err != nil {
		t.Fatal(err)
	}
	return a.Report()
}

// GV-3: whoever holds the log's key writes an activation into it: the log verifies, and the activation is named.
func TestForgedActivationsAreNamed(t *testing.T) {
	k, r := newKeys(t), honest()
	r.activate(3, "sha256:one", "sha256:two", "rolled back", nil)
	if report := r.verified(t, k, verify.Approvals{}); report.Policies != 3 || len(report.Problems) != 0 {
		t.Fatalf("an honest log: %+v", report)
	}
	if report := r.verified(t, k, verify.Approvals{Signed: true}); report.Policies != 1 || len(report.Problems) != 3 {
		t.Errorf("where signatures are asked for: %+v", report)
	}
	for what, forge := range map[string]func(*rules){
		"never asked": func(r *rules) {
			r.activate(3, "sha256:evil", "sha256:two", "approved", map[string]string{"request": "R-9"})
		},
		"spent": func(r *rules) {
			r.activate(3, "sha256:two", "sha256:two", "approved", map[string]string{"request": "R-1", "hash": r.events[3].Detail["hash"]})
		},
		"a second first":    func(r *rules) { r.activate(3, "sha256:evil", "sha256:two", "first", nil) },
		"adopted":           func(r *rules) { r.activate(3, "sha256:evil", "sha256:two", "adopted", nil) },
		"alone":             func(r *rules) { r.activate(3, "sha256:evil", "sha256:two", "bootstrap", nil) },
		"of no kind":        func(r *rules) { r.activate(3, "sha256:evil", "sha256:two", "", nil) },
		"a gap":             func(r *rules) { r.activate(5, "sha256:one", "sha256:two", "rolled back", nil) },
		"back in time":      func(r *rules) { r.activate(1, "sha256:one", "", "first", nil) },
		"after another set": func(r *rules) { r.activate(3, "sha256:one", "sha256:three", "rolled back", nil) },
		"undone to never":   func(r *rules) { r.activate(3, "sha256:zero", "sha256:two", "rolled back", nil) },
		"undone after a month": func(r *rules) {
			r.at = r.at.Add(30 * 24 * time.Hour)
			r.activate(3, "sha256:one", "sha256:two", "rolled back", nil)
		},
		"no set": func(r *rules) { r.activate(3, "", "sha256:two", "rolled back", nil) },
		"no number": func(r *rules) {
			r.note(sallyport.EventPolicyActivated, "user:eve", "sha256:evil", map[string]string{"kind": "first"})
		},
	} {
		r := honest()
		n := uint64(len(r.events))
		forge(r)
		report := r.verified(t, k, verify.Approvals{})
		if report.Policies != 2 || len(report.Problems) != 1 || report.Problems[0].Index != n || !strings.HasPrefix(report.Problems[0].About, "epoch") {
			t.Errorf("%s: %+v", what, report)
		}
	}
	// An activation that failed after it was recorded, and was made again, is none.
	r = honest()
	r.activate(2, "sha256:two", "sha256:one", "approved", r.events[3].Detail)
	if report := r.verified(t, k, verify.Approvals{}); len(report.Problems) != 0 {
		t.Errorf("recorded twice: %+v", report)
	}
	// A decision by a set that nothing put in force.
	r = honest()
	r.events = append(r.events, sallyport.Event{Type: sallyport.EventFacts, At: r.at.UnixMicro(), Facts: "f", Basis: []byte(`{"policy":"sha256:evil"}`)})
	if report := r.verified(t, k, verify.Approvals{}); len(report.Problems) != 1 || report.Problems[0].About != "policy" {
		t.Errorf("decided by another set: %+v", report)
	}
}
