package sqldb

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/clients"
	"sallyport/internal/identity/token/codes"
	"sallyport/internal/identity/token/keys"
)

// Tokens keeps signing keys, token families, codes and clients: the stores of
// identity/token and of the rooms below it.
type Tokens struct{ db *DB }

var (
	_ keys.Store        = Tokens{}
	_ token.FamilyStore = Tokens{}
	_ codes.Store       = Tokens{}
	_ codes.FlowStore   = Tokens{}
	_ clients.Store     = Tokens{}
)

// Token returns the store of identity/token.
func (db *DB) Token() Tokens { return Tokens{db} }

// SigningKeys implements keys.Store.
func (s Tokens) SigningKeys(ctx context.Context) ([]keys.Row, error) {
	return queryAll(ctx, s.db.reader, func(row scanner) (k keys.Row, err error) {
		var from int64
		err = row.Scan(&k.Generation, &k.ID, &from, &k.Sealed)
		k.From = fromMicros(from)
		return k, err
	}, "SELECT generation, id, from_at, sealed FROM token_key ORDER BY generation LIMIT 1000")
}

// AddSigningKey implements keys.Store.
func (s Tokens) AddSigningKey(ctx context.Context, k keys.Row) error {
	return s.db.write(ctx, []Kind{Key}, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "INSERT INTO token_key (generation, id, from_at, sealed) VALUES ($1, $2, $3, $4)",
			k.Generation, k.ID, toMicros(k.From), k.Sealed)
		return err
	})
}

// DropSigningKeys implements keys.Store.
func (s Tokens) DropSigningKeys(ctx context.Context, below int64) error {
	return s.db.write(ctx, []Kind{Key}, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "DELETE FROM token_key WHERE generation < $1", below)
		return err
	})
}

const familyColumns = "f.id, f.principal, f.person, f.client, f.session, f.scope, f.audiences, f.assurance, f.methods, " +
	"f.auth_time, f.created, f.expires, f.issued, f.revoked, f.reason, f.key_id, f.actors, f.purpose, f.openid, f.detailed"

// familyRow receives the columns of familyColumns.
type familyRow struct {
	f                         token.Family
	scope, audiences, methods string
	times                     [5]int64
	actors                    string
	openid, detailed          int64
}

func (r *familyRow) into() []any {
	f := &r.f
	return []any{&f.ID, &f.Principal, &f.Person, &f.Client, &f.Session, &r.scope, &r.audiences, &f.Assurance, &r.methods,
		&r.times[0], &r.times[1], &r.times[2], &r.times[3], &r.times[4], &f.Reason, &f.Key, &r.actors, &f.Purpose, &r.openid, &r.detailed}
}

func (r *familyRow) family() token.Family {
	f := r.f
	f.Scope, f.Audiences, f.Methods = strings.Fields(r.scope), strings.Fields(r.audiences), strings.Fields(r.methods)
	f.Actors, f.OpenID = splitIDs(r.actors), r.openid != 0
	f.Detailed = r.detailed != 0
	for i, t := range []*time.Time{&f.AuthTime, &f.Created, &f.Expires, &f.LastIssued, &f.Revoked} {
		*t = fromMicros(r.times[i])
	}
	return f
}

func scanFamily(row scanner) (token.Family, error) {
	var r familyRow
	err := row.Scan(r.into()...)
	return r.family(), err
}

// StartFamily implements token.FamilyStore.
func (s Tokens) StartFamily(ctx context.Context, f token.Family) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, `INSERT INTO token_family (id, principal, person, client, session, scope, audiences, assurance,
			methods, auth_time, created, expires, issued, revoked, reason, key_id, actors, purpose, openid, detailed)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)`,
			f.ID, string(f.Principal), string(f.Person), f.Client, f.Session, f.Scope.String(), strings.Join(f.Audiences, " "),
			int(f.Assurance), strings.Join(f.Methods, " "), toMicros(f.AuthTime), toMicros(f.Created), toMicros(f.Expires),
			toMicros(f.LastIssued), toMicros(f.Revoked), f.Reason, f.Key, joinIDs(f.Actors), f.Purpose, toFlag(f.OpenID), toFlag(f.Detailed))
		return err
	})
}

// selected returns the condition that a selector stands for, and its value.
func selected(sel token.Selector) (column, value string, err error) {
	set := 0
	for name, v := range map[string]string{
		"id": sel.Family, "session": sel.Session, "principal": string(sel.Principal), "person": string(sel.Person), "client": sel.Client,
	} {
		if v != "" {
			column, value = name, v
			set++
		}
	}
	if set != 1 {
		return "", "", sallyport.Wrap("select token families", sallyport.Other, "", fmt.Errorf("%d fields of the selector are set, want one", set))
	}
	return column, value, nil
}

// Families implements token.FamilyStore.
func (s Tokens) Families(ctx context.Context, sel token.Selector) ([]token.Family, error) {
	column, value, err := selected(sel)
	if err != nil {
		return nil, err
	}
	return queryAll(ctx, s.db.reader, scanFamily,
		"SELECT "+familyColumns+" FROM token_family f WHERE f."+column+" = $1 ORDER BY f.created DESC, f.id LIMIT 1000", value)
}

