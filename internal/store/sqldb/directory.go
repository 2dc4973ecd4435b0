package sqldb

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"sallyport"
	"sallyport/internal/identity/directory"
)

// Directory returns the store of people, services and groups.
func (db *DB) Directory() directory.Store { return directoryStore{db} }

type directoryStore struct{ db *DB }

// InsertMember implements [directory.Store].
func (s directoryStore) InsertMember(ctx context.Context, m directory.Member) error {
	err := s.db.write(ctx, []Kind{Directory}, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, `INSERT INTO member (id, person, org, display, email, state, created, updated,
			purpose, ends, guest, sponsor, source, external, environment) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`,
			string(m.ID), string(m.Person), m.Org, m.Display, m.Email, string(m.State), toMicros(m.Created), toMicros(m.Updated),
			m.Purpose, toMicros(m.Ends), toFlag(m.Guest), string(m.Sponsor), m.Source, m.External, string(m.Environment))
		for place, i := range m.Identities {
			if err == nil {
				_, err = exec(ctx, tx, "INSERT INTO member_identity (issuer, subject, member, place) VALUES ($1, $2, $3, $4)",
					i.Issuer, i.Subject, string(m.ID), place)
			}
		}
		return err
	})
	if sallyport.KindOf(err) == sallyport.Conflict {
		return sallyport.Wrap("create member", sallyport.Conflict, fmt.Sprintf("the name %s or one of its upstream identities is taken, or was once; names are never used again", m.ID), err)
	}
	return err
}

// Member implements [directory.Store].
func (s directoryStore) Member(ctx context.Context, id sallyport.PrincipalID) (directory.Member, error) {
	return s.one(ctx, string(id), "WHERE id = $1", string(id))
}

// MemberByIdentity implements [directory.Store].
func (s directoryStore) MemberByIdentity(ctx context.Context, i directory.Identity) (directory.Member, error) {
	return s.one(ctx, "of this identity", "WHERE id = (SELECT member FROM member_identity WHERE issuer = $1 AND subject = $2)", i.Issuer, i.Subject)
}

func (s directoryStore) one(ctx context.Context, name, where string, args ...any) (directory.Member, error) {
	var found []directory.Member
	err := s.db.read(ctx, func(tx *sql.Tx) (err error) {
		found, err = readMembers(ctx, tx, where, args...)
		return err
	})
	if err == nil && len(found) == 0 {
		err = noMember(name)
	}
	if err != nil {
		return directory.Member{}, err
	}
	return found[0], nil
}

func noMember(name string) error {
	return sallyport.E("directory", sallyport.NotFound, fmt.Sprintf("there is no member %.80s", name), "")
}

// UpdateMember implements [directory.Store].
func (s directoryStore) UpdateMember(ctx context.Context, id sallyport.PrincipalID, change func(*directory.Member, []directory.Group) error) error {
	return s.db.write(ctx, []Kind{Directory}, func(tx *sql.Tx) error {
		found, err := readMembers(ctx, tx, "WHERE id = $1", string(id))
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return noMember(string(id))
		}
		groups, err := readGroups(ctx, tx)
		if err != nil {
			return err
		}
		m := found[0]
		m.Groups = slices.Clone(m.Groups)
		if err := change(&m, groups); err != nil {
			return err
		}
		_, err = exec(ctx, tx, `UPDATE member SET person = $1, display = $2, email = $3, state = $4, updated = $5, purpose = $6, ends = $7,
			guest = $8, sponsor = $9, source = $10, external = $11 WHERE id = $12`,
			string(m.Person), m.Display, m.Email, string(m.State), toMicros(m.Updated), m.Purpose, toMicros(m.Ends),
			toFlag(m.Guest), string(m.Sponsor), m.Source, m.External, string(id))
		if err == nil && !slices.Equal(m.Groups, found[0].Groups) {
			err = writeMemberships(ctx, tx, m)
		}
		if err == nil {
			err = addIdentities(ctx, tx, m, len(found[0].Identities))
		}
		return err
	})
}

// addIdentities writes the upstream names of a member from one place on: they are added, never taken away.
func addIdentities(ctx context.Context, tx *sql.Tx, m directory.Member, from int) error {
	for place := from; place < len(m.Identities); place++ {
		i := m.Identities[place]
		if _, err := exec(ctx, tx, "INSERT INTO member_identity (issuer, subject, member, place) VALUES ($1, $2, $3, $4)", i.Issuer, i.Subject, string(m.ID), place); err != nil {
			return err
		}
	}
	return nil
}

