package sqldb

import (
	"context"
	"database/sql"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Kind names the rows that a change concerns.
type Kind string

// The kinds there are.
const (
	Directory Kind = "directory" // people, services, groups
	Session   Kind = "session"   // sessions, token families, revocations
	Role      Kind = "role"      // roles and their assignments
	Grant     Kind = "grant"     // just-in-time grants
	Hold      Kind = "hold"      // restrictions
	Catalog   Kind = "catalog"   // organisations, projects, models, versions
	Policy    Kind = "policy"    // policy sets, and which is active
	Key       Kind = "key"       // signing and encryption keys
	Device    Kind = "device"    // enrolled devices and what they reported
	Training  Kind = "training"  // who was trained when
)

func kinds() []Kind {
	return []Kind{Directory, Session, Role, Grant, Hold, Catalog, Policy, Key, Device, Training}
}

// A Change says that rows of a kind changed, the last time at Seq.
type Change struct {
	Seq  int64
	Kind Kind
}

const (
	keptChanges = 10_000 // rows of the feed that stay
	pruneEvery  = 1_000
)

// Latest returns the number of the newest change, 0 when there was none. Read it
// before loading state, and follow from there.
func (db *DB) Latest(ctx context.Context) (int64, error) { return latest(ctx, db.reader) }

func latest(ctx context.Context, q querier) (int64, error) {
	return queryOne(ctx, q, scanInt,
		"SELECT coalesce((SELECT max(seq) FROM outbox), seq) FROM outbox_floor") // pruning leaves the newest
}

// Since returns what changed after the number given, one entry a kind, sorted by
// Seq; the last Seq is where to go on. It never misses a change: where the feed
// no longer reaches back to after, or the database is an older copy than the one
// after came from, every kind is reported. A committed change is in the very
// next answer, on every node.
func (db *DB) Since(ctx context.Context, after int64) ([]Change, error) {
	var changes []Change
	err := db.read(ctx, func(tx *sql.Tx) error {
		var err error
		changes, err = queryAll(ctx, tx, scanChange,
			"SELECT max(seq), kind FROM outbox WHERE seq > $1 GROUP BY kind ORDER BY 1", after)
		if err != nil {
			return err
		}
		floor, err := queryOne(ctx, tx, scanInt, "SELECT seq FROM outbox_floor")
		if err != nil {
			return err
		}
		newest, err := latest(ctx, tx)
		if err == nil && (after < floor || after > newest) {
			changes = everything(newest)
		}
		return err
	})
	return changes, err
}

func everything(newest int64) []Change {
	var all []Change
	for _, kind := range kinds() {
		all = append(all, Change{newest, kind})
	}
	return all
}

func scanChange(row scanner) (c Change, err error) {
	err = row.Scan(&c.Seq, &c.Kind)
	return c, err
}

// Wake returns a channel that is closed when something may have changed. It is a
// hint that can be late or lost, where another process wrote: whoever needs a
// bound on the delay calls Since at that interval too. Take the channel before
// calling Since, so that no change falls between the two.
func (db *DB) Wake() <-chan struct{} { return db.changed.wait() }

// publish adds the kinds to the feed, inside the transaction that changes them.
func (db *DB) publish(ctx context.Context, tx *sql.Tx, kinds []Kind) error {
	for _, kind := range slices.Compact(slices.Sorted(slices.Values(kinds))) {
		seq, err := queryOne(ctx, tx, scanInt, "INSERT INTO outbox (kind) VALUES ($1) RETURNING seq", string(kind))
		if err != nil {
			return err
		}
		if seq%pruneEvery == 0 {
			if err := prune(ctx, tx, seq-keptChanges); err != nil {
				return err
			}
		}
	}
	if !db.postgres || len(kinds) == 0 {
		return nil
	}
	_, err := exec(ctx, tx, "SELECT pg_notify('sallyport', '')")
	return err
}

func prune(ctx context.Context, tx *sql.Tx, floor int64) error {
	if floor <= 0 {
		return nil
	}
	if _, err := exec(ctx, tx, "DELETE FROM outbox WHERE seq <= $1", floor); err != nil {
		return err
	}
	_, err := exec(ctx, tx, "UPDATE outbox_floor SET seq = $1", floor)
	return err
}

// listen turns the server's notifications into wake-ups until the function that
// it returns is called, which waits for the end.
func (db *DB) listen(ctx context.Context, config *pgx.ConnConfig) func() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			db.listenOnce(ctx, config)
			db.changed.wake() // hints may have been lost with the connection
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}()
	return func() { cancel(); <-done }
}

// listenOnce ends with its connection. The cause is not told: the feed is
// correct without hints, and whoever polls it sees the same outage.
func (db *DB) listenOnce(ctx context.Context, config *pgx.ConnConfig) {
	conn, err := pgx.ConnectConfig(ctx, config.Copy())
	if err != nil {
		return
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "LISTEN sallyport"); err != nil {
		return
	}
	for {
		db.changed.wake()
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return
		}
	}
}

// A broadcast wakes all who wait. The zero value is ready.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{}
}

func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *broadcast) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}
