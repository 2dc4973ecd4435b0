// Package guardtest owns a small world to test doors in: a real guard over real
// facts, policies and decisions, whose directory, catalog and trail are values in
// memory that a test changes. It is test support and leaves the real stores to
// the tests of the whole system.
package guardtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/authz/facts"
	"sallyport/internal/authz/grant"
	"sallyport/internal/authz/hold"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/authz/role"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/directory"
)

// Policies is the set that a world begins with: people of the role "user" call
// models and read about them, "reader" takes weights, "pusher" pushes, "reviewer"
// approves and reads the log; a grant gives what it says; "limited" may take
// weights up to 1 MiB.
const Policies = `
@id("user.use") @owner("test") @requirement("T") @text("Users call models.")
permit (principal in Role::"user", action in [Action::"use", Action::"model.read", Action::"model.introspect", Action::"model.pullAux"], resource);
@id("reader.weights") @owner("test") @requirement("T") @text("Readers take weights.")
permit (principal in Role::"reader", action == Action::"model.pull", resource);
@id("limited.weights") @owner("test") @requirement("T") @text("Limited readers take a little.") @obligation("limit-bytes=1048576")
permit (principal in Role::"limited", action == Action::"model.pull", resource);
@id("pusher.push") @owner("test") @requirement("T") @text("Pushers push.")
permit (principal in Role::"pusher", action in [Action::"model.push", Action::"model.retire", Action::"model.delete"], resource);
@id("granted") @owner("test") @requirement("T") @text("A grant gives what it says.")
permit (principal is User, action == Action::"model.pull", resource) when { context.granted };
@id("ask") @owner("security") @requirement("UX-4")
permit (principal is User, action == Action::"grant.request", resource);
@id("secret.step-up") @owner("test") @requirement("T") @text("Restricted models need a second factor.") @outcome("step-up") @needs("aal2")
forbid (principal, action in Action::"use", resource) when { resource has class && resource.class == "restricted" && context.assurance < 2 };
@id("everybody.system") @owner("test") @requirement("T") @text("Everybody may ask who they are.")
permit (principal, action in [Action::"server.read", Action::"model.list"], resource is System);
@id("reviewer.log") @owner("test") @requirement("T") @text("Reviewers read the log.")
permit (principal in Role::"reviewer", action in [Action::"audit.read", Action::"hold.place"], resource);
@id("reviewer.people") @owner("test") @requirement("T") @text("Reviewers look at people.")
permit (principal in Role::"reviewer", action == Action::"identity.read", resource is Organisation);
`

// A World is a guard with everything around it. Its methods may be called from
// many goroutines.
type World struct {
	Guard *guard.Guard
	Facts *facts.Keeper
	Clock *Clock

	t       testing.TB
	mu      sync.Mutex
	seq     int64
	wake    chan struct{}
	members []directory.Member
	groups  []directory.Group
	roles   role.State
	grants  []grant.Grant
	holds   []hold.Hold
	revoked []string
	devices []device.Device
	risks   map[string]int
	catalog catalog.Dump
	leaves  [][]byte
	dropped uint64
	broken  error
	issued  map[string]sallyport.Principal
}

// A Clock is a clock that a test moves; it also runs by itself.
type Clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

// Now is the time, moved by Add.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

// Add moves the clock.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// New returns a world with the organisation acme, the project acme/lab, the
// internal model acme/open, the restricted model acme/secret, each with version
// v1, and the people ana (user), rob (user, reader), lim (user, limited), pia
// (user, pusher), rita (reviewer) and nobody's zoe (no role).
func New(t testing.TB) *World {
	w := &World{t: t, wake: make(chan struct{}), Clock: &Clock{}}
	roles := map[string][]string{"ana": {"user"}, "rob": {"user", "reader"}, "lim": {"user", "limited"}, "pia": {"user", "pusher"}, "rita": {"user", "reviewer"}, "zoe": nil}
	for name, has := range roles {
		id := sallyport.PrincipalID("user:" + name)
		w.members = append(w.members, directory.Member{ID: id, Person: id, Org: "acme", State: directory.Active})
		for _, r := range has {
			w.roles.Assignments = append(w.roles.Assignments, role.Assignment{ID: "A-" + name + r, Subject: string(id), Role: r,
				Scope: sallyport.Ref{Kind: sallyport.OrganisationKind, Org: "acme"}})
			if !slices.ContainsFunc(w.roles.Roles, func(x role.Role) bool { return x.Name == r }) {
				w.roles.Roles = append(w.roles.Roles, role.Role{Name: r})
			}
			if r == "reviewer" {
				w.roles.Assignments = append(w.roles.Assignments, role.Assignment{ID: "A-" + name + "system", Subject: string(id), Role: r, Scope: sallyport.Ref{Kind: sallyport.SystemKind}})
			}
		}
	}
	w.catalog = catalog.Dump{Orgs: []catalog.Org{{Name: "acme"}}, Projects: []catalog.Project{{Org: "acme", Name: "lab"}}}
	w.addModel("open", sallyport.Internal, strings.Repeat("a1", 32))
	w.addModel("secret", sallyport.Restricted, strings.Repeat("b2", 32))
	w.open()
	return w
}

