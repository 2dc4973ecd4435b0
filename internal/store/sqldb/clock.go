package sqldb

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"time"

	"sallyport"
)

// mostBehind is how far the wall clock may stand behind the newest time the
// database has seen before it is taken for wrong.
const mostBehind = 24 * time.Hour

// A Clock is a steady clock, for whatever ends by itself: it never runs backward
// nor slower than time passes, follows the wall clock forward, and after a
// restart goes on no earlier than the newest time that any node marked. So a
// wall clock that is set back prolongs nothing, and one that is set forward only
// shortens. It is safe for concurrent use.
type Clock struct {
	db   *DB
	wall func() time.Time // with a monotonic reading, as time.Now

	mu   sync.Mutex
	last time.Time // of wall
	now  time.Time
}

// Clock starts a steady clock over wall. It refuses a wall clock that stands
// more than a day behind the database.
func (db *DB) Clock(ctx context.Context, wall func() time.Time) (*Clock, error) {
	micros, err := queryOne(ctx, db.reader, scanInt, "SELECT seen FROM store_clock")
	if err != nil {
		return nil, err
	}
	start := wall()
	c := &Clock{db: db, wall: wall, last: start, now: start.Round(0).UTC()}
	if seen := fromMicros(micros); seen.After(c.now) {
		if seen.Sub(c.now) > mostBehind {
			return nil, sallyport.E("start clock", sallyport.Unavailable,
				fmt.Sprintf("the clock says %s, the store has seen %s", c.now.Format(time.RFC3339), seen.Format(time.RFC3339)),
				"set the clock right and start again")
		}
		c.now = seen
	}
	return c, c.Mark(ctx)
}

// Now returns the time, in UTC and whole microseconds.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	reading := c.wall()
	c.now = c.now.Add(max(0, reading.Sub(c.last))) // by the monotonic reading where there is one
	if wall := reading.Round(0).UTC(); wall.After(c.now) {
		c.now = wall
	}
	c.last = reading
	return c.now.Truncate(time.Microsecond)
}

// Mark writes the time down for the next start. What runs between the last mark
// and a crash is what a clock set back meanwhile can prolong, so the server
// marks every few seconds.
func (c *Clock) Mark(ctx context.Context) error {
	now := toMicros(c.Now())
	return c.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "UPDATE store_clock SET seen = $1 WHERE seen < $1", now)
		return err
	})
}

// ForgetTime lets the next Clock start from the wall clock alone, after a wrong
// time far in the future was marked. It is for an operator, who knows the time.
func (db *DB) ForgetTime(ctx context.Context) error {
	return db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "UPDATE store_clock SET seen = 0")
		return err
	})
}
