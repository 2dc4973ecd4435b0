package facts_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/authz/facts"
	"sallyport/internal/authz/hold"
	"sallyport/internal/authz/role"
	"sallyport/internal/identity/directory"
)

// After Sync every change that was committed before is in the snapshot; what did
// not change is not read again, and older snapshots stay as they were.
func TestSync(t *testing.T) {
	r := newRooms()
	k := open(t, r)
	old, reads := k.Snapshot(), r.reads[facts.KindDirectory]
	changed := k.Changed()
	r.change(facts.KindHold, func() { r.holds = []hold.Hold{{ID: "H-1", Target: "user:ana"}} })
	r.change("something else", func() {})
	if err := k.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody was told of the change")
	}
	if len(basis(t, k, "user:ana", "acme/fraud").Holds) != 1 {
		t.Error("the hold is not in the snapshot")
	}
	x, _ := old.Resolve(sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "fraud"})
	if b, err := old.Basis(sallyport.Principal{ID: "user:ana"}, x); err != nil || len(b.Holds) != 0 {
		t.Errorf("the old snapshot changed: %d holds, error %v", len(b.Holds), err)
	}
	if r.reads[facts.KindDirectory] != reads {
		t.Error("the directory was read although it did not change")
	}
	now := k.Snapshot()
	if err := k.Sync(t.Context()); err != nil || k.Snapshot() != now {
		t.Errorf("without a change there is another snapshot, error %v", err)
	}
}

// A source that cannot answer leaves the last snapshot, whose age grows; the
// change is not forgotten, and comes when the source is back.
func TestASourceThatFails(t *testing.T) {
	down := errors.New("down")
	for _, failing := range []facts.Kind{"feed", facts.KindHold} {
		r := newRooms()
		k := open(t, r)
		before := k.Snapshot()
		r.change(facts.KindHold, func() {
			r.holds = []hold.Hold{{ID: "H-1", Target: "user:ana"}}
			if r.down[failing] = down; failing == "feed" {
				r.feedErr = down
			}
		})
		for i := range 3 {
			r.clock.Add(10 * time.Second)
			if err := k.Sync(t.Context()); !errors.Is(err, down) {
				t.Fatalf("%s: %v", failing, err)
			}
			if k.Snapshot() != before {
				t.Fatalf("%s: another snapshot", failing)
			}
			if age := before.Age(r.clock.Now()); age < time.Duration(i+1)*10*time.Second {
				t.Errorf("%s: the age is %s after %d failures", failing, age, i+1)
			}
		}
		r.mu.Lock()
		clear(r.down)
		r.feedErr = nil
		r.mu.Unlock()
		if err := k.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(basis(t, k, "user:ana", "acme/fraud").Holds) != 1 {
			t.Errorf("%s: the hold was forgotten", failing)
		}
		if age := k.Snapshot().Age(r.clock.Now()); age >= 10*time.Second {
			t.Errorf("%s: the age is still %s", failing, age)
		}
	}
}

// The age of a snapshot is counted from before its sources were asked.
func TestAgeCountsFromTheQuestion(t *testing.T) {
	r := newRooms()
	sources := r.sources()
	slow := sources
	slow.Since = func(ctx context.Context, after int64) ([]facts.Kind, int64, error) {
		kinds, newest, err := sources.Since(ctx, after)
		r.clock.Add(7 * time.Second) // the answer takes its time
		return kinds, newest, err
	}
	k, err := facts.Open(t.Context(), slow, engine(t, ""), r.clock.Now, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if age := k.Snapshot().Age(r.clock.Now()); age < 7*time.Second {
		t.Errorf("what was true 7 s ago is %s old", age)
	}
	if age := k.Snapshot().Age(r.clock.Now().Add(-time.Hour)); age != 0 {
		t.Errorf("on a clock that was set back the age is %s", age)
	}
}

// Follow brings changes in at once when it is woken, and by the poll when every
// wake-up is lost; it goes on after failures, and ends with its context.
func TestFollow(t *testing.T) {
	for name, test := range map[string]struct {
		wake     chan struct{}
		interval time.Duration
	}{
		"woken":             {make(chan struct{}), time.Hour},
		"wake-ups are lost": {nil, time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRooms()
			r.wake = test.wake
			k := open(t, r)
			ctx, cancel := context.WithCancel(t.Context())
			var following sync.WaitGroup
			following.Go(func() { k.Follow(ctx, test.interval) })
			for i := range 20 {
				target := fmt.Sprintf("session:S-%d", i)
				changed := k.Changed()
				r.change(facts.KindHold, func() {
					if name != "woken" && i == 5 {
						r.feedErr = errors.New("down for a moment")
					}
					r.holds = []hold.Hold{{ID: "H-1", Target: target}}
				})
				if i == 5 {
					time.Sleep(5 * time.Millisecond)
					r.mu.Lock()
					r.feedErr = nil
					r.mu.Unlock()
				}
				for {
					if holds := basis(t, k, "user:ana", "system").Holds; len(holds) == 1 && holds[0].Target == target {
						break
					}
					<-changed // a follower that sleeps hangs the test, and its stack says where
					changed = k.Changed()
				}
			}
			cancel()
			following.Wait()
		})
	}
}

