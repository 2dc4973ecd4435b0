package storetest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/store/sqldb"
)

// TestApprovalKeepsWhatIsSigned: quorums, policy version, nonce and signatures come back as they were written.
func TestApprovalKeepsWhatIsSigned(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db, clock := open(), newTurnedClock()
		s := newApprovals(db, clock)
		s.Policy = func() string { return "sha256:now" }
		r, err := s.Ask(t.Context(), approval.Request{Topic: "test", Asker: "user:ana", AskerPerson: "user:ana", Subject: "s", Canonical: []byte("c"), Need: 1,
			Groups: []approval.Quorum{{Group: "group:acme/risk", Need: 2}, {Group: "owners", Need: 1}}, Approvers: "them", Expires: clock.Now().Add(time.Hour)})
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
