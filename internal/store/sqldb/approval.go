package sqldb

import (
	"context"
	"database/sql"
	"encoding/json"

	"sallyport/internal/authz/approval"
)

// Approval returns the store of requests for approval.
func (db *DB) Approval() approval.Store { return approvalStore{db} }

type approvalStore struct{ db *DB }

const approvalColumns = "id, topic, asker, asker_person, subject, canonical, hash, need, approvers, created, expires, state, decided, votes, quorums, policy, nonce"

// Insert implements approval.Store.
func (s approvalStore) Insert(ctx context.Context, r approval.Request, accept func(open int) error) error {
	votes, err := json.Marshal(r.Votes)
	if err != nil {
		return err
	}
	quorums, err := json.Marshal(r.Groups)
	if err != nil {
		return err
	}
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		open, err := queryOne(ctx, tx, scanInt, "SELECT count(*) FROM approval WHERE asker_person = $1 AND state = 'pending' AND expires > $2",
			string(r.AskerPerson), toMicros(r.Created))
		if err != nil {
			return err
		}
		if err := accept(int(open)); err != nil {
			return err
		}
		_, err = exec(ctx, tx, "INSERT INTO approval ("+approvalColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
			r.ID, r.Topic, string(r.Asker), string(r.AskerPerson), r.Subject, r.Canonical, r.Hash, r.Need, r.Approvers,
			toMicros(r.Created), toMicros(r.Expires), string(r.State), toMicros(r.Decided), string(votes), string(quorums), r.Policy, r.Nonce)
		return err
	})
}

// Get implements approval.Store.
func (s approvalStore) Get(ctx context.Context, id string) (approval.Request, error) {
	return getApproval(ctx, s.db.reader, id)
}

// List implements approval.Store.
func (s approvalStore) List(ctx context.Context, f approval.Filter) ([]approval.Request, error) {
	most := f.Newest
	if most <= 0 || most > approval.MaxList {
		most = approval.MaxList
	}
	return queryAll(ctx, s.db.reader, scanApproval, "SELECT "+approvalColumns+" FROM approval"+
		" WHERE ($1 = '' OR topic = $1) AND ($2 = '' OR asker_person = $2) AND ($3 = '' OR CASE WHEN state = 'pending' AND expires <= $4 THEN 'expired' ELSE state END = $3)"+
		" AND ($6 = 0 OR created <= $6) ORDER BY created DESC, id LIMIT $5",
		f.Topic, string(f.Person), string(f.State), toMicros(f.At), most, toMicros(f.Until))
}

// Update implements approval.Store.
func (s approvalStore) Update(ctx context.Context, id string, change func(*approval.Request) error) (approval.Request, error) {
	var r approval.Request
	err := s.db.write(ctx, nil, func(tx *sql.Tx) error {
		var err error
		if r, err = getApproval(ctx, tx, id); err != nil {
			return err
		}
		if err := change(&r); err != nil {
			return err
		}
		votes, err := json.Marshal(r.Votes)
		if err != nil {
			return err
		}
		return execOne(ctx, tx, "UPDATE approval SET state = $2, decided = $3, votes = $4 WHERE id = $1",
			id, string(r.State), toMicros(r.Decided), string(votes))
	})
	if err != nil {
		return approval.Request{}, err
	}
	return r, nil
}

func getApproval(ctx context.Context, q querier, id string) (approval.Request, error) {
	return queryOne(ctx, q, scanApproval, "SELECT "+approvalColumns+" FROM approval WHERE id = $1", id)
}

func scanApproval(row scanner) (r approval.Request, err error) {
	var created, expires, decided int64
	var votes, quorums string
	err = row.Scan(&r.ID, &r.Topic, &r.Asker, &r.AskerPerson, &r.Subject, &r.Canonical, &r.Hash, &r.Need, &r.Approvers,
		&created, &expires, &r.State, &decided, &votes, &quorums, &r.Policy, &r.Nonce)
	if err != nil {
		return r, err
	}
	r.Created, r.Expires, r.Decided = fromMicros(created), fromMicros(expires), fromMicros(decided)
	if err := json.Unmarshal([]byte(votes), &r.Votes); err != nil {
		return r, err
	}
	return r, json.Unmarshal([]byte(quorums), &r.Groups)
}
