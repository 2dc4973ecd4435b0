package sqldb

import (
	"context"
	"database/sql"

	"sallyport"
	"sallyport/internal/govern/drift"
)

// Drift returns the store of what is meant to be.
func (db *DB) Drift() drift.Store { return driftStore{db} }

type driftStore struct{ db *DB }

// Load implements drift.Store.
func (s driftStore) Load(ctx context.Context) (drift.Kept, error) {
	k, err := queryOne(ctx, s.db.reader, scanKept, "SELECT number, body FROM drift_intention WHERE one = 1")
	if sallyport.KindOf(err) == sallyport.NotFound {
		return drift.Kept{}, nil
	}
	return k, err
}

func scanKept(row scanner) (k drift.Kept, err error) {
	err = row.Scan(&k.Number, &k.Body)
	return k, err
}

// Save implements drift.Store.
func (s driftStore) Save(ctx context.Context, k drift.Kept) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		was, err := queryOne(ctx, tx, scanInt, "SELECT COALESCE(MAX(number), 0) FROM drift_intention")
		if err == nil && k.Number != was+1 {
			err = sallyport.E("keep intention", sallyport.Conflict, "another one was kept meanwhile", "look again")
		}
		if err != nil {
			return err
		}
		return execOne(ctx, tx, "INSERT INTO drift_intention (one, number, body) VALUES (1, $1, $2) ON CONFLICT (one) DO UPDATE SET number = excluded.number, body = excluded.body", k.Number, k.Body)
	})
}

// Next implements drift.Store.
func (s driftStore) Next(ctx context.Context) (uint64, error) {
	return cursor(ctx, s.db.reader, "drift")
}

// Advance implements drift.Store.
func (s driftStore) Advance(ctx context.Context, next uint64) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error { return setCursor(ctx, tx, "drift", next) })
}
