package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"sallyport"
	"sallyport/internal/artifact/keyring"
)

// Keyring returns the store of wrapped data keys.
func (db *DB) Keyring() keyring.Store { return keyringStore{db} }

type keyringStore struct{ db *DB }

// Put implements [keyring.Store].
func (s keyringStore) Put(ctx context.Context, row keyring.Row) error {
	if row.Revision != 0 {
		return s.replace(ctx, row)
	}
	err := s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "INSERT INTO keyring (artifact, key_id, wrapped, revision) VALUES ($1, $2, $3, 1)", row.Artifact, row.KeyID, row.Wrapped)
		return err
	})
	if sallyport.KindOf(err) == sallyport.Conflict {
		return fmt.Errorf("%w: %w", keyring.ErrExists, err)
	}
	return err
}

func (s keyringStore) replace(ctx context.Context, row keyring.Row) error {
	conflict := false
	err := s.db.write(ctx, nil, func(tx *sql.Tx) error {
		n, err := exec(ctx, tx, "UPDATE keyring SET key_id = $2, wrapped = $3, revision = revision + 1 WHERE artifact = $1 AND revision = $4",
			row.Artifact, row.KeyID, row.Wrapped, row.Revision)
		if err != nil || n == 1 {
			return err
		}
		if _, err = getKey(ctx, tx, row.Artifact); err == nil {
			conflict = true
		}
		return err
	})
	if err == nil && conflict {
		return keyring.ErrConflict
	}
	return noKey(err)
}

// Get implements [keyring.Store].
func (s keyringStore) Get(ctx context.Context, artifact string) (keyring.Row, error) {
	row, err := getKey(ctx, s.db.reader, artifact)
	return row, noKey(err)
}

func getKey(ctx context.Context, q querier, artifact string) (keyring.Row, error) {
	return queryOne(ctx, q, scanKey, "SELECT artifact, key_id, wrapped, revision FROM keyring WHERE artifact = $1", artifact)
}

// Delete implements [keyring.Store]. On SQLite what is freed is overwritten, in
// the file and in its log; PostgreSQL leaves it to the next vacuum.
func (s keyringStore) Delete(ctx context.Context, artifact string) error {
	err := s.db.write(ctx, nil, func(tx *sql.Tx) error {
		if !s.db.postgres {
			if _, err := exec(ctx, tx, "PRAGMA secure_delete = ON"); err != nil {
				return err
			}
		}
		return execOne(ctx, tx, "DELETE FROM keyring WHERE artifact = $1", artifact)
	})
	if err == nil && !s.db.postgres {
		// Best effort: a reader in the way delays it to the next checkpoint. The row is gone either way.
		_, _ = s.db.writer.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	}
	return noKey(err)
}

// List implements [keyring.Store].
func (s keyringStore) List(ctx context.Context, after string, limit int) ([]keyring.Row, error) {
	return queryAll(ctx, s.db.reader, scanKey, "SELECT artifact, key_id, wrapped, revision FROM keyring WHERE artifact > $1 ORDER BY artifact LIMIT $2", after, limit)
}

func scanKey(row scanner) (k keyring.Row, err error) {
	err = row.Scan(&k.Artifact, &k.KeyID, &k.Wrapped, &k.Revision)
	return k, err
}

// noKey gives the absence of a row the room's own name.
func noKey(err error) error {
	if sallyport.KindOf(err) == sallyport.NotFound && !errors.Is(err, keyring.ErrNotFound) {
		return fmt.Errorf("%w: %w", keyring.ErrNotFound, err)
	}
	return err
}
