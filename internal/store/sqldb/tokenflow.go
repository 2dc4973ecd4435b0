package sqldb

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/codes"
)

const pushedColumns = "hash, client, request, key_id, created, expires, used"

func scanPushed(row scanner) (codes.Pushed, error) {
	var p codes.Pushed
	var hash []byte
	var created, expires, used int64
	err := row.Scan(&hash, &p.Client, &p.Request, &p.Key, &created, &expires, &used)
	copy(p.Hash[:], hash)
	p.Created, p.Expires, p.Used = fromMicros(created), fromMicros(expires), fromMicros(used)
	return p, err
}

// AddPushed implements codes.FlowStore.
func (s Tokens) AddPushed(ctx context.Context, p codes.Pushed) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "INSERT INTO token_pushed ("+pushedColumns+") VALUES ($1, $2, $3, $4, $5, $6, 0)",
			p.Hash[:], p.Client, p.Request, p.Key, toMicros(p.Created), toMicros(p.Expires))
		return err
	})
}

// UsePushed implements codes.FlowStore.
func (s Tokens) UsePushed(ctx context.Context, h token.Hash, client string, at time.Time) (p codes.Pushed, err error) {
	err = s.db.write(ctx, nil, func(tx *sql.Tx) error {
		p, err = queryOne(ctx, tx, scanPushed, "UPDATE token_pushed SET used = $1 WHERE hash = $2 AND client = $3 AND used = 0 AND expires > $1 RETURNING "+pushedColumns,
			toMicros(at), h[:], client)
		return err
	})
	return p, err
}

// FindPushed implements codes.FlowStore.
func (s Tokens) FindPushed(ctx context.Context, h token.Hash, client string, since time.Time) (codes.Pushed, error) {
	return queryOne(ctx, s.db.reader, scanPushed, "SELECT "+pushedColumns+" FROM token_pushed WHERE hash = $1 AND client = $2 AND used >= $3 AND used > 0",
		h[:], client, toMicros(since))
}

// DropPushed implements codes.FlowStore.
func (s Tokens) DropPushed(ctx context.Context, h token.Hash) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		return execOne(ctx, tx, "DELETE FROM token_pushed WHERE hash = $1", h[:])
	})
}

// KeepConsent implements codes.FlowStore.
func (s Tokens) KeepConsent(ctx context.Context, c codes.Consent) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "INSERT INTO token_consent (principal, client, scope, audiences, openid, given) VALUES ($1, $2, $3, $4, $5, $6) "+
			"ON CONFLICT (principal, client) DO UPDATE SET scope = excluded.scope, audiences = excluded.audiences, openid = excluded.openid, given = excluded.given",
			string(c.Principal), c.Client, c.Scope.String(), strings.Join(c.Audiences, " "), toFlag(c.OpenID), toMicros(c.Given))
		return err
	})
}

// Consents implements codes.FlowStore.
func (s Tokens) Consents(ctx context.Context, id sallyport.PrincipalID) ([]codes.Consent, error) {
	return queryAll(ctx, s.db.reader, func(row scanner) (codes.Consent, error) {
		c := codes.Consent{Principal: id}
		var scope, audiences string
		var openid, given int64
		err := row.Scan(&c.Client, &scope, &audiences, &openid, &given)
		c.Scope, c.Audiences, c.OpenID, c.Given = strings.Fields(scope), strings.Fields(audiences), openid != 0, fromMicros(given)
		return c, err
	}, "SELECT client, scope, audiences, openid, given FROM token_consent WHERE principal = $1 ORDER BY client LIMIT 1000", string(id))
}

// DropConsent implements codes.FlowStore.
func (s Tokens) DropConsent(ctx context.Context, id sallyport.PrincipalID, client string) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		return execOne(ctx, tx, "DELETE FROM token_consent WHERE principal = $1 AND client = $2", string(id), client)
	})
}
