package sqldb

import (
	"context"
	"database/sql"
	"time"

	"sallyport"
	"sallyport/internal/identity/token/logout"
)

var _ logout.Store = Tokens{}

// AddNotice implements logout.Store.
func (s Tokens) AddNotice(ctx context.Context, n logout.Notice) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "INSERT INTO logout_notice (session, client, principal, uri, created, due, tries, state) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) "+
			"ON CONFLICT (session, client) DO NOTHING", n.Session, n.Client, string(n.Principal), n.URI, toMicros(n.Created), toMicros(n.Due), n.Tries, string(n.State))
		return err
	})
}

// DueNotices implements logout.Store.
func (s Tokens) DueNotices(ctx context.Context, at time.Time, most int) ([]logout.Notice, error) {
	return queryAll(ctx, s.db.reader, func(row scanner) (n logout.Notice, err error) {
		var created, due int64
		err = row.Scan(&n.Session, &n.Client, &n.Principal, &n.URI, &created, &due, &n.Tries, &n.State)
		n.Created, n.Due = fromMicros(created), fromMicros(due)
		return n, err
	}, "SELECT session, client, principal, uri, created, due, tries, state FROM logout_notice WHERE state = $1 AND due <= $2 ORDER BY due, session, client LIMIT $3",
		string(logout.Waiting), toMicros(at), most)
}

// TakeNotice implements logout.Store.
func (s Tokens) TakeNotice(ctx context.Context, n logout.Notice, due time.Time) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		changed, err := exec(ctx, tx, "UPDATE logout_notice SET tries = tries + 1, due = $1 WHERE session = $2 AND client = $3 AND tries = $4 AND state = $5",
			toMicros(due), n.Session, n.Client, n.Tries, string(logout.Waiting))
		if err == nil && changed == 0 {
			err = sallyport.E("take logout notice", sallyport.Conflict, "another node took it", "")
		}
		return err
	})
}

// CloseNotice implements logout.Store.
func (s Tokens) CloseNotice(ctx context.Context, n logout.Notice, state logout.State) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		return execOne(ctx, tx, "UPDATE logout_notice SET state = $1 WHERE session = $2 AND client = $3", string(state), n.Session, n.Client)
	})
}

// SweepNotices implements logout.Store.
func (s Tokens) SweepNotices(ctx context.Context, before time.Time) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "DELETE FROM logout_notice WHERE created < $1", toMicros(before))
		return err
	})
}
