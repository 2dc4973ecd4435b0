package sqldb

import (
	"context"
	"database/sql"
	"strings"

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
	var types []string
	for _, t := range q.Types {
		types = append(types, string(t))
	}
	on, open := strings.CutSuffix(q.On, "*")
	until := toMicros(q.Until)
	if q.Until.IsZero() {
		until = 1<<62 - 1
	}
	before := int64(1<<62 - 1)
	if q.Before > 0 {
		before = int64(q.Before)
	}
	return queryAll(ctx, s.db.reader, scanHistory, "SELECT "+historyColumns+" FROM audit_event"+
		" WHERE ($1 = '' OR $1 LIKE '%,' || type || ',%') AND ($2 = '' OR who = $2) AND ($3 = '' OR action = $3)"+
		" AND ($4 = '' OR resource = $4 OR ($5 = 1 AND substr(resource, 1, length($4)) = $4))"+
		" AND ($6 = '' OR outcome = $6) AND ($7 = '' OR decision = $7) AND ($8 = '' OR facts = $8)"+
		" AND at >= $9 AND at < $10 AND seq < $11 ORDER BY seq DESC LIMIT $12",
		listed(types), string(q.Who), string(q.Action), on, toFlag(open), q.Outcome, q.Decision, q.Facts, toMicros(q.Since), until, before, int64(q.Most))
}

// listed puts names between commas, for a LIKE over one parameter; "" for none.
func listed(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "," + strings.Join(names, ",") + ","
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
