package storetest

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sallyport"
	"sallyport/internal/authz/role"
	"sallyport/internal/store/sqldb"
)

var system = sallyport.Ref{Kind: sallyport.SystemKind}

// members is a directory of groups for the tests.
type members map[string][]sallyport.PrincipalID

func (m members) people(ctx context.Context, subject string) ([]sallyport.PrincipalID, error) {
	if strings.HasPrefix(subject, "group:") {
		people, found := m[subject]
		if !found {
			return nil, sallyport.E("directory", sallyport.NotFound, "no such group", "")
		}
		return people, nil
	}
	person, err := behind(ctx, sallyport.PrincipalID(subject))
	return []sallyport.PrincipalID{person}, err
}

func newRoles(db *sqldb.DB, clock *turnedClock, groups members) *role.Service {
	return &role.Service{Store: db.Role(), Clock: clock.Now, Rand: rand.Reader, People: groups.people,
		Conflicts: [][2]string{{"developer", "reviewer"}}, Administrator: "administrator"}
}

func define(t testing.TB, s *role.Service, name string, inherits ...string) {
	t.Helper()
	if err := s.Define(t.Context(), role.Role{Name: name, Inherits: inherits}); err != nil {
		t.Fatal(err)
	}
}

func assign(s *role.Service, ctx context.Context, subject, name string, scope sallyport.Ref) (role.Assignment, error) {
	return s.Assign(ctx, role.Assignment{Subject: subject, Role: name, Scope: scope, By: "user:root"})
}

func TestRole(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db, clock := open(), newTurnedClock()
		s := newRoles(db, clock, members{"group:acme/risk": {"user:joe"}})
		before, err := db.Latest(t.Context())
		must(t, err)
		must(t, s.Define(t.Context(), role.Role{Name: "viewer", Description: "sees cards"}))
		wantChange(t, db, before, sqldb.Role)
		must(t, s.Define(t.Context(), role.Role{Name: "auditor", Privileged: true}))
		must(t, s.Define(t.Context(), role.Role{Name: "chief", Inherits: []string{"viewer", "auditor", "viewer"}, Privileged: true}))
		acme := sallyport.Ref{Kind: sallyport.OrganisationKind, Org: "acme"}
		until := clock.Now().Add(time.Hour)
		a, err := s.Assign(t.Context(), role.Assignment{Subject: "group:acme/risk", Role: "chief", Scope: acme, By: "user:root", Until: until})
		must(t, err)
		want := role.State{
			Roles: []role.Role{
				{Name: "auditor", Inherits: []string{}, Privileged: true},
				{Name: "chief", Inherits: []string{"auditor", "viewer"}, Privileged: true},
				{Name: "viewer", Inherits: []string{}, Description: "sees cards"},
			},
			Assignments: []role.Assignment{{ID: a.ID, Subject: "group:acme/risk", Role: "chief", Scope: acme, By: "user:root", At: clock.Now(), Until: until}},
		}
		got, err := s.List(t.Context())
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("List (-want +got): %v\n%s", err, diff)
		}
		if diff := cmp.Diff([]string{"auditor", "chief", "viewer"}, got.Closure("chief")); diff != "" {
			t.Errorf("Closure (-want +got):\n%s", diff)
		}
		_, err = assign(s, t.Context(), "group:acme/risk", "chief", acme)
		wantKind(t, "the same assignment twice", err, sallyport.Conflict)
		clock.turn(time.Hour)
		if got, _ = s.List(t.Context()); len(got.Assignments) != 0 {
			t.Errorf("List after the end = %v", got.Assignments)
		}
		again, err := assign(s, t.Context(), "group:acme/risk", "chief", acme)
		must(t, err)
		must(t, s.Unassign(t.Context(), again.ID))
		wantKind(t, "Unassign of nothing", s.Unassign(t.Context(), again.ID), sallyport.NotFound)
	})
}

