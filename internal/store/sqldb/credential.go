package sqldb

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"time"

	"sallyport"
	"sallyport/internal/identity/credential"
)

// Credential returns the store of authenticators and enrolment links.
func (db *DB) Credential() credential.Store { return credentialStore{db} }

// Throttle returns the store of counts of guesses.
func (db *DB) Throttle() credential.ThrottleStore { return throttleStore{db} }

type credentialStore struct{ db *DB }

// Factors implements [credential.Store].
func (s credentialStore) Factors(ctx context.Context, id sallyport.PrincipalID) (credential.Factors, error) {
	found, err := queryAll(ctx, s.db.reader, scanFactors, `SELECT password_hash, password_alone, password_set, totp_sealed, totp_step, totp_set
		FROM credential WHERE member = $1`, string(id))
	if err != nil || len(found) == 0 {
		return credential.Factors{}, err
	}
	return found[0], nil
}

// Enrol implements [credential.Store].
func (s credentialStore) Enrol(ctx context.Context, id sallyport.PrincipalID, f credential.Factors) error {
	query := `INSERT INTO credential (member, password_hash, password_alone, password_set, totp_sealed, totp_step, totp_set)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (member) DO UPDATE SET
		password_hash = excluded.password_hash, password_alone = excluded.password_alone, password_set = excluded.password_set`
	if f.TOTP.Sealed != nil {
		query += ", totp_sealed = excluded.totp_sealed, totp_step = excluded.totp_step, totp_set = excluded.totp_set"
	}
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, query, string(id), f.Password.Hash, toFlag(f.Password.Alone), toMicros(f.Password.Set),
			f.TOTP.Sealed, f.TOTP.LastStep, toMicros(f.TOTP.Set))
		return err
	})
}

// ReplaceHash implements [credential.Store].
func (s credentialStore) ReplaceHash(ctx context.Context, id sallyport.PrincipalID, old, new string) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "UPDATE credential SET password_hash = $1 WHERE member = $2 AND password_hash = $3", new, string(id), old)
		return err
	})
}

// UseStep implements [credential.Store].
func (s credentialStore) UseStep(ctx context.Context, id sallyport.PrincipalID, set time.Time, step int64) (bool, error) {
	var n int64
	err := s.db.write(ctx, nil, func(tx *sql.Tx) (err error) {
		n, err = exec(ctx, tx, "UPDATE credential SET totp_step = $1 WHERE member = $2 AND totp_set = $3 AND totp_step < $1",
			step, string(id), toMicros(set))
		return err
	})
	return err == nil && n == 1, err
}

// PutLink implements [credential.Store].
func (s credentialStore) PutLink(ctx context.Context, l credential.Link) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, `INSERT INTO enrolment_link (member, hash, expires) VALUES ($1, $2, $3)
			ON CONFLICT (member) DO UPDATE SET hash = excluded.hash, expires = excluded.expires`,
			string(l.For), l.Hash[:], toMicros(l.Expires))
		return err
	})
}

// Link implements [credential.Store].
func (s credentialStore) Link(ctx context.Context, hash [sha256.Size]byte) (credential.Link, error) {
	return queryOne(ctx, s.db.reader, scanLink, "SELECT hash, member, expires FROM enrolment_link WHERE hash = $1", hash[:])
}

// TakeLink implements [credential.Store].
func (s credentialStore) TakeLink(ctx context.Context, hash [sha256.Size]byte) (l credential.Link, err error) {
	err = s.db.write(ctx, nil, func(tx *sql.Tx) (err error) {
		l, err = queryOne(ctx, tx, scanLink, "DELETE FROM enrolment_link WHERE hash = $1 RETURNING hash, member, expires", hash[:])
		return err
	})
	if err != nil {
		return credential.Link{}, err // also where the commit failed
	}
	return l, nil
}

func scanFactors(row scanner) (f credential.Factors, err error) {
	var alone, passwordSet, totpSet int64
	err = row.Scan(&f.Password.Hash, &alone, &passwordSet, &f.TOTP.Sealed, &f.TOTP.LastStep, &totpSet)
	f.Password.Alone, f.Password.Set, f.TOTP.Set = alone != 0, fromMicros(passwordSet), fromMicros(totpSet)
	return f, err
}

func scanLink(row scanner) (l credential.Link, err error) {
	var expires int64
	err = row.Scan(scanHash{&l.Hash}, &l.For, &expires)
	l.Expires = fromMicros(expires)
	return l, err
}

// scanHash reads bytes that must be a SHA-256.
type scanHash struct{ into *[sha256.Size]byte }

// Scan implements [sql.Scanner].
func (h scanHash) Scan(from any) error {
	b, ok := from.([]byte)
	if !ok || len(b) != sha256.Size {
		return errors.New("not a SHA-256")
	}
	copy(h.into[:], b)
	return nil
}

type throttleStore struct{ db *DB }

// UpdateAttempts implements [credential.ThrottleStore].
func (s throttleStore) UpdateAttempts(ctx context.Context, key string, change func(credential.Attempts) (credential.Attempts, error)) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		found, err := queryAll(ctx, tx, scanAttempts, "SELECT failures, last, until FROM attempts WHERE what = $1", key)
		if err != nil {
			return err
		}
		var now credential.Attempts
		if len(found) > 0 {
			now = found[0]
		}
		if now, err = change(now); err != nil {
			return err
		}
		if now == (credential.Attempts{}) {
			_, err = exec(ctx, tx, "DELETE FROM attempts WHERE what = $1", key)
			return err
		}
		_, err = exec(ctx, tx, `INSERT INTO attempts (what, failures, last, until) VALUES ($1, $2, $3, $4)
			ON CONFLICT (what) DO UPDATE SET failures = excluded.failures, last = excluded.last, until = excluded.until`,
			key, now.Failures, toMicros(now.Last), toMicros(now.Until))
		return err
	})
}

// PruneAttempts implements [credential.ThrottleStore].
func (s throttleStore) PruneAttempts(ctx context.Context, prefix string, before time.Time) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "DELETE FROM attempts WHERE substr(what, 1, length(CAST($1 AS TEXT))) = $1 AND last < $2", prefix, toMicros(before))
		return err
	})
}

func scanAttempts(row scanner) (a credential.Attempts, err error) {
	var last, until int64
	err = row.Scan(&a.Failures, &last, &until)
	a.Last, a.Until = fromMicros(last), fromMicros(until)
	return a, err
}
