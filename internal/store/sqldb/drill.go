package sqldb

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/govern/drill"
)

// Drill returns the store of drills and of who takes part in them.
func (db *DB) Drill() drill.Store { return drillStore{db} }

type drillStore struct{ db *DB }

const selectLures = `SELECT l.link, l.drill, l.who, l.prompts, l.due, l.answer, l.answered, l.learned, d.id, d.kind, d.by_whom, d.begun, d.ends
	FROM drill_lure l JOIN drill d ON d.id = l.drill`

// Volunteer implements [drill.Store].
func (s drillStore) Volunteer(ctx context.Context, who sallyport.PrincipalID, since time.Time) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		if !since.IsZero() {
			_, err := exec(ctx, tx, "INSERT INTO drill_volunteer (who, since) VALUES ($1, $2) ON CONFLICT (who) DO NOTHING", string(who), toMicros(since))
			return err
		}
		if _, err := exec(ctx, tx, "DELETE FROM drill_volunteer WHERE who = $1", string(who)); err != nil {
			return err
		}
		_, err := exec(ctx, tx, "UPDATE drill_lure SET due = 0 WHERE who = $1", string(who))
		return err
	})
}

// Volunteers implements [drill.Store].
func (s drillStore) Volunteers(ctx context.Context) (map[sallyport.PrincipalID]time.Time, error) {
	type row struct {
		who   sallyport.PrincipalID
		since time.Time
	}
	all, err := queryAll(ctx, s.db.reader, func(r scanner) (x row, err error) {
		var since int64
		err = r.Scan(&x.who, &since)
		x.since = fromMicros(since)
		return x, err
	}, "SELECT who, since FROM drill_volunteer")
	out := make(map[sallyport.PrincipalID]time.Time, len(all))
	for _, x := range all {
		out[x.who] = x.since
	}
	return out, err
}

// Begin implements [drill.Store].
func (s drillStore) Begin(ctx context.Context, d drill.Drill, lures []drill.Lure) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "INSERT INTO drill (id, kind, by_whom, begun, ends) VALUES ($1, $2, $3, $4, $5)", d.ID, string(d.Kind), string(d.By), toMicros(d.Begun), toMicros(d.Ends))
		if err != nil {
			return err
		}
		for _, l := range lures {
			free, err := queryOne(ctx, tx, scanInt, `SELECT COUNT(*) FROM drill_volunteer v WHERE v.who = $1 AND NOT EXISTS
				(SELECT 1 FROM drill_lure l JOIN drill d ON d.id = l.drill WHERE l.who = v.who AND l.answer = '' AND d.ends > $2)`, string(l.Who), toMicros(d.Begun))
			if err == nil && free != 1 {
				err = sallyport.E("start drill", sallyport.Conflict, "another drill began meanwhile, or somebody left", "try again")
			}
			if err != nil {
				return err
			}
			_, err = exec(ctx, tx, "INSERT INTO drill_lure (link, drill, who, prompts, due, answer, answered, learned) VALUES ($1, $2, $3, $4, $5, '', 0, 0)",
				l.Link, d.ID, string(l.Who), l.Prompts, toMicros(l.Due))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Drills implements [drill.Store].
func (s drillStore) Drills(ctx context.Context, most int) ([]drill.Drill, error) {
	return queryAll(ctx, s.db.reader, func(r scanner) (d drill.Drill, err error) {
		var begun, ends int64
		err = r.Scan(&d.ID, &d.Kind, &d.By, &begun, &ends)
		d.Begun, d.Ends = fromMicros(begun), fromMicros(ends)
		return d, err
	}, "SELECT id, kind, by_whom, begun, ends FROM drill ORDER BY begun DESC, id LIMIT $1", most)
}

// Lures implements [drill.Store].
func (s drillStore) Lures(ctx context.Context, f drill.Filter) ([]drill.Sent, error) {
	var where []string
	var args []any
	add := func(has bool, clause string, value any) {
		if has {
			args = append(args, value)
			where = append(where, fmt.Sprintf(clause, len(args)))
		}
	}
	add(f.Drill != "", "l.drill = $%d", f.Drill)
	add(f.Link != "", "l.link = $%d", f.Link)
	add(f.Who != "", "l.who = $%d", string(f.Who))
	add(!f.Due.IsZero(), "l.due > 0 AND l.due <= $%d", toMicros(f.Due))
	add(!f.Open.IsZero(), "l.answer = '' AND d.ends > $%d", toMicros(f.Open))
	query := selectLures
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	return queryAll(ctx, s.db.reader, scanLure, query+" ORDER BY d.begun DESC, l.link", args...)
}

// Update implements [drill.Store].
func (s drillStore) Update(ctx context.Context, link string, change func(*drill.Sent) error) (drill.Sent, error) {
	var x drill.Sent
	err := s.db.write(ctx, nil, func(tx *sql.Tx) (err error) {
		if x, err = queryOne(ctx, tx, scanLure, selectLures+" WHERE l.link = $1", link); err != nil {
			return err
		}
		if err = change(&x); err != nil {
			return err
		}
		return execOne(ctx, tx, "UPDATE drill_lure SET prompts = $2, due = $3, answer = $4, answered = $5, learned = $6 WHERE link = $1",
			link, x.Prompts, toMicros(x.Due), string(x.Answer), toMicros(x.Answered), toMicros(x.Learned))
	})
	if err != nil {
		return drill.Sent{}, err
	}
	return x, nil
}

func scanLure(r scanner) (x drill.Sent, err error) {
	var due, answered, learned, begun, ends int64
	err = r.Scan(&x.Link, &x.Drill, &x.Who, &x.Prompts, &due, &x.Answer, &answered, &learned, &x.Of.ID, &x.Of.Kind, &x.Of.By, &begun, &ends)
	x.Due, x.Answered, x.Learned, x.Of.Begun, x.Of.Ends = fromMicros(due), fromMicros(answered), fromMicros(learned), fromMicros(begun), fromMicros(ends)
	return x, err
}
