package sqldb

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/habit"
)

// Habit returns the store of sign-ins and of what is held against people.
func (db *DB) Habit() interface {
	habit.Store
	habit.Raises
} {
	return habitStore{db}
}

type habitStore struct{ db *DB }

const (
	loginColumns = "seq, who, at, session, prefix, asn, country, agent, browser, os, kind, device, score, reasons"
	raiseColumns = "id, target, points, why, from_at, until, settles"
)

// Put implements habit.Store.
func (s habitStore) Put(ctx context.Context, rows []habit.Row, next uint64) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		for _, r := range rows {
			reasons, err := json.Marshal(r.Reasons)
			if err != nil {
				return err
			}
			l := r.Login
			_, err = exec(ctx, tx, "INSERT INTO risk_login ("+loginColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
				ON CONFLICT (seq) DO NOTHING`, int64(r.Seq), string(r.Who), toMicros(r.At), r.Session, l.Prefix, l.ASN, l.Country, l.Agent, l.Browser, l.OS, l.Kind,
				r.Device, int64(r.Score), string(reasons))
			if err != nil {
				return err
			}
		}
		return setCursor(ctx, tx, "habit", next)
	})
}

// Next implements habit.Store.
func (s habitStore) Next(ctx context.Context) (uint64, error) {
	return cursor(ctx, s.db.reader, "habit")
}

// After implements habit.Store.
func (s habitStore) After(ctx context.Context, seq uint64, most int) ([]habit.Row, error) {
	return queryAll(ctx, s.db.reader, scanLogin, "SELECT "+loginColumns+" FROM risk_login WHERE seq > $1 AND session <> '' ORDER BY seq LIMIT $2", int64(seq), most)
}

// Failures implements habit.Store.
func (s habitStore) Failures(ctx context.Context, who sallyport.PrincipalID, since time.Time) (int, error) {
	n, err := queryOne(ctx, s.db.reader, scanInt, "SELECT count(*) FROM risk_login WHERE session = '' AND who = $1 AND at >= $2", string(who), toMicros(since))
	return int(n), err
}

// Prune implements habit.Store.
func (s habitStore) Prune(ctx context.Context, before time.Time) (int, error) {
	var gone int64
	err := s.db.write(ctx, nil, func(tx *sql.Tx) (err error) {
		if _, err = exec(ctx, tx, "DELETE FROM risk_raise WHERE until < $1", toMicros(before)); err == nil {
			gone, err = exec(ctx, tx, "DELETE FROM risk_login WHERE at < $1", toMicros(before))
		}
		return err
	})
	return int(gone), err
}

// Reset implements habit.Store.
func (s habitStore) Reset(ctx context.Context) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		if _, err := exec(ctx, tx, "DELETE FROM risk_login"); err != nil {
			return err
		}
		return setCursor(ctx, tx, "habit", 0)
	})
}

// InsertRaise implements habit.Raises.
func (s habitStore) InsertRaise(ctx context.Context, r habit.Raise) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "INSERT INTO risk_raise ("+raiseColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7)",
			r.ID, r.Target, int64(r.Points), r.Why, toMicros(r.From), toMicros(r.Until), int64(r.Settles))
		return err
	})
}

// RaisesAt implements habit.Raises.
func (s habitStore) RaisesAt(ctx context.Context, at time.Time, targets []string, most int) ([]habit.Raise, error) {
	args, where := []any{toMicros(at), most}, ""
	if len(targets) > 0 {
		marks := make([]string, len(targets))
		for i, t := range targets {
			args = append(args, t)
			marks[i] = fmt.Sprintf("$%d", len(args))
		}
		where = " AND target IN (" + strings.Join(marks, ", ") + ")"
	}
	return queryAll(ctx, s.db.reader, scanRaise, "SELECT "+raiseColumns+" FROM risk_raise WHERE until > $1"+where+" ORDER BY from_at, id LIMIT $2", args...)
}

// EndRaise implements habit.Raises.
func (s habitStore) EndRaise(ctx context.Context, id string, at time.Time) (habit.Raise, error) {
	var r habit.Raise
	err := s.db.write(ctx, nil, func(tx *sql.Tx) (err error) {
		if r, err = queryOne(ctx, tx, scanRaise, "SELECT "+raiseColumns+" FROM risk_raise WHERE id = $1 AND until > $2", id, toMicros(at)); err != nil {
			return err
		}
		r.Until = at
		return execOne(ctx, tx, "UPDATE risk_raise SET until = $2 WHERE id = $1", id, toMicros(at))
	})
	return r, err
}

// cursor is how far a follower has read the trail.
func cursor(ctx context.Context, q querier, name string) (uint64, error) {
	n, err := queryOne(ctx, q, scanInt, "SELECT coalesce(max(next), 0) FROM tail_cursor WHERE name = $1", name)
	return uint64(n), err
}

func setCursor(ctx context.Context, tx *sql.Tx, name string, next uint64) error {
	_, err := exec(ctx, tx, "INSERT INTO tail_cursor (name, next) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET next = excluded.next", name, int64(next))
	return err
}

func scanLogin(row scanner) (r habit.Row, err error) {
	var seq, at int64
	var reasons string
	l := &r.Login
	err = row.Scan(&seq, &r.Who, &at, &r.Session, &l.Prefix, &l.ASN, &l.Country, &l.Agent, &l.Browser, &l.OS, &l.Kind, &r.Device, &r.Score, &reasons)
	if err == nil {
		err = json.Unmarshal([]byte(reasons), &r.Reasons)
	}
	r.Seq, r.At = uint64(seq), fromMicros(at)
	return r, err
}

func scanRaise(row scanner) (r habit.Raise, err error) {
	var from, until int64
	err = row.Scan(&r.ID, &r.Target, &r.Points, &r.Why, &from, &until, &r.Settles)
	r.From, r.Until = fromMicros(from), fromMicros(until)
	return r, err
}