func (w *World) addModel(name string, class sallyport.Class, digest string) {
	w.catalog.Models = append(w.catalog.Models, catalog.Model{Org: "acme", Name: name, Project: "lab", Class: class, Aliases: map[string]string{"main": "v1"}, Owners: []sallyport.PrincipalID{"user:rita"}})
	w.catalog.Versions = append(w.catalog.Versions, catalog.Version{Org: "acme", Model: name, Number: "v1", Digest: digest, Environment: sallyport.Production})
}

func (w *World) open() {
	w.t.Helper()
	engine, err := Compile(Policies)
	if err != nil {
		w.t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(w.t.Output(), nil))
	w.Facts, err = facts.Open(w.t.Context(), w.sources(), engine, w.Clock.Now, logger)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Guard = &guard.Guard{Who: w.who, Facts: w.Facts, Record: w.record, Clock: w.Clock.Now, Rand: rand.Reader, Logger: logger}
}

// Compile compiles policies under the program's schema.
func Compile(policies string) (policy.Engine, error) {
	return cedar.Compile(policy.Source{Schema: cedar.Schema, Policies: map[string]string{"test.cedar": policies}})
}

// Token is what proves name to the guard of a world: a session of its own, at a
// level of assurance, for an audience, within a scope.
func Token(name string, level sallyport.Assurance, audience, scope string) string {
	return strings.Join([]string{"user:" + name, level.String(), audience, strings.ReplaceAll(scope, " ", "+")}, "|")
}

// Issue returns what proves p whole, at every door: with actors, a device, a key.
func (w *World) Issue(p sallyport.Principal) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.issued == nil {
		w.issued = map[string]sallyport.Principal{}
	}
	token := fmt.Sprintf("issued-%d", len(w.issued))
	w.issued[token] = p
	return token
}

// who reads a Token, or what Issue returned. It is the only part of a world that is
// not real.
func (w *World) who(_ context.Context, p guard.Proof, now time.Time) (sallyport.Principal, error) {
	w.mu.Lock()
	whole, ok := w.issued[p.Bearer.Reveal()]
	w.mu.Unlock()
	if ok {
		return whole, nil
	}
	f := strings.Split(p.Bearer.Reveal(), "|")
	bad := sallyport.E("sign in", sallyport.Unknown, "the token proves nobody", "").Because("token.form")
	if len(f) != 4 {
		return sallyport.Principal{}, bad
	}
	if f[2] != p.Audience {
		return sallyport.Principal{}, bad.Because("token.audience")
	}
	level, err := sallyport.ParseAssurance(f[1])
	if err != nil {
		return sallyport.Principal{}, bad
	}
	scope, err := sallyport.ParseScope(strings.ReplaceAll(f[3], "+", " "))
	if err != nil {
		return sallyport.Principal{}, bad
	}
	id := sallyport.PrincipalID(f[0])
	return sallyport.Principal{ID: id, Person: id, Session: "S-" + id.Name(), Family: "F-" + id.Name(), Audience: f[2], Scope: scope,
		Assurance: level, AuthTime: now, Expires: now.Add(time.Hour)}, nil
}

func (w *World) record(_ context.Context, bodies ...[]byte) (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return 0, w.broken
	}
	first := w.dropped + uint64(len(w.leaves))
	for _, b := range bodies {
		w.leaves = append(w.leaves, slices.Clone(b))
	}
	return first, nil
}

// BreakLog makes the trail refuse every record from now on.
func (w *World) BreakLog() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = errors.New("no space left on device")
}

// Forget drops what the trail holds: a test that goes round and round reads only what is new.
func (w *World) Forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dropped += uint64(len(w.leaves))
	w.leaves = nil
}

// Events returns what the trail holds.
func (w *World) Events() []sallyport.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []sallyport.Event
	for _, l := range w.leaves {
		e, err := sallyport.DecodeLogged(l)
		if err != nil {
			w.t.Error(err)
		}
		all = append(all, e.Event)
	}
	return all
}

// Of returns the events of one type.
func (w *World) Of(t sallyport.EventType) []sallyport.Event {
	return slices.DeleteFunc(w.Events(), func(e sallyport.Event) bool { return e.Type != t })
}

