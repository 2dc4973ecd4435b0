package sqldb

import (
	"context"
	"database/sql"
	"time"

	"sallyport"
	"sallyport/internal/govern/training"
)

// Training returns the store of who was trained when.
func (db *DB) Training() training.Store { return trainingStore{db} }

type trainingStore struct{ db *DB }

const selectTraining = "SELECT who, at, by_whom, why, kept FROM training WHERE who = $1"

// Put implements [training.Store].
func (s trainingStore) Put(ctx context.Context, r training.Record) (training.Record, error) {
	err := s.db.write(ctx, []Kind{Training}, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, `INSERT INTO training (who, at, by_whom, why, kept) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (who) DO UPDATE SET at = excluded.at, by_whom = excluded.by_whom, why = excluded.why, kept = excluded.kept WHERE excluded.at > training.at`,
			string(r.Who), toMicros(r.At), string(r.By), r.Why, toMicros(r.Kept))
		if err == nil {
			r, err = queryOne(ctx, tx, scanTraining, selectTraining, string(r.Who))
		}
		return err
	})
	return r, err
}

// Withdraw implements [training.Store].
func (s trainingStore) Withdraw(ctx context.Context, who sallyport.PrincipalID) error {
	return s.db.write(ctx, []Kind{Training}, func(tx *sql.Tx) error {
		return execOne(ctx, tx, "DELETE FROM training WHERE who = $1", string(who))
	})
}

// Get implements [training.Store].
func (s trainingStore) Get(ctx context.Context, who sallyport.PrincipalID) (training.Record, error) {
	return queryOne(ctx, s.db.reader, scanTraining, selectTraining, string(who))
}

func scanTraining(row scanner) (r training.Record, err error) {
	var at, kept int64
	err = row.Scan(&r.Who, &at, &r.By, &r.Why, &kept)
	r.At, r.Kept = fromMicros(at), fromMicros(kept)
	return r, err
}

// All implements [training.Store].
func (s trainingStore) All(ctx context.Context) (map[sallyport.PrincipalID]time.Time, error) {
	all, err := queryAll(ctx, s.db.reader, scanTraining, "SELECT who, at, by_whom, why, kept FROM training")
	at := make(map[sallyport.PrincipalID]time.Time, len(all))
	for _, r := range all {
		at[r.Who] = r.At
	}
	return at, err
}
