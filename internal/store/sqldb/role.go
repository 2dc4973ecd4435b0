package sqldb

import (
	"context"
	"database/sql"
	"strings"

	"sallyport"
	"sallyport/internal/authz/role"
)

// Role returns the store of roles and assignments.
func (db *DB) Role() role.Store { return roleStore{db} }

type roleStore struct{ db *DB }

// Load implements role.Store.
func (s roleStore) Load(ctx context.Context) (role.State, error) {
	var state role.State
	err := s.db.read(ctx, func(tx *sql.Tx) error {
		var err error
		state, err = loadRoles(ctx, tx)
		return err
	})
	return state, err
}

// Update implements role.Store.
func (s roleStore) Update(ctx context.Context, decide func(role.State) (role.Change, error)) error {
	return s.db.write(ctx, []Kind{Role}, func(tx *sql.Tx) error {
		state, err := loadRoles(ctx, tx)
		if err != nil {
			return err
		}
		change, err := decide(state)
		if err != nil {
			return err
		}
		if change.Define != nil {
			if err := defineRole(ctx, tx, *change.Define); err != nil {
				return err
			}
		}
		if change.Assign != nil {
			if err := assignRole(ctx, tx, *change.Assign); err != nil {
				return err
			}
		}
		if change.Unassign != "" {
			return execOne(ctx, tx, "DELETE FROM role_assignment WHERE id = $1", change.Unassign)
		}
		return nil
	})
}

func defineRole(ctx context.Context, tx *sql.Tx, r role.Role) error {
	_, err := exec(ctx, tx, "INSERT INTO role (name, inherits, description, privileged) VALUES ($1, $2, $3, $4)"+
		" ON CONFLICT (name) DO UPDATE SET inherits = excluded.inherits, description = excluded.description, privileged = excluded.privileged",
		r.Name, strings.Join(r.Inherits, " "), r.Description, toFlag(r.Privileged))
	return err
}

func assignRole(ctx context.Context, tx *sql.Tx, a role.Assignment) error {
	// What ran out gives way: it means nothing any more, and the same may be assigned again.
	_, err := exec(ctx, tx, "DELETE FROM role_assignment WHERE subject = $1 AND role = $2 AND scope = $3 AND until > 0 AND until <= $4",
		a.Subject, a.Role, a.Scope.String(), toMicros(a.At))
	if err != nil {
		return err
	}
	n, err := queryOne(ctx, tx, scanInt, "SELECT count(*) FROM role_assignment WHERE subject = $1 AND role = $2 AND scope = $3",
		a.Subject, a.Role, a.Scope.String())
	if err == nil && n > 0 {
		err = sallyport.E("assign role", sallyport.Conflict, a.Subject+" has "+a.Role+" on "+a.Scope.String()+" already", "unassign it first to change its end")
	}
	if err != nil {
		return err
	}
	_, err = exec(ctx, tx, "INSERT INTO role_assignment (id, subject, role, scope, by_whom, at, until) VALUES ($1, $2, $3, $4, $5, $6, $7)",
		a.ID, a.Subject, a.Role, a.Scope.String(), string(a.By), toMicros(a.At), toMicros(a.Until))
	return err
}

func loadRoles(ctx context.Context, q querier) (state role.State, err error) {
	state.Roles, err = queryAll(ctx, q, scanRole, "SELECT name, inherits, description, privileged FROM role ORDER BY name")
	if err != nil {
		return state, err
	}
	state.Assignments, err = queryAll(ctx, q, scanAssignment, "SELECT id, subject, role, scope, by_whom, at, until FROM role_assignment ORDER BY id")
	return state, err
}

func scanRole(row scanner) (r role.Role, err error) {
	var inherits string
	var privileged int64
	err = row.Scan(&r.Name, &inherits, &r.Description, &privileged)
	r.Inherits, r.Privileged = strings.Fields(inherits), privileged != 0
	return r, err
}

func scanAssignment(row scanner) (a role.Assignment, err error) {
	var scope string
	var at, until int64
	if err := row.Scan(&a.ID, &a.Subject, &a.Role, &scope, &a.By, &at, &until); err != nil {
		return a, err
	}
	a.At, a.Until = fromMicros(at), fromMicros(until)
	a.Scope, err = sallyport.ParseRef(scope)
	return a, err
}
