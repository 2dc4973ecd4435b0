package sqldb

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"sallyport/internal/identity/token/clients"
)

// AddClient implements clients.Store.
func (s Tokens) AddClient(ctx context.Context, c clients.Client) error {
	spec, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "INSERT INTO token_client (id, spec, created, removed) VALUES ($1, $2, $3, 0)", c.ID, string(spec), toMicros(c.Created))
		return err
	})
}

func scanClient(row scanner) (c clients.Client, err error) {
	var spec string
	if err := row.Scan(&spec); err != nil {
		return c, err
	}
	return c, json.Unmarshal([]byte(spec), &c)
}

// FindClient implements clients.Store.
func (s Tokens) FindClient(ctx context.Context, id string) (clients.Client, error) {
	return queryOne(ctx, s.db.reader, scanClient, "SELECT spec FROM token_client WHERE id = $1 AND removed = 0", id)
}

// AllClients implements clients.Store.
func (s Tokens) AllClients(ctx context.Context) ([]clients.Client, error) {
	return queryAll(ctx, s.db.reader, scanClient, "SELECT spec FROM token_client WHERE removed = 0 ORDER BY id LIMIT 1000")
}

// RemoveClient implements clients.Store.
func (s Tokens) RemoveClient(ctx context.Context, id string, at time.Time) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		return execOne(ctx, tx, "UPDATE token_client SET removed = $1 WHERE id = $2 AND removed = 0", toMicros(at), id)
	})
}

// UseAssertion implements clients.Store.
func (s Tokens) UseAssertion(ctx context.Context, client, id string, expires time.Time) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "INSERT INTO token_assertion (client, id, expires) VALUES ($1, $2, $3)", client, id, toMicros(expires))
		return err
	})
}
