package sqldb

import (
	"context"
	"database/sql"
	"encoding/json"

	"sallyport/internal/authz/change"
)

// Policy returns the store of policy sets.
func (db *DB) Policy() change.Store { return policyStore{db} }

type policyStore struct{ db *DB }

// Activate implements change.Store.
func (s policyStore) Activate(ctx context.Context, set change.Set) error {
	source, err := json.Marshal(set.Source)
	if err != nil {
		return err
	}
	return s.db.write(ctx, []Kind{Policy}, func(tx *sql.Tx) error {
		if _, err := exec(ctx, tx, "INSERT INTO policy_set (version, source, by_whom, why, activated) VALUES ($1, $2, $3, $4, $5)"+
			" ON CONFLICT (version) DO UPDATE SET by_whom = excluded.by_whom, why = excluded.why, activated = excluded.activated",
			set.Version, string(source), string(set.By), set.Why, toMicros(set.Activated)); err != nil {
			return err
		}
		return execOne(ctx, tx, "INSERT INTO policy_active (one, version) VALUES (1, $1) ON CONFLICT (one) DO UPDATE SET version = excluded.version", set.Version)
	})
}

const policyColumns = "version, source, by_whom, why, activated"

// Active implements change.Store.
func (s policyStore) Active(ctx context.Context) (change.Set, error) {
	return queryOne(ctx, s.db.reader, scanPolicy, "SELECT "+policyColumns+" FROM policy_set WHERE version = (SELECT version FROM policy_active WHERE one = 1)")
}

// Get implements change.Store.
func (s policyStore) Get(ctx context.Context, version string) (change.Set, error) {
	return queryOne(ctx, s.db.reader, scanPolicy, "SELECT "+policyColumns+" FROM policy_set WHERE version = $1", version)
}

// List implements change.Store.
func (s policyStore) List(ctx context.Context) ([]change.Set, error) {
	return queryAll(ctx, s.db.reader, scanPolicy, "SELECT version, '{}', by_whom, why, activated FROM policy_set ORDER BY activated DESC, version")
}

func scanPolicy(row scanner) (set change.Set, err error) {
	var source string
	var activated int64
	if err = row.Scan(&set.Version, &source, &set.By, &set.Why, &activated); err != nil {
		return set, err
	}
	set.Activated = fromMicros(activated)
	return set, json.Unmarshal([]byte(source), &set.Source)
}
