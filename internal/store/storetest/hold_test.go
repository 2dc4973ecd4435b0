package storetest

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport"
	"sallyport/internal/authz/hold"
	"sallyport/internal/store/sqldb"
)

func newHolds(db *sqldb.DB, clock *turnedClock) *hold.Service {
	person := func(ctx context.Context, target string) (sallyport.PrincipalID, error) {
		if target == "user:ghost" {
			return "", sallyport.E("directory", sallyport.NotFound, "nobody", "")
		}
		if id, err := sallyport.ParsePrincipalID(target); err == nil {
			return behind(ctx, id)
		}
		if strings.HasPrefix(target, "session:") {
			return "user:ana", nil
		}
		return "", nil
	}
	return &hold.Service{Store: db.Hold(), Clock: clock.Now, Rand: rand.Reader, Person: person}
}

func actor(name string) hold.Actor {
	id := sallyport.PrincipalID("user:" + name)
	return hold.Actor{ID: id, Person: id}
}

// recorded is a record that can be written.
func recorded(context.Context, hold.Hold) error { return nil }

func TestHold(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db, clock := open(), newTurnedClock()
		s := newHolds(db, clock)
		before, err := db.Latest(t.Context())
		must(t, err)
		h, err := s.Place(t.Context(), "user:ana", "odd downloads", actor("bob"))
		must(t, err)
		wantChange(t, db, before, sqldb.Hold)
		want := hold.Hold{ID: h.ID, Target: "user:ana", Kind: hold.Lock, Why: "odd downloads", By: "user:bob", ByPerson: "user:bob", Held: "user:ana", At: clock.Now()}
		active, err := s.Active(t.Context())
		if diff := cmp.Diff([]hold.Hold{want}, active); diff != "" || err != nil {
			t.Errorf("Active (-want +got): %v\n%s", err, diff)
		}
		clock.turn(time.Hour)
		before, err = db.Latest(t.Context())
		must(t, err)
		lifted, err := s.Lift(t.Context(), h.ID, hold.Lifting{Why: "explained: a migration"}, actor("eve"), recorded)
		must(t, err)
		wantChange(t, db, before, sqldb.Hold)
		want.LiftedAt, want.LiftedBy, want.LiftedPerson, want.LiftReason = clock.Now(), "user:eve", "user:eve", "explained: a migration"
		want.Probation = clock.Now().Add(hold.DefaultProbation)
		got, err := s.Get(t.Context(), h.ID)
		if diff := cmp.Diff([]hold.Hold{want, want}, []hold.Hold{lifted, got}); diff != "" || err != nil {
			t.Errorf("after Lift (-want +got): %v\n%s", err, diff)
		}
		if active, err := s.Active(t.Context()); err != nil || len(active) != 0 {
			t.Errorf("Active after Lift = %v, %v", active, err)
		}
		_, err = s.Lift(t.Context(), h.ID, hold.Lifting{Why: "again"}, actor("joe"), recorded)
		wantKind(t, "a second Lift", err, sallyport.Conflict)
		_, err = s.Get(t.Context(), "H-NOTHING")
		wantKind(t, "Get of nothing", err, sallyport.NotFound)
		_, err = s.Lift(t.Context(), "H-NOTHING", hold.Lifting{Why: "x"}, actor("joe"), recorded)
		wantKind(t, "Lift of nothing", err, sallyport.NotFound)
		wantKind(t, "an id twice", db.Hold().Insert(t.Context(), h, 10), sallyport.Conflict)
	})
}

// TestAHoldIsLiftedByAnotherPerson: not by who placed it, nor by whom it is on,
// through any identity, nor by a program, nor without a reason (I-23).
func TestAHoldIsLiftedByAnotherPerson(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		s := newHolds(open(), newTurnedClock())
		for _, target := range []string{"user:ana", "user:ana.2", "service:ana.bot", "session:abc-1"} {
			h, err := s.Place(t.Context(), target, "look at this", hold.Actor{ID: "service:bob.monitor", Person: "user:bob"})
			must(t, err)
			for who, want := range map[hold.Actor]sallyport.Kind{
				actor("bob"):                                sallyport.Conflict,
				{ID: "user:bob.2", Person: "user:bob"}:      sallyport.Conflict,
				actor("ana"):                                sallyport.Conflict,
				{ID: "user:ana.3", Person: "user:ana"}:      sallyport.Conflict,
				{ID: "service:eve.bot", Person: "user:eve"}: sallyport.Invalid,
				{ID: "user:eve"}:                            sallyport.Invalid,
			} {
				_, err := s.Lift(t.Context(), h.ID, hold.Lifting{Why: "fine"}, who, recorded)
				wantKind(t, fmt.Sprintf("%s lifting the hold on %s", who.ID, target), err, want)
			}
			_, err = s.Lift(t.Context(), h.ID, hold.Lifting{Why: ""}, actor("eve"), recorded)
			wantKind(t, "a lift without a reason", err, sallyport.Invalid)
			_, err = s.Lift(t.Context(), h.ID, hold.Lifting{Why: "fine"}, actor("eve"), recorded)
			must(t, err)
		}
	})
}

