package sqldbtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrPower is what a step ends with that a broken Breaker counts itself.
var ErrPower = errors.New("the power is gone")

// never is more steps than any test takes.
const never = 1 << 40

// A Breaker lets a SQLite database take so many changes of rows and no more, as a machine does whose power fails: for tests that
// look at what is left after each step, and whether a repeat does the rest. Its methods are safe for concurrent use.
type Breaker struct{ db *sql.DB }

// NewBreaker puts a breaker into the database of path, which sqldb has opened or will open. It lets everything pass until After
// is called. The caller closes it.
func NewBreaker(ctx context.Context, path string) (*Breaker, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)&_pragma=synchronous(0)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	b := &Breaker{db}
	tables, err := b.column(ctx, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'breaker_%'")
	if err != nil {
		return nil, err
	}
	return b, b.exec(ctx, watch(tables), never)
}

// watch puts triggers on tables.
func watch(tables []string) string {
	var s strings.Builder
	s.WriteString(`BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS breaker_log (place INTEGER PRIMARY KEY, what TEXT);
		DROP TABLE IF EXISTS breaker_left; CREATE TABLE breaker_left (n INTEGER); INSERT INTO breaker_left (n) VALUES (?);`)
	for _, table := range tables {
		for _, change := range []string{"INSERT", "UPDATE", "DELETE"} {
			fmt.Fprintf(&s, `CREATE TRIGGER IF NOT EXISTS breaker_%s_%s BEFORE %[2]s ON %[1]s BEGIN
				SELECT RAISE(ABORT, 'the power is gone') WHERE (SELECT n FROM breaker_left) <= 0;
				UPDATE breaker_left SET n = n - 1;
				INSERT INTO breaker_log (what) VALUES ('%[1]s'); END;`, table, change)
		}
	}
	return s.String() + "COMMIT"
}

// After lets n more rows change, and nothing after them.
func (b *Breaker) After(ctx context.Context, n int) error {
	return errors.Join(b.exec(ctx, "DELETE FROM breaker_log"), b.exec(ctx, "UPDATE breaker_left SET n = ?", n))
}

// Mend lets everything pass again.
func (b *Breaker) Mend(ctx context.Context) error {
	return b.exec(ctx, "UPDATE breaker_left SET n = ?", never)
}

// Step counts a step that is no change of the database, such as a record in a log. It ends with ErrPower where nothing may happen
// any more.
func (b *Breaker) Step(ctx context.Context, what string) error {
	r, err := b.db.ExecContext(ctx, "UPDATE breaker_left SET n = n - 1 WHERE n > 0")
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err != nil || n == 0 {
		return errors.Join(ErrPower, err)
	}
	return b.exec(ctx, "INSERT INTO breaker_log (what) VALUES (?)", what)
}

// Steps returns what was changed since After, in order: the names of tables, and of what Step counted; what happened several times in a row once.
func (b *Breaker) Steps(ctx context.Context) ([]string, error) {
	all, err := b.column(ctx, "SELECT what FROM breaker_log ORDER BY place")
	return slices.Compact(all), err
}

// Close ends the breaker's own connection. The database stays as it is.
func (b *Breaker) Close() error { return b.db.Close() }

func (b *Breaker) exec(ctx context.Context, query string, args ...any) error {
	_, err := b.db.ExecContext(ctx, query, args...)
	return err
}

func (b *Breaker) column(ctx context.Context, query string) (all []string, err error) {
	rows, err := b.db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, rows.Err()
}
