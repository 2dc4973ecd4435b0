package storetest

import (
	"crypto/rand"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport"
	"sallyport/internal/identity/provision"
	"sallyport/internal/store/sqldb"
)

func newRecords(db *sqldb.DB, clock *turnedClock) *provision.Service {
	return &provision.Service{Store: db.Provision(), Now: clock.Now, Random: rand.Reader}
}

func aRecord() provision.Record {
	return provision.Record{Source: "okta", Kind: provision.User, Name: "Ana@acme.example", Target: "user:ana", External: "00u1", Body: []byte(`{"userName":"Ana@acme.example"}`)}
}

func TestProvision(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		ctx, clock := t.Context(), newTurnedClock()
		s := newRecords(open(), clock)
		r, err := s.Add(ctx, aRecord())
		must(t, err)
		want := aRecord()
		want.ID, want.Version, want.Created, want.Modified = r.ID, 1, clock.Now(), clock.Now()
		got, err := s.Get(ctx, "okta", provision.User, r.ID)
		if diff := cmp.Diff([]provision.Record{want, want}, []provision.Record{r, got}); diff != "" || err != nil || len(r.ID) != 26 {
			t.Errorf("Add, Get (-want +got): %v\n%s", err, diff)
		}
		for _, q := range []provision.Query{{Name: "ANA@acme.example"}, {External: "00u1"}, {ID: r.ID}, {}} {
			q.Source, q.Kind = "okta", provision.User
			if all, err := s.Find(ctx, q); err != nil || len(all) != 1 {
				t.Errorf("Find(%+v) = %v, %v", q, all, err)
			}
			q.Source = "entra"
			if all, err := s.Find(ctx, q); err != nil || len(all) != 0 {
				t.Errorf("Find(%+v) = %v, %v", q, all, err)
			}
			q.Source, q.Kind = "okta", provision.Group
			if all, err := s.Find(ctx, q); err != nil || len(all) != 0 {
				t.Errorf("Find(%+v) = %v, %v", q, all, err)
			}
		}
		for what, id := range map[string]string{"nothing": "", "another id": r.ID[1:]} {
			_, err := s.Get(ctx, "okta", provision.User, id)
			wantKind(t, "Get of "+what, err, sallyport.NotFound)
		}
		for what, change := range map[string]func(*provision.Record){
			"the same name, in another case": func(r *provision.Record) { r.Name, r.Target = "ana@ACME.example", "user:ana2" },
			"the same target":                func(r *provision.Record) { r.Name = "other" },
			"another source's target":        func(r *provision.Record) { r.Source = "entra" },
		} {
			other := aRecord()
			change(&other)
			_, err := s.Add(ctx, other)
			wantKind(t, what, err, sallyport.Conflict)
			if sallyport.ReasonOf(err) != "uniqueness" || strings.Contains(sallyport.PublicText(err), "okta") {
				t.Errorf("%s: %v because of %s", what, err, sallyport.ReasonOf(err))
			}
		}
		clock.turn(time.Minute)
		r, err = s.Change(ctx, r, 1, func(now *provision.Record) error {
			now.Name, now.External, now.Body = "lima", "", []byte("{}")
			return nil
		})
		if err != nil || r.Version != 2 || !r.Modified.Equal(clock.Now()) || r.Name != "lima" {
			t.Errorf("Change = %+v, %v", r, err)
		}
		_, err = s.Change(ctx, r, 1, func(*provision.Record) error { t.Error("changed from an old version"); return nil })
		if sallyport.ReasonOf(err) != "version" {
			t.Errorf("a change from an old version: %v", err)
		}
		theirs := r
		theirs.Source = "entra"
		_, err = s.Change(ctx, theirs, 0, func(*provision.Record) error { t.Error("changed by another source"); return nil })
		wantKind(t, "a change by another source", err, sallyport.NotFound)
	})
}

// TestSCIM3RecordsAreNotRecycled: neither an id nor a target comes back, on any node.
func TestSCIM3RecordsAreNotRecycled(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		ctx, clock := t.Context(), newTurnedClock()
		a, b := newRecords(open(), clock), newRecords(open(), clock)
		r, err := a.Add(ctx, aRecord())
		must(t, err)
		must(t, a.Remove(ctx, r, 1))
		wantKind(t, "a second removal", b.Remove(ctx, r, 0), sallyport.NotFound)
		_, err = b.Get(ctx, "okta", provision.User, r.ID)
		wantKind(t, "what was removed", err, sallyport.NotFound)
		must(t, b.Forget(ctx, r)) // what came to be is not forgotten
		_, err = b.Add(ctx, aRecord())
		wantKind(t, "the target again", err, sallyport.Conflict)
		again := aRecord()
		again.Target = "user:ana.2" // the name, for another account
		fresh, err := b.Add(ctx, again)
		if err != nil || fresh.ID == r.ID {
			t.Errorf("Add = %+v, %v", fresh, err)
		}
		must(t, b.Forget(ctx, fresh))
		_, err = a.Add(ctx, again)
		must(t, err)
		if n, err := a.Store.Counts(ctx); err != nil || n["okta"][provision.User] != 1 {
			t.Errorf("Counts = %v, %v", n, err)
		}
	})
}

// One of many that add the same name wins, on two nodes.
func TestProvisionOnce(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		clock := newTurnedClock()
		nodes := []*provision.Service{newRecords(open(), clock), newRecords(open(), clock)}
		var won atomic.Int64
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				if _, err := nodes[i%2].Add(t.Context(), aRecord()); err == nil {
					won.Add(1)
				} else if sallyport.KindOf(err) != sallyport.Conflict {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Errorf("%d added it", won.Load())
		}
	})
}
