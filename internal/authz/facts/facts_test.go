package facts_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/facts"
	"sallyport/internal/authz/grant"
	"sallyport/internal/authz/hold"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/role"
	"sallyport/internal/enforce/guard/guardtest"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/directory"
)

// rooms are the records of a test, the feed of their changes, and what fails.
type rooms struct {
	mu      sync.Mutex
	people  directory.Dump
	roles   role.State
	grants  []grant.Grant
	holds   []hold.Hold
	catalog catalog.Dump
	revoked []string
	devices []device.Device
	risks   map[string]int
	trained map[sallyport.PrincipalID]time.Time
	feed    []facts.Kind
	down    map[facts.Kind]error // what cannot be read
	feedErr error
	wake    chan struct{} // nil: wake-ups are lost
	reads   map[facts.Kind]int
	clock   guardtest.Clock
}

func newRooms() *rooms {
	project := func(p, n string) sallyport.Ref { return sallyport.Ref{Kind: sallyport.ProjectKind, Org: p, Name: n} }
	start := time.Now()
	return &rooms{
		down: map[facts.Kind]error{}, reads: map[facts.Kind]int{},
		people: directory.Dump{
			Members: []directory.Member{
				{ID: "user:ana", Person: "user:ana", Org: "acme", State: directory.Active, Groups: []string{"acme/scorers"}},
				{ID: "user:ana.two", Person: "user:ana", Org: "acme", State: directory.Active},
				{ID: "user:bob", Person: "user:bob", State: directory.Suspended},
				{ID: "user:gone", Person: "user:gone", State: directory.Removed},
				{ID: "service:bot", Person: "user:ana", Org: "acme", State: directory.Active},
				{ID: "service:orphan", Person: "user:bob", Org: "acme", State: directory.Active},
				{ID: "service:over", Person: "user:ana", State: directory.Active, Ends: start},
				{ID: "user:guest", Person: "user:guest", State: directory.Active, Guest: true, Sponsor: "user:ana", Ends: start.Add(time.Hour)},
				{ID: "user:stray", Person: "user:stray", State: directory.Active, Guest: true, Sponsor: "user:bob", Ends: start.Add(time.Hour)},
				{ID: "agent:helper", Person: "user:ana", State: directory.Active, Ends: start.Add(time.Hour)},
				{ID: "agent:over", Person: "user:ana", State: directory.Active, Ends: start},
			},
			Groups: []directory.Group{{Name: "acme/scorers", Parents: []string{"acme/risk"}}, {Name: "acme/risk", Parents: []string{"acme/staff"}}, {Name: "acme/staff"}},
		},
		roles: role.State{
			Roles: []role.Role{{Name: "reader"}, {Name: "user", Inherits: []string{"reader"}}, {Name: "developer", Inherits: []string{"user"}}, {Name: "auditor"}},
			Assignments: []role.Assignment{
				{ID: "A-1", Subject: "group:acme/staff", Role: "user", Scope: sallyport.Ref{Kind: sallyport.OrganisationKind, Org: "acme"}},
				{ID: "A-2", Subject: "group:acme/scorers", Role: "developer", Scope: project("acme", "risk")},
				{ID: "A-3", Subject: "user:ana", Role: "auditor", Scope: sallyport.Ref{Kind: sallyport.SystemKind}},
				{ID: "A-4", Subject: "service:bot", Role: "developer", Scope: sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "fraud", Revision: "v1"}},
			},
		},
		devices: []device.Device{
			{ID: "DV-1", Owner: "user:ana", Class: device.Standard, Level: device.Attested, State: device.Active,
				Posture: device.Posture{At: start.Add(-90 * time.Second), OS: "linux 6.1", Encrypted: true, Patched: true}},
			{ID: "DV-new", Owner: "user:ana", Class: device.Admin, Level: device.Software, State: device.Active},
			{ID: "DV-bad", Owner: "user:ana", Class: device.Standard, Level: device.Software, State: device.Active, Against: "no agent",
				Posture: device.Posture{At: start, Encrypted: true, Locked: true, Patched: true}},
			{ID: "DV-removed", Owner: "user:ana", State: device.Removed},
		},
		risks: map[string]int{"S-1": 70, "S-odd": 900}, trained: map[sallyport.PrincipalID]time.Time{"user:ana": start.Add(-time.Hour)},
		catalog: catalog.Dump{
			Orgs: []catalog.Org{{Name: "acme"}}, Projects: []catalog.Project{{Org: "acme", Name: "risk"}, {Org: "acme", Name: "language"}},
			Models: []catalog.Model{
				{Org: "acme", Name: "fraud", Project: "risk", Class: sallyport.Restricted, Owners: []sallyport.PrincipalID{"user:rita", "user:ana"}, Aliases: map[string]string{"main": "v2"}},
				{Org: "acme", Name: "words", Project: "language", Class: sallyport.Internal},
			},
			Versions: []catalog.Version{
				{Org: "acme", Model: "fraud", Number: "v1", Digest: strings.Repeat("a1", 32), Environment: sallyport.Production, PushedBy: "service:bot"},
				{Org: "acme", Model: "fraud", Number: "v2", Digest: strings.Repeat("b2", 32), Environment: sallyport.Development, PushedBy: "user:ana"},
			},
			Datasets: []catalog.Dataset{{Org: "acme", Name: "claims", Project: "risk"}},
		},
	}
}

