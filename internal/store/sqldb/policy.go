package sqldb

import (
	"context"
	"database/sql"
	"encoding/json"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/change"
)

// Policy returns the store of policy sets and epochs.
func (db *DB) Policy() change.Store { return policyStore{db} }

type policyStore struct{ db *DB }

// Activate implements change.Store.
func (s policyStore) Activate(ctx context.Context, set change.Set, e change.Epoch) error {
	source, err := json.Marshal(set.Source)
	if err != nil {
		return err
	}
	return s.db.write(ctx, []Kind{Policy}, func(tx *sql.Tx) error {
		newest, err := queryOne(ctx, tx, scanInt, "SELECT COALESCE(MAX(number), 0) FROM policy_epoch")
		if err != nil {
			return err
		}
		if e.Number != newest+1 {
			return sallyport.E("activate policy", sallyport.Conflict, "another set came into force meanwhile", "propose it again")
		}
		if _, err := exec(ctx, tx, "INSERT INTO policy_set (version, source, by_whom, why, activated) VALUES ($1, $2, $3, $4, $5)"+
			" ON CONFLICT (version) DO UPDATE SET source = excluded.source, by_whom = excluded.by_whom, why = excluded.why, activated = excluded.activated",
			set.Version, string(source), string(set.By), set.Why, toMicros(set.Activated)); err != nil {
			return err
		}
		if err := execOne(ctx, tx, "INSERT INTO policy_epoch ("+epochColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
			e.Number, e.Version, e.Before, string(e.Kind), e.Request, e.Hash, toFlag(e.Signed), string(e.By), e.Why, toMicros(e.At), e.Seal, toFlag(e.Authored)); err != nil {
			return err
		}
		return execOne(ctx, tx, "INSERT INTO policy_active (one, version) VALUES (1, $1) ON CONFLICT (one) DO UPDATE SET version = excluded.version", set.Version)
	})
}

const (
	policyColumns   = "version, source, by_whom, why, activated"
	epochColumns    = "number, version, before, kind, request, hash, signed, by_whom, why, at, seal, authored"
	proposalColumns = "request, version, base, source, by_whom, why, origin, repository, at, author"
)

// Active implements change.Store.
func (s policyStore) Active(ctx context.Context) (change.Set, change.Epoch, error) {
	e, err := queryOne(ctx, s.db.reader, scanEpoch, "SELECT "+epochColumns+" FROM policy_epoch ORDER BY number DESC LIMIT 1")
	if sallyport.KindOf(err) == sallyport.NotFound {
		set, err := queryOne(ctx, s.db.reader, scanPolicy, "SELECT "+policyColumns+" FROM policy_set WHERE version = (SELECT version FROM policy_active WHERE one = 1)")
		return set, change.Epoch{}, err
	}
	if err != nil {
		return change.Set{}, e, err
	}
	set, err := s.Get(ctx, e.Version)
	return set, e, err
}

// Get implements change.Store.
func (s policyStore) Get(ctx context.Context, version string) (change.Set, error) {
	return queryOne(ctx, s.db.reader, scanPolicy, "SELECT "+policyColumns+" FROM policy_set WHERE version = $1", version)
}

// List implements change.Store.
func (s policyStore) List(ctx context.Context) ([]change.Set, error) {
	return queryAll(ctx, s.db.reader, scanPolicy, "SELECT version, '{}', by_whom, why, activated FROM policy_set ORDER BY activated DESC, version")
}

// Epochs implements change.Store.
func (s policyStore) Epochs(ctx context.Context, most int) ([]change.Epoch, error) {
	return queryAll(ctx, s.db.reader, scanEpoch, "SELECT "+epochColumns+" FROM policy_epoch ORDER BY number DESC LIMIT $1", most)
}

// Acknowledge implements change.Store.
func (s policyStore) Acknowledge(ctx context.Context, a change.Ack) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		return execOne(ctx, tx, "INSERT INTO policy_ack (node, epoch, version, at) VALUES ($1, $2, $3, $4)"+
			" ON CONFLICT (node) DO UPDATE SET epoch = excluded.epoch, version = excluded.version, at = excluded.at", a.Node, a.Epoch, a.Version, toMicros(a.At))
	})
}

// Acks implements change.Store.
func (s policyStore) Acks(ctx context.Context) ([]change.Ack, error) {
	return queryAll(ctx, s.db.reader, func(row scanner) (a change.Ack, err error) {
		var at int64
		err = row.Scan(&a.Node, &a.Epoch, &a.Version, &at)
		a.At = fromMicros(at)
		return a, err
	}, "SELECT node, epoch, version, at FROM policy_ack ORDER BY node")
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

func scanEpoch(row scanner) (e change.Epoch, err error) {
	var at, signed, authored int64
	err = row.Scan(&e.Number, &e.Version, &e.Before, &e.Kind, &e.Request, &e.Hash, &signed, &e.By, &e.Why, &at, &e.Seal, &authored)
	e.At, e.Signed = fromMicros(at), signed == 1
	e.Authored = authored == 1
	return e, err
}

// Proposals returns the store of proposed policy sets.
func (db *DB) Proposals() change.Proposals { return proposalStore{db} }

type proposalStore struct{ db *DB }

// Insert implements change.Proposals.
func (s proposalStore) Insert(ctx context.Context, p change.Proposal) error {
	source, err := json.Marshal(p.Source)
	if err != nil {
		return err
	}
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		return execOne(ctx, tx, "INSERT INTO policy_proposal ("+proposalColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, '')",
			p.Request, p.Version, p.Base, string(source), string(p.By), p.Why, p.Commit, p.Repository, toMicros(p.At))
	})
}

// Get implements change.Proposals.
func (s proposalStore) Get(ctx context.Context, request string) (change.Proposal, error) {
	return queryOne(ctx, s.db.reader, scanProposal, "SELECT "+proposalColumns+" FROM policy_proposal WHERE request = $1", request)
}

// List implements change.Proposals.
func (s proposalStore) List(ctx context.Context, most int) ([]change.Proposal, error) {
	return queryAll(ctx, s.db.reader, scanProposal, "SELECT request, version, base, '{}', by_whom, why, origin, repository, at, author FROM policy_proposal ORDER BY at DESC, request LIMIT $1", most)
}

func scanProposal(row scanner) (p change.Proposal, err error) {
	var source, author string
	var at int64
	if err = row.Scan(&p.Request, &p.Version, &p.Base, &source, &p.By, &p.Why, &p.Commit, &p.Repository, &at, &author); err != nil {
		return p, err
	}
	p.At = fromMicros(at)
	if author != "" {
		if err := json.Unmarshal([]byte(author), &p.Author); err != nil {
			return p, err
		}
	}
	return p, json.Unmarshal([]byte(source), &p.Source)
}

// Sign implements change.Proposals.
func (s proposalStore) Sign(ctx context.Context, request string, author approval.Vote) error {
	text, err := json.Marshal(author)
	if err != nil {
		return err
	}
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		return execOne(ctx, tx, "UPDATE policy_proposal SET author = $1 WHERE request = $2", string(text), request)
	})
}
