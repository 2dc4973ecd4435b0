package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/grant"
	"sallyport/internal/store/sqldb"
)

// TestApprovalKeepsWhatIsSigned: quorums, policy version, nonce and signatures come back as they were written.
func TestApprovalKeepsWhatIsSigned(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db, clock := open(), newTurnedClock()
		s := newApprovals(db, clock)
		s.Policy = func() string { return "sha256:now" }
		r, err := s.Ask(t.Context(), approval.Request{Topic: "test", Asker: "user:ana", AskerPerson: "user:ana", Subject: "s", Canonical: []byte("c"), Need: 1,
			Groups: []approval.Quorum{{Group: "group:acme/risk", Need: 2}, {Group: "owners", Need: 1}}, Approvers: "them", Expires: clock.Now().Add(time.Hour)}, noted)
		must(t, err)
		if r.Need != 3 || r.Policy != "sha256:now" || len(r.Nonce) != 32 {
			t.Errorf("asked: %+v", r)
		}
		for _, person := range []string{"bob", "eve", "joe"} {
			b := ballot(r, person, true)
			if b.Groups = []string{"group:acme/risk"}; person == "joe" {
				b.Groups = []string{"owners"}
			}
			r, err = s.Vote(t.Context(), b)
			must(t, err)
		}
		if r.State != approval.Approved || s.Verify(t.Context(), r) != nil {
			t.Errorf("in the end %v: %v", r.State, s.Verify(t.Context(), r))
		}
		b := ballot(r, "zoe", true)
		_, err = s.Vote(t.Context(), b)
		wantKind(t, "a vote of nobody in the groups", err, sallyport.Conflict)
		signed, err := db.Approval().Update(t.Context(), r.ID, func(r *approval.Request) error {
			r.Votes[0].Signature = &approval.Signature{Credential: []byte{1}, Data: []byte{2}, Client: []byte(`{"a":"<b>"}`), Signature: []byte{0xff}}
			return nil
		})
		must(t, err)
		got, err := s.Get(t.Context(), r.ID)
		if diff := cmp.Diff(signed, got); diff != "" || err != nil {
			t.Errorf("kept (-want +got): %v\n%s", err, diff)
		}
	})
}

// TestNothingIsKeptThatIsNotWrittenDown: with a log that fails, or with none, nobody has asked, voted or withdrawn; and
// what the log gets is what is kept a moment later.
func TestNothingIsKeptThatIsNotWrittenDown(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db, clock := open(), newTurnedClock()
		s := newApprovals(db, clock)
		full := func(context.Context, approval.Request) error {
			return sallyport.E("record", sallyport.Unavailable, "the disk is full", "")
		}
		kinds := map[string]struct {
			note approval.Note
			want sallyport.Kind
		}{"a full log": {full, sallyport.Unavailable}, "no log": {nil, sallyport.Other}}
		for name, x := range kinds {
			_, err := s.Ask(t.Context(), approval.Request{Topic: "test", Asker: "user:ana", AskerPerson: "user:ana", Subject: "s", Canonical: []byte("c"), Need: 1,
				Approvers: "them", Expires: clock.Now().Add(time.Hour)}, x.note)
			wantKind(t, "asked with "+name, err, x.want)
		}
		if all, err := s.List(t.Context(), approval.Filter{}); err != nil || len(all) != 0 {
			t.Fatalf("requests that nobody wrote down: %v, %v", all, err)
		}
		r := ask(t, s, 1)
		for name, x := range kinds {
			for _, yes := range []bool{true, false} {
				b := ballot(r, "bob", yes)
				b.Note = x.note
				_, err := s.Vote(t.Context(), b)
				wantKind(t, "a vote with "+name, err, x.want)
			}
			_, err := s.Withdraw(t.Context(), r.ID, "user:ana", x.note)
			wantKind(t, "withdrawn with "+name, err, x.want)
		}
		if got, err := s.Get(t.Context(), r.ID); err != nil || got.State != approval.Pending || len(got.Votes) != 0 {
			t.Fatalf("after votes that nobody wrote down: %v with %d votes, %v", got.State, len(got.Votes), err)
		}
		var noted approval.Request
		b := ballot(r, "bob", true)
		b.Note = func(ctx context.Context, r approval.Request) error {
			if now, err := s.Get(ctx, r.ID); err != nil || now.State != approval.Pending || len(now.Votes) != 0 {
				t.Errorf("when it is written down it is kept already: %v, %v", now.State, err)
			}
			noted = r
			return nil
		}
		got, err := s.Vote(t.Context(), b)
		if diff := cmp.Diff(noted, got); diff != "" || err != nil || got.State != approval.Approved {
			t.Errorf("written down and kept (-want +got): %v\n%s", err, diff)
		}
	})
}

// TestNoGrantWithoutARecord: a last yes that cannot be written down begins no grant, and can be said again.
func TestNoGrantWithoutARecord(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db, clock := open(), newTurnedClock()
		s := &grant.Service{Store: db.Grant(), Approvals: newApprovals(db, clock), Clock: clock.Now, Need: 1}
		r, err := s.Ask(t.Context(), anAsk())
		must(t, err)
		b := ballot(r, "bob", true)
		b.Note = func(context.Context, approval.Request) error {
			return sallyport.E("record", sallyport.Unavailable, "the disk is full", "")
		}
		_, g, err := s.Vote(t.Context(), b)
		wantKind(t, "a vote that is not recorded", err, sallyport.Unavailable)
		if n, err := s.Recover(t.Context()); g != nil || n != 0 || err != nil {
			t.Errorf("it left %d approved requests and %v: %v", n, g, err)
		}
		if active, err := s.Active(t.Context(), clock.Now()); err != nil || len(active) != 0 {
			t.Errorf("it began %v: %v", active, err)
		}
		if _, g, err = s.Vote(t.Context(), ballot(r, "bob", true)); err != nil || g == nil {
			t.Errorf("said again: %v, %v", g, err)
		}
	})
}
