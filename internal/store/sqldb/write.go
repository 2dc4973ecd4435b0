package sqldb

import (
	"context"
	"database/sql"

	"sallyport"
)

// write runs change in one transaction, alone among all writers, commits, and
// publishes kinds to the feed with it. The caller going away ends the wait for
// its turn, not the transaction. Errors of change and of the engine come back as
// fault leaves them; on any error nothing was written, except that a connection
// lost during the commit leaves it open whether it took effect.
func (db *DB) write(ctx context.Context, kinds []Kind, change func(tx *sql.Tx) error) error {
	err := db.alone(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := change(tx); err != nil {
			return err
		}
		return db.publish(ctx, tx, kinds)
	})
	if len(kinds) > 0 {
		db.changed.wake() // also after an error: a lost commit may have been one
	}
	return err
}

// alone runs one transaction while no other node runs one.
func (db *DB) alone(ctx context.Context, work func(ctx context.Context, tx *sql.Tx) error) error {
	if db.broken.Load() {
		return errBroken()
	}
	turn, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	conn, err := db.writer.Conn(turn)
	if err != nil {
		return fault(err)
	}
	defer conn.Close()
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return db.note(fault(err))
	}
	if db.postgres {
		_, err = tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('sallyport ' || current_schema(), 0))")
	}
	if err == nil {
		err = work(ctx, tx)
	}
	if err != nil {
		tx.Rollback() // where it fails the connection is closed, which rolls back too
		return db.note(fault(err))
	}
	return db.note(fault(tx.Commit()))
}

// read runs several queries on one snapshot of the database.
func (db *DB) read(ctx context.Context, work func(tx *sql.Tx) error) error {
	options := &sql.TxOptions{ReadOnly: true}
	if db.postgres {
		options.Isolation = sql.LevelRepeatableRead
	}
	tx, err := db.reader.BeginTx(ctx, options)
	if err != nil {
		return fault(err)
	}
	defer tx.Rollback() // nothing to keep, nothing to lose
	return fault(work(tx))
}

// note stops the writer after a failed fsync: the pages may be gone from the
// cache without being on disk, and a second fsync would not say so.
func (db *DB) note(err error) error {
	if fsyncFailed(err) {
		db.broken.Store(true)
	}
	return err
}

func errBroken() error {
	return sallyport.E("write store", sallyport.Unavailable, "the disk did not keep an earlier write",
		"the operator checks the disk and restarts; the database is verified then")
}
