package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/audit/trail"
	sign "sallyport/internal/authz/approval/signed"
	"sallyport/internal/plumbing/softkey"
	"sallyport/internal/web/api"
	"sallyport/verify"
)

// approvers makes the first administrator's passkey the first approver's key, and those of others by signed approvals.
func (r *story) approvers(names ...string) map[string]*softkey.Browser {
	r.t.Helper()
	ctx := r.t.Context()
	browsers := map[string]*softkey.Browser{}
	for i, name := range append([]string{"adam"}, names...) {
		who := r.As(name).who
		b, err := who.passkey(ctx, true)
		if err != nil {
			r.t.Fatal(err)
		}
		if err := who.loginBy(ctx, b); err != nil {
			r.t.Fatal(err)
		}
		browsers[name] = b
		now, err := who.client.Approvers(ctx)
		if err != nil || len(now.Own) == 0 {
			r.t.Fatalf("%s has %+v, %v", name, now.Own, err)
		}
		in := api.Enrol{Passkey: now.Own[len(now.Own)-1].Passkey}
		if i == 0 {
			if _, err := who.client.FirstApprover(ctx, in); err != nil {
				r.t.Fatal(err)
			}
			continue
		}
		x, err := who.client.EnrolApprover(ctx, in)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, voter := range append([]string{"adam"}, names[:i-1]...)[:x.Need] {
			if err := browsers[voter].Approve(ctx, x.ID, x.Hash, "I know the key"); err != nil {
				r.t.Fatalf("%s on the key of %s: %v", voter, name, err)
			}
		}
	}
	return browsers
}

// AZ-16: from the first key on a yes is a signature. A session alone approves nothing, a signed approval opens the model, and
// what an attacker writes to the store is not in force, recorded and found.
func TestApprovalsAreSigned(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx := t.Context()
	before := r.As("eva").Request(sallyport.ModelPull, fraud, "5m")
	if before.Sign {
		t.Error("a signature is asked for before anybody has a key")
	}
	browsers := r.approvers("rita", "ana")
	x := r.As("ana").Request(sallyport.ModelPull, fraud, "5m")
	if !x.Sign || x.Topic != "grant" || x.Policy == "" {
		t.Errorf("asked: %+v", x)
	}
	r.eventually("rita is told while it waits for an answer", func() bool {
		return slices.ContainsFunc(r.notices("rita", "request.new"), func(n api.Notice) bool { return strings.Contains(n.Text, "user:ana: model.pull on acme/fraud") })
	})
	r.As("rita").Approve(x)
	r.WantStatus(409) // a session is not a signature
	if !strings.Contains(r.last.api.Message, "/approvals/"+x.ID) {
		t.Errorf("where to sign is not said: %s", r.last.api.Message)
	}
	if err := browsers["ana"].Approve(ctx, x.ID, x.Hash, ""); err == nil {
		t.Error("she approves her own request with her own key")
	}
	if err := browsers["rita"].Approve(ctx, x.ID, strings.Repeat("0", 64), ""); err == nil {
		t.Error("another request than the one that was read")
	}
	review, err := r.As("rita").who.client.Review(ctx, x.ID)
	if err != nil || !review.MayVote || !review.Sign || len(review.Gains) == 0 || review.Gains[0] != "model.pull" || !strings.Contains(review.Sentence, "ana wants to download the weights of acme/fraud") {
		t.Errorf("the screen says %+v, %v", review, err)
	}
	if err := browsers["rita"].Approve(ctx, x.ID, x.Hash, "for the quarter"); err != nil {
		t.Fatal(err)
	}
	r.As("ana").Pull(fraud)
	r.Want(allowed, "weights.granted")
	if err := browsers["rita"].Approve(ctx, x.ID, x.Hash, "again"); err == nil {
		t.Error("one approval counts twice")
	}
	after, err := r.As("ana").who.client.Request(ctx, x.ID)
	if err != nil || len(after.Votes) != 1 || after.Votes[0].Signature == nil || after.Grant == nil {
		t.Fatalf("kept: %+v, %v", after, err)
	}
	r.eventually("ana is told of the answer, and by whom", func() bool {
		return slices.ContainsFunc(r.notices("ana", "request.answered"), func(n api.Notice) bool { return strings.Contains(n.Text, x.ID+" is approved, by rita") })
	})
	// An attacker with the database: the grant runs for a day instead of five minutes.
	r.sql("UPDATE jit_grant SET ends = ends + 86400000000 WHERE id = '" + after.Grant.ID + "'")
	r.touch()
	r.eventually("the grant is void", func() bool { return r.As("ana").Pull(fraud).last.status == http.StatusForbidden })
	r.eventually("the finding", func() bool { return len(r.findings("user:ana", "approval-void")) == 1 })
	r.sql("UPDATE jit_grant SET ends = ends - 86400000000 WHERE id = '" + after.Grant.ID + "'")
	r.touch()
	r.eventually("the grant counts", func() bool { return r.As("ana").Pull(fraud).last.status == http.StatusOK })
	// Outsiders see the same from the log alone: every approval since the first key is signed, and nothing was used without one.
	report := r.verifiedApprovals(nil)
	if report.Keys != 3 || report.Signed != 4 || report.Session != 0 || report.Approved != 3 || report.Used == 0 || len(report.Problems) != 0 {
		t.Errorf("from the log: %+v", report)
	}
	if report := r.verifiedApprovals([]sign.Key{strangersKey(t)}); len(report.Problems) == 0 {
		t.Error("with another first key pinned the log's own is believed")
	}
	// A whole approval out of nothing, as a thief of the API process would write it: the vote of rita, without her key.
	r.sql("UPDATE approval SET state = 'approved', decided = created, votes = '" + `[{"voter":"user:rita","person":"user:rita","yes":true,"at":"2026-01-01T00:00:00Z"}]` + "' WHERE id = '" + before.ID + "'")
	if got, err := r.As("eva").who.client.Request(ctx, before.ID); err != nil || got.State != "void" || got.Grant != nil {
		t.Errorf("the invented approval is %+v, %v", got, err)
	}
	r.As("eva").Pull(fraud)
	r.Want(denied)
}

