package sqldb

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/recovery"
)

// Recovery returns the store of recovery codes and requests.
func (db *DB) Recovery() recovery.Store { return recoveryStore{db} }

type recoveryStore struct{ db *DB }

// ReplaceCodes implements [recovery.Store].
func (s recoveryStore) ReplaceCodes(ctx context.Context, id sallyport.PrincipalID, hashes [][sha256.Size]byte, made time.Time) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "DELETE FROM recovery_code WHERE member = $1", string(id))
		for _, h := range hashes {
			if err == nil {
				_, err = exec(ctx, tx, "INSERT INTO recovery_code (member, hash, made) VALUES ($1, $2, $3)", string(id), h[:], toMicros(made))
			}
		}
		return err
	})
}

// FindCode implements [recovery.Store].
func (s recoveryStore) FindCode(ctx context.Context, id sallyport.PrincipalID, hash [sha256.Size]byte) (int, bool, error) {
	left, err := s.CodesLeft(ctx, id)
	if err != nil {
		return 0, false, err
	}
	n, err := queryOne(ctx, s.db.reader, scanInt, "SELECT count(*) FROM recovery_code WHERE member = $1 AND hash = $2", string(id), hash[:])
	return left, n == 1, err
}

// UseCode implements [recovery.Store].
func (s recoveryStore) UseCode(ctx context.Context, id sallyport.PrincipalID, hash [sha256.Size]byte) (bool, error) {
	var n int64
	err := s.db.write(ctx, nil, func(tx *sql.Tx) (err error) {
		n, err = exec(ctx, tx, "DELETE FROM recovery_code WHERE member = $1 AND hash = $2", string(id), hash[:])
		return err
	})
	return err == nil && n == 1, err
}

// CodesLeft implements [recovery.Store].
func (s recoveryStore) CodesLeft(ctx context.Context, id sallyport.PrincipalID) (int, error) {
	n, err := queryOne(ctx, s.db.reader, scanInt, "SELECT count(*) FROM recovery_code WHERE member = $1", string(id))
	return int(n), err
}

const recoveryColumns = "id, member, asker, why, state, asked, ready, ends, votes, closed, version"

// Requests implements [recovery.Store].
func (s recoveryStore) Requests(ctx context.Context, q recovery.Query) ([]recovery.Request, error) {
	var where string
	var arg any
	switch {
	case q.ID != "" && q.Member == "" && q.Since.IsZero():
		where, arg = "id = $1", q.ID
	case q.ID == "" && q.Member != "" && q.Since.IsZero():
		where, arg = "member = $1", string(q.Member)
	case q.ID == "" && q.Member == "" && !q.Since.IsZero():
		where, arg = "ends > $1", toMicros(q.Since)
	default:
		return nil, errors.New("recovery requests: a query needs exactly one field")
	}
	return queryAll(ctx, s.db.reader, scanRecovery, "SELECT "+recoveryColumns+" FROM recovery_request WHERE "+where+" ORDER BY asked DESC, id LIMIT 1000", arg)
}

// InsertRequest implements [recovery.Store].
func (s recoveryStore) InsertRequest(ctx context.Context, r recovery.Request) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "INSERT INTO recovery_request ("+recoveryColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
			r.ID, string(r.Member), string(r.Asker), r.Why, string(r.State), toMicros(r.Asked), toMicros(r.Ready), toMicros(r.Ends), joinPeople(r.Votes), string(r.Closed), r.Version)
		return err
	})
}

// UpdateRequest implements [recovery.Store].
func (s recoveryStore) UpdateRequest(ctx context.Context, r recovery.Request) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		n, err := exec(ctx, tx, "UPDATE recovery_request SET state = $1, ready = $2, votes = $3, closed = $4, version = $5 WHERE id = $6 AND version = $7",
			string(r.State), toMicros(r.Ready), joinPeople(r.Votes), string(r.Closed), r.Version, r.ID, r.Version-1)
		if err == nil && n == 0 {
			err = sallyport.E("store", sallyport.Conflict, "the record has changed", "")
		}
		return err
	})
}

func joinPeople(ids []sallyport.PrincipalID) string {
	var all []string
	for _, id := range ids {
		all = append(all, string(id))
	}
	return strings.Join(all, " ")
}

func scanRecovery(row scanner) (r recovery.Request, err error) {
	var asked, ready, ends int64
	var votes string
	err = row.Scan(&r.ID, &r.Member, &r.Asker, &r.Why, &r.State, &asked, &ready, &ends, &votes, &r.Closed, &r.Version)
	r.Asked, r.Ready, r.Ends = fromMicros(asked), fromMicros(ready), fromMicros(ends)
	for v := range strings.FieldsSeq(votes) {
		r.Votes = append(r.Votes, sallyport.PrincipalID(v))
	}
	return r, err
}
