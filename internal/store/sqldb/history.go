package sqldb

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"unicode/utf8"

	"sallyport/internal/audit/history"
)

// History returns the store of the search index.
func (db *DB) History() history.Store { return historyStore{db} }

type historyStore struct{ db *DB }

const historyColumns = "seq, at, type, who, action, resource, outcome, decision, facts, reason"

// Put implements history.Store.
func (s historyStore) Put(ctx context.Context, rows []history.Row, next uint64) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		insert, err := tx.PrepareContext(ctx, "INSERT INTO audit_event ("+historyColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (seq) DO NOTHING")
		if err != nil {
			return err
		}
		defer insert.Close()
		for _, r := range rows {
			if _, err := insert.ExecContext(ctx, int64(r.Seq), toMicros(r.At), string(r.Type), string(r.Who), string(r.Action), r.On, r.Outcome, r.Decision, r.Facts, r.Reason); err != nil {
				return err
			}
		}
		_, err = exec(ctx, tx, "INSERT INTO audit_cursor (one, next) VALUES (1, $1) ON CONFLICT (one) DO UPDATE SET next = excluded.next", int64(next))
		return err
	})
}

// Next implements history.Store.
func (s historyStore) Next(ctx context.Context) (uint64, error) {
	n, err := queryOne(ctx, s.db.reader, scanInt, "SELECT COALESCE(MAX(next), 0) FROM audit_cursor")
	return uint64(n), err
}

// Find implements history.Store.
func (s historyStore) Find(ctx context.Context, q history.Query) ([]history.Row, error) {
	w := where{}
	var types []any
	for _, t := range q.Types {
		types = append(types, string(t))
	}
	w.add(len(types) > 0, "type IN (?)", types...)
	w.add(q.Who != "", "who <> '' AND who = ?", string(q.Who))
	w.add(q.Action != "", "action = ?", string(q.Action))
	on, open := strings.CutSuffix(q.On, "*")
	w.add(q.On != "" && !open, "resource = ?", on)
	w.add(open && on != "", "substr(resource, 1, ?) = ?", int64(utf8.RuneCountInString(on)), on)
	w.add(q.Outcome != "", "outcome = ?", q.Outcome)
	w.add(q.Decision != "", "decision <> '' AND decision = ?", q.Decision)
	w.add(q.Facts != "", "facts <> '' AND facts = ?", q.Facts)
	w.add(!q.Since.IsZero(), "at >= ?", toMicros(q.Since))
	w.add(!q.Until.IsZero(), "at < ?", toMicros(q.Until))
	w.add(q.Before > 0, "seq < ?", int64(q.Before))
	w.args = append(w.args, int64(q.Most))
	return queryAll(ctx, s.db.reader, scanHistory, fmt.Sprintf("SELECT "+historyColumns+" FROM audit_event%s ORDER BY seq DESC LIMIT $%d", w.text(), len(w.args)), w.args...)
}

// A where is a condition made of fixed terms: only the values come from outside,
// as parameters.
type where struct {
	terms []string
	args  []any
}

// add adds a term, in which each "?" stands for one value; the last "?" for all
// values that are left.
func (w *where) add(set bool, term string, values ...any) {
	if !set {
		return
	}
	parts := strings.Split(term, "?")
	var b strings.Builder
	for i, part := range parts {
		b.WriteString(part)
		n := 0
		switch {
		case i == len(parts)-2:
			n = len(values)
		case i < len(parts)-2:
			n = 1
		}
		for k := range n {
			if k > 0 {
				b.WriteString(", ")
			}
			w.args = append(w.args, values[k])
			fmt.Fprintf(&b, "$%d", len(w.args))
		}
		values = values[n:]
	}
	w.terms = append(w.terms, b.String())
}

func (w *where) text() string {
	if len(w.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.terms, " AND ")
}

// Reset implements history.Store.
func (s historyStore) Reset(ctx context.Context) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		if _, err := exec(ctx, tx, "DELETE FROM audit_cursor"); err != nil {
			return err
		}
		_, err := exec(ctx, tx, "DELETE FROM audit_event")
		return err
	})
}

func scanHistory(row scanner) (r history.Row, err error) {
	var seq, at int64
	err = row.Scan(&seq, &at, (*string)(&r.Type), (*string)(&r.Who), (*string)(&r.Action), &r.On, &r.Outcome, &r.Decision, &r.Facts, &r.Reason)
	r.Seq, r.At = uint64(seq), fromMicros(at)
	return r, err
}