// TestHoldOnWhatIsGone: a person who is removed, or a session whose owner changes, does not free anybody to lift.
func TestHoldOnWhatIsGone(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		s := newHolds(open(), newTurnedClock())
		h, err := s.Place(t.Context(), "session:abc", "stolen", actor("bob"))
		must(t, err)
		_, err = s.Place(t.Context(), "user:ghost", "gone", actor("bob"))
		wantKind(t, "a hold on nobody", err, sallyport.NotFound)
		answer := func(person sallyport.PrincipalID, err error) {
			s.Person = func(context.Context, string) (sallyport.PrincipalID, error) { return person, err }
		}
		answer("", sallyport.E("session", sallyport.Unavailable, "", ""))
		_, err = s.Lift(t.Context(), h.ID, hold.Lifting{Why: "fine"}, actor("eve"), recorded)
		wantKind(t, "a lift while nobody knows whose the target is", err, sallyport.Unavailable)
		answer("user:eve", nil)
		_, err = s.Lift(t.Context(), h.ID, hold.Lifting{Why: "fine"}, actor("eve"), recorded)
		wantKind(t, "a lift by whose the target is today", err, sallyport.Conflict)
		answer("", sallyport.E("session", sallyport.NotFound, "", ""))
		_, err = s.Lift(t.Context(), h.ID, hold.Lifting{Why: "fine"}, actor("ana"), recorded)
		wantKind(t, "a lift by whose the target was", err, sallyport.Conflict)
		_, err = s.Lift(t.Context(), h.ID, hold.Lifting{Why: "fine"}, actor("eve"), recorded)
		must(t, err)
	})
}

func TestHoldsAreCheckedAndListed(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db, clock := open(), newTurnedClock()
		s := newHolds(db, clock)
		for _, target := range []string{"", "ana", "user:", "user:Ana", "model:fraud", "model:acme/fraud@", "session:", "session:a b", "system", "org:acme/x", "user:ana:x"} {
			_, err := s.Place(t.Context(), target, "x", actor("bob"))
			wantKind(t, fmt.Sprintf("a hold on %q", target), err, sallyport.Invalid)
		}
		for _, why := range []string{"", "  ", "a\nb", strings.Repeat("x", 501), "\xff"} {
			_, err := s.Place(t.Context(), "user:ana", why, actor("bob"))
			wantKind(t, fmt.Sprintf("a hold because %.10q", why), err, sallyport.Invalid)
		}
		_, err := s.Place(t.Context(), "user:ana", "x", hold.Actor{ID: "user:bob"})
		wantKind(t, "a hold by nobody", err, sallyport.Invalid)
		for _, target := range []string{"model:acme/fraud", "model:acme/fraud@v3", "org:acme", "project:acme/risk", "dataset:acme/d", "endpoint:acme/e", "family:F1", "model:acme/fraud"} {
			clock.turn(time.Second)
			_, err := s.Place(t.Context(), target, "x", actor("bob"))
			must(t, err)
		}
		list, err := s.List(t.Context(), "model:acme/fraud")
		if err != nil || len(list) != 2 || !list[0].At.After(list[1].At) {
			t.Errorf("List = %v, %v, want two, newest first", list, err)
		}
		active, err := s.Active(t.Context())
		if err != nil || len(active) != 8 || active[0].Target != "model:acme/fraud" {
			t.Errorf("Active = %d, %v, want 8, oldest first", len(active), err)
		}
		h := active[0]
		h.ID = "H-ONEMORE"
		wantKind(t, "one hold too many", db.Hold().Insert(t.Context(), h, 8), sallyport.Busy)
	})
}

