package sqldb

import (
	"context"
	"database/sql"

	"sallyport/internal/audit/tally"
)

// Tally returns the store of what people did lately.
func (db *DB) Tally() tally.Store { return tallyStore{db} }

type tallyStore struct{ db *DB }

type keptTally struct {
	next int64
	body []byte
}

// Load implements [tally.Store].
func (s tallyStore) Load(ctx context.Context) ([]byte, uint64, error) {
	all, err := queryAll(ctx, s.db.reader, func(row scanner) (k keptTally, err error) {
		err = row.Scan(&k.next, &k.body)
		return k, err
	}, "SELECT next, body FROM tally WHERE one = 1")
	if err != nil || len(all) == 0 {
		return nil, 0, err
	}
	return all[0].body, uint64(max(0, all[0].next)), nil
}

// Save implements [tally.Store].
func (s tallyStore) Save(ctx context.Context, body []byte, next uint64) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "INSERT INTO tally (one, next, body) VALUES (1, $1, $2)"+
			" ON CONFLICT (one) DO UPDATE SET next = excluded.next, body = excluded.body WHERE excluded.next >= tally.next", int64(next), body)
		return err
	})
}
