package sqldb

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"sallyport"
	"sallyport/internal/identity/workload"
)

// Workload returns the store of trust rules.
func (db *DB) Workload() workload.Store { return workloadStore{db} }

type workloadStore struct{ db *DB }

const ruleColumns = "name, kind, issuer, audience, matches, any_subject, keys, keys_url, principal, scope, life, clients, by_whom, created"

// Rules implements [workload.Store].
func (s workloadStore) Rules(ctx context.Context) ([]workload.Rule, error) {
	return queryAll(ctx, s.db.reader, scanRule, "SELECT "+ruleColumns+" FROM trust_rule ORDER BY name")
}

// InsertRule implements [workload.Store].
func (s workloadStore) InsertRule(ctx context.Context, r workload.Rule, most int) error {
	const op = "add trust rule"
	matches, err := json.Marshal(r.Match)
	if err != nil {
		return sallyport.Wrap(op, sallyport.Other, "", err)
	}
	clients, err := json.Marshal(r.Clients)
	if err != nil {
		return sallyport.Wrap(op, sallyport.Other, "", err)
	}
	err = s.db.write(ctx, nil, func(tx *sql.Tx) error {
		n, err := queryOne(ctx, tx, scanInt, "SELECT count(*) FROM trust_rule")
		if err == nil && n >= int64(most) {
			err = sallyport.E(op, sallyport.Busy, fmt.Sprintf("there are %d trust rules", most), "remove those that nobody uses")
		}
		if err != nil {
			return err
		}
		_, err = exec(ctx, tx, "INSERT INTO trust_rule ("+ruleColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
			r.Name, string(r.Kind), r.Issuer, r.Audience, string(matches), toFlag(r.AnySubject), string(r.Keys), r.KeysURL,
			string(r.Principal), r.Scope.String(), r.Life.Microseconds(), string(clients), string(r.By), toMicros(r.Created))
		return err
	})
	if sallyport.KindOf(err) == sallyport.Conflict {
		return sallyport.Wrap(op, sallyport.Conflict, fmt.Sprintf("a trust rule is called %s already", r.Name), err)
	}
	return err
}

// RemoveRule implements [workload.Store].
func (s workloadStore) RemoveRule(ctx context.Context, name string) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		gone, err := exec(ctx, tx, "DELETE FROM trust_rule WHERE name = $1", name)
		if err == nil && gone == 0 {
			err = sallyport.E("remove trust rule", sallyport.NotFound, fmt.Sprintf("no trust rule is called %.80q", name), "")
		}
		return err
	})
}

func scanRule(row scanner) (r workload.Rule, err error) {
	var matches, keys, scope, clients string
	var anySubject, life, created int64
	err = row.Scan(&r.Name, &r.Kind, &r.Issuer, &r.Audience, &matches, &anySubject, &keys, &r.KeysURL, &r.Principal, &scope, &life,
		&clients, &r.By, &created)
	if err != nil {
		return r, err
	}
	if keys != "" {
		r.Keys = json.RawMessage(keys)
	}
	r.AnySubject, r.Life, r.Created = anySubject == 1, time.Duration(life)*time.Microsecond, fromMicros(created)
	if r.Scope, err = sallyport.ParseScope(scope); err != nil {
		return r, err
	}
	if err = json.Unmarshal([]byte(matches), &r.Match); err != nil {
		return r, err
	}
	return r, json.Unmarshal([]byte(clients), &r.Clients)
}
