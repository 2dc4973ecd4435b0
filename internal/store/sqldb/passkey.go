package sqldb

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"time"

	"sallyport"
	"sallyport/internal/identity/passkey"
)

// Passkey returns the store of passkeys and their ceremonies.
func (db *DB) Passkey() passkey.Store { return passkeyStore{db} }

type passkeyStore struct{ db *DB }

// Handle implements [passkey.Store].
func (s passkeyStore) Handle(ctx context.Context, id sallyport.PrincipalID, fresh []byte) ([]byte, error) {
	const query = "SELECT handle FROM passkey_user WHERE member = $1"
	found, err := queryAll(ctx, s.db.reader, scanBytes, query, string(id))
	if err != nil || len(found) > 0 {
		return first(found), err
	}
	err = s.db.write(ctx, nil, func(tx *sql.Tx) error {
		if _, err := exec(ctx, tx, "INSERT INTO passkey_user (member, handle) VALUES ($1, $2) ON CONFLICT (member) DO NOTHING", string(id), fresh); err != nil {
			return err
		}
		found, err = queryAll(ctx, tx, scanBytes, query, string(id))
		return err
	})
	if err != nil {
		return nil, err
	}
	return first(found), nil
}

func first(all [][]byte) []byte {
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

const passkeyColumns = "id, hash, member, label, model, aaguid, attested, backup, created, used, locked, why, sealed, version"

// Passkeys implements [passkey.Store].
func (s passkeyStore) Passkeys(ctx context.Context, q passkey.Query) ([]passkey.Passkey, error) {
	var where string
	var arg any
	switch {
	case q.Hash != nil && q.Member == "":
		where, arg = "hash = $1", q.Hash[:]
	case q.Hash == nil && q.Member != "":
		where, arg = "member = $1", string(q.Member)
	default:
		return nil, errors.New("passkeys: a query needs exactly one field")
	}
	return queryAll(ctx, s.db.reader, scanPasskey, "SELECT "+passkeyColumns+" FROM passkey WHERE "+where+" ORDER BY created, id", arg)
}

// Insert implements [passkey.Store].
func (s passkeyStore) Insert(ctx context.Context, p passkey.Passkey) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "INSERT INTO passkey ("+passkeyColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
			p.ID, p.Hash[:], string(p.Member), p.Label, p.Model, p.AAGUID, toFlag(p.Attested), toFlag(p.Backup),
			toMicros(p.Created), toMicros(p.Used), toMicros(p.Locked), p.Why, p.Sealed, p.Version)
		return err
	})
}

// Update implements [passkey.Store].
func (s passkeyStore) Update(ctx context.Context, p passkey.Passkey) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		n, err := exec(ctx, tx, "UPDATE passkey SET label = $1, used = $2, locked = $3, why = $4, sealed = $5, version = $6 WHERE id = $7 AND version = $8",
			p.Label, toMicros(p.Used), toMicros(p.Locked), p.Why, p.Sealed, p.Version, p.ID, p.Version-1)
		if err == nil && n == 0 {
			err = sallyport.E("store", sallyport.Conflict, "the record has changed", "")
		}
		return err
	})
}

// Remove implements [passkey.Store].
func (s passkeyStore) Remove(ctx context.Context, member sallyport.PrincipalID, id string) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		return execOne(ctx, tx, "DELETE FROM passkey WHERE id = $1 AND member = $2", id, string(member))
	})
}

const ceremonyColumns = "hash, kind, member, session, data, expires"

// PutCeremony implements [passkey.Store].
func (s passkeyStore) PutCeremony(ctx context.Context, c passkey.Ceremony, now time.Time) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		if _, err := exec(ctx, tx, "DELETE FROM passkey_ceremony WHERE expires <= $1", toMicros(now)); err != nil {
			return err
		}
		_, err := exec(ctx, tx, "INSERT INTO passkey_ceremony ("+ceremonyColumns+") VALUES ($1, $2, $3, $4, $5, $6)",
			c.Hash[:], string(c.Kind), string(c.Member), c.Session, c.Data, toMicros(c.Expires))
		return err
	})
}

// TakeCeremony implements [passkey.Store].
func (s passkeyStore) TakeCeremony(ctx context.Context, hash [sha256.Size]byte) (c passkey.Ceremony, err error) {
	err = s.db.write(ctx, nil, func(tx *sql.Tx) (err error) {
		c, err = queryOne(ctx, tx, scanCeremony, "DELETE FROM passkey_ceremony WHERE hash = $1 RETURNING "+ceremonyColumns, hash[:])
		return err
	})
	if err != nil {
		return passkey.Ceremony{}, err // also where the commit failed
	}
	return c, nil
}

func scanBytes(row scanner) (b []byte, err error) { err = row.Scan(&b); return b, err }

func scanPasskey(row scanner) (p passkey.Passkey, err error) {
	var attested, backup, created, used, locked int64
	err = row.Scan(&p.ID, scanHash{&p.Hash}, &p.Member, &p.Label, &p.Model, &p.AAGUID, &attested, &backup, &created, &used, &locked, &p.Why, &p.Sealed, &p.Version)
	p.Attested, p.Backup = attested != 0, backup != 0
	p.Created, p.Used, p.Locked = fromMicros(created), fromMicros(used), fromMicros(locked)
	return p, err
}

func scanCeremony(row scanner) (c passkey.Ceremony, err error) {
	var expires int64
	err = row.Scan(scanHash{&c.Hash}, &c.Kind, &c.Member, &c.Session, &c.Data, &expires)
	c.Expires = fromMicros(expires)
	return c, err
}
