package sqldb_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/store/sqldb"
	"sallyport/internal/store/storetest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, what string, err error, kind sallyport.Kind, words string) {
	t.Helper()
	if err == nil || sallyport.KindOf(err) != kind || !strings.Contains(err.Error(), words) {
		t.Errorf("%s = %v, want an error of kind %v with %q", what, err, kind, words)
	}
}

func TestOpenRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, dsn := range []string{"", "store.db", "sqlite:", "sqlite::memory:", "mysql://x", "postgres://u:secret-word@h:notaport/"} {
		_, err := sqldb.Open(t.Context(), dsn)
		wantError(t, "Open of "+dsn, err, sallyport.Invalid, "open store")
		if strings.Contains(err.Error(), "secret-word") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
	_, err := sqldb.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "no", "such", "folder"))
	wantError(t, "Open where there is no folder", err, sallyport.Unavailable, "open store")
}

// TestSQLiteFile looks at the file's mode, a path that could be taken for
// options, and the settings that durability hangs on.
func TestSQLiteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?_pragma=synchronous(0)#%41.db")
	db, err := sqldb.Open(t.Context(), "sqlite:"+path)
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("file %q: %v, %v, want mode 0600", suffix, info, err)
		}
	}
	must(t, db.Write(t.Context(), nil, func(tx *sql.Tx) error {
		for pragma, want := range map[string]string{"synchronous": "2", "foreign_keys": "1", "journal_mode": "wal", "busy_timeout": "5000"} {
			var got string
			if err := tx.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
				t.Errorf("PRAGMA %s = %q, %v, want %q", pragma, got, err, want)
			}
		}
		return nil
	}))
}

func TestFaultsHaveKinds(t *testing.T) {
	storetest.Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		run := func(statements ...string) error {
			return db.Write(t.Context(), nil, func(tx *sql.Tx) error {
				for _, s := range statements {
					if _, err := tx.ExecContext(t.Context(), s); err != nil {
						return err
					}
				}
				return nil
			})
		}
		must(t, run("CREATE TABLE parent (a BIGINT PRIMARY KEY, b BIGINT NOT NULL UNIQUE CHECK (b > 0))",
			"CREATE TABLE child (a BIGINT NOT NULL REFERENCES parent (a))", "INSERT INTO parent VALUES (1, 1)"))
		for statement, kind := range map[string]sallyport.Kind{
			"INSERT INTO parent VALUES (1, 2)":    sallyport.Conflict,
			"INSERT INTO parent VALUES (2, 1)":    sallyport.Conflict,
			"INSERT INTO child VALUES (9)":        sallyport.Conflict,
			"INSERT INTO parent VALUES (3, 0)":    sallyport.Other,
			"INSERT INTO parent VALUES (3, NULL)": sallyport.Other,
			"INSERT INTO nowhere VALUES (1)":      sallyport.Other,
			"not SQL":                             sallyport.Other,
		} {
			wantError(t, statement, run("INSERT INTO parent VALUES (7, 7)", statement), kind, "")
		}
		must(t, run("INSERT INTO parent VALUES (7, 7)")) // so each failure took its transaction back
		if err := db.WriteOnReader(t.Context()); err == nil {
			t.Error("a reader can write")
		}
	})
}

// TestNamesSortByBytes on both engines, whatever the server's language.
func TestNamesSortByBytes(t *testing.T) {
	storetest.Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		must(t, db.Forget(t.Context()))
		must(t, db.MigrateTo(t.Context(), map[string]string{"0001_words.sql": "CREATE TABLE word (word TEXT PRIMARY KEY, bytes {{blob}}, seq BIGINT)",
			"0002_words.sql": "INSERT INTO word (word) VALUES ('a-b'), ('aa'), ('B'), ('a'), ('é'), ('_')"}))
		var words []string
		must(t, db.Write(t.Context(), nil, func(tx *sql.Tx) error {
			rows, err := tx.Query("SELECT word FROM word ORDER BY word")
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var word string
				if err := rows.Scan(&word); err != nil {
					return err
				}
				words = append(words, word)
			}
			return rows.Err()
		}))
		if got := strings.Join(words, " "); got != "B _ a a-b aa é" {
			t.Errorf("sorted %q", got)
		}
	})
}

