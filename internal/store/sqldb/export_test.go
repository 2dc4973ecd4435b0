package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing/fstest"
)

// SkipFeed lets the feed go on at number next.
func (db *DB) SkipFeed(ctx context.Context, next int64) error {
	return db.write(ctx, nil, func(tx *sql.Tx) error {
		statement := "UPDATE sqlite_sequence SET seq = %d - 1 WHERE name = 'outbox'"
		if db.postgres {
			statement = "ALTER TABLE outbox ALTER COLUMN seq RESTART WITH %d"
		}
		_, err := exec(ctx, tx, fmt.Sprintf(statement, next))
		return err
	})
}

// Write is write, for statements that no room has.
func (db *DB) Write(ctx context.Context, kinds []Kind, change func(tx *sql.Tx) error) error {
	return db.write(ctx, kinds, change)
}

// Break does what a failed fsync does.
func (db *DB) Break() { db.broken.Store(true) }

// CountFeed returns how many rows the feed has.
func (db *DB) CountFeed(ctx context.Context) (int64, error) {
	return queryOne(ctx, db.reader, scanInt, "SELECT count(*) FROM outbox")
}

// WriteOnReader tries to write where only reading is allowed.
func (db *DB) WriteOnReader(ctx context.Context) error {
	_, err := db.reader.ExecContext(ctx, "DELETE FROM outbox")
	return fault(err)
}

// MigrateTo applies other migrations than ours.
func (db *DB) MigrateTo(ctx context.Context, files map[string]string) error {
	tree := fstest.MapFS{}
	for name, text := range files {
		tree["migrations/"+name] = &fstest.MapFile{Data: []byte(text)}
	}
	known, err := loadMigrations(tree)
	if err != nil {
		return err
	}
	return db.apply(ctx, known)
}

// MakeOld makes a new database as the program left it whose migrations were all below a number.
func MakeOld(ctx context.Context, dsn string, below int64, statements ...string) error {
	db := &DB{stop: func() {}}
	var err error
	if path, isFile := strings.CutPrefix(dsn, "sqlite:"); isFile {
		err = db.openSQLite(path)
	} else {
		err = db.openPostgres(ctx, dsn)
	}
	known, lerr := loadMigrations(migrationFiles)
	if err = errors.Join(err, lerr); err == nil {
		err = db.apply(ctx, known[:slices.IndexFunc(known, func(m migration) bool { return m.number >= below })])
	}
	for _, s := range statements {
		if err == nil {
			err = db.write(ctx, nil, func(tx *sql.Tx) error { _, err := exec(ctx, tx, s); return err })
		}
	}
	return errors.Join(err, db.Close())
}

// Forget empties the table of migrations, for MigrateTo to begin with.
func (db *DB) Forget(ctx context.Context) error {
	return db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "DELETE FROM migration")
		return err
	})
}

// Kinds are the kinds of the feed.
func Kinds() []Kind { return kinds() }
