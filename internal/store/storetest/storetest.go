// Package storetest owns the conformance suite of the stores: each room's tests
// run on every engine, on real databases. It leaves what the rows mean to the
// rooms.
//
// A room's tests stand in NAME_test.go and run as
//
//	func TestHold(t *testing.T) { storetest.Run(t, testHold) }
package storetest

import (
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"sallyport/internal/store/sqldb"
)

// Run runs test on an empty SQLite database and, where SALLYPORT_TEST_POSTGRES
// holds the address of a server (postgres://…), on an empty schema of it. Every
// call of open is one more node on the same database, closed after the test.
func Run(t *testing.T, test func(t *testing.T, open func() *sqldb.DB)) {
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel() // with the other engine: both mostly wait for disks
		test(t, opener(t, "sqlite:"+filepath.Join(t.TempDir(), "store.db")))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, opener(t, Postgres(t)))
	})
}

// Postgres returns the address of an empty schema that goes with the test, and
// skips the test where SALLYPORT_TEST_POSTGRES names no server.
func Postgres(t *testing.T) string {
	t.Helper()
	server := os.Getenv("SALLYPORT_TEST_POSTGRES") // budget: names the server to test on
	if server == "" {
		t.Skip("SALLYPORT_TEST_POSTGRES names no PostgreSQL server, so nothing ran on one")
	}
	return newSchema(t, server)
}

func opener(t *testing.T, dsn string) func() *sqldb.DB {
	return func() *sqldb.DB {
		t.Helper()
		db, err := sqldb.Open(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
		return db
	}
}

// newSchema makes a schema of its own for the test and returns its address.
func newSchema(t *testing.T, server string) string {
	t.Helper()
	config, err := pgx.ParseConfig(server)
	if err != nil {
		t.Fatal(err)
	}
	pool := stdlib.OpenDB(*config)
	schema := pgx.Identifier{"test_" + rand.Text()}.Sanitize()
	run := func(pool *sql.DB, statement string) {
		if _, err := pool.Exec(statement); err != nil {
			t.Error(err)
		}
	}
	run(pool, "CREATE SCHEMA "+schema)
	t.Cleanup(func() {
		run(pool, "DROP SCHEMA "+schema+" CASCADE")
		pool.Close()
	})
	address, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	query := address.Query()
	query.Set("search_path", schema)
	address.RawQuery = query.Encode()
	return address.String()
}