func (w *World) sources() facts.Sources {
	return facts.Sources{
		Directory: func(context.Context) (directory.Dump, error) {
			return read(w, func() directory.Dump { return directory.Dump{Members: w.members, Groups: w.groups} })
		},
		Roles: func(context.Context) (role.State, error) { return read(w, func() role.State { return w.roles }) },
		Grants: func(_ context.Context, now time.Time) ([]grant.Grant, error) {
			return read(w, func() []grant.Grant { return w.grants })
		},
		Holds:   func(context.Context) ([]hold.Hold, error) { return read(w, func() []hold.Hold { return w.holds }) },
		Catalog: func(context.Context) (catalog.Dump, error) { return read(w, func() catalog.Dump { return w.catalog }) },
		Revoked: func(context.Context, time.Time) ([]string, error) {
			return read(w, func() []string { return w.revoked })
		},
		Devices: func(context.Context) ([]device.Device, error) {
			return read(w, func() []device.Device { return w.devices })
		},
		Risk: func(context.Context) (map[string]int, error) {
			return read(w, func() map[string]int { return w.risks })
		},
		Networks: facts.Networks{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Label: "office"}},
		Latest:   func(context.Context) (int64, error) { return read(w, func() int64 { return w.seq }) },
		Since: func(_ context.Context, after int64) ([]facts.Kind, int64, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if after >= w.seq {
				return nil, w.seq, nil
			}
			return []facts.Kind{facts.KindDirectory, facts.KindSession, facts.KindRole, facts.KindGrant, facts.KindHold, facts.KindCatalog, facts.KindDevice}, w.seq, nil
		},
		Wake: func() <-chan struct{} { w.mu.Lock(); defer w.mu.Unlock(); return w.wake },
	}
}

func read[T any](w *World, get func() T) (T, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return get(), nil
}

// change changes the records and brings the change into force.
func (w *World) change(do func()) {
	w.t.Helper()
	w.mu.Lock()
	do()
	w.seq++
	close(w.wake)
	w.wake = make(chan struct{})
	w.mu.Unlock()
	if err := w.Facts.Sync(w.t.Context()); err != nil {
		w.t.Error(err)
	}
}

// Suspend makes a member inactive.
func (w *World) Suspend(name string) {
	w.change(func() {
		w.members = slices.Clone(w.members)
		for i := range w.members {
			if w.members[i].ID.Name() == name {
				w.members[i].State = directory.Suspended
			}
		}
	})
}

// Revoke ends a session or token family.
func (w *World) Revoke(id string) {
	w.change(func() { w.revoked = append(slices.Clone(w.revoked), id) })
}

// Grant gives name an action on a resource until a time.
func (w *World) Grant(name string, a sallyport.Action, ref string, until time.Time) {
	r, err := sallyport.ParseRef(ref)
	if err != nil {
		w.t.Fatal(err)
	}
	w.change(func() {
		id := sallyport.PrincipalID("user:" + name)
		w.grants = append(slices.Clone(w.grants), grant.Grant{ID: "G-" + name, Principal: id, Person: id, Actions: []sallyport.Action{a}, Ref: r, From: w.Clock.Now().Add(-time.Second), Until: until})
	})
}

// Device enrols a device, or replaces what is known of it.
func (w *World) Device(d device.Device) {
	w.change(func() {
		others := slices.DeleteFunc(slices.Clone(w.devices), func(x device.Device) bool { return x.ID == d.ID })
		w.devices = append(others, d)
	})
}

// Risk says how risky a session looks.
func (w *World) Risk(session string, risk int) {
	w.change(func() {
		risks := maps.Clone(w.risks)
		if risks == nil {
			risks = map[string]int{}
		}
		risks[session] = risk
		w.risks = risks
	})
}

// Rules replaces the policies.
func (w *World) Rules(policies string) {
	w.t.Helper()
	engine, err := Compile(policies)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Facts.Use(engine)
}

// Join adds members and their roles on acme.
func (w *World) Join(m directory.Member, roles ...string) {
	w.change(func() {
		w.members = append(slices.Clone(w.members), m)
		w.roles.Assignments = slices.Clone(w.roles.Assignments)
		for _, r := range roles {
			w.roles.Assignments = append(w.roles.Assignments, role.Assignment{ID: "A-" + m.ID.Name() + r, Subject: string(m.ID), Role: r,
				Scope: sallyport.Ref{Kind: sallyport.OrganisationKind, Org: "acme"}})
		}
	})
}

// Lock places a hold on a target.
func (w *World) Lock(target string) {
	w.change(func() {
		w.holds = append(slices.Clone(w.holds), hold.Hold{ID: "H-1", Target: target, Kind: hold.Lock, Why: "test", At: w.Clock.Now()})
	})
}

// Drop takes every role of a person away.
func (w *World) Drop(name string) {
	w.change(func() {
		w.roles.Assignments = slices.DeleteFunc(slices.Clone(w.roles.Assignments), func(a role.Assignment) bool { return a.Subject == "user:"+name })
	})
}

// Catalog replaces what is protected.
func (w *World) Catalog(edit func(*catalog.Dump)) {
	w.change(func() {
		c := w.catalog
		c.Models, c.Versions = slices.Clone(c.Models), slices.Clone(c.Versions)
		edit(&c)
		w.catalog = c
	})
}
