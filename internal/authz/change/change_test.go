package change_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/change"
	"sallyport/internal/authz/facts"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/authz/whatif"
	"sallyport/internal/enforce/guard/guardtest"
	"sallyport/internal/store/sqldb/sqldbtest"
)

// A trail keeps what is noted, and can be told to refuse.
type trail struct {
	events []sallyport.Event
	full   error
}

func (l *trail) note(_ context.Context, e sallyport.Event) (uint64, error) {
	if l.full != nil {
		return 0, l.full
	}
	body, err := e.Encode() // as it will be read again
	if err != nil {
		return 0, err
	}
	again, err := sallyport.DecodeLogged(body)
	l.events = append(l.events, again.Event)
	return uint64(len(l.events) - 1), err
}

func compile(src policy.Source) (policy.Engine, error) { return cedar.Compile(src) }

// parts are the texts of sets.
func (l *trail) parts() []sallyport.Event {
	return slices.DeleteFunc(slices.Clone(l.events), func(e sallyport.Event) bool { return e.Type != sallyport.EventPolicy })
}

// A house is a service over a real store, with what one installation keeps beside it.
type house struct {
	*change.Service
	trail    *trail
	store    *edited
	seen     int64
	people   int
	keeper   *guardtest.World
	compiled *atomic.Int64
	secrets  int // of which installation the seals are
}

// An edited store shows rows as somebody with the database might have made them.
type edited struct {
	change.Store
	edit func(*change.Set, *change.Epoch) error
}

func (e *edited) Active(ctx context.Context) (change.Set, change.Epoch, error) {
	set, epoch, err := e.Store.Active(ctx)
	if err == nil && e.edit != nil {
		set.Source.Policies = maps.Clone(set.Source.Policies)
		err = e.edit(&set, &epoch)
	}
	return set, epoch, err
}

// service is a house with one node, not started.
func service(t *testing.T) (*house, *trail) {
	t.Helper()
	db, err := sqldbtest.Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	h := &house{trail: &trail{}, store: &edited{Store: db.Policy()}, people: 3, keeper: guardtest.New(t), compiled: &atomic.Int64{}}
	person := func(_ context.Context, id sallyport.PrincipalID) (sallyport.PrincipalID, error) { return id, nil }
	approvals := &approval.Service{Store: db.Approval(), Clock: time.Now, Rand: rand.Reader, Person: person}
	h.Service = &change.Service{Store: h.store, Proposals: db.Proposals(), Approvals: approvals, Need: 2, Compile: func(src policy.Source) (policy.Engine, error) { h.compiled.Add(1); return compile(src) }, Schema: cedar.Schema, Note: h.trail.note, Clock: time.Now, Node: "n1",
		Seal: func(v []byte, label string) ([]byte, error) {
			return append([]byte(fmt.Sprintf("%d %s ", h.secrets, label)), v...), nil
		},
		Open: func(v []byte, label string) ([]byte, error) {
			plain, ok := strings.CutPrefix(string(v), fmt.Sprintf("%d %s ", h.secrets, label))
			if !ok {
				return nil, errors.New("message authentication failed")
			}
			return []byte(plain), nil
		},
		Seen: func() (int64, error) { return h.seen, nil }, See: func(n int64) error { h.seen = n; return nil },
		Alone: func(context.Context) (bool, error) { return h.people < 2, nil },
		Able: func(f *facts.Snapshot, e policy.Engine, a sallyport.Action) (map[sallyport.PrincipalID]bool, error) {
			return whatif.Able(f.Under(e), a, sallyport.Ref{Kind: sallyport.SystemKind})
		}}
	return h, h.trail
}

// again is the same house after a restart of its process.
func (h *house) again() *house {
	next := *h
	s := h.Service
	next.Service = &change.Service{Store: s.Store, Proposals: s.Proposals, Approvals: s.Approvals, Need: s.Need, Compile: s.Compile, Schema: s.Schema, Note: s.Note, Clock: s.Clock, Node: s.Node,
		Seal: s.Seal, Open: s.Open, Seen: s.Seen, See: s.See, Alone: s.Alone, Able: s.Able}
	return &next
}

