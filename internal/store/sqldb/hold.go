package sqldb

import (
	"context"
	"database/sql"
	"time"

	"sallyport"
	"sallyport/internal/authz/hold"
)

// Hold returns the store of holds.
func (db *DB) Hold() hold.Store { return holdStore{db} }

type holdStore struct{ db *DB }

const holdColumns = "id, target, kind, why, by_whom, by_person, held, at, lifted_at, lifted_by, lifted_person, lift_reason, until, probation, probation_why, probation_by"

// Insert implements hold.Store.
func (s holdStore) Insert(ctx context.Context, h hold.Hold, most int) error {
	return s.db.write(ctx, []Kind{Hold}, func(tx *sql.Tx) error {
		active, err := queryOne(ctx, tx, scanInt, "SELECT count(*) FROM hold WHERE lifted_at = 0")
		if err == nil && active >= int64(most) {
			err = sallyport.E("place hold", sallyport.Busy, "too many holds are active", "")
		}
		if err != nil {
			return err
		}
		_, err = exec(ctx, tx, "INSERT INTO hold ("+holdColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
			h.ID, h.Target, string(h.Kind), h.Why, string(h.By), string(h.ByPerson), string(h.Held), toMicros(h.At),
			toMicros(h.LiftedAt), string(h.LiftedBy), string(h.LiftedPerson), h.LiftReason, toMicros(h.Until), toMicros(h.Probation), h.ProbationWhy, string(h.ProbationBy))
		return err
	})
}

// Get implements hold.Store.
func (s holdStore) Get(ctx context.Context, id string) (hold.Hold, error) {
	return getHold(ctx, s.db.reader, id)
}

// Active implements hold.Store.
func (s holdStore) Active(ctx context.Context, limit int) ([]hold.Hold, error) {
	return queryAll(ctx, s.db.reader, scanHold, "SELECT "+holdColumns+" FROM hold WHERE lifted_at = 0 ORDER BY at, id LIMIT $1", limit)
}

// Probation implements hold.Store.
func (s holdStore) Probation(ctx context.Context, at time.Time, limit int) ([]hold.Hold, error) {
	return queryAll(ctx, s.db.reader, scanHold, "SELECT "+holdColumns+" FROM hold WHERE probation > $1 ORDER BY at, id LIMIT $2", toMicros(at), limit)
}

// List implements hold.Store.
func (s holdStore) List(ctx context.Context, target string, limit int) ([]hold.Hold, error) {
	return queryAll(ctx, s.db.reader, scanHold, "SELECT "+holdColumns+" FROM hold WHERE $1 = '' OR target = $1 ORDER BY at DESC, id LIMIT $2",
		target, limit)
}

// Update implements hold.Store.
func (s holdStore) Update(ctx context.Context, id string, change func(*hold.Hold) error) (hold.Hold, error) {
	var h hold.Hold
	err := s.db.write(ctx, []Kind{Hold}, func(tx *sql.Tx) error {
		var err error
		if h, err = getHold(ctx, tx, id); err != nil {
			return err
		}
		if err := change(&h); err != nil {
			return err
		}
		return execOne(ctx, tx, "UPDATE hold SET lifted_at = $2, lifted_by = $3, lifted_person = $4, lift_reason = $5, probation = $6, probation_why = $7, probation_by = $8 WHERE id = $1",
			id, toMicros(h.LiftedAt), string(h.LiftedBy), string(h.LiftedPerson), h.LiftReason, toMicros(h.Probation), h.ProbationWhy, string(h.ProbationBy))
	})
	if err != nil {
		return hold.Hold{}, err
	}
	return h, nil
}

func getHold(ctx context.Context, q querier, id string) (hold.Hold, error) {
	return queryOne(ctx, q, scanHold, "SELECT "+holdColumns+" FROM hold WHERE id = $1", id)
}

func scanHold(row scanner) (h hold.Hold, err error) {
	var at, lifted, until, probation int64
	err = row.Scan(&h.ID, &h.Target, &h.Kind, &h.Why, &h.By, &h.ByPerson, &h.Held, &at, &lifted, &h.LiftedBy, &h.LiftedPerson, &h.LiftReason, &until, &probation, &h.ProbationWhy, &h.ProbationBy)
	h.At, h.LiftedAt, h.Until, h.Probation = fromMicros(at), fromMicros(lifted), fromMicros(until), fromMicros(probation)
	return h, err
}
