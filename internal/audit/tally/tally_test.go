package tally_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport"
	"sallyport/internal/audit/tally"
	"sallyport/internal/authz/policy"
)

type memory struct {
	body []byte
	next uint64
}

func (m *memory) Load(context.Context) ([]byte, uint64, error) { return m.body, m.next, nil }
func (m *memory) Save(_ context.Context, body []byte, next uint64) error {
	m.body, m.next = body, next
	return nil
}

// people are who stands behind whom.
func people(id sallyport.PrincipalID) sallyport.PrincipalID {
	switch id {
	case "user:ana.admin", "service:ci":
		return "user:ana"
	}
	return id
}

func ledger(s tally.Store, now *time.Time) *tally.Ledger {
	return &tally.Ledger{Store: s, Person: people, Clock: func() time.Time { return *now }, Logger: slog.New(slog.DiscardHandler)}
}

func next(t interface {
	Helper()
	Fatal(...any)
}, l *tally.Ledger) uint64 {
	t.Helper()
	n, err := l.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func decided(at time.Time, id string, who sallyport.PrincipalID, a sallyport.Action, on string, o sallyport.Outcome) sallyport.Event {
	return sallyport.Event{Type: sallyport.EventDecided, At: at.UnixMicro(), Decision: id, Who: who, Action: a, On: on, Outcome: o.String()}
}

func completed(at time.Time, id string, bytes int64) sallyport.Event {
	return sallyport.Event{Type: sallyport.EventCompleted, At: at.UnixMicro(), Decision: id, Delivered: &sallyport.Delivered{Bytes: bytes}}
}

func logged(from uint64, events ...sallyport.Event) []sallyport.Logged {
	var all []sallyport.Logged
	for i, e := range events {
		all = append(all, sallyport.Logged{Seq: from + uint64(i), Event: e})
	}
	return all
}

// TestWhatCounts: accounts and services of a person add up, bytes when the call ends,
// models once each, and nothing that was refused is a use.
func TestWhatCounts(t *testing.T) {
	now := noon
	l := ledger(&memory{}, &now)
	next(t, l)
	events := logged(0,
		decided(noon, "D-1", "user:ana", sallyport.ModelPull, "acme/fraud@v1", sallyport.Allow),
		decided(noon, "D-2", "service:ci", sallyport.ModelPull, "acme/fraud@v2", sallyport.Allow),
		decided(noon, "D-3", "user:ana.admin", sallyport.ModelInfer, "acme/chat", sallyport.Allow),
		decided(noon, "D-4", "user:ana", sallyport.ModelPull, "acme/secret@v1", sallyport.Deny),
		decided(noon, "D-5", "user:ana", sallyport.ModelPull, "acme/secret@v1", sallyport.StepUp),
		decided(noon, "D-6", "user:ana", sallyport.DatasetExport, "dataset:acme/claims", sallyport.Allow),
		decided(noon, "D-7", "user:bob", sallyport.ModelExport, "acme/fraud@v1", sallyport.Allow),
		completed(noon, "D-3", 77), // of an answer, which is neither weights nor data
		completed(noon, "D-2", 1000),
		completed(noon, "D-9", 5), // nobody knows whose
	)
	if err := l.Handle(t.Context(), events, 10); err != nil {
		t.Fatal(err)
	}
	want := policy.Window{Bytes: 1000, Denials: 2, Models: 2, Exports: 1}
	if got := l.Of("user:ana", noon); got != (policy.History{Short: want, Day: want, Month: want}) {
		t.Errorf("ana: %+v", got)
	}
	if got := l.Of("user:bob", noon.Add(11*time.Minute)); got.Short != (policy.Window{}) || got.Day != (policy.Window{Models: 1, Exports: 1}) {
		t.Errorf("bob: %+v", got)
	}
	if got := l.Of("user:eva", noon); got != (policy.History{}) {
		t.Errorf("eva: %+v", got)
	}
	// The call that was flowing counts when it ends, at that time, and entries that come again do not.
	end := noon.Add(20 * time.Minute)
	for range 2 {
		if err := l.Handle(t.Context(), append(events, logged(10, completed(end, "D-1", 9))...), 11); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.Of("user:ana", end); got.Short != (policy.Window{Bytes: 9}) || got.Day.Bytes != 1009 {
		t.Errorf("ana, later: %+v", got)
	}
}

// recount is what a person did, by looking at every event.
func recount(events []sallyport.Logged, who sallyport.PrincipalID, at time.Time) policy.History {
	var h policy.History
	whose := map[string]sallyport.PrincipalID{}
	last := [3]map[string]bool{{}, {}, {}}
	for _, e := range events {
		for i, w := range []*policy.Window{&h.Short, &h.Day, &h.Month} {
			cell, cells := []time.Duration{time.Minute, 15 * time.Minute, 6 * time.Hour}[i], []int64{10, 96, 120}[i]
			in := e.At/cell.Microseconds() >= at.UnixMicro()/cell.Microseconds()-cells
			switch {
			case e.Type == sallyport.EventCompleted:
				if whose[e.Decision] == who && in {
					w.Bytes += e.Delivered.Bytes
				}
			case people(e.Who) != who:
			case e.Outcome != "allow":
				if in {
					w.Denials++
				}
			default:
				if e.Action == sallyport.ModelExport && in {
					w.Exports++
				}
				if e.At >= at.UnixMicro()-cells*cell.Microseconds() {
					name, _, _ := strings.Cut(e.On, "@")
					last[i][name] = true
				}
			}
		}
		if e.Type == sallyport.EventDecided && e.Outcome == "allow" && e.Action != sallyport.ModelInfer {
			whose[e.Decision] = people(e.Who)
		}
	}
	for i, w := range []*policy.Window{&h.Short, &h.Day, &h.Month} {
		w.Models = int64(len(last[i]))
	}
	return h
}

// TestCountsAreARecount of the trail, at any time, over restarts at any entry, whether
// what was kept is of then or of before.
func TestCountsAreARecount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now, store := noon, &memory{}
		l := ledger(store, &now)
		next(t, l)
		var all []sallyport.Logged
		step := rapid.OneOf(rapid.Int64Range(0, 90), rapid.Int64Range(0, 40_000), rapid.Int64Range(0, 900_000))
		for i := range rapid.IntRange(1, 60).Draw(t, "events") {
			now = now.Add(time.Duration(step.Draw(t, "seconds")) * time.Second)
			id := fmt.Sprint("D-", i)
			e := decided(now, id, rapid.SampledFrom([]sallyport.PrincipalID{"user:ana", "user:ana.admin", "service:ci", "user:bob"}).Draw(t, "who"),
				rapid.SampledFrom([]sallyport.Action{sallyport.ModelPull, sallyport.ModelInfer, sallyport.ModelExport}).Draw(t, "action"),
				fmt.Sprintf("acme/m%d@v1", rapid.IntRange(0, 4).Draw(t, "model")),
				rapid.SampledFrom([]sallyport.Outcome{sallyport.Allow, sallyport.Allow, sallyport.Deny}).Draw(t, "outcome"))
			if i > 0 && rapid.Bool().Draw(t, "end") {
				e = completed(now, fmt.Sprint("D-", rapid.IntRange(0, i-1).Draw(t, "of")), rapid.Int64Range(0, 1<<40).Draw(t, "bytes"))
				for _, old := range all {
					if old.Type == sallyport.EventCompleted && old.Decision == e.Decision {
						e.Delivered.Bytes = 0 // a call ends once
					}
				}
			}
			all = append(all, logged(uint64(i), e)...)
			if err := l.Handle(context.Background(), all[i:], uint64(i+1)); err != nil {
				t.Fatal(err)
			}
			switch rapid.IntRange(0, 9).Draw(t, "what then") {
			case 0:
				if err := l.Keep(context.Background()); err != nil {
					t.Fatal(err)
				}
			case 1:
				l = ledger(store, &now)
				from := next(t, l)
				if err := l.Handle(context.Background(), all[from:], uint64(i+1)); err != nil {
					t.Fatal(err)
				}
			}
			at := now.Add(time.Duration(step.Draw(t, "later")) * time.Second)
			for _, who := range []sallyport.PrincipalID{"user:ana", "user:bob"} {
				if got, want := l.Of(who, at), recount(all, who, at); got != want {
					t.Fatalf("%s at %v: %+v, recounted %+v", who, at, got, want)
				}
			}
		}
	})
}