const liveFamily = "(SELECT id FROM token_family WHERE revoked = 0 AND expires > $1)"

// AddRefresh implements token.FamilyStore.
func (s Tokens) AddRefresh(ctx context.Context, r token.Refresh) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error { return addRefresh(ctx, tx, r) })
}

func addRefresh(ctx context.Context, tx *sql.Tx, r token.Refresh) error {
	at := toMicros(r.Created)
	n, err := exec(ctx, tx, "UPDATE token_family SET issued = $1, key_id = CASE WHEN $3 = '' THEN key_id ELSE $3 END "+
		"WHERE id = $2 AND revoked = 0 AND expires > $1 AND ($3 = '' OR key_id = '' OR key_id = $3)", at, r.Family, r.Key)
	if err == nil && n == 0 {
		err = errNotLive()
	}
	if err != nil {
		return err
	}
	_, err = exec(ctx, tx, "INSERT INTO token_refresh (hash, family, created, expires, used) VALUES ($1, $2, $3, $4, $5)",
		r.Hash[:], r.Family, at, toMicros(r.Expires), toMicros(r.Used))
	return err
}

func errNotLive() error {
	return sallyport.E("store token", sallyport.Conflict, "it was used, or its family is not live", "")
}

// FindRefresh implements token.FamilyStore.
func (s Tokens) FindRefresh(ctx context.Context, h token.Hash) (token.Refresh, token.Family, error) {
	type both struct {
		refresh token.Refresh
		family  token.Family
	}
	got, err := queryOne(ctx, s.db.reader, func(row scanner) (both, error) {
		var f familyRow
		var created, expires, used int64
		err := row.Scan(append([]any{&created, &expires, &used}, f.into()...)...)
		family := f.family()
		return both{token.Refresh{Hash: h, Family: family.ID, Created: fromMicros(created), Expires: fromMicros(expires), Used: fromMicros(used)}, family}, err
	}, "SELECT r.created, r.expires, r.used, "+familyColumns+" FROM token_refresh r JOIN token_family f ON f.id = r.family WHERE r.hash = $1", h[:])
	return got.refresh, got.family, err
}

// RotateRefresh implements token.FamilyStore. The update decides by itself who is
// first, even where transactions run side by side.
func (s Tokens) RotateRefresh(ctx context.Context, used token.Hash, next token.Refresh) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := queryOne(ctx, tx, scanText, "UPDATE token_refresh SET used = $1 WHERE hash = $2 AND family = $3 AND used = 0 AND expires > $1 "+
			"AND family IN "+liveFamily+" RETURNING family", toMicros(next.Created), used[:], next.Family)
		if sallyport.KindOf(err) == sallyport.NotFound {
			return errNotLive()
		}
		if err != nil {
			return err
		}
		return addRefresh(ctx, tx, next)
	})
}

// RevokeFamilies implements token.FamilyStore.
func (s Tokens) RevokeFamilies(ctx context.Context, sel token.Selector, at time.Time, reason string) ([]token.Revoked, error) {
	column, value, err := selected(sel)
	if err != nil {
		return nil, err
	}
	var dead []token.Revoked
	err = s.db.write(ctx, []Kind{Session}, func(tx *sql.Tx) error {
		var err error
		dead, err = queryAll(ctx, tx, scanRevoked, "UPDATE token_family SET revoked = $1, reason = $2 WHERE "+column+
			" = $3 AND revoked = 0 RETURNING id, revoked, reason", toMicros(at), reason, value)
		return err
	})
	return dead, err
}

func scanRevoked(row scanner) (r token.Revoked, err error) {
	var at int64
	err = row.Scan(&r.Family, &at, &r.Reason)
	r.At = fromMicros(at)
	return r, err
}

// Revoked implements token.FamilyStore.
func (s Tokens) Revoked(ctx context.Context, since time.Time) ([]token.Revoked, error) {
	return queryAll(ctx, s.db.reader, scanRevoked,
		"SELECT id, revoked, reason FROM token_family WHERE revoked >= $1 AND revoked > 0 ORDER BY revoked, id", toMicros(since))
}

// Sweep removes codes, device codes, pushed requests, assertions, refresh tokens and families that expired before a time. Families go last: the rest refers to them.
func (s Tokens) Sweep(ctx context.Context, before time.Time) error {
	const gone = "(expires < $1 OR issued = 0 AND created < $1)"
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		for _, statement := range []string{
			"DELETE FROM token_device WHERE expires < $1",
			"DELETE FROM token_pushed WHERE expires < $1",
			"DELETE FROM token_assertion WHERE expires < $1",
			"DELETE FROM token_code WHERE expires < $1 OR family IN (SELECT id FROM token_family WHERE " + gone + ")",
			"DELETE FROM token_refresh WHERE family IN (SELECT id FROM token_family WHERE " + gone + ")",
			"DELETE FROM token_family WHERE " + gone,
		} {
			if _, err := exec(ctx, tx, statement, toMicros(before)); err != nil {
				return err
			}
		}
		return nil
	})
}