// sql writes to the store behind the server's back.
func (r *story) sql(statement string) {
	r.t.Helper()
	if r.config.Store != "" {
		r.t.Skip("the store is not a file")
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(r.config.Data, "sallyport.db")+"?_pragma=busy_timeout(60000)")
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(r.t.Context(), statement); err != nil {
		r.t.Fatal(err)
	}
}

// touch makes the server read the grants again.
func (r *story) touch() {
	r.t.Helper()
	r.sql("INSERT INTO outbox (kind) VALUES ('grant')")
}

// verifiedApprovals walks the whole log as outsiders do, believing pins.
func (r *story) verifiedApprovals(pins []sign.Key) verify.ApprovalReport {
	r.t.Helper()
	a := &verify.Approvals{Pins: pins}
	r.verified(uint64(len(r.leaves())))
	if _, err := verify.Log(r.t.Context(), verify.Dir(r.server.LogDir()), r.server.LogKey(), verify.Options{Each: a.Each}); err != nil {
		r.t.Fatal(err)
	}
	return a.Report()
}

// strangersKey is a key that nobody here holds.
func strangersKey(t *testing.T) sign.Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return sign.Key{Credential: []byte("a stranger's"), Person: "user:stranger", Algorithm: -7, Public: public, Party: "localhost", Origin: "https://localhost"}
}

// RE-3: where approvals are signed a hold is lifted by a request that another person signs, who did not place it.
func TestUnlockIsAskedForAndSigned(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx := t.Context()
	browsers := r.approvers("rita", "ana")
	h := r.As("adam").Lock("user:eva")
	r.WantStatus(200)
	asked, err := r.As("rita").who.client.Unlock(ctx, h.ID, api.Lock{Target: "user:eva", Why: "it was her"})
	if err != nil || asked.Request == nil || !asked.Active || asked.Request.State != "pending" {
		t.Fatalf("unlock: %+v, %v", asked, err)
	}
	x := *asked.Request
	if err := browsers["rita"].Approve(ctx, x.ID, x.Hash, ""); err == nil {
		t.Error("she approves what she asked for")
	}
	if err := browsers["adam"].Approve(ctx, x.ID, x.Hash, ""); err == nil {
		t.Error("who placed it, and may not lift holds, says yes")
	}
	second := r.As("ana.admin").who.client
	if _, err := second.Vote(ctx, x, true, "by session"); err == nil {
		t.Error("a session lifts it")
	}
	after, err := second.Request(ctx, x.ID)
	if err != nil || after.State != "pending" || after.VotePath == "" {
		t.Errorf("it is %+v, %v", after, err)
	}
	r.As("eva").Infer(keel)
	r.Want(held)
	// The second account of a person signs with the person's one key.
	st, err := second.Statement(ctx, x, true, "I know her voice")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := browsers["ana"].Key.Get(st.Options, r.server.External())
	if err != nil {
		t.Fatal(err)
	}
	s := assertion(t, raw)
	after, err = second.VoteSigned(ctx, x, api.Vote{Yes: true, Reason: "I know her voice", Hash: x.Hash, At: st.At, Groups: st.Groups,
		Signature: &api.Signature{Credential: encode64(s.Credential), Data: encode64(s.Data), Client: encode64(s.Client), Signature: encode64(s.Signature)}})
	if err != nil || after.State != "used" {
		t.Fatalf("signed: %+v, %v", after, err)
	}
	r.As("eva").Infer(keel)
	r.Want(allowed)
}
