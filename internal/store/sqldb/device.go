package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"sallyport"
	"sallyport/internal/identity/device"
)

// Device returns the store of devices.
func (db *DB) Device() device.Store { return deviceStore{db} }

type deviceStore struct{ db *DB }

const (
	deviceOwn       = "id, owner, name, class, level, spki, jkt, hardware, serial, expires, against, state, created, seen, ended, why"
	enrolledColumns = "d.id, d.owner, d.name, d.class, d.level, d.spki, d.jkt, d.hardware, d.serial, d.expires, d.against, d.state, d.created, d.seen, d.ended, d.why, " +
		"coalesce(p.at, 0), coalesce(p.os, ''), coalesce(p.updated, 0), coalesce(p.patched, 0), coalesce(p.encrypted, 0), coalesce(p.locked, 0), coalesce(p.stated, 0)"
	deviceFrom       = " FROM device d LEFT JOIN device_posture p ON p.device = d.id WHERE "
	enrolmentColumns = "hash, owner, name, device, nonce, ak, secret, ek, trusted, expires"
)

// Begin implements [device.Store].
func (s deviceStore) Begin(ctx context.Context, e device.Enrolment, most int, now time.Time) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		open, err := queryOne(ctx, tx, scanInt, "SELECT count(*) FROM device_enrolment WHERE owner = $1 AND expires > $2", string(e.Owner), toMicros(now))
		if err == nil && open >= int64(most) {
			err = sallyport.E("enrol device", sallyport.Busy, "too many enrolments of yours are open", "try again in a few minutes")
		}
		if err != nil {
			return err
		}
		_, err = exec(ctx, tx, "INSERT INTO device_enrolment ("+enrolmentColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
			e.Hash[:], string(e.Owner), e.Name, e.Device, e.Nonce, e.AK, e.Secret[:], e.EK, toFlag(e.Trusted), toMicros(e.Expires))
		return err
	})
}

// Take implements [device.Store].
func (s deviceStore) Take(ctx context.Context, hash [32]byte) (e device.Enrolment, err error) {
	err = s.db.write(ctx, nil, func(tx *sql.Tx) (err error) {
		e, err = queryOne(ctx, tx, scanEnrolment, "DELETE FROM device_enrolment WHERE hash = $1 RETURNING "+enrolmentColumns, hash[:])
		return err
	})
	if err != nil {
		return device.Enrolment{}, err // also where the commit failed
	}
	return e, nil
}

// Insert implements [device.Store].
func (s deviceStore) Insert(ctx context.Context, d device.Device, most int) error {
	return s.db.write(ctx, []Kind{Device}, func(tx *sql.Tx) error {
		live, err := queryOne(ctx, tx, scanInt, "SELECT count(*) FROM device WHERE owner = $1 AND state = 'active'", string(d.Owner))
		if err == nil && live >= int64(most) {
			err = sallyport.E("enrol device", sallyport.Busy, "you have too many devices", "remove one with 'sallyport device rm ID'")
		}
		if err != nil {
			return err
		}
		if _, err = exec(ctx, tx, "INSERT INTO device ("+deviceOwn+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
			deviceArgs(d)...); err != nil {
			return err
		}
		return putDeviceParts(ctx, tx, device.Device{}, d)
	})
}

// Devices implements [device.Store].
func (s deviceStore) Devices(ctx context.Context, q device.Query) ([]device.Device, error) {
	where, args, err := deviceWhere(q)
	if err != nil {
		return nil, err
	}
	return queryAll(ctx, s.db.reader, scanEnrolled, "SELECT "+enrolledColumns+deviceFrom+where+" ORDER BY d.created DESC, d.id", args...)
}

// deviceWhere is the condition of a query with exactly one field: an empty one must never mean all.
func deviceWhere(q device.Query) (string, []any, error) {
	set := 0
	for _, given := range []bool{q.ID != "", q.Owner != "", q.SPKI != "", q.JKT != "", q.All} {
		if given {
			set++
		}
	}
	switch {
	case set != 1:
		return "", nil, errors.New("devices: a query needs exactly one field")
	case q.ID != "":
		return "d.id = $1", []any{q.ID}, nil
	case q.Owner != "":
		return "d.owner = $1", []any{string(q.Owner)}, nil
	case q.SPKI != "":
		return "d.spki = $1 AND d.state = 'active'", []any{q.SPKI}, nil
	case q.JKT != "":
		return "d.jkt = $1 AND d.state = 'active'", []any{q.JKT}, nil
	}
	return "d.state = 'active'", nil, nil
}