// An engine that is put in force decides from now on, and what was prepared for
// the old one is not used again.
func TestUse(t *testing.T) {
	r := newRooms()
	k := open(t, r)
	before := basis(t, k, "user:ana", "acme/fraud")
	old, changed := k.Snapshot(), k.Changed()
	next := engine(t, `@id("x") @owner("t") @requirement("T") @text("X.") forbid (principal, action == Action::"model.export", resource);`)
	k.Use(next)
	<-changed
	after := basis(t, k, "user:ana", "acme/fraud")
	if after.Policy != next.Version() || after.Policy == before.Policy || after.Hash() == before.Hash() {
		t.Errorf("after the change the basis is under %s, before %s", after.Policy, before.Policy)
	}
	if old.Engine().Version() != before.Policy || k.Snapshot().Engine().Version() != next.Version() {
		t.Error("the old snapshot changed, or the new one did not")
	}
	r.change(facts.KindHold, func() {})
	if err := k.Sync(t.Context()); err != nil || k.Snapshot().Engine().Version() != next.Version() {
		t.Errorf("a later change brings the old engine back, error %v", err)
	}
}

// The second question about the same gathers nothing; a change forgets the first.
func TestCache(t *testing.T) {
	r := newRooms()
	k := open(t, r)
	first := basis(t, k, "user:ana", "acme/fraud")
	if basis(t, k, "user:ana", "acme/fraud@v2") != first {
		t.Error("the same question by another name is gathered twice")
	}
	if basis(t, k, "user:ana", "acme/fraud@v1") == first || basis(t, k, "user:ana.two", "acme/fraud") == first {
		t.Error("another question has the same answer")
	}
	r.change(facts.KindGrant, func() {})
	if err := k.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if basis(t, k, "user:ana", "acme/fraud") == first {
		t.Error("what was gathered before a change is used after it")
	}
}

// names that run together when they are joined are still different keys.
func TestA28NamesDoNotRunTogether(t *testing.T) {
	r := newRooms()
	names := []string{"a", "a.b", "a-b", "b", "b.c", "a.b.c", "c", "user-a", "v1", "a-v1"}
	r.people.Members, r.catalog.Models, r.catalog.Versions, r.catalog.Orgs, r.catalog.Projects = nil, nil, nil, nil, nil
	for _, n := range names {
		for _, id := range []sallyport.PrincipalID{sallyport.PrincipalID("user:" + n), sallyport.PrincipalID("service:" + n)} {
			r.people.Members = append(r.people.Members, directory.Member{ID: id, Person: "user:a", State: directory.Active})
		}
		r.catalog.Orgs = append(r.catalog.Orgs, catalog.Org{Name: n})
		for _, m := range names {
			r.catalog.Projects = append(r.catalog.Projects, catalog.Project{Org: n, Name: m})
			r.catalog.Models = append(r.catalog.Models, catalog.Model{Org: n, Name: m, Project: m, Class: sallyport.Internal, Aliases: map[string]string{"main": "v1"}})
			r.catalog.Versions = append(r.catalog.Versions, catalog.Version{Org: n, Model: m, Number: "v1", Digest: strings.Repeat("0", 64)})
		}
	}
	s := open(t, r).Snapshot()
	seen := map[string]string{}
	for _, member := range s.Sorted() {
		for _, x := range s.Catalog().All() {
			b, err := s.Basis(sallyport.Principal{ID: member.ID}, x)
			if err != nil {
				t.Fatal(err)
			}
			what := string(member.ID) + " on " + x.String()
			if b.PrincipalID != member.ID || b.Resource != x {
				t.Fatalf("%s has the basis of %s on %s", what, b.PrincipalID, b.Resource)
			}
			if other, ok := seen[b.Hash()]; ok {
				t.Fatalf("%s and %s have one hash", what, other)
			}
			seen[b.Hash()] = what
		}
	}
	t.Logf("%d questions, as many hashes", len(seen))
}

// An assignment ends by itself, without anybody changing anything.
func TestAssignmentsEnd(t *testing.T) {
	r := newRooms()
	r.roles.Assignments = append(r.roles.Assignments, role.Assignment{ID: "A-9", Subject: "user:ana.two", Role: "developer",
		Scope: sallyport.Ref{Kind: sallyport.OrganisationKind, Org: "acme"}, Until: r.clock.Now().Add(time.Minute)})
	k := open(t, r)
	if len(k.Snapshot().Assignments("user:ana.two")) != 1 {
		t.Fatal("the assignment does not hold")
	}
	r.clock.Add(time.Minute)
	if err := k.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(k.Snapshot().Assignments("user:ana.two")); n != 0 {
		t.Errorf("%d assignments hold after their end", n)
	}
	if p := parents(basis(t, k, "user:ana.two", "acme/fraud"), "User", "ana.two"); len(p) != 0 {
		t.Errorf("the role still counts: %q", p)
	}
}

// Questions and changes go on side by side, and each answer is of one moment:
// the two holds are placed and lifted together.
func TestSnapshotsAreOfOneMoment(t *testing.T) {
	r := newRooms()
	k := open(t, r)
	done := make(chan struct{})
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if n := len(basis(t, k, "user:ana", "acme/fraud").Holds); n != 0 && n != 2 {
					t.Errorf("%d holds", n)
					return
				}
			}
		})
	}
	for i := range 50 {
		r.change(facts.KindHold, func() {
			r.holds = nil
			if i%2 == 0 {
				r.holds = []hold.Hold{{ID: "H-1", Target: "user:ana"}, {ID: "H-2", Target: "org:acme"}}
			}
		})
		if err := k.Sync(t.Context()); err != nil {
			t.Error(err)
		}
	}
	close(done)
	asking.Wait()
}