func TestRolesAreChecked(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		s := newRoles(open(), newTurnedClock(), nil)
		define(t, s, "a")
		define(t, s, "b", "a")
		define(t, s, "c", "b")
		must(t, s.Define(t.Context(), role.Role{Name: "root", Privileged: true}))
		for name, test := range map[string]struct {
			role role.Role
			want sallyport.Kind
		}{
			"a circle":               {role.Role{Name: "a", Inherits: []string{"c"}}, sallyport.Conflict},
			"a circle of one":        {role.Role{Name: "d", Inherits: []string{"d"}}, sallyport.Conflict},
			"an unknown parent":      {role.Role{Name: "d", Inherits: []string{"e"}}, sallyport.NotFound},
			"a hidden privilege":     {role.Role{Name: "d", Inherits: []string{"root"}}, sallyport.Invalid},
			"a privilege from below": {role.Role{Name: "a", Privileged: true}, sallyport.Invalid},
			"no name":                {role.Role{}, sallyport.Invalid},
			"lines":                  {role.Role{Name: "d", Description: "a\nb"}, sallyport.Invalid},
			"too many parents":       {role.Role{Name: "d", Inherits: make([]string, 33)}, sallyport.TooLarge},
		} {
			wantKind(t, name, s.Define(t.Context(), test.role), test.want)
		}
		for name, test := range map[string]struct {
			a    role.Assignment
			want sallyport.Kind
		}{
			"no scope":         {role.Assignment{Subject: "user:joe", Role: "a", By: "user:root"}, sallyport.Invalid},
			"half a scope":     {role.Assignment{Subject: "user:joe", Role: "a", By: "user:root", Scope: sallyport.Ref{Kind: sallyport.ProjectKind, Org: "acme"}}, sallyport.Invalid},
			"a bare subject":   {role.Assignment{Subject: "joe", Role: "a", By: "user:root", Scope: system}, sallyport.Invalid},
			"half a group":     {role.Assignment{Subject: "group:acme", Role: "a", By: "user:root", Scope: system}, sallyport.Invalid},
			"an unknown group": {role.Assignment{Subject: "group:acme/x", Role: "a", By: "user:root", Scope: system}, sallyport.NotFound},
			"an unknown role":  {role.Assignment{Subject: "user:joe", Role: "z", By: "user:root", Scope: system}, sallyport.NotFound},
			"nobody assigning": {role.Assignment{Subject: "user:joe", Role: "a", Scope: system}, sallyport.Invalid},
			"an end before":    {role.Assignment{Subject: "user:joe", Role: "a", By: "user:root", Scope: system, Until: s.Clock()}, sallyport.Invalid},
		} {
			_, err := s.Assign(t.Context(), test.a)
			wantKind(t, name, err, test.want)
		}
	})
}

// TestSeparationOfDuties: one person does not get two roles that conflict, be it
// by a second account, a program, a group, inheritance or another resource.
func TestSeparationOfDuties(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		groups, clock := members{"group:acme/reviewers": {"user:joe", "user:ana"}, "group:acme/empty": nil}, newTurnedClock()
		s := newRoles(open(), clock, groups)
		define(t, s, "developer")
		define(t, s, "lead", "developer")
		define(t, s, "reviewer")
		wantKind(t, "a role that unites a conflict", s.Define(t.Context(), role.Role{Name: "both", Inherits: []string{"lead", "reviewer"}}), sallyport.Conflict)
		_, err := assign(s, t.Context(), "user:ana.2", "lead", system)
		must(t, err)
		for _, subject := range []string{"user:ana", "user:ana.3", "service:ana.bot", "group:acme/reviewers"} {
			_, err := assign(s, t.Context(), subject, "reviewer", sallyport.Ref{Kind: sallyport.OrganisationKind, Org: "acme"})
			wantKind(t, "reviewer for "+subject, err, sallyport.Conflict)
		}
		for _, subject := range []string{"user:bob", "group:acme/empty"} {
			_, err := assign(s, t.Context(), subject, "reviewer", system)
			must(t, err)
		}
		define(t, s, "extra")
		_, err = assign(s, t.Context(), "user:bob", "extra", system)
		must(t, err)
		wantKind(t, "a change of inheritance that brings a conflict", s.Define(t.Context(), role.Role{Name: "extra", Inherits: []string{"lead"}}), sallyport.Conflict)

		// What ran out conflicts with nothing.
		_, err = s.Assign(t.Context(), role.Assignment{Subject: "user:max", Role: "developer", Scope: system, By: "user:root", Until: clock.Now().Add(time.Hour)})
		must(t, err)
		_, err = assign(s, t.Context(), "user:max", "reviewer", system)
		wantKind(t, "reviewer for a developer of an hour", err, sallyport.Conflict)
		clock.turn(time.Hour)
		_, err = assign(s, t.Context(), "user:max", "reviewer", system)
		must(t, err)

		// Somebody joins a group: that is found, and does not stop other work.
		groups["group:acme/empty"] = []sallyport.PrincipalID{"user:ana"}
		found, err := s.Violations(t.Context())
		if diff := cmp.Diff([]role.Violation{{Person: "user:ana", Roles: s.Conflicts[0]}}, found); diff != "" || err != nil {
			t.Errorf("Violations (-want +got): %v\n%s", err, diff)
		}
		_, err = assign(s, t.Context(), "user:eve", "extra", system)
		must(t, err)
	})
}