func writeMemberships(ctx context.Context, tx *sql.Tx, m directory.Member) error {
	_, err := exec(ctx, tx, "DELETE FROM membership WHERE member = $1", string(m.ID))
	for _, g := range m.Groups {
		if err == nil {
			_, err = exec(ctx, tx, "INSERT INTO membership (member, group_name) VALUES ($1, $2)", string(m.ID), g)
		}
	}
	return err
}

// DefineGroup implements [directory.Store].
func (s directoryStore) DefineGroup(ctx context.Context, change func([]directory.Group) (directory.Group, error)) error {
	return s.db.write(ctx, []Kind{Directory}, func(tx *sql.Tx) error {
		all, err := readGroups(ctx, tx)
		if err != nil {
			return err
		}
		g, err := change(all)
		if err != nil {
			return err
		}
		_, err = exec(ctx, tx, "INSERT INTO member_group (name, guests, source, external) VALUES ($1, $2, $3, $4) "+
			"ON CONFLICT (name) DO UPDATE SET guests = excluded.guests, source = excluded.source, external = excluded.external",
			g.Name, toFlag(g.Guests), g.Source, g.External)
		if err == nil {
			_, err = exec(ctx, tx, "DELETE FROM group_parent WHERE name = $1", g.Name)
		}
		for _, parent := range g.Parents {
			if err == nil {
				_, err = exec(ctx, tx, "INSERT INTO group_parent (name, parent) VALUES ($1, $2)", g.Name, parent)
			}
		}
		return err
	})
}

// Dump implements [directory.Store].
func (s directoryStore) Dump(ctx context.Context) (directory.Dump, error) {
	var d directory.Dump
	err := s.db.read(ctx, func(tx *sql.Tx) (err error) {
		if d.Members, err = readMembers(ctx, tx, ""); err != nil {
			return err
		}
		d.Groups, err = readGroups(ctx, tx)
		return err
	})
	return d, err
}

// readMembers reads the members of a condition on the table member, sorted by id, with what hangs on them.
func readMembers(ctx context.Context, q querier, where string, args ...any) ([]directory.Member, error) {
	all, err := queryAll(ctx, q, scanMember, "SELECT "+memberColumns+" FROM member "+where+" ORDER BY id", args...)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	at := map[string]*directory.Member{}
	for i := range all {
		at[string(all[i].ID)] = &all[i]
	}
	of := "WHERE member IN (SELECT id FROM member " + where + ") ORDER BY member, "
	identities, err := queryAll(ctx, q, scanStrings(3), "SELECT member, issuer, subject FROM member_identity "+of+"place", args...)
	if err != nil {
		return nil, err
	}
	for _, row := range identities {
		at[row[0]].Identities = append(at[row[0]].Identities, directory.Identity{Issuer: row[1], Subject: row[2]})
	}
	groups, err := queryAll(ctx, q, scanStrings(2), "SELECT member, group_name FROM membership "+of+"group_name", args...)
	for _, row := range groups {
		at[row[0]].Groups = append(at[row[0]].Groups, row[1])
	}
	return all, err
}

func readGroups(ctx context.Context, q querier) ([]directory.Group, error) {
	rows, err := queryAll(ctx, q, scanStrings(5), `SELECT g.name, coalesce(p.parent, ''), CAST(g.guests AS TEXT), g.source, g.external FROM member_group g
		LEFT JOIN group_parent p ON p.name = g.name ORDER BY 1, 2`)
	var all []directory.Group
	for _, row := range rows {
		if len(all) == 0 || all[len(all)-1].Name != row[0] {
			all = append(all, directory.Group{Name: row[0], Guests: row[2] == "1", Source: row[3], External: row[4]})
		}
		if row[1] != "" {
			all[len(all)-1].Parents = append(all[len(all)-1].Parents, row[1])
		}
	}
	return all, err
}

const memberColumns = "id, person, org, display, email, state, created, updated, purpose, ends, guest, sponsor, source, external, environment"

func scanMember(row scanner) (m directory.Member, err error) {
	var created, updated, ends, guest int64
	err = row.Scan(&m.ID, &m.Person, &m.Org, &m.Display, &m.Email, &m.State, &created, &updated,
		&m.Purpose, &ends, &guest, &m.Sponsor, &m.Source, &m.External, &m.Environment)
	m.Created, m.Updated, m.Ends, m.Guest = fromMicros(created), fromMicros(updated), fromMicros(ends), guest == 1
	return m, err
}

// scanStrings reads rows of n columns of text.
func scanStrings(n int) func(scanner) ([]string, error) {
	return func(row scanner) ([]string, error) {
		text, into := make([]string, n), make([]any, n)
		for i := range text {
			into[i] = &text[i]
		}
		return text, row.Scan(into...)
	}
}
