package sqldb

import (
	"context"
	"database/sql"
	"encoding/json"

	"sallyport/internal/authz/approval/signed"
	"sallyport/internal/authz/approver"
)

// Approver returns the store of approvers' keys.
func (db *DB) Approver() approver.Store { return approverStore{db} }

type approverStore struct{ db *DB }

// Append implements approver.Store.
func (s approverStore) Append(ctx context.Context, n int, e signed.Entry) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return s.db.write(ctx, []Kind{Grant}, func(tx *sql.Tx) error { // what is granted depends on it
		_, err := exec(ctx, tx, "INSERT INTO approver (n, entry) VALUES ($1, $2)", n, string(text))
		return err
	})
}

// List implements approver.Store.
func (s approverStore) List(ctx context.Context) ([]signed.Entry, error) {
	return queryAll(ctx, s.db.reader, func(row scanner) (e signed.Entry, err error) {
		var text string
		if err := row.Scan(&text); err != nil {
			return e, err
		}
		return e, json.Unmarshal([]byte(text), &e)
	}, "SELECT entry FROM approver ORDER BY n LIMIT $1", approver.MaxEntries+1)
}
