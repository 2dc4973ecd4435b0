package sqldb

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"

	"sallyport"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// A migration is one numbered step of the schema.
type migration struct {
	number int64
	name   string // of the file
	sum    string // SHA-256 of the text before the engine's words are put in
	text   string
}

// migrate applies what the database lacks, and refuses a database whose past is
// not ours. A new database is made in one transaction, whole or not at all; an old
// one takes each migration in a transaction of its own.
func (db *DB) migrate(ctx context.Context) error {
	known, err := loadMigrations(migrationFiles)
	if err != nil {
		return err
	}
	return db.apply(ctx, known)
}

func (db *DB) apply(ctx context.Context, known []migration) error {
	for more := true; more; {
		err := db.alone(ctx, func(ctx context.Context, tx *sql.Tx) error {
			var err error
			more, err = db.migrateSome(ctx, tx, known)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// migrateSome applies the first missing migration, to a new database all of them,
// and says whether there was one.
func (db *DB) migrateSome(ctx context.Context, tx *sql.Tx, known []migration) (bool, error) {
	if db.postgres {
		if _, err := exec(ctx, tx, "SET LOCAL statement_timeout = 0"); err != nil {
			return false, err
		}
	}
	_, err := exec(ctx, tx, db.translate("CREATE TABLE IF NOT EXISTS migration (number BIGINT PRIMARY KEY, name TEXT NOT NULL, sum TEXT NOT NULL)"))
	if err != nil {
		return false, err
	}
	applied, err := queryAll(ctx, tx, scanMigration, "SELECT number, name, sum FROM migration ORDER BY number")
	if err != nil {
		return false, err
	}
	missing, err := missingMigrations(known, applied)
	if err != nil || len(missing) == 0 {
		return false, err
	}
	if len(applied) > 0 {
		missing = missing[:1]
	}
	for _, m := range missing {
		if _, err := tx.ExecContext(ctx, db.translate(m.text)); err != nil {
			return false, sallyport.Wrap("migrate store", sallyport.KindOf(fault(err)), m.name, err)
		}
		if _, err := exec(ctx, tx, "INSERT INTO migration (number, name, sum) VALUES ($1, $2, $3)", m.number, m.name, m.sum); err != nil {
			return false, err
		}
	}
	return true, nil
}

// missingMigrations compares the past of a database with what is known, and
// returns what is missing.
func missingMigrations(known, applied []migration) ([]migration, error) {
	const op = "migrate store"
	for i, old := range applied {
		switch {
		case i >= len(known) || old.number > known[i].number && old.number > known[len(known)-1].number:
			return nil, sallyport.E(op, sallyport.Conflict, fmt.Sprintf("the database has migration %s, which this program does not know", old.name),
				"start the newer program that made it, or restore a backup from before")
		case old.number != known[i].number:
			return nil, sallyport.E(op, sallyport.Conflict, fmt.Sprintf("the database has migration %s where this program has %s", old.name, known[i].name),
				"migrations are applied in the order of their numbers: use the program that made this database, or a new one")
		case old.sum != known[i].sum:
			return nil, sallyport.E(op, sallyport.Conflict, fmt.Sprintf("migration %s is not the text that made the database", old.name),
				"use the program that made this database")
		}
	}
	return known[len(applied):], nil
}

func scanMigration(row scanner) (m migration, err error) {
	err = row.Scan(&m.number, &m.name, &m.sum)
	return m, err
}

// loadMigrations reads NNNN_name.sql files in the order of their numbers.
func loadMigrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "migrations/*.sql") // sorted
	if err != nil {
		return nil, err
	}
	var all []migration
	for _, path := range names {
		text, err := fs.ReadFile(files, path)
		if err != nil {
			return nil, err
		}
		name := strings.TrimPrefix(path, "migrations/")
		digits, _, ok := strings.Cut(name, "_")
		number, err := strconv.ParseInt(digits, 10, 64)
		if !ok || err != nil || len(digits) != 4 || number <= 0 {
			return nil, fmt.Errorf("migration %s: the name is not NNNN_name.sql", name)
		}
		if len(all) > 0 && all[len(all)-1].number == number {
			return nil, fmt.Errorf("migration %s: the number is taken by %s", name, all[len(all)-1].name)
		}
		sum := sha256.Sum256(text)
		all = append(all, migration{number, name, hex.EncodeToString(sum[:]), string(text)})
	}
	return all, nil
}

var wordText = regexp.MustCompile(`\bTEXT\b`)

// translate puts the engine's words into the text of a migration.
func (db *DB) translate(text string) string {
	if !db.postgres {
		return strings.NewReplacer("{{blob}}", "BLOB", "{{rowid}}", "INTEGER PRIMARY KEY", "{{serial}}", "INTEGER PRIMARY KEY AUTOINCREMENT").Replace(text)
	}
	// The server's own collation would sort and compare names by the rules of some language.
	text = wordText.ReplaceAllString(text, `TEXT COLLATE "C"`)
	return strings.NewReplacer("{{blob}}", "BYTEA", "{{rowid}}", "BIGINT PRIMARY KEY", "{{serial}}", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY").Replace(text)
}
