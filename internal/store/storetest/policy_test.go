package storetest

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/change"
	"sallyport/internal/authz/policy"
	"sallyport/internal/store/sqldb"
)

func policySet(v string, at int64) change.Set {
	return change.Set{Version: v, Source: policy.Source{Schema: "s" + v, Policies: map[string]string{"a.cedar": "text " + v}}, By: "user:eve", Why: "why " + v, Activated: time.Unix(at, 0).UTC()}
}

func policyEpoch(n int64, v, request string) change.Epoch {
	return change.Epoch{Number: n, Version: v, Before: "b", Kind: change.Approved, Request: request, Hash: "h", Signed: n%2 == 0, By: "user:eve", Why: "w", At: time.Unix(n, 1000).UTC(), Seal: []byte{0, 1, byte(n)}}
}

func TestPolicy(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		s := db.Policy()
		if _, _, err := s.Active(t.Context()); sallyport.KindOf(err) != sallyport.NotFound {
			t.Fatalf("a new system's policy: %v", err)
		}
		before, err := db.Latest(t.Context())
		must(t, err)
		must(t, s.Activate(t.Context(), policySet("1", 1), policyEpoch(1, "1", "")))
		wantChange(t, db, before, sqldb.Policy)
		must(t, s.Activate(t.Context(), policySet("2", 2), policyEpoch(2, "2", "R-2")))
		must(t, s.Activate(t.Context(), policySet("1", 3), policyEpoch(3, "1", "")))
		for what, err := range map[string]error{
			"a number that is taken": s.Activate(t.Context(), policySet("3", 4), policyEpoch(3, "3", "R-3")),
			"a number left out":      s.Activate(t.Context(), policySet("3", 4), policyEpoch(5, "3", "R-3")),
			"a request spent twice":  s.Activate(t.Context(), policySet("3", 4), policyEpoch(4, "3", "R-2")),
		} {
			if sallyport.KindOf(err) != sallyport.Conflict {
				t.Errorf("%s: %v", what, err)
			}
		}
		set, e, err := open().Policy().Active(t.Context())
		if diff := cmp.Diff(policySet("1", 3), set) + cmp.Diff(policyEpoch(3, "1", ""), e); diff != "" || err != nil {
			t.Errorf("active: %v\n%s", err, diff)
		}
		old, err := s.Get(t.Context(), "2")
		if diff := cmp.Diff(policySet("2", 2), old); diff != "" || err != nil {
			t.Errorf("a set that is not in force any more: %v\n%s", err, diff)
		}
		list, err := s.List(t.Context())
		if err != nil || len(list) != 2 || list[0].Version != "1" || len(list[0].Source.Policies) != 0 {
			t.Errorf("list %+v, %v", list, err)
		}
		if _, err := s.Get(t.Context(), "3"); sallyport.KindOf(err) != sallyport.NotFound {
			t.Errorf("a set that never was: %v", err)
		}
		epochs, err := s.Epochs(t.Context(), 2)
		if diff := cmp.Diff([]change.Epoch{policyEpoch(3, "1", ""), policyEpoch(2, "2", "R-2")}, epochs); diff != "" || err != nil {
			t.Errorf("epochs: %v\n%s", err, diff)
		}
	})
}

// Of many who would put a set in force at once, on several nodes, one does.
func TestPolicyOneAtATime(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		nodes := []change.Store{open().Policy(), open().Policy()}
		must(t, nodes[0].Activate(t.Context(), policySet("1", 1), policyEpoch(1, "1", "")))
		var mu sync.Mutex
		var done sync.WaitGroup
		won := 0
		for i := range 8 {
			done.Go(func() {
				err := nodes[i%2].Activate(t.Context(), policySet("2", 2), policyEpoch(2, "2", "R-2"))
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won++
				} else if sallyport.KindOf(err) != sallyport.Conflict {
					t.Error(err)
				}
			})
		}
		done.Wait()
		if won != 1 {
			t.Errorf("%d put it in force", won)
		}
	})
}

func TestPolicyProposalsAndAcks(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		p := change.Proposal{Request: "R-1", Version: "v", Base: "b", Source: policy.Source{Schema: "s", Policies: map[string]string{"a": "b"}}, By: "service:ci", Why: "w",
			Commit: "4f19", Repository: "https://git", At: time.Unix(5, 0).UTC()}
		must(t, db.Proposals().Insert(t.Context(), p))
		if err := db.Proposals().Insert(t.Context(), p); sallyport.KindOf(err) != sallyport.Conflict {
			t.Errorf("twice: %v", err)
		}
		got, err := open().Proposals().Get(t.Context(), "R-1")
		if diff := cmp.Diff(p, got); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
		author := approval.Vote{Voter: "user:adam", Person: "user:adam", Yes: true, At: time.Unix(6, 0).UTC(), Signature: &approval.Signature{Credential: []byte("c")}}
		must(t, db.Proposals().Sign(t.Context(), "R-1", author))
		if got, err := open().Proposals().Get(t.Context(), "R-1"); err != nil || cmp.Diff(&author, got.Author) != "" {
			t.Errorf("signed: %+v, %v", got.Author, err)
		}
		if err := db.Proposals().Sign(t.Context(), "R-3", author); sallyport.KindOf(err) != sallyport.NotFound {
			t.Errorf("signed what never was: %v", err)
		}
		later := p
		later.Request, later.At = "R-2", time.Unix(6, 0).UTC()
		must(t, db.Proposals().Insert(t.Context(), later))
		if list, err := db.Proposals().List(t.Context(), 1); err != nil || len(list) != 1 || list[0].Request != "R-2" || list[0].Source.Policies != nil {
			t.Errorf("%+v, %v", list, err)
		}
		if _, err := db.Proposals().Get(t.Context(), "R-3"); sallyport.KindOf(err) != sallyport.NotFound {
			t.Errorf("one that never was: %v", err)
		}
		for n := range int64(2) {
			must(t, db.Policy().Acknowledge(t.Context(), change.Ack{Node: "b", Epoch: n, Version: "v", At: time.Unix(n, 0).UTC()}))
		}
		must(t, db.Policy().Acknowledge(t.Context(), change.Ack{Node: "a", Epoch: 9, Version: "w", At: time.Unix(9, 0).UTC()}))
		acks, err := open().Policy().Acks(t.Context())
		want := []change.Ack{{Node: "a", Epoch: 9, Version: "w", At: time.Unix(9, 0).UTC()}, {Node: "b", Epoch: 1, Version: "v", At: time.Unix(1, 0).UTC()}}
		if diff := cmp.Diff(want, acks); diff != "" || err != nil {
			t.Errorf("acks: %v\n%s", err, diff)
		}
	})
}
