package storetest

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/grant"
	"sallyport/internal/store/sqldb"
)

func newGrants(db *sqldb.DB, clock *turnedClock) *grant.Service {
	return &grant.Service{Store: db.Grant(), Approvals: newApprovals(db, clock), Clock: clock.Now, Need: 1}
}

func anAsk() grant.Ask {
	return grant.Ask{
		Principal: "service:ana.bot", Person: "user:ana", Actions: []sallyport.Action{sallyport.ModelPull, sallyport.ModelInfer, sallyport.ModelPull},
		Ref: sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "fraud", Revision: "v3"}, For: 30 * time.Minute, Why: "quarterly evaluation", Note: noted,
	}
}

// approved asks and lets Bob approve.
func approved(t *testing.T, s *grant.Service, a grant.Ask) grant.Grant {
	t.Helper()
	r, err := s.Ask(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	r, g, err := s.Vote(t.Context(), ballot(r, "bob", true))
	if err != nil || r.State != approval.Approved || g == nil {
		t.Fatalf("Vote = %v, %v, %v", r.State, g, err)
	}
	return *g
}

func TestGrant(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db, clock := open(), newTurnedClock()
		s := newGrants(db, clock)
		r, err := s.Ask(t.Context(), anAsk())
		if err != nil || r.Subject != "service:ana.bot: model.infer and 1 more on acme/fraud@v3 for 30m0s" {
			t.Fatalf("Ask = %q, %v", r.Subject, err)
		}
		clock.turn(5 * time.Minute) // waiting costs nothing of the grant
		before, err := db.Latest(t.Context())
		must(t, err)
		_, g, err := s.Vote(t.Context(), ballot(r, "bob", true))
		if err != nil {
			t.Fatal(err)
		}
		want := &grant.Grant{
			ID: "G-" + r.ID[2:], Principal: "service:ana.bot", Person: "user:ana", Actions: []sallyport.Action{sallyport.ModelInfer, sallyport.ModelPull},
			Ref: anAsk().Ref, From: clock.Now(), Until: clock.Now().Add(30 * time.Minute), Why: "quarterly evaluation", Request: r.ID,
			ApprovedBy: []sallyport.PrincipalID{"user:bob"},
		}
		if diff := cmp.Diff(want, g); diff != "" {
			t.Errorf("grant (-want +got):\n%s", diff)
		}
		wantChange(t, db, before, sqldb.Grant)
		got, err := s.Get(t.Context(), g.ID)
		if diff := cmp.Diff(want, &got); diff != "" || err != nil {
			t.Errorf("Get (-want +got): %v\n%s", err, diff)
		}
		list, err := s.List(t.Context(), "service:ana.bot")
		if err != nil || len(list) != 1 {
			t.Errorf("List = %v, %v", list, err)
		}
		if list, _ := s.List(t.Context(), "user:ana"); len(list) != 0 {
			t.Errorf("List of another principal = %v", list)
		}
	})
}

// TestGrantEndsByItself: exclusive at Until, and it does not wait for a vote that
// came in time to be turned into a grant (I-19, A-34).
func TestGrantEndsByItself(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		s := newGrants(open(), newTurnedClock())
		g := approved(t, s, anAsk())
		for at, want := range map[time.Time]int{
			g.From.Add(-time.Microsecond): 0, g.From: 1, g.Until.Add(-time.Microsecond): 1, g.Until: 0, g.Until.Add(time.Hour): 0,
		} {
			active, err := s.Active(t.Context(), at)
			if err != nil || len(active) != want || want == 1 != g.Active(at) {
				t.Errorf("Active at From%+v = %d grants, %v, want %d", at.Sub(g.From), len(active), err, want)
			}
		}
	})
}

