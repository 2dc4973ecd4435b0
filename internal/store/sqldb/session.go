package sqldb

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"sallyport/internal/identity/session"
	"sallyport/internal/identity/signin"
)

// Session returns the store of sessions.
func (db *DB) Session() session.Store { return sessionStore{db} }

// SignIn returns the store of sign-ins under way.
func (db *DB) SignIn() signin.Store { return flowStore{db} }

type sessionStore struct{ db *DB }

const sessionColumns = `id, principal, person, assurance, methods, auth_time, created, seen, idle_end, abs_end, source, agent, revoked, why,
	idp, idp_sid, idp_sub, device, network, country, risk, risk_reasons`

// Insert implements [session.Store].
func (s sessionStore) Insert(ctx context.Context, h session.Hash, one session.Session) error {
	var kinds []Kind
	if one.Risk > 0 { // the facts of whoever follows must have it before the session is used
		kinds = []Kind{Session}
	}
	return s.db.write(ctx, kinds, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "INSERT INTO session ("+sessionColumns+`, hash)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, '', $13, $14, $15, $16, $17, $18, $19, $20, $21)`,
			one.ID, string(one.Principal), string(one.Person), int64(one.Assurance), strings.Join(one.Methods, " "), toMicros(one.AuthTime),
			toMicros(one.Created), toMicros(one.Seen), toMicros(one.IdleEnd), toMicros(one.End), one.Source, one.Agent,
			one.Upstream.IdP, one.Upstream.Session, one.Upstream.Subject, one.Device, one.Network, one.Country, one.Risk, strings.Join(one.RiskReasons, " "), h[:])
		return err
	})
}

// Sessions implements [session.Store].
func (s sessionStore) Sessions(ctx context.Context, q session.Query, now time.Time) ([]session.Session, error) {
	where, args, err := sessionWhere(q, now)
	if err != nil {
		return nil, err
	}
	return queryAll(ctx, s.db.reader, scanSession, "SELECT "+sessionColumns+" FROM session WHERE "+where+" ORDER BY created DESC, id", args...)
}

// sessionWhere is the condition of a query with exactly one field: an empty one must never mean all.
func sessionWhere(q session.Query, now time.Time) (string, []any, error) {
	set := 0
	for _, given := range []bool{q.Hash != nil, q.ID != "", q.Principal != "", !q.Since.IsZero(), q.Upstream != nil, q.Risky} {
		if given {
			set++
		}
	}
	switch {
	case set != 1:
		return "", nil, errors.New("sessions: a query needs exactly one field")
	case q.Hash != nil:
		return "hash = $1", []any{q.Hash[:]}, nil
	case q.ID != "":
		return "id = $1", []any{q.ID}, nil
	case q.Principal != "":
		return "principal = $1 AND revoked = 0 AND abs_end > $2", []any{string(q.Principal), toMicros(now)}, nil
	case q.Upstream != nil:
		return upstreamWhere(*q.Upstream)
	case q.Risky:
		return "risk > 0 AND revoked = 0 AND abs_end > $1", []any{toMicros(now)}, nil
	}
	return "revoked >= $1 AND revoked > 0", []any{toMicros(q.Since)}, nil
}

// upstreamWhere selects by issuer and by sid, sub or both: an issuer alone would be everybody of it.
func upstreamWhere(u session.Upstream) (string, []any, error) {
	where, args := "revoked = 0 AND idp = $1", []any{u.IdP}
	if u.IdP == "" || u.Session == "" && u.Subject == "" {
		return "", nil, errors.New("sessions: an upstream query needs the issuer, and its sid or sub")
	}
	if u.Session != "" {
		args = append(args, u.Session)
		where += " AND idp_sid = $" + strconv.Itoa(len(args))
	}
	if u.Subject != "" {
		args = append(args, u.Subject)
		where += " AND idp_sub = $" + strconv.Itoa(len(args))
	}
	return where, args, nil
}

// Touch implements [session.Store].
func (s sessionStore) Touch(ctx context.Context, id string, seen, idleEnd time.Time) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "UPDATE session SET seen = $1, idle_end = $2 WHERE id = $3 AND seen < $1", toMicros(seen), toMicros(idleEnd), id)
		return err
	})
}

// Raise implements [session.Store].
func (s sessionStore) Raise(ctx context.Context, old, new session.Hash, one session.Session) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		return execOne(ctx, tx, `UPDATE session SET hash = $1, assurance = $2, methods = $3, auth_time = $4, seen = $5, idle_end = $6, abs_end = $7
			WHERE hash = $8 AND revoked = 0`,
			new[:], int64(one.Assurance), strings.Join(one.Methods, " "), toMicros(one.AuthTime), toMicros(one.Seen), toMicros(one.IdleEnd), toMicros(one.End), old[:])
	})
}

