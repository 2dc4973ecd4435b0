package sqldb

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/signals"
)

// Signals returns the store of event streams, their queues and their keys.
func (db *DB) Signals() interface {
	signals.Streams
	signals.Queue
	signals.KeyStore
} {
	return signalStore{db}
}

type signalStore struct{ db *DB }

const streamColumns = "id, owner, org, audience, method, url, header, requested, description, status, reason, created"

// PutStream implements [signals.Streams].
func (s signalStore) PutStream(ctx context.Context, x signals.Stream, most int) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		n, err := queryOne(ctx, tx, scanInt, "SELECT count(*) FROM signal_stream WHERE id <> $1", x.ID)
		if err != nil {
			return err
		}
		if n >= int64(most) {
			return sallyport.E("event stream", sallyport.TooLarge, fmt.Sprintf("there are %d streams", n), "delete one that nobody reads")
		}
		_, err = exec(ctx, tx, "INSERT INTO signal_stream ("+streamColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
			ON CONFLICT (id) DO UPDATE SET audience = $4, method = $5, url = $6, header = $7, requested = $8, description = $9, status = $10, reason = $11`,
			x.ID, string(x.Owner), x.Org, x.Audience, x.Method, x.URL, x.Header, strings.Join(x.Requested, " "), x.Description, string(x.Status), x.Reason, toMicros(x.Created))
		return err
	})
}

// Streams implements [signals.Streams].
func (s signalStore) Streams(ctx context.Context) ([]signals.Stream, error) {
	return queryAll(ctx, s.db.reader, func(row scanner) (x signals.Stream, err error) {
		var requested string
		var created int64
		err = row.Scan(&x.ID, &x.Owner, &x.Org, &x.Audience, &x.Method, &x.URL, &x.Header, &requested, &x.Description, &x.Status, &x.Reason, &created)
		x.Requested, x.Created = strings.Fields(requested), fromMicros(created)
		return x, err
	}, "SELECT "+streamColumns+" FROM signal_stream ORDER BY id")
}

// DropStream implements [signals.Streams].
func (s signalStore) DropStream(ctx context.Context, id string) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		for _, statement := range []string{"DELETE FROM signal_item WHERE stream = $1", "DELETE FROM signal_excluded WHERE stream = $1", "DELETE FROM signal_stream WHERE id = $1"} {
			if _, err := exec(ctx, tx, statement, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// Exclude implements [signals.Streams].
func (s signalStore) Exclude(ctx context.Context, stream, subject string, excluded bool, most int) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		if !excluded {
			_, err := exec(ctx, tx, "DELETE FROM signal_excluded WHERE stream = $1 AND subject = $2", stream, subject)
			return err
		}
		n, err := queryOne(ctx, tx, scanInt, "SELECT count(*) FROM signal_excluded WHERE stream = $1 AND subject <> $2", stream, subject)
		if err != nil {
			return err
		}
		if n >= int64(most) {
			return sallyport.E("event stream", sallyport.TooLarge, fmt.Sprintf("%d subjects are taken out of the stream", n), "")
		}
		_, err = exec(ctx, tx, "INSERT INTO signal_excluded (stream, subject) VALUES ($1, $2) ON CONFLICT DO NOTHING", stream, subject)
		return err
	})
}

// Excluded implements [signals.Streams].
func (s signalStore) Excluded(ctx context.Context, stream, subject string) (bool, error) {
	n, err := queryOne(ctx, s.db.reader, scanInt, "SELECT count(*) FROM signal_excluded WHERE stream = $1 AND subject = $2", stream, subject)
	return n > 0, err
}

// Enqueue implements [signals.Queue].
func (s signalStore) Enqueue(ctx context.Context, items []signals.Item, next uint64) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		for _, i := range items {
			_, err := exec(ctx, tx, "INSERT INTO signal_item (stream, id, body, at, due, tries) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (stream, id) DO NOTHING",
				i.Stream, i.ID, i.Text, toMicros(i.At), toMicros(i.Due), i.Tries)
			if err != nil {
				return err
			}
		}
		if next == 0 || next > math.MaxInt64 {
			return nil
		}
		_, err := exec(ctx, tx, "UPDATE signal_cursor SET next = $1 WHERE next < $1", int64(next))
		return err
	})
}

// Next implements [signals.Queue].
func (s signalStore) Next(ctx context.Context) (uint64, error) {
	n, err := queryOne(ctx, s.db.reader, scanInt, "SELECT next FROM signal_cursor")
	return uint64(n), err
}

// Waiting implements [signals.Queue].
func (s signalStore) Waiting(ctx context.Context, stream string, due time.Time, most int) (items []signals.Item, total int, err error) {
	err = s.db.read(ctx, func(tx *sql.Tx) error {
		n, err := queryOne(ctx, tx, scanInt, "SELECT count(*) FROM signal_item WHERE stream = $1", stream)
		if err != nil {
			return err
		}
		total = int(n)
		items, err = queryAll(ctx, tx, func(row scanner) (i signals.Item, err error) {
			var at, due int64
			err = row.Scan(&i.Stream, &i.ID, &i.Text, &at, &due, &i.Tries)
			i.At, i.Due = fromMicros(at), fromMicros(due)
			return i, err
		}, "SELECT stream, id, body, at, due, tries FROM signal_item WHERE stream = $1 AND due <= $2 ORDER BY seq LIMIT $3", stream, toMicros(due), most)
		return err
	})
	return items, total, err
}

// Done implements [signals.Queue].
func (s signalStore) Done(ctx context.Context, stream string, ids []string, before time.Time) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		for _, id := range ids {
			if _, err := exec(ctx, tx, "DELETE FROM signal_item WHERE stream = $1 AND id = $2", stream, id); err != nil {
				return err
			}
		}
		if before.IsZero() {
			return nil
		}
		_, err := exec(ctx, tx, "DELETE FROM signal_item WHERE stream = $1 AND at < $2", stream, toMicros(before))
		return err
	})
}

// Later implements [signals.Queue].
func (s signalStore) Later(ctx context.Context, i signals.Item) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "UPDATE signal_item SET due = $3, tries = $4 WHERE stream = $1 AND id = $2", i.Stream, i.ID, toMicros(i.Due), i.Tries)
		return err
	})
}

// See implements [signals.Queue].
func (s signalStore) See(ctx context.Context, issuer, id string, until, now time.Time) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		if _, err := exec(ctx, tx, "DELETE FROM signal_seen WHERE until < $1", toMicros(now)); err != nil {
			return err
		}
		n, err := exec(ctx, tx, "INSERT INTO signal_seen (issuer, id, until, taken) VALUES ($1, $2, $3, 0) ON CONFLICT (issuer, id) DO NOTHING", issuer, id, toMicros(until))
		if err != nil || n > 0 {
			return err
		}
		taken, err := queryOne(ctx, tx, scanInt, "SELECT taken FROM signal_seen WHERE issuer = $1 AND id = $2", issuer, id)
		switch {
		case err != nil:
			return err
		case taken != 0:
			return sallyport.E("take event", sallyport.Conflict, "it was taken before", "")
		}
		return sallyport.E("take event", sallyport.Busy, "it is being acted on", "send it again in a minute")
	})
}

// Settle implements [signals.Queue].
func (s signalStore) Settle(ctx context.Context, issuer, id string, until time.Time) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		if until.IsZero() {
			_, err := exec(ctx, tx, "DELETE FROM signal_seen WHERE issuer = $1 AND id = $2 AND taken = 0", issuer, id)
			return err
		}
		_, err := exec(ctx, tx, `INSERT INTO signal_seen (issuer, id, until, taken) VALUES ($1, $2, $3, 1)
			ON CONFLICT (issuer, id) DO UPDATE SET until = $3, taken = 1`, issuer, id, toMicros(until))
		return err
	})
}

// SignalKeys implements [signals.KeyStore].
func (s signalStore) SignalKeys(ctx context.Context) ([]signals.KeyRow, error) {
	return queryAll(ctx, s.db.reader, func(row scanner) (k signals.KeyRow, err error) {
		var since int64
		err = row.Scan(&k.ID, &since, &k.Sealed)
		k.From = fromMicros(since)
		return k, err
	}, "SELECT id, since, sealed FROM signal_key ORDER BY since, id")
}

// AddSignalKey implements [signals.KeyStore].
func (s signalStore) AddSignalKey(ctx context.Context, k signals.KeyRow, after time.Time) error {
	return s.db.write(ctx, []Kind{Key}, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "INSERT INTO signal_key (id, since, sealed) SELECT $1, $2, $3 WHERE NOT EXISTS (SELECT 1 FROM signal_key WHERE since > $4)",
			k.ID, toMicros(k.From), k.Sealed, toMicros(after))
		return err
	})
}

// DropSignalKey implements [signals.KeyStore].
func (s signalStore) DropSignalKey(ctx context.Context, id string) error {
	return s.db.write(ctx, []Kind{Key}, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "DELETE FROM signal_key WHERE id = $1", id)
		return err
	})
}
