// Package sqldbtest owns, for tests, databases whose tables are there already: bringing them up to date takes a second with the
// race detector, and a copy of a file takes none.
//
// It leaves everything else to sqldb, whose Open still checks what it finds.
package sqldbtest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"sallyport/internal/store/sqldb"
)

// budget: one empty database for the whole test binary; making it is what this package saves.
var template struct {
	once sync.Once
	file []byte
	err  error
}

// empty is the file of a database with all tables and nothing in them.
func empty(ctx context.Context) ([]byte, error) {
	dir, err := os.MkdirTemp("", "sallyport-tables-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "empty.db")
	db, err := sqldb.Open(ctx, "sqlite:"+path)
	if err == nil {
		err = db.Close() // the last connection moves the side files into the file
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// Open opens the SQLite database of path as sqldb.Open does. One that is not there begins as a copy with all its tables.
// The caller closes it.
func Open(ctx context.Context, path string) (*sqldb.DB, error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		template.once.Do(func() { template.file, template.err = empty(context.WithoutCancel(ctx)) })
		if template.err != nil {
			return nil, template.err
		}
		if err := os.WriteFile(path, template.file, 0o600); err != nil {
			return nil, err
		}
	}
	return sqldb.Open(ctx, "sqlite:"+path)
}
