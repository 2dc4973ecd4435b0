package sqldb

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/breakglass"
)

// BreakGlass returns the store of emergency rights.
func (db *DB) BreakGlass() breakglass.Store { return breakGlassStore{db} }

type breakGlassStore struct{ db *DB }

const (
	definitionColumns = "name, openers, role, scope, seconds, why, by_whom, at, request, sealed"
	openingColumns    = "id, name, who, person, why, asked, request, state, from_at, until, approvers, assignment, reviewer, reviewed_at, review"
)

// Define implements breakglass.Store.
func (s breakGlassStore) Define(ctx context.Context, d breakglass.Definition) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "INSERT INTO breakglass ("+definitionColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
			d.Name, strings.Join(d.Openers, " "), d.Role, d.Scope.String(), int64(d.For/time.Second), d.Why, string(d.By), toMicros(d.At), d.Request, toMicros(d.Sealed))
		return err
	})
}

// Seal implements breakglass.Store.
func (s breakGlassStore) Seal(ctx context.Context, request string, at time.Time) (breakglass.Definition, error) {
	var d breakglass.Definition
	err := s.db.write(ctx, nil, func(tx *sql.Tx) (err error) {
		if err = execOne(ctx, tx, "UPDATE breakglass SET sealed = $2 WHERE request = $1 AND sealed = 0", request, toMicros(at)); err == nil {
			d, err = queryOne(ctx, tx, scanDefinition, "SELECT "+definitionColumns+" FROM breakglass WHERE request = $1", request)
		}
		return err
	})
	return d, err
}

// Definitions implements breakglass.Store.
func (s breakGlassStore) Definitions(ctx context.Context) ([]breakglass.Definition, error) {
	return queryAll(ctx, s.db.reader, scanDefinition, "SELECT "+definitionColumns+" FROM breakglass ORDER BY name")
}

// Insert implements breakglass.Store.
func (s breakGlassStore) Insert(ctx context.Context, o breakglass.Opening) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "INSERT INTO breakglass_opening ("+openingColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
			openingValues(o)...)
		return err
	})
}

func openingValues(o breakglass.Opening) []any {
	return []any{o.ID, o.Name, string(o.Who), string(o.Person), o.Why, toMicros(o.Asked), o.Request, string(o.State), toMicros(o.From), toMicros(o.Until),
		joinIDs(o.Approvers), o.Assignment, string(o.Reviewer), toMicros(o.ReviewedAt), o.Review}
}

// Openings implements breakglass.Store.
func (s breakGlassStore) Openings(ctx context.Context, most int) ([]breakglass.Opening, error) {
	return queryAll(ctx, s.db.reader, scanOpening, "SELECT "+openingColumns+" FROM breakglass_opening ORDER BY asked DESC, id LIMIT $1", most)
}

// Update implements breakglass.Store.
func (s breakGlassStore) Update(ctx context.Context, id string, change func(*breakglass.Opening) error) (breakglass.Opening, error) {
	var o breakglass.Opening
	err := s.db.write(ctx, nil, func(tx *sql.Tx) (err error) {
		if o, err = queryOne(ctx, tx, scanOpening, "SELECT "+openingColumns+" FROM breakglass_opening WHERE id = $1", id); err != nil {
			return err
		}
		if err = change(&o); err != nil {
			return err
		}
		return execOne(ctx, tx, `UPDATE breakglass_opening SET state = $2, from_at = $3, until = $4, approvers = $5, assignment = $6, reviewer = $7, reviewed_at = $8, review = $9
			WHERE id = $1`, id, string(o.State), toMicros(o.From), toMicros(o.Until), joinIDs(o.Approvers), o.Assignment, string(o.Reviewer), toMicros(o.ReviewedAt), o.Review)
	})
	if err != nil {
		return breakglass.Opening{}, err
	}
	return o, nil
}

func scanDefinition(row scanner) (d breakglass.Definition, err error) {
	var openers, scope string
	var seconds, at, sealed int64
	if err = row.Scan(&d.Name, &openers, &d.Role, &scope, &seconds, &d.Why, &d.By, &at, &d.Request, &sealed); err != nil {
		return d, err
	}
	d.Openers, d.For, d.At, d.Sealed = strings.Fields(openers), time.Duration(seconds)*time.Second, fromMicros(at), fromMicros(sealed)
	d.Scope, err = sallyport.ParseRef(scope)
	return d, err
}

func scanOpening(row scanner) (o breakglass.Opening, err error) {
	var approvers string
	var asked, from, until, reviewed int64
	err = row.Scan(&o.ID, &o.Name, &o.Who, &o.Person, &o.Why, &asked, &o.Request, &o.State, &from, &until, &approvers, &o.Assignment, &o.Reviewer, &reviewed, &o.Review)
	o.Asked, o.From, o.Until, o.ReviewedAt = fromMicros(asked), fromMicros(from), fromMicros(until), fromMicros(reviewed)
	o.Approvers = splitIDs(approvers)
	return o, err
}