// read returns a kind's records, unless they cannot be read.
func read[T any](r *rooms, kind facts.Kind, value *T) (T, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads[kind]++
	if err := r.down[kind]; err != nil {
		var none T
		return none, err
	}
	return *value, nil
}

func (r *rooms) sources() facts.Sources {
	return facts.Sources{
		Directory: func(context.Context) (directory.Dump, error) { return read(r, facts.KindDirectory, &r.people) },
		Roles:     func(context.Context) (role.State, error) { return read(r, facts.KindRole, &r.roles) },
		Grants: func(context.Context, time.Time) ([]grant.Grant, error) {
			return read(r, facts.KindGrant, &r.grants)
		},
		Holds:   func(context.Context) ([]hold.Hold, error) { return read(r, facts.KindHold, &r.holds) },
		Catalog: func(context.Context) (catalog.Dump, error) { return read(r, facts.KindCatalog, &r.catalog) },
		Revoked: func(context.Context, time.Time) ([]string, error) {
			return read(r, facts.KindSession, &r.revoked)
		},
		Devices: func(context.Context) ([]device.Device, error) { return read(r, facts.KindDevice, &r.devices) },
		Risk:    func(context.Context) (map[string]int, error) { return read(r, "risk", &r.risks) },
		Trained: func(context.Context) (map[sallyport.PrincipalID]time.Time, error) {
			return read(r, facts.KindTraining, &r.trained)
		},
		Networks: facts.Networks{{Prefix: netip.MustParsePrefix("192.0.2.128/25"), Label: "lab"},
			{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Label: "office"}},
		Latest: func(context.Context) (int64, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return int64(len(r.feed)), r.feedErr
		},
		Since: func(_ context.Context, after int64) ([]facts.Kind, int64, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.feedErr != nil {
				return nil, after, r.feedErr
			}
			return slices.Clone(r.feed[after:]), int64(len(r.feed)), nil
		},
		Wake: func() <-chan struct{} {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.wake
		},
	}
}

// change changes records as a room does: the change and its place in the feed.
func (r *rooms) change(kind facts.Kind, do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	do()
	r.feed = append(r.feed, kind)
	if r.wake != nil {
		close(r.wake)
		r.wake = make(chan struct{})
	}
}