// TestBounded: many people and many models leave the latest.
func TestBounded(t *testing.T) {
	now := noon
	store := &memory{}
	l := ledger(store, &now)
	next(t, l)
	var events []sallyport.Logged
	for i := range tally.MaxModels + 10 {
		events = append(events, logged(uint64(len(events)), decided(noon.Add(time.Duration(i)), fmt.Sprint(i), "user:ana", sallyport.ModelInfer, fmt.Sprintf("acme/m%d", i), sallyport.Allow))...)
	}
	for i := range tally.MaxPeople + 5 {
		who := sallyport.PrincipalID(fmt.Sprintf("user:u%d", i))
		events = append(events, logged(uint64(len(events)), decided(noon.Add(time.Duration(i)*time.Millisecond), "", who, sallyport.ModelInfer, "acme/m", sallyport.Deny))...)
	}
	if err := l.Handle(t.Context(), events[:tally.MaxModels+10], uint64(tally.MaxModels+10)); err != nil {
		t.Fatal(err)
	}
	if got := l.Of("user:ana", noon.Add(time.Second)).Day.Models; got != tally.MaxModels {
		t.Errorf("%d models", got)
	}
	if err := l.Handle(t.Context(), events, uint64(len(events))); err != nil {
		t.Fatal(err)
	}
	if got := l.Of("user:u0", noon).Day.Denials; got != 0 {
		t.Errorf("the one who was heard of first is still known: %d", got)
	}
	if got := l.Of(sallyport.PrincipalID(fmt.Sprintf("user:u%d", tally.MaxPeople+4)), noon).Day.Denials; got != 1 {
		t.Errorf("the last one is not known: %d", got)
	}
}

