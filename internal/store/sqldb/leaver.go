package sqldb

import (
	"context"
	"database/sql"

	"sallyport/internal/identity/leaver"
)

// Leaver returns the store of orders to leave and of what waits for a successor.
func (db *DB) Leaver() leaver.Store { return leaverStore{db} }

type leaverStore struct{ db *DB }

// Begin implements [leaver.Store].
func (s leaverStore) Begin(ctx context.Context, o leaver.Order) (leaver.Order, error) {
	err := s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, `INSERT INTO leaving (who, ordered_by, why, state, extent, begun) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (who) DO UPDATE SET ordered_by = $2, why = $3, begun = CASE WHEN leaving.begun < $6 THEN $6 ELSE leaving.begun + 1 END,
			state = CASE WHEN leaving.state = 'removed' THEN leaving.state ELSE $4 END, extent = CASE WHEN leaving.extent = 'departure' THEN leaving.extent ELSE $5 END`,
			string(o.Who), string(o.By), o.Why, string(o.To), string(o.For), toMicros(o.Begun))
		if err != nil {
			return err
		}
		var begun int64
		err = tx.QueryRowContext(ctx, "SELECT state, extent, begun FROM leaving WHERE who = $1", string(o.Who)).Scan(&o.To, &o.For, &begun)
		o.Begun = fromMicros(begun)
		return fault(err)
	})
	return o, err
}

// Unfinished implements [leaver.Store].
func (s leaverStore) Unfinished(ctx context.Context) ([]leaver.Order, error) {
	return queryAll(ctx, s.db.reader, func(row scanner) (o leaver.Order, err error) {
		var begun int64
		err = row.Scan(&o.Who, &o.By, &o.Why, &o.To, &o.For, &begun)
		o.Begun = fromMicros(begun)
		return o, err
	}, "SELECT who, ordered_by, why, state, extent, begun FROM leaving ORDER BY begun, who")
}

// Finish implements [leaver.Store].
func (s leaverStore) Finish(ctx context.Context, o leaver.Order) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "DELETE FROM leaving WHERE who = $1 AND begun = $2", string(o.Who), toMicros(o.Begun))
		return err
	})
}

// AddCharges implements [leaver.Store].
func (s leaverStore) AddCharges(ctx context.Context, all []leaver.Charge) error {
	if len(all) == 0 {
		return nil
	}
	return s.db.write(ctx, []Kind{Directory}, func(tx *sql.Tx) error {
		for _, c := range all {
			_, err := exec(ctx, tx, "INSERT INTO charge (thing, org, from_whom, since, due, stopped) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (thing) DO NOTHING",
				c.Thing, c.Org, string(c.From), toMicros(c.Since), toMicros(c.Due), toFlag(c.Stopped))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Charges implements [leaver.Store].
func (s leaverStore) Charges(ctx context.Context) ([]leaver.Charge, error) {
	return queryAll(ctx, s.db.reader, func(row scanner) (c leaver.Charge, err error) {
		var since, due, stopped int64
		err = row.Scan(&c.Thing, &c.Org, &c.From, &since, &due, &stopped)
		c.Since, c.Due, c.Stopped = fromMicros(since), fromMicros(due), stopped != 0
		return c, err
	}, "SELECT thing, org, from_whom, since, due, stopped FROM charge ORDER BY thing")
}

// Stop implements [leaver.Store].
func (s leaverStore) Stop(ctx context.Context, thing string) error {
	return s.db.write(ctx, []Kind{Directory}, func(tx *sql.Tx) error {
		return execOne(ctx, tx, "UPDATE charge SET stopped = 1 WHERE thing = $1", thing)
	})
}

// Settle implements [leaver.Store].
func (s leaverStore) Settle(ctx context.Context, thing string) error {
	return s.db.write(ctx, []Kind{Directory}, func(tx *sql.Tx) error {
		return execOne(ctx, tx, "DELETE FROM charge WHERE thing = $1", thing)
	})
}
