package sqldb

import (
	"context"
	"database/sql"

	"sallyport"
)

// KeepCheckpoint keeps the newest signed checkpoint of a log, in another place
// than the log itself: an older copy of the log's directory is then noticed.
func (db *DB) KeepCheckpoint(ctx context.Context, origin string, signed []byte) error {
	return db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "INSERT INTO log_checkpoint (origin, signed) VALUES ($1, $2) ON CONFLICT (origin) DO UPDATE SET signed = excluded.signed", origin, signed)
		return err
	})
}

// KeptCheckpoint returns what KeepCheckpoint kept, nil when it kept nothing.
func (db *DB) KeptCheckpoint(ctx context.Context, origin string) ([]byte, error) {
	signed, err := queryOne(ctx, db.reader, func(row scanner) (b []byte, err error) { err = row.Scan(&b); return b, err },
		"SELECT signed FROM log_checkpoint WHERE origin = $1", origin)
	if sallyport.KindOf(err) == sallyport.NotFound {
		return nil, nil
	}
	return signed, err
}