// Update implements [device.Store].
func (s deviceStore) Update(ctx context.Context, id string, change func(*device.Device) error) (d device.Device, err error) {
	err = s.db.write(ctx, []Kind{Device}, func(tx *sql.Tx) error {
		old, err := queryOne(ctx, tx, scanEnrolled, "SELECT "+enrolledColumns+deviceFrom+"d.id = $1", id)
		if err != nil {
			return err
		}
		d = old
		if err := change(&d); err != nil {
			return err
		}
		args := append([]any{id}, deviceArgs(d)[1:]...)
		if err := execOne(ctx, tx, `UPDATE device SET owner = $2, name = $3, class = $4, level = $5, spki = $6, jkt = $7, hardware = $8, serial = $9,
			expires = $10, against = $11, state = $12, created = $13, seen = $14, ended = $15, why = $16 WHERE id = $1`, args...); err != nil {
			return err
		}
		return putDeviceParts(ctx, tx, old, d)
	})
	if err != nil {
		return device.Device{}, err
	}
	return d, nil
}

// putDeviceParts writes what is kept beside a device: a certificate that it did not have before, and its posture.
func putDeviceParts(ctx context.Context, tx *sql.Tx, old, d device.Device) error {
	if d.Certificate.Serial != "" && d.Certificate.Serial != old.Certificate.Serial {
		if _, err := exec(ctx, tx, "INSERT INTO device_certificate (serial, device, expires) VALUES ($1, $2, $3)",
			d.Certificate.Serial, d.ID, toMicros(d.Certificate.Expires)); err != nil {
			return err
		}
	}
	if d.Posture == old.Posture {
		return nil
	}
	_, err := exec(ctx, tx, `INSERT INTO device_posture (device, at, os, updated, patched, encrypted, locked, stated) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (device) DO UPDATE SET at = $2, os = $3, updated = $4, patched = $5, encrypted = $6, locked = $7, stated = $8`,
		d.ID, toMicros(d.Posture.At), d.Posture.OS, toMicros(d.Posture.Updated), toFlag(d.Posture.Patched), toFlag(d.Posture.Encrypted), toFlag(d.Posture.Locked), toMicros(d.Posture.Stated))
	return err
}

// Revoked implements [device.Store].
func (s deviceStore) Revoked(ctx context.Context, now time.Time) ([]device.Revocation, error) {
	return queryAll(ctx, s.db.reader, func(row scanner) (r device.Revocation, err error) {
		var expires, at int64
		err = row.Scan(&r.Serial, &expires, &at)
		r.Expires, r.At = fromMicros(expires), fromMicros(at)
		return r, err
	}, `SELECT c.serial, c.expires, d.ended FROM device_certificate c JOIN device d ON d.id = c.device
		WHERE d.state <> 'active' AND c.expires > $1 ORDER BY c.serial`, toMicros(now))
}

// Prune implements [device.Store].
func (s deviceStore) Prune(ctx context.Context, now time.Time) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		if _, err := exec(ctx, tx, "DELETE FROM device_enrolment WHERE expires <= $1", toMicros(now)); err != nil {
			return err
		}
		_, err := exec(ctx, tx, "DELETE FROM device_certificate WHERE expires <= $1", toMicros(now))
		return err
	})
}

func deviceArgs(d device.Device) []any {
	return []any{d.ID, string(d.Owner), d.Name, string(d.Class), int64(d.Level), d.Keys.SPKI, d.Keys.JKT, d.Hardware, d.Certificate.Serial,
		toMicros(d.Certificate.Expires), d.Against, string(d.State), toMicros(d.Created), toMicros(d.Seen), toMicros(d.Ended), d.Why}
}

func scanEnrolled(row scanner) (d device.Device, err error) {
	var expires, created, seen, ended, at, updated, patched, encrypted, locked, stated int64
	err = row.Scan(&d.ID, &d.Owner, &d.Name, &d.Class, &d.Level, &d.Keys.SPKI, &d.Keys.JKT, &d.Hardware, &d.Certificate.Serial, &expires,
		&d.Against, &d.State, &created, &seen, &ended, &d.Why, &at, &d.Posture.OS, &updated, &patched, &encrypted, &locked, &stated)
	d.Certificate.Expires, d.Created, d.Seen, d.Ended = fromMicros(expires), fromMicros(created), fromMicros(seen), fromMicros(ended)
	d.Posture.At, d.Posture.Updated, d.Posture.Stated = fromMicros(at), fromMicros(updated), fromMicros(stated)
	d.Posture.Patched, d.Posture.Encrypted, d.Posture.Locked = patched != 0, encrypted != 0, locked != 0
	return d, err
}

func scanEnrolment(row scanner) (e device.Enrolment, err error) {
	var trusted, expires int64
	err = row.Scan(scanHash{&e.Hash}, &e.Owner, &e.Name, &e.Device, &e.Nonce, &e.AK, scanHash{&e.Secret}, &e.EK, &trusted, &expires)
	e.Trusted, e.Expires = trusted != 0, fromMicros(expires)
	return e, err
}
