package sqldb

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

	"sallyport/internal/watch/detect"
)

// Finding returns the store of what was found.
func (db *DB) Finding() detect.Store { return findingStore{db} }

type findingStore struct{ db *DB }

const findingColumns = "id, rule, severity, who, at, text, subject, evidence, detail, state, did, closed, closer, verdict, why"

// Put implements detect.Store.
func (s findingStore) Put(ctx context.Context, findings []detect.Finding, next uint64) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		for _, f := range findings {
			evidence, detail, did, err := findingTexts(&f)
			if err != nil {
				return err
			}
			_, err = exec(ctx, tx, "INSERT INTO finding ("+findingColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
				ON CONFLICT (id) DO NOTHING`, f.ID, f.Rule, string(f.Severity), string(f.Who), toMicros(f.At), f.Text, f.Subject, evidence, detail, string(f.State), did,
				toMicros(f.Closed), string(f.Closer), f.Verdict, f.Why)
			if err != nil {
				return err
			}
		}
		return setCursor(ctx, tx, "detect", next)
	})
}

func findingTexts(f *detect.Finding) (evidence, detail, did string, err error) {
	var texts [3]string
	for i, v := range []any{f.Evidence, f.Detail, f.Did} {
		b, err := json.Marshal(v)
		if err != nil {
			return "", "", "", err
		}
		texts[i] = string(b)
	}
	return texts[0], texts[1], texts[2], nil
}

// Missing implements detect.Store.
func (s findingStore) Missing(ctx context.Context, ids []string) ([]string, error) {
	var missing []string
	for _, id := range ids {
		n, err := queryOne(ctx, s.db.reader, scanInt, "SELECT count(*) FROM finding WHERE id = $1", id)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			missing = append(missing, id)
		}
	}
	return missing, nil
}

// Next implements detect.Store.
func (s findingStore) Next(ctx context.Context) (uint64, error) {
	return cursor(ctx, s.db.reader, "detect")
}

// Findings implements detect.Store.
func (s findingStore) Findings(ctx context.Context, f detect.Filter) ([]detect.Finding, error) {
	w := where{}
	w.add(f.State != "", "state = ?", string(f.State))
	w.add(f.Rule != "", "rule = ?", f.Rule)
	w.add(f.Who != "", "who = ?", string(f.Who))
	order := "at DESC, id"
	if f.Oldest {
		order = "at, id"
	}
	most := f.Most
	if most < 1 || most > detect.MaxList {
		most = detect.MaxList
	}
	w.args = append(w.args, most)
	return queryAll(ctx, s.db.reader, scanFinding, fmt.Sprintf("SELECT "+findingColumns+" FROM finding%s ORDER BY %s LIMIT $%d", w.text(), order, len(w.args)), w.args...)
}

// Finding implements detect.Store.
func (s findingStore) Finding(ctx context.Context, id string) (detect.Finding, error) {
	return getFinding(ctx, s.db.reader, id)
}

func getFinding(ctx context.Context, q querier, id string) (detect.Finding, error) {
	return queryOne(ctx, q, scanFinding, "SELECT "+findingColumns+" FROM finding WHERE id = $1", id)
}

// Update implements detect.Store.
func (s findingStore) Update(ctx context.Context, id string, change func(*detect.Finding) error) (detect.Finding, error) {
	var f detect.Finding
	err := s.db.write(ctx, nil, func(tx *sql.Tx) (err error) {
		if f, err = getFinding(ctx, tx, id); err != nil {
			return err
		}
		if err = change(&f); err != nil {
			return err
		}
		_, _, did, err := findingTexts(&f)
		if err != nil {
			return err
		}
		return execOne(ctx, tx, "UPDATE finding SET state = $2, did = $3, closed = $4, closer = $5, verdict = $6, why = $7 WHERE id = $1",
			id, string(f.State), did, toMicros(f.Closed), string(f.Closer), f.Verdict, f.Why)
	})
	if err != nil {
		return detect.Finding{}, err
	}
	return f, nil
}

func scanFinding(row scanner) (f detect.Finding, err error) {
	var at, closed int64
	var evidence, detail, did string
	err = row.Scan(&f.ID, &f.Rule, &f.Severity, &f.Who, &at, &f.Text, &f.Subject, &evidence, &detail, &f.State, &did, &closed, &f.Closer, &f.Verdict, &f.Why)
	for text, into := range map[*string]any{&evidence: &f.Evidence, &detail: &f.Detail, &did: &f.Did} {
		if err == nil {
			err = json.Unmarshal([]byte(strings.TrimSpace(*text)), into)
		}
	}
	f.At, f.Closed = fromMicros(at), fromMicros(closed)
	return f, err
}