func engine(t testing.TB, more string) policy.Engine {
	t.Helper()
	e, err := guardtest.Compile(guardtest.Policies + more)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func open(t testing.TB, r *rooms) *facts.Keeper {
	t.Helper()
	k, err := facts.Open(t.Context(), r.sources(), engine(t, ""), r.clock.Now, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// basis is what is known about a principal and what a name stands for.
func basis(t testing.TB, k *facts.Keeper, who sallyport.PrincipalID, on string) *decision.Basis {
	t.Helper()
	ref, err := sallyport.ParseRef(on)
	if err != nil {
		t.Fatal(err)
	}
	s := k.Snapshot()
	x, ok := s.Resolve(ref)
	if !ok {
		t.Fatalf("%s does not resolve", on)
	}
	b, err := s.Basis(sallyport.Principal{ID: who}, x)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// parents are the parents of an entity of a basis, as TYPE:ID.
func parents(b *decision.Basis, kind, id string) []string {
	for _, e := range b.Entities {
		if e.UID == (policy.UID{Type: kind, ID: id}) {
			var all []string
			for _, p := range e.Parents {
				all = append(all, p.Type+":"+p.ID)
			}
			slices.Sort(all)
			return all
		}
	}
	return nil
}

// The closure holds the principal with its groups and roles, the resource with
// what it is in, each entity once and sorted.
func TestClosure(t *testing.T) {
	k := open(t, newRooms())
	b := basis(t, k, "user:ana", "acme/fraud@v1")
	for _, test := range []struct {
		kind, id string
		want     []string
	}{
		{"User", "ana", []string{"Group:acme/scorers", "Role:developer", "Role:user"}},
		{"Group", "acme/scorers", []string{"Group:acme/risk"}},
		{"Group", "acme/risk", []string{"Group:acme/staff"}},
		{"Role", "developer", []string{"Role:user"}},
		{"Role", "user", []string{"Role:reader"}},
		{"Version", "acme/fraud@v1", []string{"Environment:production", "Model:acme/fraud"}},
		{"Model", "acme/fraud", []string{"Project:acme/risk"}},
		{"Project", "acme/risk", []string{"Organisation:acme"}},
	} {
		if got := parents(b, test.kind, test.id); !slices.Equal(got, test.want) {
			t.Errorf("%s %s is in %q, want %q", test.kind, test.id, got, test.want)
		}
	}
	for i := 1; i < len(b.Entities); i++ {
		x, y := b.Entities[i-1].UID, b.Entities[i].UID
		if x.Type > y.Type || x.Type == y.Type && x.ID >= y.ID {
			t.Errorf("%v stands before %v", x, y)
		}
	}
	for _, e := range b.Entities {
		if e.UID.Type == "Version" {
			if got := e.Attrs["pushedBy"].Entity.ID; got != "ana" {
				t.Errorf("pushed by %q, want the person behind the service", got)
			}
			if owners := e.Attrs["owners"].Set; len(owners) != 2 || owners[0].Entity.ID != "ana" || owners[1].Entity.ID != "rita" {
				t.Errorf("the owners are %+v", owners)
			}
		}
	}
	if b.Person != "user:ana" || !b.Active || b.Policy != k.Snapshot().Engine().Version() {
		t.Errorf("the basis is of %s, active %v, under %s", b.Person, b.Active, b.Policy)
	}
	if two := basis(t, k, "user:ana.two", "acme/fraud@v1"); two.Person != "user:ana" || len(parents(two, "User", "ana.two")) != 0 {
		t.Errorf("the second account is of %s, in %q", two.Person, parents(two, "User", "ana.two"))
	}
	if bob := basis(t, k, "user:bob", "acme/fraud@v1"); bob.Active {
		t.Error("a suspended person is active")
	}
}

// A role is held where its scope covers the resource, and nowhere else.
func TestRolesByScope(t *testing.T) {
	k := open(t, newRooms())
	for _, test := range []struct {
		who   sallyport.PrincipalID
		on    string
		roles string
	}{
		{"user:ana", "acme/fraud@v2", "developer user"},
		{"user:ana", "dataset:acme/claims", "developer user"},
		{"user:ana", "acme/words", "user"},
		{"user:ana", "project:acme/risk", "developer user"},
		{"user:ana", "org:acme", "user"},
		{"user:ana", "system", "auditor"},
		{"service:bot", "acme/fraud@v1", "developer"},
		{"service:bot", "acme/fraud@v2", ""},
		{"user:ana.two", "acme/fraud@v1", ""},
	} {
		kind := "User"
		if test.who.Kind() == sallyport.Service {
			kind = "Service"
		}
		var got []string
		for _, p := range parents(basis(t, k, test.who, test.on), kind, test.who.Name()) {
			if name, ok := strings.CutPrefix(p, "Role:"); ok {
				got = append(got, name)
			}
		}
		if s := strings.Join(got, " "); s != test.roles {
			t.Errorf("%s on %s: %q, want %q", test.who, test.on, s, test.roles)
		}
	}
	var held []string
	for _, a := range k.Snapshot().Assignments("user:ana") {
		held = append(held, a.ID)
	}
	if !slices.Equal(held, []string{"A-3", "A-2", "A-1"}) {
		t.Errorf("ana holds %q", held)
	}
}

// Groups and roles that contain themselves end all the same.
func TestCirclesEnd(t *testing.T) {
	r := newRooms()
	r.people.Groups[2].Parents = []string{"acme/scorers"}
	r.roles.Roles[0].Inherits = []string{"developer"}
	s := open(t, r).Snapshot()
	x, _ := s.Resolve(sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "fraud"})
	if _, err := s.Basis(sallyport.Principal{ID: "user:ana"}, x); err != nil {
		t.Logf("refused: %v", err)
	}
	if n := len(s.Assignments("user:ana")); n != 3 {
		t.Errorf("%d assignments, want 3", n)
	}
}

// A hold bears on the person behind an account, on what contains a resource, and
// on no other.
func TestHoldsThatBear(t *testing.T) {
	r := newRooms()
	targets := []string{"user:ana", "user:bob", "service:bot", "session:S-1", "family:F-1", "model:acme/fraud", "acme/fraud@v1", "acme/words", "project:acme/risk", "org:acme", "org:other", "dataset:acme/claims"}
	for _, target := range targets {
		r.holds = append(r.holds, hold.Hold{ID: "H-" + target, Target: target})
	}
	k := open(t, r)
	for _, test := range []struct {
		who  sallyport.PrincipalID
		on   string
		want string
	}{
		{"user:ana", "acme/fraud@v1", "user:ana session:S-1 family:F-1 model:acme/fraud acme/fraud@v1 project:acme/risk org:acme"},
		{"user:ana.two", "acme/fraud@v2", "user:ana session:S-1 family:F-1 model:acme/fraud project:acme/risk org:acme"},
		{"service:bot", "acme/fraud@v2", "user:ana service:bot session:S-1 family:F-1 model:acme/fraud project:acme/risk org:acme"},
		{"service:orphan", "dataset:acme/claims", "user:bob session:S-1 family:F-1 project:acme/risk org:acme dataset:acme/claims"},
		{"user:ana", "system", "user:ana session:S-1 family:F-1"},
	} {
		var got []string
		for _, h := range basis(t, k, test.who, test.on).Holds {
			got = append(got, h.Target)
		}
		want := strings.Fields(test.want)
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s on %s: %q, want %q", test.who, test.on, got, want)
		}
	}
}

// A grant counts for its principal alone, on what it covers.
func TestGrantsThatCover(t *testing.T) {
	r := newRooms()
	for _, on := range []string{"acme/fraud", "acme/fraud@v1", "acme/words", "project:acme/risk"} {
		ref, err := sallyport.ParseRef(on)
		if err != nil {
			t.Fatal(err)
		}
		r.grants = append(r.grants, grant.Grant{ID: on, Principal: "user:ana", Person: "user:ana", Ref: ref})
	}
	k := open(t, r)
	for _, test := range []struct {
		who      sallyport.PrincipalID
		on, want string
	}{
		{"user:ana", "acme/fraud@v1", "acme/fraud acme/fraud@v1 project:acme/risk"},
		{"user:ana", "acme/fraud", "acme/fraud project:acme/risk"}, // main is v2
		{"user:ana", "dataset:acme/claims", "project:acme/risk"},
		{"user:ana.two", "acme/fraud", ""}, // another account of the same person
		{"user:bob", "acme/fraud", ""},
	} {
		var got []string
		for _, g := range basis(t, k, test.who, test.on).Grants {
			got = append(got, g.ID)
		}
		if s := strings.Join(got, " "); s != test.want {
			t.Errorf("%s on %s: %q, want %q", test.who, test.on, s, test.want)
		}
	}
}

// Who can no longer act, and why.
func TestLive(t *testing.T) {
	r := newRooms()
	r.revoked = []string{"S-dead", "F-dead"}
	s := open(t, r).Snapshot()
	for _, test := range []struct {
		p    sallyport.Principal
		want string
	}{
		{sallyport.Principal{ID: "user:ana", Session: "S-1", Family: "F-1"}, ""},
		{sallyport.Principal{ID: "service:bot"}, ""},
		{sallyport.Principal{ID: "user:nobody"}, "principal.unknown"},
		{sallyport.Principal{}, "principal.unknown"},
		{sallyport.Principal{ID: "user:gone"}, "principal.unknown"},
		{sallyport.Principal{ID: "user:bob"}, "principal.suspended"},
		{sallyport.Principal{ID: "service:orphan"}, "person.inactive"},
		{sallyport.Principal{ID: "user:ana", Session: "S-dead"}, "session.revoked"},
		{sallyport.Principal{ID: "user:ana", Session: "S-1", Family: "F-dead"}, "session.revoked"},
		{sallyport.Principal{ID: "user:ana", Consents: []string{"F-1", "F-2"}}, ""},
		{sallyport.Principal{ID: "user:ana", Consents: []string{"F-1", "F-dead"}}, "session.revoked"},
		{sallyport.Principal{ID: "service:over"}, "principal.ended"},
		{sallyport.Principal{ID: "user:guest"}, ""},
		{sallyport.Principal{ID: "user:stray"}, "sponsor.inactive"},
		{sallyport.Principal{ID: "user:ana", Actors: []sallyport.PrincipalID{"agent:helper"}}, ""},
		{sallyport.Principal{ID: "user:ana", Actors: []sallyport.PrincipalID{"agent:helper", "agent:over"}}, "actor.inactive"},
		{sallyport.Principal{ID: "user:ana", Actors: []sallyport.PrincipalID{"agent:nobody"}}, "actor.inactive"},
		{sallyport.Principal{ID: "user:bob", Actors: []sallyport.PrincipalID{"agent:helper"}}, "principal.suspended"},
		{sallyport.Principal{ID: "user:ana", Device: "DV-1"}, ""},
		{sallyport.Principal{ID: "user:ana", Device: "DV-removed"}, "device.removed"},
		{sallyport.Principal{ID: "user:ana", Device: "DV-never"}, "device.removed"},
	} {
		err := s.Live(test.p, r.clock.Now())
		if test.want == "" && err != nil || test.want != "" && (sallyport.ReasonOf(err) != test.want || sallyport.KindOf(err) != sallyport.Unknown) {
			t.Errorf("%+v: %v, want %q", test.p, err, test.want)
		}
	}
}

// Without every source there is no first snapshot.
func TestOpenNeedsEverySource(t *testing.T) {
	down := errors.New("down")
	for _, kind := range []facts.Kind{facts.KindDirectory, facts.KindSession, facts.KindRole, facts.KindGrant, facts.KindHold, facts.KindCatalog, facts.KindDevice, "risk", "feed"} {
		r := newRooms()
		if r.down[kind] = down; kind == "feed" {
			r.feedErr = down
		}
		if k, err := facts.Open(t.Context(), r.sources(), engine(t, ""), r.clock.Now, slog.New(slog.DiscardHandler)); !errors.Is(err, down) || k != nil {
			t.Errorf("without %s: %v", kind, err)
		}
	}
}
