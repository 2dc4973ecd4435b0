package sqldb

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"sallyport"
	"sallyport/internal/identity/federation"
)

// Federation returns the store of journeys to identity providers.
func (db *DB) Federation() federation.Store { return federationStore{db} }

type federationStore struct{ db *DB }

const journeyColumns = "key, provider, request, finish, return_to, fresh, proved, member, attempts, begun, expires"

// PutFlow implements [federation.Store].
func (s federationStore) PutFlow(ctx context.Context, f federation.Flow, now time.Time) error {
	proved := ""
	if f.Proved != nil {
		raw, err := json.Marshal(f.Proved)
		if err != nil {
			return sallyport.Wrap("store", sallyport.Other, "a proof cannot be written", err)
		}
		proved = string(raw)
	}
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		if _, err := exec(ctx, tx, "DELETE FROM federation_flow WHERE expires <= $1", toMicros(now)); err != nil {
			return err
		}
		_, err := exec(ctx, tx, "INSERT INTO federation_flow ("+journeyColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
			f.Key[:], f.Provider, f.Request, f.Finish[:], f.Return, toFlag(f.Fresh), proved, string(f.Member), f.Attempts, toMicros(f.Begun), toMicros(f.Expires))
		return err
	})
}

// TakeFlow implements [federation.Store].
func (s federationStore) TakeFlow(ctx context.Context, key federation.Hash) (f federation.Flow, err error) {
	err = s.db.write(ctx, nil, func(tx *sql.Tx) (err error) {
		f, err = queryOne(ctx, tx, scanJourney, "DELETE FROM federation_flow WHERE key = $1 RETURNING "+journeyColumns, key[:])
		return err
	})
	if err != nil {
		return federation.Flow{}, err // also where the commit failed
	}
	return f, nil
}

func scanJourney(row scanner) (f federation.Flow, err error) {
	var proved string
	var fresh, begun, expires int64
	err = row.Scan(scanHash{&f.Key}, &f.Provider, &f.Request, scanHash{&f.Finish}, &f.Return, &fresh, &proved, &f.Member, &f.Attempts, &begun, &expires)
	f.Fresh, f.Begun, f.Expires = fresh != 0, fromMicros(begun), fromMicros(expires)
	if err == nil && proved != "" {
		f.Proved = new(federation.Person)
		err = json.Unmarshal([]byte(proved), f.Proved)
	}
	return f, err
}

// Once implements [federation.Store].
func (s federationStore) Once(ctx context.Context, provider, message string, until, now time.Time) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		if _, err := exec(ctx, tx, "DELETE FROM federation_seen WHERE until <= $1", toMicros(now)); err != nil {
			return err
		}
		_, err := exec(ctx, tx, "INSERT INTO federation_seen (provider, message, until) VALUES ($1, $2, $3)", provider, message, toMicros(until))
		return err
	})
}

// Used implements [federation.Store].
func (s federationStore) Used(ctx context.Context, provider, message string, now time.Time) (used bool, err error) {
	err = s.db.read(ctx, func(tx *sql.Tx) error {
		rows, err := queryAll(ctx, tx, scanStrings(1), "SELECT message FROM federation_seen WHERE provider = $1 AND message = $2 AND until > $3", provider, message, toMicros(now))
		used = len(rows) > 0
		return err
	})
	return used, err
}
