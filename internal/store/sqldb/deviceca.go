package sqldb

import (
	"context"
	"database/sql"
	"time"

	"sallyport"
	"sallyport/internal/identity/device/ca"
)

// DeviceAuthority returns the store of the authority that signs device certificates.
func (db *DB) DeviceAuthority() ca.Store { return authorityStore{db} }

type authorityStore struct{ db *DB }

// Authorities implements [ca.Store].
func (s authorityStore) Authorities(ctx context.Context) ([]ca.Record, error) {
	return queryAll(ctx, s.db.reader, func(row scanner) (r ca.Record, err error) {
		var made, retired int64
		err = row.Scan(&r.ID, &r.Parent, &r.Certificate, &r.Sealed, &made, &retired)
		r.Made, r.Retired = fromMicros(made), fromMicros(retired)
		return r, err
	}, "SELECT id, parent, certificate, private, made, retired FROM device_authority ORDER BY made, id")
}

// Succeed implements [ca.Store].
func (s authorityStore) Succeed(ctx context.Context, after string, next []ca.Record, at time.Time) error {
	return s.db.write(ctx, []Kind{Key}, func(tx *sql.Tx) error {
		signing, err := queryAll(ctx, tx, scanText, "SELECT id FROM device_authority WHERE parent <> '' AND retired = 0")
		if err != nil {
			return err
		}
		if len(signing) > 1 || len(signing) == 1 && signing[0] != after || len(signing) == 0 && after != "" {
			return sallyport.E("rotate device authority", sallyport.Conflict, "another rotation was quicker", "try again")
		}
		for _, r := range next {
			retire := "parent <> ''"
			if r.Parent == "" {
				retire = "parent = ''"
			}
			if _, err := exec(ctx, tx, "UPDATE device_authority SET retired = $1 WHERE retired = 0 AND "+retire, toMicros(at)); err != nil {
				return err
			}
			if _, err := exec(ctx, tx, "INSERT INTO device_authority (id, parent, certificate, private, made, retired) VALUES ($1, $2, $3, $4, $5, 0)",
				r.ID, r.Parent, r.Certificate, r.Sealed, toMicros(r.Made)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Forget implements [ca.Store].
func (s authorityStore) Forget(ctx context.Context, ids []string) error {
	return s.db.write(ctx, []Kind{Key}, func(tx *sql.Tx) error {
		for _, id := range ids {
			if _, err := exec(ctx, tx, "DELETE FROM device_authority WHERE id = $1 AND retired > 0", id); err != nil {
				return err
			}
		}
		return nil
	})
}