// TestTheLastAdministratorStays, however the role is taken away (I-24).
func TestTheLastAdministratorStays(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		clock := newTurnedClock()
		groups := members{"group:acme/admins": nil}
		s := newRoles(open(), clock, groups)
		define(t, s, "administrator")
		define(t, s, "owner", "administrator")
		ana, err := assign(s, t.Context(), "user:ana", "owner", system)
		must(t, err)
		must(t, s.CheckLeaving(t.Context(), "user:joe"))
		wantKind(t, "the last leaving", s.CheckLeaving(t.Context(), "user:ana"), sallyport.Conflict)
		wantKind(t, "removing the last", s.Unassign(t.Context(), ana.ID), sallyport.Conflict)
		wantKind(t, "emptying the last's role", s.Define(t.Context(), role.Role{Name: "owner"}), sallyport.Conflict)

		// Neither a group of nobody, nor one whose time ends, nor the same on another resource is a successor.
		_, err = assign(s, t.Context(), "group:acme/admins", "administrator", system)
		must(t, err)
		_, err = assign(s, t.Context(), "user:bob", "administrator", sallyport.Ref{Kind: sallyport.OrganisationKind, Org: "acme"})
		must(t, err)
		_, err = s.Assign(t.Context(), role.Assignment{Subject: "user:eve", Role: "administrator", Scope: system, By: "user:ana", Until: clock.Now().Add(time.Hour)})
		must(t, err)
		wantKind(t, "removing the last lasting one", s.Unassign(t.Context(), ana.ID), sallyport.Conflict)
		groups["group:acme/admins"] = []sallyport.PrincipalID{"user:joe"}
		must(t, s.CheckLeaving(t.Context(), "user:ana"))
		must(t, s.Unassign(t.Context(), ana.ID))
	})
}

// TestAdministratorsLeaveAtOnce: of 10 administrators who are removed at once on
// two nodes, one stays.
func TestAdministratorsLeaveAtOnce(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		const count = 10
		clock := newTurnedClock()
		nodes := []*role.Service{newRoles(open(), clock, nil), newRoles(open(), clock, nil)}
		define(t, nodes[0], "administrator")
		var ids [count]string
		for i := range ids {
			a, err := assign(nodes[0], t.Context(), fmt.Sprintf("user:a%d", i), "administrator", system)
			must(t, err)
			ids[i] = a.ID
		}
		var removed atomic.Int32
		together(count, func(i int) {
			if err := nodes[i%2].Unassign(t.Context(), ids[i]); err == nil {
				removed.Add(1)
			} else if sallyport.KindOf(err) != sallyport.Conflict {
				t.Error(err)
			}
		})
		if state, err := nodes[0].List(t.Context()); removed.Load() != count-1 || err != nil || len(state.Assignments) != 1 {
			t.Errorf("%d removed, %d left, %v", removed.Load(), len(state.Assignments), err)
		}
	})
}

// TestRoleProperty makes random changes, and looks at what must hold after each:
// no circle, no conflict, an administrator once there was one.
func TestRoleProperty(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		names := []string{"administrator", "developer", "reviewer", "x", "y"}
		subjects := []string{"user:p0", "user:p0.2", "service:p1.bot", "user:p1", "group:acme/g"}
		groups := members{"group:acme/g": {"user:p1", "user:p2"}}
		clock := newTurnedClock()
		s := newRoles(open(), clock, groups)
		for _, name := range names {
			define(t, s, name)
		}
		_, err := assign(s, t.Context(), "user:p3", "administrator", system)
		must(t, err)
		rapid.Check(t, func(rt *rapid.T) {
			for range 4 {
				state, err := s.List(t.Context())
				if err != nil {
					rt.Fatal(err)
				}
				switch rapid.IntRange(0, 2).Draw(rt, "what") {
				case 0:
					r := role.Role{Name: rapid.SampledFrom(names).Draw(rt, "role"), Inherits: rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 2, rapid.ID).Draw(rt, "inherits")}
					err = s.Define(t.Context(), r)
				case 1:
					_, err = assign(s, t.Context(), rapid.SampledFrom(subjects).Draw(rt, "subject"), rapid.SampledFrom(names).Draw(rt, "role"), system)
				case 2:
					err = s.Unassign(t.Context(), rapid.SampledFrom(state.Assignments).Draw(rt, "assignment").ID)
				}
				if err != nil && sallyport.KindOf(err) != sallyport.Conflict {
					rt.Fatal(err)
				}
				checkRoles(rt, s, groups)
			}
		})
	})
}

// checkRoles says the rules another way: person by person, over what is stored.
func checkRoles(rt *rapid.T, s *role.Service, groups members) {
	state, err := s.List(rt.Context())
	if err != nil {
		rt.Fatal(err)
	}
	has := map[sallyport.PrincipalID]map[string]bool{}
	administered := false
	for _, a := range state.Assignments {
		people, _ := groups.people(rt.Context(), a.Subject)
		for _, p := range people {
			for _, name := range state.Closure(a.Role) {
				if has[p] == nil {
					has[p] = map[string]bool{}
				}
				has[p][name] = true
				administered = administered || name == "administrator"
			}
		}
	}
	for p, roles := range has {
		if roles["developer"] && roles["reviewer"] {
			rt.Fatalf("%s has both roles", p)
		}
	}
	if !administered {
		rt.Fatal("no administrator is left")
	}
	for _, r := range state.Roles {
		for _, parent := range r.Inherits {
			for _, above := range state.Closure(parent) {
				if above == r.Name {
					rt.Fatalf("%s inherits itself through %s", r.Name, parent)
				}
			}
		}
	}
}