// TestGrantSettlesOnce: a process that ended between the vote and the grant loses
// nothing and prolongs nothing; 50 calls on two nodes make one grant.
func TestGrantSettlesOnce(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		clock := newTurnedClock()
		nodes := []*grant.Service{newGrants(open(), clock), newGrants(open(), clock)}
		s := nodes[0]
		r, err := s.Ask(t.Context(), anAsk())
		must(t, err)
		if _, err := s.Settle(t.Context(), r.ID); sallyport.KindOf(err) != sallyport.Conflict {
			t.Errorf("Settle before approval = %v, want a conflict", err)
		}
		from := clock.Now()
		_, err = s.Approvals.Vote(t.Context(), ballot(r, "bob", true)) // and then the process ends
		must(t, err)
		clock.turn(10 * time.Minute)
		together(50, func(i int) {
			if g, err := nodes[i%2].Settle(t.Context(), r.ID); err != nil || !g.From.Equal(from) || !g.Until.Equal(from.Add(30*time.Minute)) {
				t.Errorf("Settle = %v to %v, %v", g.From, g.Until, err)
			}
		})
		if n, err := s.Recover(t.Context()); n != 1 || err != nil {
			t.Errorf("Recover = %d, %v", n, err)
		}
		if all, err := s.List(t.Context(), ""); err != nil || len(all) != 1 {
			t.Errorf("%d grants, %v, want 1", len(all), err)
		}
		// Revoked is revoked: settling again brings nothing back.
		_, err = s.Revoke(t.Context(), "G-"+r.ID[2:], "user:eve")
		must(t, err)
		g, err := s.Settle(t.Context(), r.ID)
		if err != nil || g.RevokedAt.IsZero() || g.RevokedBy != "user:eve" {
			t.Errorf("Settle after Revoke = %+v, %v", g, err)
		}
	})
}

func TestGrantRevoke(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db, clock := open(), newTurnedClock()
		s := newGrants(db, clock)
		g := approved(t, s, anAsk())
		clock.turn(time.Minute)
		before, err := db.Latest(t.Context())
		must(t, err)
		at := clock.Now()
		if got, err := s.Revoke(t.Context(), g.ID, "user:bob"); err != nil || !got.RevokedAt.Equal(at) || got.Active(at) {
			t.Errorf("Revoke = %+v, %v", got, err)
		}
		wantChange(t, db, before, sqldb.Grant)
		clock.turn(time.Minute)
		if got, err := s.Revoke(t.Context(), g.ID, "user:eve"); err != nil || !got.RevokedAt.Equal(at) || got.RevokedBy != "user:bob" {
			t.Errorf("a second Revoke = %+v, %v, want the first to stand", got, err)
		}
		if active, err := s.Active(t.Context(), clock.Now()); err != nil || len(active) != 0 {
			t.Errorf("Active after Revoke = %v, %v", active, err)
		}
		_, err = s.Revoke(t.Context(), "G-NOTHING", "user:bob")
		wantKind(t, "Revoke of nothing", err, sallyport.NotFound)
	})
}

// TestGrantsOfALeaver: all identities of a person lose what they have (I-28).
func TestGrantsOfALeaver(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		clock := newTurnedClock()
		s := newGrants(open(), clock)
		mine, bot, other := anAsk(), anAsk(), anAsk()
		mine.Principal, other.Principal, other.Person = "user:ana", "user:joe", "user:joe"
		for _, a := range []grant.Ask{mine, bot, other} {
			approved(t, s, a)
		}
		if n, err := s.RevokePerson(t.Context(), "user:ana", "user:eve"); n != 2 || err != nil {
			t.Errorf("RevokePerson = %d, %v, want 2", n, err)
		}
		active, err := s.Active(t.Context(), clock.Now())
		if err != nil || len(active) != 1 || active[0].Principal != "user:joe" {
			t.Errorf("Active = %v, %v, want Joe's only", active, err)
		}
	})
}

