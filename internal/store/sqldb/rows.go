package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"sallyport"
)

// A querier is db.reader, or a *sql.Tx inside read and write.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// A scanner is the current row.
type scanner interface{ Scan(into ...any) error }

// queryAll returns all rows in the order of the query, never nil entries; the
// query bounds their number.
func queryAll[T any](ctx context.Context, q querier, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fault(err)
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, sallyport.Wrap("store", sallyport.Other, "a row cannot be read", err)
		}
		all = append(all, one)
	}
	return all, fault(rows.Err())
}

// queryOne returns the first row, or an error of kind NotFound.
func queryOne[T any](ctx context.Context, q querier, scan func(scanner) (T, error), query string, args ...any) (T, error) {
	all, err := queryAll(ctx, q, scan, query, args...)
	if err == nil && len(all) == 0 {
		err = errNoRow()
	}
	if err != nil {
		var none T
		return none, err
	}
	return all[0], nil
}

// exec runs a statement that changes rows and returns how many.
func exec(ctx context.Context, tx *sql.Tx, query string, args ...any) (int64, error) {
	result, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, fault(err)
	}
	n, err := result.RowsAffected()
	return n, fault(err)
}

// execOne is exec for a statement that must change a row: none is NotFound.
func execOne(ctx context.Context, tx *sql.Tx, query string, args ...any) error {
	n, err := exec(ctx, tx, query, args...)
	if err == nil && n == 0 {
		err = errNoRow()
	}
	return err
}

// scanText, scanInt read rows of one column.
func scanText(row scanner) (s string, err error) { err = row.Scan(&s); return s, err }

func scanInt(row scanner) (n int64, err error) { err = row.Scan(&n); return n, err }

// toMicros is how a time is kept: Unix microseconds, 0 for the zero time.
func toMicros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// fromMicros reads what toMicros wrote, in UTC.
func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// toFlag is how truth is kept; != 0 reads it.
func toFlag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func errNoRow() error {
	return sallyport.E("store", sallyport.NotFound, "there is no such record", "")
}

// fault gives an engine's error its kind: a key that is taken is Conflict, our
// own mistakes in SQL are Other, whatever else goes wrong means that the store
// cannot be used. An error that has a kind already keeps it.
func fault(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*sallyport.Error](err); ok {
		return err
	}
	if errors.Is(err, sql.ErrNoRows) {
		return errNoRow()
	}
	kind := sallyport.Unavailable
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		kind = kindOfSQLite(e.Code())
	} else if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		kind = kindOfPostgres(e.Code)
	}
	message := ""
	if kind == sallyport.Conflict {
		message = "another record has this name already, or needs this one"
	}
	return sallyport.Wrap("store", kind, message, err)
}

func kindOfSQLite(code int) sallyport.Kind {
	switch code {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID,
		sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return sallyport.Conflict
	}
	switch code & 0xff {
	case sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_RANGE:
		return sallyport.Other
	}
	return sallyport.Unavailable
}

func kindOfPostgres(code string) sallyport.Kind {
	switch code {
	case "23505", "23503": // unique_violation, foreign_key_violation
		return sallyport.Conflict
	}
	switch code[:min(2, len(code))] {
	case "22", "23", "42": // data, constraint, syntax or name: ours
		return sallyport.Other
	}
	return sallyport.Unavailable
}

// fsyncFailed recognises the errors after which SQLite may not go on writing.
// PostgreSQL sees to it by itself: it stops the server.
func fsyncFailed(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && (e.Code() == sqlite3.SQLITE_IOERR_FSYNC || e.Code() == sqlite3.SQLITE_IOERR_DIR_FSYNC)
}
