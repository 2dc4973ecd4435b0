package storetest

import (
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/hold"
	"sallyport/internal/store/sqldb"
)

// RE-3: a probation follows a lifted hold, for as long as was said; none only for a reason. Its time ends it, or a person who
// neither lifted the hold nor was held.
func TestRE3Probation(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db, clock := open(), newTurnedClock()
		s := newHolds(db, clock)
		s.Probation = 10 * time.Hour
		lasting := func() int {
			t.Helper()
			all, err := s.OnProbation(t.Context())
			must(t, err)
			return len(all)
		}
		lift := func(l hold.Lifting) (hold.Hold, error) {
			t.Helper()
			h, err := s.Place(t.Context(), "user:ana", "odd downloads", actor("bob"))
			must(t, err)
			l.Why = "explained"
			return s.Lift(t.Context(), h.ID, l, actor("eve"), recorded)
		}
		for _, l := range []hold.Lifting{{Probation: -time.Hour}, {Probation: time.Second}, {Probation: hold.MaxProbation + time.Second}, {Probation: hold.MaxProbation + 1}, {Probation: time.Minute + 1}, {Probation: time.Hour, Without: "both"}, {Without: " "}} {
			_, err := lift(l)
			wantKind(t, "a probation that there cannot be", err, sallyport.Invalid)
		}
		usual, err := lift(hold.Lifting{})
		must(t, err)
		long, err := lift(hold.Lifting{Probation: 20 * time.Hour})
		must(t, err)
		none, err := lift(hold.Lifting{Without: "the wrong person"})
		must(t, err)
		if !usual.Probation.Equal(clock.Now().Add(10*time.Hour)) || !long.Probation.Equal(clock.Now().Add(20*time.Hour)) || !none.Probation.IsZero() || none.ProbationWhy != "the wrong person" {
			t.Errorf("probations until %v, %v, %v (%q)", usual.Probation, long.Probation, none.Probation, none.ProbationWhy)
		}
		if n := lasting(); n != 2 {
			t.Errorf("%d last, want 2", n)
		}
		for _, by := range []string{"eve", "ana"} {
			_, err = s.Acquit(t.Context(), usual.ID, "looked at", actor(by), recorded)
			wantKind(t, "ended by "+by, err, sallyport.Conflict)
		}
		_, err = s.Acquit(t.Context(), usual.ID, "", actor("joe"), recorded)
		wantKind(t, "ended without a reason", err, sallyport.Invalid)
		_, err = s.Acquit(t.Context(), none.ID, "looked at", actor("joe"), recorded)
		wantKind(t, "the end of none", err, sallyport.Conflict)
		before, err := db.Latest(t.Context())
		must(t, err)
		ended, err := s.Acquit(t.Context(), usual.ID, "looked at", actor("joe"), recorded)
		must(t, err)
		wantChange(t, db, before, sqldb.Hold)
		if ended.OnProbation(clock.Now()) || ended.ProbationBy != "user:joe" || lasting() != 1 {
			t.Errorf("ended early: %+v, %d last", ended, lasting())
		}
		_, err = s.Acquit(t.Context(), usual.ID, "again", actor("joe"), recorded)
		wantKind(t, "a second end", err, sallyport.Conflict)
		clock.turn(20 * time.Hour)
		if n := lasting(); n != 0 {
			t.Errorf("%d last after their time", n)
		}
	})
}