// TestGrantApprovedByRacingVotes: of the votes of three nodes exactly one begins the grant.
func TestGrantApprovedByRacingVotes(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		clock := newTurnedClock()
		nodes := []*grant.Service{newGrants(open(), clock), newGrants(open(), clock), newGrants(open(), clock)}
		nodes[0].Need = 3
		r, err := nodes[0].Ask(t.Context(), anAsk())
		must(t, err)
		var began atomic.Int32
		together(12, func(i int) {
			_, g, err := nodes[i%3].Vote(t.Context(), ballot(r, fmt.Sprintf("p%d", i), true))
			if g != nil {
				began.Add(1)
			}
			if err != nil && sallyport.KindOf(err) != sallyport.Conflict {
				t.Error(err)
			}
		})
		all, err := nodes[1].List(t.Context(), "")
		if began.Load() != 1 || err != nil || len(all) != 1 || len(all[0].ApprovedBy) != 3 {
			t.Errorf("%d grants began; %v, %v", began.Load(), all, err)
		}
	})
}

func TestGrantAsksAreChecked(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		s := newGrants(open(), newTurnedClock())
		for name, spoil := range map[string]func(*grant.Ask){
			"no time":            func(a *grant.Ask) { a.For = 0 },
			"a negative time":    func(a *grant.Ask) { a.For = -time.Second },
			"more than a day":    func(a *grant.Ask) { a.For = 24*time.Hour + time.Second },
			"part of a second":   func(a *grant.Ask) { a.For = time.Millisecond },
			"no reason":          func(a *grant.Ask) { a.Why = " " },
			"a long reason":      func(a *grant.Ask) { a.Why = string(slices.Repeat([]byte("x"), 501)) },
			"a reason of lines":  func(a *grant.Ask) { a.Why = "one\ntwo" },
			"a reason of arrows": func(a *grant.Ask) { a.Why = "\x1b[31mred" },
			"a reversed reason":  func(a *grant.Ask) { a.Why = "\u202eon" },
			"no action":          func(a *grant.Ask) { a.Actions = nil },
			"an unknown action":  func(a *grant.Ask) { a.Actions = []sallyport.Action{"model.steal"} },
			"too many actions":   func(a *grant.Ask) { a.Actions = sallyport.Actions()[:17] },
			"no resource":        func(a *grant.Ask) { a.Ref = sallyport.Ref{} },
			"no principal":       func(a *grant.Ask) { a.Principal = "" },
			"no person":          func(a *grant.Ask) { a.Person = "ana" },
		} {
			a := anAsk()
			spoil(&a)
			_, err := s.Ask(t.Context(), a)
			wantKind(t, name, err, sallyport.Invalid)
		}
		s.Need = 0
		_, err := s.Ask(t.Context(), anAsk())
		wantKind(t, "zero approvals", err, sallyport.Invalid)
		r := ask(t, s.Approvals, 1)
		_, _, err = s.Vote(t.Context(), ballot(r, "bob", true))
		wantKind(t, "a vote on something else", err, sallyport.Invalid)
	})
}

// TestGrantOfALease: a grant of a lease, with a job's name or without, holds from its first renewal and lapses for good.
func TestGrantOfALease(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		clock := newTurnedClock()
		s := newGrants(open(), clock)
		for _, name := range []string{"", "train"} {
			a := anAsk()
			a.Task = &grant.Task{Kind: grant.Lease, Name: name}
			g := approved(t, s, a)
			in := func() bool {
				list, err := s.Active(t.Context(), clock.Now())
				must(t, err)
				return slices.ContainsFunc(list, func(x grant.Grant) bool { return x.ID == g.ID && *x.Task == *a.Task })
			}
			if in() {
				t.Errorf("%s holds before it is renewed", a.Task)
			}
			if _, err := s.Renew(t.Context(), g.ID, "user:ana"); sallyport.KindOf(err) != sallyport.NotFound {
				t.Errorf("%s is renewed by somebody else: %v", a.Task, err)
			}
			for range 2 {
				_, err := s.Renew(t.Context(), g.ID, g.Principal)
				must(t, err)
				if !in() {
					t.Errorf("%s does not hold after it was renewed", a.Task)
				}
				clock.turn(grant.LeaseFor)
			}
			clock.turn(time.Millisecond)
			if _, err := s.Renew(t.Context(), g.ID, g.Principal); sallyport.KindOf(err) != sallyport.Conflict {
				t.Errorf("%s is renewed after it lapsed: %v", a.Task, err)
			}
		}
	})
}