// TestMigrations: each once, in order, alone; another past is refused (I-26).
func TestMigrations(t *testing.T) {
	storetest.Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db, other := open(), open()
		must(t, db.Forget(t.Context()))
		half := map[string]string{"0001_a.sql": "CREATE TABLE t1 (a BIGINT)", "0002_b.sql": "not SQL"}
		wantError(t, "half of a new database", db.MigrateTo(t.Context(), half), sallyport.Other, "0002_b.sql") // nothing of it stays
		one := map[string]string{"0001_a.sql": "CREATE TABLE t1 (a BIGINT); INSERT INTO t1 VALUES (1)"}
		two := map[string]string{"0001_a.sql": one["0001_a.sql"], "0003_c.sql": "CREATE TABLE t3 (a BIGINT)"}
		must(t, db.MigrateTo(t.Context(), one))

		done := make(chan error)
		for _, node := range []*sqldb.DB{db, other} { // at once
			go func() { done <- node.MigrateTo(t.Context(), two) }()
		}
		must(t, <-done)
		must(t, <-done)
		must(t, db.MigrateTo(t.Context(), two))
		wantError(t, "an older program", db.MigrateTo(t.Context(), one), sallyport.Conflict, "0003_c.sql, which this program does not know")

		edited := map[string]string{"0001_a.sql": one["0001_a.sql"] + " ", "0003_c.sql": two["0003_c.sql"]}
		wantError(t, "an edited migration", db.MigrateTo(t.Context(), edited), sallyport.Conflict, "0001_a.sql is not the text")
		late := map[string]string{"0001_a.sql": one["0001_a.sql"], "0002_b.sql": "", "0003_c.sql": two["0003_c.sql"]}
		wantError(t, "a migration below the last", db.MigrateTo(t.Context(), late), sallyport.Conflict, "0003_c.sql where this program has 0002_b.sql")

		two["0004_d.sql"] = "CREATE TABLE t4 (a BIGINT); CREATE TABLE t1 (a BIGINT)"
		wantError(t, "a migration that fails", db.MigrateTo(t.Context(), two), sallyport.Other, "0004_d.sql")
		two["0004_d.sql"] = "CREATE TABLE t4 (a BIGINT)" // nothing of it stayed
		must(t, db.MigrateTo(t.Context(), two))
		for _, name := range []string{"1_a.sql", "0000_a.sql", "0001.sql", "000x_a.sql"} {
			if err := db.MigrateTo(t.Context(), map[string]string{name: ""}); err == nil {
				t.Errorf("a migration called %s is taken", name)
			}
		}
		if err := db.MigrateTo(t.Context(), map[string]string{"0001_a.sql": "", "0001_b.sql": ""}); err == nil {
			t.Error("two migrations with one number are taken")
		}
	})
}

// TestPrunedFeed writes until the feed drops its beginning: who stopped reading
// there is told that everything changed.
func TestPrunedFeed(t *testing.T) {
	storetest.Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		publish := func() {
			t.Helper()
			must(t, db.Write(t.Context(), []sqldb.Kind{sqldb.Hold}, func(*sql.Tx) error { return nil }))
		}
		publish() // 1
		must(t, db.SkipFeed(t.Context(), 11_000))
		publish() // 11,000, which prunes up to 1,000
		publish()
		if n, err := db.CountFeed(t.Context()); n != 2 || err != nil {
			t.Errorf("the feed has %d rows, %v, want 2", n, err)
		}
		every := len(sqldb.Kinds())
		for after, want := range map[int64]int{0: every, 999: every, 1000: 1, 11_000: 1, 11_001: 0, 11_002: every} {
			if changes, err := db.Since(t.Context(), after); err != nil || len(changes) != want || want > 0 && changes[want-1].Seq != 11_001 {
				t.Errorf("Since(%d) = %v, %v, want %d kinds up to 11,001", after, changes, err, want)
			}
		}
	})
}

// TestAFailedFsyncIsFinal (I-04): nothing is acknowledged after it.
func TestAFailedFsyncIsFinal(t *testing.T) {
	storetest.Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		db.Break()
		err := db.Write(t.Context(), nil, func(*sql.Tx) error { t.Error("a change ran"); return nil })
		wantError(t, "a write", err, sallyport.Unavailable, "disk")
		wantError(t, "Ping", db.Ping(t.Context()), sallyport.Unavailable, "disk")
	})
}

// TestWritersTakeTurns: a node that waits for its turn gives up with its caller,
// and the one that has it is not disturbed.
func TestWritersTakeTurns(t *testing.T) {
	storetest.Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db, other := open(), open()
		ctx, leave := context.WithCancel(t.Context())
		inside, finish, done := make(chan struct{}), make(chan struct{}), make(chan error)
		go func() {
			done <- db.Write(ctx, []sqldb.Kind{sqldb.Role}, func(*sql.Tx) error {
				close(inside)
				<-finish
				return nil
			})
		}()
		<-inside
		leave() // the first caller goes away in the middle: its transaction does not
		waiting, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer stop()
		err := db.Write(waiting, nil, func(*sql.Tx) error { t.Error("two wrote at once"); return nil })
		wantError(t, "a wait that was given up", err, sallyport.Unavailable, "deadline")
		go func() {
			done <- other.Write(t.Context(), []sqldb.Kind{sqldb.Role}, func(*sql.Tx) error {
				select {
				case <-finish:
				default:
					t.Error("two nodes wrote at once")
				}
				return nil
			})
		}()
		time.Sleep(20 * time.Millisecond) // lets the other node come to its wait; the test holds without
		close(finish)
		must(t, <-done)
		must(t, <-done)
		if changes, err := db.Since(t.Context(), 1); err != nil || len(changes) != 1 || changes[0].Seq != 2 {
			t.Errorf("Since(1) = %v, %v, want the second write", changes, err)
		}
	})
}
