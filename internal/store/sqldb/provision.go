package sqldb

import (
	"context"
	"database/sql"
	"fmt"

	"sallyport"
	"sallyport/internal/identity/provision"
)

// Provision returns the store of what upstream providers keep here.
func (db *DB) Provision() provision.Store { return provisionStore{db} }

type provisionStore struct{ db *DB }

const provisionColumns = "id, source, kind, name, target, external, body, version, created, modified, gone"

// Insert implements [provision.Store].
func (s provisionStore) Insert(ctx context.Context, r provision.Record, key string, most int) error {
	err := s.db.write(ctx, nil, func(tx *sql.Tx) error {
		n, err := queryOne(ctx, tx, scanInt, "SELECT count(*) FROM provisioned WHERE source = $1", r.Source)
		if err != nil {
			return err
		}
		if n >= int64(most) {
			return sallyport.E("provision", sallyport.TooLarge, fmt.Sprintf("the source has %d records", n), "")
		}
		_, err = exec(ctx, tx, "INSERT INTO provisioned ("+provisionColumns+", name_key) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
			r.ID, r.Source, string(r.Kind), r.Name, r.Target, r.External, r.Body, r.Version, toMicros(r.Created), toMicros(r.Modified), toMicros(r.Gone), key)
		return err
	})
	return taken(err)
}

// taken says what a conflict is about, and not whose the name is.
func taken(err error) error {
	if sallyport.KindOf(err) == sallyport.Conflict && sallyport.ReasonOf(err) != "version" {
		return sallyport.Wrap("provision", sallyport.Conflict, "the name is taken, or was once; names are never used again", err).Because("uniqueness")
	}
	return err
}

// Records implements [provision.Store].
func (s provisionStore) Records(ctx context.Context, q provision.Query, key string) ([]provision.Record, error) {
	return queryAll(ctx, s.db.reader, scanProvisioned, "SELECT "+provisionColumns+" FROM provisioned WHERE source = $1 AND kind = $2 AND gone = 0"+
		" AND ($3 = '' OR id = $3) AND ($4 = '' OR name_key = $4) AND ($5 = '' OR external = $5) ORDER BY id",
		q.Source, string(q.Kind), q.ID, key, q.External)
}

// Update implements [provision.Store].
func (s provisionStore) Update(ctx context.Context, q provision.Query, change func(*provision.Record) (string, error)) (provision.Record, error) {
	var r provision.Record
	err := s.db.write(ctx, nil, func(tx *sql.Tx) error {
		var err error
		r, err = queryOne(ctx, tx, scanProvisioned, "SELECT "+provisionColumns+" FROM provisioned WHERE source = $1 AND kind = $2 AND id = $3 AND gone = 0",
			q.Source, string(q.Kind), q.ID)
		if err != nil {
			return err
		}
		key, err := change(&r)
		if err != nil {
			return err
		}
		return execOne(ctx, tx, "UPDATE provisioned SET name = $2, name_key = $3, external = $4, body = $5, version = $6, modified = $7, gone = $8 WHERE id = $1",
			r.ID, r.Name, key, r.External, r.Body, r.Version, toMicros(r.Modified), toMicros(r.Gone))
	})
	if err != nil {
		return provision.Record{}, taken(err)
	}
	return r, nil
}

// Forget implements [provision.Store].
func (s provisionStore) Forget(ctx context.Context, id string, version int64) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "DELETE FROM provisioned WHERE id = $1 AND version = $2 AND gone = 0", id, version)
		return err
	})
}

// Counts implements [provision.Store].
func (s provisionStore) Counts(ctx context.Context) (map[string]map[provision.Kind]int, error) {
	type count struct {
		source string
		kind   provision.Kind
		n      int
	}
	all, err := queryAll(ctx, s.db.reader, func(row scanner) (c count, err error) {
		err = row.Scan(&c.source, &c.kind, &c.n)
		return c, err
	}, "SELECT source, kind, count(*) FROM provisioned WHERE gone = 0 GROUP BY source, kind")
	counts := map[string]map[provision.Kind]int{}
	for _, c := range all {
		if counts[c.source] == nil {
			counts[c.source] = map[provision.Kind]int{}
		}
		counts[c.source][c.kind] = c.n
	}
	return counts, err
}

func scanProvisioned(row scanner) (r provision.Record, err error) {
	var created, modified, gone int64
	err = row.Scan(&r.ID, &r.Source, &r.Kind, &r.Name, &r.Target, &r.External, &r.Body, &r.Version, &created, &modified, &gone)
	r.Created, r.Modified, r.Gone = fromMicros(created), fromMicros(modified), fromMicros(gone)
	return r, err
}
