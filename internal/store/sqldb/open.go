package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite"

	"sallyport"
)

const (
	writeTimeout = 10 * time.Second // of one transaction, from its begin to its commit
	mostReaders  = 8                // connections that read
)

// A DB is an open database. It is safe for concurrent use.
type DB struct {
	writer   *sql.DB // one connection: a process writes one transaction at a time
	reader   *sql.DB // cannot write
	postgres bool

	changed broadcast
	broken  atomic.Bool // a failed fsync is final: nothing is written until a restart
	stop    func()      // ends the listener and waits for it
}

// Open opens the database that dsn names and brings its tables up to date.
//
//	sqlite:PATH            a file, made if it is absent, readable by its owner only
//	postgres://USER@HOST/… a database of a server, in the schema of search_path
//
// A database that a newer program has migrated is refused, and so is one whose
// migrations are not the ones this program knows.
func Open(ctx context.Context, dsn string) (*DB, error) {
	const op = "open store"
	db := &DB{stop: func() {}}
	var err error
	path, isFile := strings.CutPrefix(dsn, "sqlite:")
	switch {
	case isFile:
		err = db.openSQLite(path)
	case strings.HasPrefix(dsn, "postgres://"), strings.HasPrefix(dsn, "postgresql://"):
		err = db.openPostgres(ctx, dsn)
	default:
		err = sallyport.E(op, sallyport.Invalid, "the address names no engine we know", "write sqlite:PATH or postgres://USER@HOST/DATABASE")
	}
	if err == nil {
		err = db.migrate(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Close waits for the transactions under way and closes the connections.
func (db *DB) Close() error {
	db.stop()
	var errs []error
	for _, pool := range []*sql.DB{db.writer, db.reader} {
		if pool != nil {
			errs = append(errs, pool.Close())
		}
	}
	return errors.Join(errs...)
}

// Ping tells whether the database answers and may still be written.
func (db *DB) Ping(ctx context.Context) error {
	if db.broken.Load() {
		return errBroken()
	}
	_, err := db.Latest(ctx)
	return err
}

func (db *DB) openSQLite(path string) error {
	const op = "open store"
	if path == "" || path == ":memory:" {
		return sallyport.E(op, sallyport.Invalid, "no path of a database file", "write sqlite:PATH; a database in memory keeps nothing")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return sallyport.Wrap(op, sallyport.Unavailable, "the path of the database", err)
	}
	// Made here for its mode; SQLite gives the same to its side files. An existing file is never opened
	// outside the engine: closing it would drop the engine's POSIX locks.
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err == nil {
		err = file.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return sallyport.Wrap(op, sallyport.Unavailable, "the database file cannot be made", err)
	}
	if db.writer, err = poolSQLite(path, "&_txlock=immediate", 1); err != nil {
		return err
	}
	db.reader, err = poolSQLite(path, "&_pragma=query_only(1)", mostReaders)
	return err
}

func poolSQLite(path, more string, most int) (*sql.DB, error) {
	const pragmas = "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)" +
		"&_pragma=foreign_keys(1)&_pragma=trusted_schema(0)&_defensive=1"
	connector, err := sqlite.NewConnector("file:" + (&url.URL{Path: path}).EscapedPath() + pragmas + more)
	if err != nil {
		return nil, sallyport.Wrap("open store", sallyport.Invalid, "the path of the database", err)
	}
	pool := sql.OpenDB(connector)
	pool.SetMaxOpenConns(most)
	pool.SetMaxIdleConns(most)
	return pool, nil
}

func (db *DB) openPostgres(ctx context.Context, dsn string) error {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return sallyport.Wrap("open store", sallyport.Invalid, "the address of the database cannot be read", err)
	}
	db.postgres = true
	// A node that stops in the middle of a transaction must not stop the others.
	limits := map[string]string{"lock_timeout": "5s", "statement_timeout": "10s", "idle_in_transaction_session_timeout": "10s"}
	for name, value := range limits {
		if _, set := config.RuntimeParams[name]; !set {
			config.RuntimeParams[name] = value
		}
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 5 * time.Second
	}
	db.writer = stdlib.OpenDB(*config)
	db.writer.SetMaxOpenConns(1)
	readConfig := config.Copy()
	readConfig.RuntimeParams["default_transaction_read_only"] = "on"
	db.reader = stdlib.OpenDB(*readConfig)
	db.reader.SetMaxOpenConns(mostReaders)
	db.reader.SetMaxIdleConns(mostReaders)
	db.stop = db.listen(ctx, config)
	return nil
}
