package role

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport"
)

// memory is a store for one test.
type memory struct{ state State }

func (m *memory) Load(context.Context) (State, error) { return m.state, nil }

func (m *memory) Update(_ context.Context, decide func(State) (Change, error)) error {
	change, err := decide(m.state)
	if err == nil {
		m.state = m.state.apply(change)
	}
	return err
}

// inGroups says which groups hold a service.
func newMachines(store Store) *Service {
	return &Service{Store: store, Rand: rand.Reader, Clock: func() time.Time { return time.Unix(1_800_000_000, 0) },
		People: func(context.Context, string) ([]sallyport.PrincipalID, error) {
			return []sallyport.PrincipalID{"user:ana"}, nil
		},
		Machines: func(_ context.Context, group string) (bool, error) { return group == "group:acme/bots", nil },
		OnSystem: []string{"exporter"}}
}

// ID-12: whatever is defined, assigned and taken away, in whatever order, no service or agent ever holds a privileged role
// or a role on the whole system.
func TestServicesNeverGovern(t *testing.T) {
	names := []string{"a", "b", "c", "exporter"}
	subjects := []string{"user:ana", "service:bot", "agent:helper", "group:acme/bots", "group:acme/people"}
	scopes := []sallyport.Ref{{Kind: sallyport.SystemKind}, {Kind: sallyport.OrganisationKind, Org: "acme"}}
	rapid.Check(t, func(t *rapid.T) {
		store := &memory{}
		s := newMachines(store)
		for step := range rapid.IntRange(1, 25).Draw(t, "steps") {
			var err error
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				err = s.Define(context.Background(), Role{Name: rapid.SampledFrom(names).Draw(t, "role"), Privileged: rapid.Bool().Draw(t, "privileged"),
					Inherits: rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 2, rapid.ID).Draw(t, "inherits")})
			case 2:
				_, err = s.Assign(context.Background(), Assignment{Subject: rapid.SampledFrom(subjects).Draw(t, "subject"), Role: rapid.SampledFrom(names).Draw(t, "role"),
					Scope: rapid.SampledFrom(scopes).Draw(t, "scope"), By: "user:adam"})
			default:
				if len(store.state.Assignments) > 0 {
					err = s.Unassign(context.Background(), rapid.SampledFrom(store.state.Assignments).Draw(t, "assignment").ID)
				}
			}
			if err != nil && sallyport.KindOf(err) == sallyport.Other {
				t.Fatalf("step %d: %v", step, err)
			}
			for _, a := range store.state.Assignments {
				machine := !strings.HasPrefix(a.Subject, "user:") && a.Subject != "group:acme/people"
				for _, name := range store.state.Closure(a.Role) {
					i := slices.IndexFunc(store.state.Roles, func(r Role) bool { return r.Name == name })
					if machine && store.state.Roles[i].Privileged {
						t.Fatalf("%s holds %s, with the privileged %s", a.Subject, a.Role, name)
					}
				}
				if machine && a.Scope.Kind == sallyport.SystemKind && a.Role != "exporter" {
					t.Fatalf("%s holds %s on the system", a.Subject, a.Role)
				}
			}
		}
	})
}

func TestServicesAreToldWhy(t *testing.T) {
	store := &memory{State{Roles: []Role{{Name: "boss", Privileged: true}, {Name: "exporter"}, {Name: "reader"}}}}
	s := newMachines(store)
	system, acme := sallyport.Ref{Kind: sallyport.SystemKind}, sallyport.Ref{Kind: sallyport.OrganisationKind, Org: "acme"}
	for _, row := range []struct {
		subject, role string
		on            sallyport.Ref
		refused       string
	}{
		{"service:bot", "boss", acme, "a privileged role is for people"},
		{"group:acme/bots", "boss", acme, "a privileged role is for people"},
		{"agent:helper", "reader", system, "a role on the whole system is for people"},
		{"service:bot", "reader", acme, ""},
		{"service:bot", "exporter", system, ""},
		{"user:ana", "boss", system, ""},
		{"group:acme/people", "boss", acme, ""},
		{"group:acme/people", "reader", system, ""},
	} {
		_, err := s.Assign(t.Context(), Assignment{Subject: row.subject, Role: row.role, Scope: row.on, By: "user:adam"})
		if row.refused == "" && err != nil || row.refused != "" && (sallyport.KindOf(err) != sallyport.Conflict || !strings.Contains(fmt.Sprint(err), row.refused)) {
			t.Errorf("%s as %s on %s: %v", row.subject, row.role, row.on, err)
		}
	}
	if err := s.Define(t.Context(), Role{Name: "exporter", Privileged: true}); sallyport.KindOf(err) != sallyport.Conflict {
		t.Errorf("a service's role becomes privileged: %v", err)
	}
	for id, refused := range map[sallyport.PrincipalID]bool{"service:new": true, "agent:new": true, "user:new": false} {
		if err := s.CheckJoining(t.Context(), id, []string{"acme/none", "acme/people"}); (err != nil) != refused {
			t.Errorf("%s joins a group with rights on the system: %v", id, err)
		}
		if err := s.CheckJoining(t.Context(), id, []string{"acme/none"}); err != nil {
			t.Errorf("%s joins a group without: %v", id, err)
		}
	}
}