// A hold and its probation end only with a record: where the log cannot be written what stops goes on stopping, also past
// its time, and ends as soon as it can be written down. What is written down is what is kept.
func TestAHoldEndsOnlyWithItsRecord(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		clock, ctx := newTurnedClock(), t.Context()
		s, system := newHolds(open(), clock), hold.Actor{ID: "service:sallyport", Person: "service:sallyport"}
		ends, err := s.PlaceFor(ctx, "user:ana", "a stolen token", system, time.Hour)
		must(t, err)
		lasting, err := s.Place(ctx, "user:bo", "look at this", actor("bob"))
		must(t, err)
		clock.turn(time.Hour)
		var last hold.Hold
		record := func(_ context.Context, h hold.Hold) error { last = h; return nil }
		down := func(context.Context, hold.Hold) error {
			return sallyport.E("record", sallyport.Unavailable, "the log cannot be written", "")
		}
		left := 2
		for what, end := range map[string]func(hold.Note) (hold.Hold, error){
			"its time": func(n hold.Note) (hold.Hold, error) {
				if all, err := s.Expire(ctx, system, n); err != nil || len(all) != 1 {
					return hold.Hold{}, err
				}
				return s.Get(ctx, ends.ID)
			},
			"a person": func(n hold.Note) (hold.Hold, error) {
				return s.Lift(ctx, lasting.ID, hold.Lifting{Why: "fine"}, actor("eve"), n)
			},
		} {
			_, err := end(down)
			wantKind(t, what+", without a record", err, sallyport.Unavailable)
			if active, err := s.Active(ctx); err != nil || len(active) != left {
				t.Errorf("%s, without a record: %d hold, %v", what, len(active), err)
			}
			left--
			got, err := end(record)
			if diff := cmp.Diff(last, got); err != nil || diff != "" || got.Active() {
				t.Errorf("%s (-written +kept): %v\n%s", what, err, diff)
			}
		}
		_, err = s.Acquit(ctx, lasting.ID, "looked at", actor("joe"), down)
		wantKind(t, "a probation without a record", err, sallyport.Unavailable)
		if all, err := s.OnProbation(ctx); err != nil || len(all) != 1 {
			t.Errorf("on probation: %v, %v", all, err)
		}
		got, err := s.Acquit(ctx, lasting.ID, "looked at", actor("joe"), record)
		if diff := cmp.Diff(last, got); err != nil || diff != "" || got.OnProbation(clock.Now()) {
			t.Errorf("acquitted (-written +kept): %v\n%s", err, diff)
		}
	})
}

// TestParallelLifts: of 50 people who lift at once, one does.
func TestParallelLifts(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		clock := newTurnedClock()
		nodes := []*hold.Service{newHolds(open(), clock), newHolds(open(), clock)}
		h, err := nodes[0].Place(t.Context(), "org:acme", "an incident", actor("bob"))
		must(t, err)
		var lifted atomic.Int32
		together(50, func(i int) {
			_, err := nodes[i%2].Lift(t.Context(), h.ID, hold.Lifting{Why: "over"}, actor(fmt.Sprintf("p%d", i)), recorded)
			if err == nil {
				lifted.Add(1)
			} else if sallyport.KindOf(err) != sallyport.Conflict {
				t.Error(err)
			}
		})
		if lifted.Load() != 1 {
			t.Errorf("%d people lifted the hold, want 1", lifted.Load())
		}
	})
}

// A hold with an end holds until then and not longer, is lifted once however many nodes look, and a person may be faster.
func TestHoldsThatEnd(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		clock := newTurnedClock()
		nodes := []*hold.Service{newHolds(open(), clock), newHolds(open(), clock)}
		s, system := nodes[0], hold.Actor{ID: "service:sallyport", Person: "service:sallyport"}
		h, err := s.PlaceFor(t.Context(), "user:ana", "a stolen token", system, time.Hour)
		must(t, err)
		lasting, err := s.Place(t.Context(), "user:bo", "look at this", actor("bob"))
		must(t, err)
		early, err := s.PlaceFor(t.Context(), "session:S-1", "odd", system, time.Hour)
		must(t, err)
		_, err = s.Lift(t.Context(), early.ID, hold.Lifting{Why: "explained"}, actor("eve"), recorded)
		must(t, err)
		clock.turn(time.Hour - time.Second)
		if lifted, err := s.Expire(t.Context(), system, recorded); err != nil || len(lifted) != 0 {
			t.Errorf("before its end: %v, %v", lifted, err)
		}
		clock.turn(time.Second)
		var ended atomic.Int32
		together(8, func(i int) {
			lifted, err := nodes[i%2].Expire(t.Context(), system, recorded)
			if err != nil {
				t.Error(err)
			}
			ended.Add(int32(len(lifted)))
		})
		got, err := s.Get(t.Context(), h.ID)
		if err != nil || ended.Load() != 1 || got.Active() || got.LiftedBy != system.ID || !got.Until.Equal(h.At.Add(time.Hour)) {
			t.Errorf("it ended %d times, as %+v, %v", ended.Load(), got, err)
		}
		if active, err := s.Active(t.Context()); err != nil || len(active) != 1 || active[0].ID != lasting.ID {
			t.Errorf("what still holds: %v, %v", active, err)
		}
		for _, lasts := range []time.Duration{0, -time.Hour, hold.MaxFor + 1} {
			_, err := s.PlaceFor(t.Context(), "user:ana", "x", system, lasts)
			wantKind(t, lasts.String(), err, sallyport.Invalid)
		}
	})
}
