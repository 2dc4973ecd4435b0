package storetest

import (
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/store/sqldb"
)

// TestClock sets the wall clock back and forth, with a restart in between (I-19, A-34).
func TestClock(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		wall := newTurnedClock()
		start := wall.Now()
		c, err := open().Clock(t.Context(), wall.Now)
		must(t, err)
		var now time.Time
		want := func(what string, after time.Duration) {
			t.Helper()
			if now = c.Now(); now.Sub(start) != after {
				t.Errorf("%s: the clock is at %v, want %v", what, now.Sub(start), after)
			}
		}
		want("at start", 0)
		wall.turn(time.Minute)
		want("a minute later", time.Minute)
		wall.turn(-time.Hour)
		want("set back by an hour", time.Minute)
		wall.turn(time.Minute)
		want("a minute after that", 2*time.Minute)
		wall.turn(2 * time.Hour)
		want("two hours after that", 2*time.Hour+2*time.Minute) // by whichever is later, elapsed or wall
		must(t, c.Mark(t.Context()))

		wall.turn(-10 * time.Hour)
		c, err = open().Clock(t.Context(), wall.Now)
		must(t, err)
		want("after a restart with a clock set back", 2*time.Hour+2*time.Minute)
		wall.turn(-20 * time.Hour)
		_, err = open().Clock(t.Context(), wall.Now)
		wantKind(t, "a start with a clock more than a day behind", err, sallyport.Unavailable)
		db := open()
		must(t, db.ForgetTime(t.Context()))
		c, err = db.Clock(t.Context(), wall.Now)
		must(t, err)
		if !c.Now().Equal(wall.Now()) {
			t.Errorf("after ForgetTime the clock says %v, want the wall's %v", c.Now(), wall.Now())
		}
	})
}

// TestClockKeepsItsRate uses a real clock: it is not ahead of the wall by more
// than it was, nor behind.
func TestClockKeepsItsRate(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		c, err := open().Clock(t.Context(), time.Now)
		must(t, err)
		last := c.Now()
		for range 1000 {
			before := time.Now().Truncate(time.Microsecond)
			now := c.Now()
			if now.Before(last) || now.Before(before.Round(0)) {
				t.Fatalf("the clock says %v after %v, at %v", now, last, before)
			}
			last = now
		}
	})
}