// propose asks for a set on behalf of adam.
func (h *house) propose(t *testing.T, src policy.Source) approval.Request {
	t.Helper()
	r, err := h.Propose(t.Context(), h.keeper.Facts, change.Proposal{Source: src, By: "user:adam", Why: "try"}, "user:adam")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// approve has rita and ravi say yes.
func (h *house) approve(t *testing.T, r approval.Request) {
	t.Helper()
	for _, voter := range []sallyport.PrincipalID{"user:rita", "user:ravi"} {
		if _, err := h.Vote(t.Context(), approval.Ballot{Request: r.ID, Voter: voter, Person: voter, Yes: true, Hash: r.Hash}); err != nil {
			t.Fatal(err)
		}
	}
}

// enforce brings a set into force with everything it takes.
func (h *house) enforce(t *testing.T, src policy.Source) change.Epoch {
	t.Helper()
	r := h.propose(t, src)
	h.approve(t, r)
	e, err := h.Activate(t.Context(), h.keeper.Facts, r.ID, "user:adam")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

const governing = `
@id("govern") @owner("test") @requirement("T") @text("People govern.")
permit (principal is User, action in [Action::"policy.propose", Action::"policy.approve", Action::"policy.activate"], resource is System);`

func set(more string) policy.Source {
	return policy.Source{Policies: map[string]string{"test.cedar": guardtest.Policies + governing + more}}
}

const more = `
@id("more") @owner("test") @requirement("T") @text("Nobody pulls.")
forbid (principal, action == Action::"model.pull", resource);`

// The first set is put in force when there is none, on behalf of nobody; after
// that what is in force stays.
func TestCurrent(t *testing.T) {
	s, l := service(t)
	first, err := s.Current(t.Context(), set(""))
	if err != nil {
		t.Fatal(err)
	}
	if active, _, err := s.Store.Active(t.Context()); err != nil || active.Version != first.Version() || active.By != "" || active.Why == "" {
		t.Errorf("in force is %+v, error %v", active, err)
	}
	again, err := s.Current(t.Context(), set(more)) // another program ships with another set
	if err != nil || again.Version() != first.Version() {
		t.Errorf("after a restart %q is in force, was %q, error %v", again.Version(), first.Version(), err)
	}
	if sources, err := policy.Join(l.parts()); err != nil || len(sources) != 1 {
		t.Errorf("the trail has %d sets, error %v", len(sources), err)
	}
}

// A set is in the trail before it is kept, and kept before it decides.
func TestActivate(t *testing.T) {
	s, l := service(t)
	if _, err := s.Current(t.Context(), set("")); err != nil {
		t.Fatal(err)
	}
	w := s.keeper
	before := w.Facts.Snapshot().Engine().Version()
	r := s.propose(t, set(more))
	s.approve(t, r)
	l.full = errors.New("no space left on device")
	if _, err := s.Activate(t.Context(), w.Facts, r.ID, "user:adam"); !errors.Is(err, l.full) {
		t.Errorf("with a full trail: %v", err)
	}
	if active, _, err := s.Store.Active(t.Context()); err != nil || strings.Contains(active.Source.Policies["test.cedar"], "Nobody pulls") {
		t.Errorf("what the trail does not hold is in force, error %v", err)
	}
	if now := w.Facts.Snapshot().Engine().Version(); now != before {
		t.Error("what the trail does not hold decides")
	}
	l.full = nil
	e, err := s.Activate(t.Context(), w.Facts, r.ID, "user:adam")
	if err != nil {
		t.Fatal(err)
	}
	if now := w.Facts.Snapshot().Engine().Version(); now != e.Version || now == before || e.Number != 2 {
		t.Errorf("%q decides, want %q", now, e.Version)
	}
	last := l.events[len(l.events)-1]
	if last.Type != sallyport.EventPolicyActivated || last.Who != "user:adam" || last.On != e.Version || last.Detail["request"] != r.ID || last.Detail["epoch"] != "2" {
		t.Errorf("noted %+v", last)
	}
	all, err := s.Store.List(t.Context())
	if err != nil || len(all) != 2 || all[0].Version != e.Version {
		t.Errorf("%d sets are kept, the newest %q, error %v", len(all), all[0].Version, err)
	}
}

// A set that does not compile changes nothing and is not noted.
func TestActivateRefusesWhatDoesNotCompile(t *testing.T) {
	s, l := service(t)
	for name, src := range map[string]policy.Source{
		"empty":    {},
		"no owner": {Policies: map[string]string{"a.cedar": `@id("x") permit (principal, action, resource);`}},
		"no id":    {Policies: map[string]string{"a.cedar": `permit (principal, action, resource);`}},
		"syntax":   {Policies: map[string]string{"a.cedar": `permit (`}},
		"a type that the schema does not know": {Policies: map[string]string{"a.cedar": `@id("x") @owner("t") @requirement("T") @text("X.")
			permit (principal is Robot, action, resource);`}},
	} {
		if _, err := s.Current(t.Context(), src); err == nil {
			t.Errorf("%s: activated", name)
		}
	}
	if _, _, err := s.Store.Active(t.Context()); sallyport.KindOf(err) != sallyport.NotFound || len(l.events) != 0 {
		t.Errorf("in force: %v; %d events", err, len(l.events))
	}
}

// A long set of any script goes into the trail in parts and comes out as it was,
// wherever the parts are cut.
func TestLongSetsAreWhole(t *testing.T) {
	for shift := range 4 {
		s, l := service(t)
		src := set("")
		for i := range 120 {
			src.Policies["test.cedar"] += fmt.Sprintf("\n@id(\"long%d\") @owner(\"test\") @requirement(\"T\") @text(\"%s\") forbid (principal, action == Action::\"model.export\", resource);",
				i, strings.Repeat("x", shift)+strings.Repeat("海の港, πλοία, 🚢 ", 12))
		}
		engine, err := s.Current(t.Context(), src)
		if err != nil {
			t.Fatal(err)
		}
		sources, err := policy.Join(l.parts())
		if err != nil {
			t.Fatal(err)
		}
		got := sources[engine.Version()]
		if !maps.Equal(got.Policies, src.Policies) {
			t.Errorf("shift %d: other texts came out than went in", shift)
		}
		if again, err := compile(got); err != nil || again.Version() != engine.Version() {
			t.Errorf("shift %d: compiled again it is another set: %v", shift, err)
		}
		if len(l.parts()) < 2 {
			t.Error("the set was not long enough to be cut")
		}
	}
}