// Revoke implements [session.Store].
func (s sessionStore) Revoke(ctx context.Context, q session.Query, at time.Time, why string) ([]string, error) {
	if q.Hash != nil || !q.Since.IsZero() || q.Risky {
		return nil, errors.New("revoke sessions: by id, principal or upstream only")
	}
	where, args, err := sessionWhere(q, time.Time{}) // those that have expired too: tokens that name them may not have
	if err != nil {
		return nil, err
	}
	var ids []string
	err = s.db.write(ctx, []Kind{Session}, func(tx *sql.Tx) (err error) {
		ids, err = queryAll(ctx, tx, scanText, "SELECT id FROM session WHERE revoked = 0 AND "+where+" ORDER BY id", args...)
		for _, id := range ids {
			if err == nil {
				err = execOne(ctx, tx, "UPDATE session SET revoked = $1, why = $2 WHERE id = $3", toMicros(at), why, id)
			}
			if err == nil {
				_, err = exec(ctx, tx, "UPDATE token_family SET revoked = $1, reason = $2 WHERE session = $3 AND revoked = 0", toMicros(at), why, id)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// Rate implements [session.Store].
func (s sessionStore) Rate(ctx context.Context, id string, r session.Rating) error {
	return s.db.write(ctx, []Kind{Session}, func(tx *sql.Tx) error {
		return execOne(ctx, tx, "UPDATE session SET device = $1, network = $2, country = $3, risk = $4, risk_reasons = $5 WHERE id = $6",
			r.Device, r.Network, r.Country, r.Risk, strings.Join(r.RiskReasons, " "), id)
	})
}

// Prune implements [session.Store].
func (s sessionStore) Prune(ctx context.Context, before time.Time) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "DELETE FROM session WHERE abs_end < $1", toMicros(before))
		return err
	})
}

func scanSession(row scanner) (one session.Session, err error) {
	var methods, reasons string
	var authTime, created, seen, idleEnd, end, revoked int64
	err = row.Scan(&one.ID, &one.Principal, &one.Person, &one.Assurance, &methods, &authTime, &created, &seen, &idleEnd, &end,
		&one.Source, &one.Agent, &revoked, &one.Why,
		&one.Upstream.IdP, &one.Upstream.Session, &one.Upstream.Subject, &one.Device, &one.Network, &one.Country, &one.Risk, &reasons)
	if reasons != "" {
		one.RiskReasons = strings.Fields(reasons)
	}
	one.Methods, one.AuthTime, one.Created, one.Seen = strings.Fields(methods), fromMicros(authTime), fromMicros(created), fromMicros(seen)
	one.IdleEnd, one.End, one.Revoked = fromMicros(idleEnd), fromMicros(end), fromMicros(revoked)
	return one, err
}

type flowStore struct{ db *DB }

const flowColumns = "hash, stage, member, return_to, attempts, chosen_hash, chosen_alone, chosen_at, sealed, expires, rating, proved"

// PutFlow implements [signin.Store].
func (s flowStore) PutFlow(ctx context.Context, f signin.Flow, now time.Time) error {
	rating, err := json.Marshal(f.Found)
	if err != nil {
		return err
	}
	proved, err := json.Marshal(f.Proved)
	if err != nil {
		return err
	}
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		if _, err := exec(ctx, tx, "DELETE FROM signin_flow WHERE expires <= $1", toMicros(now)); err != nil {
			return err
		}
		_, err := exec(ctx, tx, "INSERT INTO signin_flow ("+flowColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
			f.Hash[:], string(f.Stage), string(f.Member), f.Return, f.Attempts, f.Chosen.Hash, toFlag(f.Chosen.Alone), toMicros(f.Chosen.Set), f.Sealed, toMicros(f.Expires), string(rating), string(proved))
		return err
	})
}

// Flow implements [signin.Store].
func (s flowStore) Flow(ctx context.Context, h session.Hash) (signin.Flow, error) {
	return queryOne(ctx, s.db.reader, scanFlow, "SELECT "+flowColumns+" FROM signin_flow WHERE hash = $1", h[:])
}

// TakeFlow implements [signin.Store].
func (s flowStore) TakeFlow(ctx context.Context, h session.Hash) (f signin.Flow, err error) {
	err = s.db.write(ctx, nil, func(tx *sql.Tx) (err error) {
		f, err = queryOne(ctx, tx, scanFlow, "DELETE FROM signin_flow WHERE hash = $1 RETURNING "+flowColumns, h[:])
		return err
	})
	if err != nil {
		return signin.Flow{}, err // also where the commit failed
	}
	return f, nil
}

func scanFlow(row scanner) (f signin.Flow, err error) {
	var alone, set, expires int64
	var rating, proved []byte
	err = row.Scan(scanHash{&f.Hash}, &f.Stage, &f.Member, &f.Return, &f.Attempts, &f.Chosen.Hash, &alone, &set, &f.Sealed, &expires, &rating, &proved)
	if err == nil && len(rating) > 0 {
		err = json.Unmarshal(rating, &f.Found)
	}
	if err == nil && len(proved) > 0 {
		err = json.Unmarshal(proved, &f.Proved)
	}
	f.Chosen.Alone, f.Chosen.Set, f.Expires = alone != 0, fromMicros(set), fromMicros(expires)
	return f, err
}
