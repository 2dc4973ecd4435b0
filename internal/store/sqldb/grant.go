package sqldb

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/grant"
)

// Grant returns the store of just-in-time grants.
func (db *DB) Grant() grant.Store { return grantStore{db} }

type grantStore struct{ db *DB }

const grantColumns = "id, request, principal, person, actions, ref, begins, ends, why, approved_by, revoked_at, revoked_by, task, seen, scope"

// Insert implements grant.Store.
func (s grantStore) Insert(ctx context.Context, g grant.Grant) error {
	return s.db.write(ctx, []Kind{Grant}, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "INSERT INTO jit_grant ("+grantColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
			g.ID, g.Request, string(g.Principal), string(g.Person), joinWords(g.Actions), g.Ref.String(), toMicros(g.From), toMicros(g.Until),
			g.Why, joinWords(g.ApprovedBy), toMicros(g.RevokedAt), string(g.RevokedBy), g.Task.String(), toMicros(g.Seen), joinWords(g.ScopeText()))
		return err
	})
}

// Get implements grant.Store.
func (s grantStore) Get(ctx context.Context, id string) (grant.Grant, error) {
	return queryOne(ctx, s.db.reader, scanGrant, "SELECT "+grantColumns+" FROM jit_grant WHERE id = $1", id)
}

// Active implements grant.Store.
func (s grantStore) Active(ctx context.Context, now time.Time, limit int) ([]grant.Grant, error) {
	return queryAll(ctx, s.db.reader, scanGrant, "SELECT "+grantColumns+" FROM jit_grant"+
		" WHERE begins <= $1 AND ends > $1 AND revoked_at = 0 AND (task <> 'lease' AND task NOT LIKE 'lease:%' OR seen > 0) ORDER BY begins, id LIMIT $2", toMicros(now), limit)
}

// List implements grant.Store.
func (s grantStore) List(ctx context.Context, principal sallyport.PrincipalID, limit int) ([]grant.Grant, error) {
	return queryAll(ctx, s.db.reader, scanGrant, "SELECT "+grantColumns+" FROM jit_grant"+
		" WHERE $1 = '' OR principal = $1 ORDER BY begins DESC, id LIMIT $2", string(principal), limit)
}

// Revoke implements grant.Store.
func (s grantStore) Revoke(ctx context.Context, id string, by sallyport.PrincipalID, at time.Time) (grant.Grant, error) {
	var g grant.Grant
	err := s.db.write(ctx, []Kind{Grant}, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "UPDATE jit_grant SET revoked_at = $2, revoked_by = $3 WHERE id = $1 AND revoked_at = 0",
			id, toMicros(at), string(by))
		if err != nil {
			return err
		}
		g, err = queryOne(ctx, tx, scanGrant, "SELECT "+grantColumns+" FROM jit_grant WHERE id = $1", id)
		return err
	})
	return g, err
}

// Touch implements grant.Store. Only the first time changes what is permitted.
func (s grantStore) Touch(ctx context.Context, id string, at time.Time) (grant.Grant, error) {
	g, err := s.Get(ctx, id)
	if err != nil {
		return g, err
	}
	var changed []Kind
	if g.Seen.IsZero() {
		changed = []Kind{Grant}
	}
	err = s.db.write(ctx, changed, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "UPDATE jit_grant SET seen = $2 WHERE id = $1 AND revoked_at = 0 AND seen < $2", id, toMicros(at))
		if err != nil {
			return err
		}
		g, err = queryOne(ctx, tx, scanGrant, "SELECT "+grantColumns+" FROM jit_grant WHERE id = $1", id)
		return err
	})
	return g, err
}

// RevokePerson implements grant.Store.
func (s grantStore) RevokePerson(ctx context.Context, person, by sallyport.PrincipalID, at time.Time) (int, error) {
	var n int64
	err := s.db.write(ctx, []Kind{Grant}, func(tx *sql.Tx) error {
		var err error
		n, err = exec(ctx, tx, "UPDATE jit_grant SET revoked_at = $2, revoked_by = $3 WHERE person = $1 AND ends > $2 AND revoked_at = 0",
			string(person), toMicros(at), string(by))
		return err
	})
	return int(n), err
}

func scanGrant(row scanner) (g grant.Grant, err error) {
	var actions, ref, approvedBy, task, scope string
	var begins, ends, revoked, seen int64
	err = row.Scan(&g.ID, &g.Request, &g.Principal, &g.Person, &actions, &ref, &begins, &ends, &g.Why, &approvedBy, &revoked, &g.RevokedBy, &task, &seen, &scope)
	if err != nil {
		return g, err
	}
	g.Actions, g.ApprovedBy = splitWords[sallyport.Action](actions), splitWords[sallyport.PrincipalID](approvedBy)
	g.From, g.Until, g.RevokedAt = fromMicros(begins), fromMicros(ends), fromMicros(revoked)
	g.Seen = fromMicros(seen)
	if g.Task, err = grant.ParseTask(task); err != nil {
		return g, err
	}
	if g.Scope, err = grant.ParseScope(splitNames(scope)); err != nil {
		return g, err
	}
	g.Ref, err = sallyport.ParseRef(ref)
	return g, err
}

// joinWords keeps names, which hold no spaces, in one column.
func joinWords[T ~string](all []T) string {
	words := make([]string, len(all))
	for i, one := range all {
		words[i] = string(one)
	}
	return strings.Join(words, " ")
}

// splitWords reads what joinWords wrote.
func splitWords[T ~string](s string) []T {
	var all []T
	for word := range strings.FieldsSeq(s) {
		all = append(all, T(word))
	}
	return all
}
