package change_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/change"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
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

// service is a service over a real store.
func service(t *testing.T) (*change.Service, *trail) {
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
	l := &trail{}
	return &change.Service{Store: db.Policy(), Compile: compile, Schema: cedar.Schema, Note: l.note, Clock: time.Now}, l
}

func set(more string) policy.Source {
	return policy.Source{Policies: map[string]string{"test.cedar": guardtest.Policies + more}}
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
	if active, err := s.Store.Active(t.Context()); err != nil || active.Version != first.Version() || active.By != "" || active.Why == "" {
		t.Errorf("in force is %+v, error %v", active, err)
	}
	again, err := s.Current(t.Context(), set(more)) // another program ships with another set
	if err != nil || again.Version() != first.Version() {
		t.Errorf("after a restart %q is in force, was %q, error %v", again.Version(), first.Version(), err)
	}
	if sources, err := policy.Join(l.events); err != nil || len(sources) != 1 {
		t.Errorf("the trail has %d sets, error %v", len(sources), err)
	}
}

// A set is in the trail before it is kept, and kept before it decides.
func TestActivate(t *testing.T) {
	s, l := service(t)
	w := guardtest.New(t)
	if _, err := s.Current(t.Context(), set("")); err != nil {
		t.Fatal(err)
	}
	before := w.Facts.Snapshot().Engine().Version()
	l.full = errors.New("no space left on device")
	if _, err := s.Activate(t.Context(), w.Facts, set(more), "user:adam", "try"); !errors.Is(err, l.full) {
		t.Errorf("with a full trail: %v", err)
	}
	if active, err := s.Store.Active(t.Context()); err != nil || strings.Contains(active.Source.Policies["test.cedar"], "Nobody pulls") {
		t.Errorf("what the trail does not hold is in force, error %v", err)
	}
	if now := w.Facts.Snapshot().Engine().Version(); now != before {
		t.Error("what the trail does not hold decides")
	}
	l.full = nil
	engine, err := s.Activate(t.Context(), w.Facts, set(more), "user:adam", "nobody pulls")
	if err != nil {
		t.Fatal(err)
	}
	if now := w.Facts.Snapshot().Engine().Version(); now != engine.Version() || now == before {
		t.Errorf("%q decides, want %q", now, engine.Version())
	}
	last := l.events[len(l.events)-1]
	if last.Type != sallyport.EventPolicy || last.Who != "user:adam" || last.On != engine.Version() || last.Detail["why"] != "nobody pulls" {
		t.Errorf("noted %+v", last)
	}
	all, err := s.Store.List(t.Context())
	if err != nil || len(all) != 2 || all[0].Version != engine.Version() {
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
		if _, err := s.Activate(t.Context(), nil, src, "user:adam", "try"); err == nil {
			t.Errorf("%s: activated", name)
		}
	}
	if _, err := s.Store.Active(t.Context()); sallyport.KindOf(err) != sallyport.NotFound || len(l.events) != 0 {
		t.Errorf("in force: %v; %d events", err, len(l.events))
	}
}

// A long set of any script goes into the trail in parts and comes out as it was,
// wherever the parts are cut.
func TestLongSetsAreWhole(t *testing.T) {
	s, l := service(t)
	for shift := range 4 {
		src := set("")
		for i := range 120 {
			src.Policies["test.cedar"] += fmt.Sprintf("\n@id(\"long%d\") @owner(\"test\") @requirement(\"T\") @text(\"%s\") forbid (principal, action == Action::\"model.export\", resource);",
				i, strings.Repeat("x", shift)+strings.Repeat("海の港, πλοία, 🚢 ", 12))
		}
		engine, err := s.Activate(t.Context(), nil, src, "user:adam", "long")
		if err != nil {
			t.Fatal(err)
		}
		sources, err := policy.Join(l.events)
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
	}
	parts := slices.DeleteFunc(l.events, func(e sallyport.Event) bool { return e.Detail["part"] == "0" })
	if len(parts) == 0 {
		t.Error("no set was long enough to be cut")
	}
}

// A row that was edited behind our back is refused at the start (I-11).
func TestCurrentRefusesAnEditedSet(t *testing.T) {
	s, _ := service(t)
	engine, err := s.Current(t.Context(), set(""))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Store.Activate(t.Context(), change.Set{Version: engine.Version() + "0", Source: policy.Source{Schema: cedar.Schema, Policies: set(more).Policies}, Activated: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Current(t.Context(), set("")); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("a set whose content is not what its version says: %v", err)
	}
}