// FuzzKept: what is kept is read or refused, and what was refused is counted anew.
func FuzzKept(f *testing.F) {
	now := noon
	store := &memory{}
	l := ledger(store, &now)
	next(f, l)
	_ = l.Handle(context.Background(), logged(0, decided(noon, "D-1", "user:ana", sallyport.ModelPull, "acme/m@v1", sallyport.Allow), decided(noon, "D-2", "user:ana", sallyport.ModelPull, "acme/m@v1", sallyport.Deny)), 2)
	_ = l.Keep(context.Background())
	f.Add(store.body)
	f.Add([]byte(`{"v":1,"people":{"user:a":null}}`))
	f.Add([]byte(`{"v":1,"people":{"user:a":{"c":[[{"t":1,"b":-1}],[],[]],"l":1}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		l := ledger(&memory{body, 7}, &now)
		from := next(t, l)
		if from != 0 && from != 7 {
			t.Fatalf("goes on at %d", from)
		}
		if from == 7 && !json.Valid(body) {
			t.Fatal("what is no JSON was read")
		}
		h := l.Of("user:a", noon)
		if min(h.Short.Bytes, h.Day.Denials, h.Month.Exports, h.Month.Models) < 0 {
			t.Fatalf("%+v", h)
		}
		if err := l.Handle(context.Background(), logged(from, decided(noon, "D-1", "user:a", sallyport.ModelPull, "acme/m@v1", sallyport.Deny)), from+1); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkOf(b *testing.B) {
	now := noon
	l := ledger(&memory{}, &now)
	next(b, l)
	for i := range 40_000 {
		at := noon.Add(time.Duration(i) * time.Minute)
		_ = l.Handle(context.Background(), logged(uint64(i), decided(at, "", "user:ana", sallyport.ModelInfer, fmt.Sprintf("acme/m%d", i%1000), sallyport.Outcome(i%2))), uint64(i+1))
	}
	b.ReportAllocs()
	for b.Loop() {
		l.Of("user:ana", noon.Add(40_000*time.Minute))
	}
}

// TestAskingTellsNothing: whether a model that somebody asks for exists and is hidden, or does not exist, their counts are
// the same; and asking for one is no use of it.
func TestAskingTellsNothing(t *testing.T) {
	count := func(events ...sallyport.Event) policy.History {
		now, store := noon, &memory{}
		l := ledger(store, &now)
		next(t, l)
		if err := l.Handle(t.Context(), logged(0, events...), uint64(len(events))); err != nil {
			t.Fatal(err)
		}
		return l.Of("user:ana", noon.Add(time.Second))
	}
	answered := func(status int) sallyport.Event {
		e := completed(noon, "D-1", 0)
		e.Delivered.Status = status
		return e
	}
	ask := func(o sallyport.Outcome) sallyport.Event {
		return decided(noon, "D-1", "user:ana", sallyport.GrantRequest, "acme/m@v1", o)
	}
	gone, hidden, good := count(ask(sallyport.Deny)), count(ask(sallyport.Allow), answered(404)), count(ask(sallyport.Allow), answered(200))
	if hidden != gone || gone.Day.Denials != 1 || good != (policy.History{}) {
		t.Errorf("what is not there counts as %+v, what is hidden as %+v, what may be asked for as %+v", gone, hidden, good)
	}
}
