package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport"
	"sallyport/internal/audit/history"
	"sallyport/internal/authz/change"
	"sallyport/internal/authz/policy"
	"sallyport/internal/store/sqldb"
)

// trailOf yields leaves and then waits, as a trail does; with broken it ends in an
// error once.
func trailOf(leaves [][]byte, broken *bool) history.Source {
	return func(ctx context.Context, from uint64) iter.Seq2[history.Leaf, error] {
		return func(yield func(history.Leaf, error) bool) {
			for seq := from; seq < uint64(len(leaves)); seq++ {
				if *broken && seq == uint64(len(leaves))/2 {
					*broken = false
					yield(history.Leaf{}, errors.New("the trail hiccups"))
					return
				}
				if !yield(history.Leaf{Seq: seq, Data: leaves[seq]}, nil) {
					return
				}
			}
			<-ctx.Done()
		}
	}
}

func someEvents(t *testing.T, n int) [][]byte {
	var leaves [][]byte
	for i := range n {
		e := sallyport.Event{Type: sallyport.EventDecided, At: int64(i) * 1_000_000, Decision: fmt.Sprintf("D-%d", i), Who: "user:ana", Action: sallyport.ModelInfer,
			On: fmt.Sprintf("acme/m%d@v1", i%3), Outcome: "allow", Facts: "f", Reasons: []string{"a", "b"}}
		if i == 8 {
			e.Type, e.Who, e.Decision = sallyport.EventFacts, "", ""
		}
		if i%5 == 0 {
			e.Type, e.Who, e.Outcome = sallyport.EventUnmapped, "user:bob'; DROP TABLE audit_event", "deny"
		}
		body, err := e.Encode()
		must(t, err)
		leaves = append(leaves, body)
	}
	return leaves
}

func TestHistory(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		const n = 700
		broken := true
		x, err := history.Open(t.Context(), open().History(), trailOf(someEvents(t, n), &broken), slog.New(slog.DiscardHandler))
		must(t, err)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); x.Run(ctx) }()
		defer func() { stop(); <-done }()
		must(t, x.Await(t.Context(), n))
		for name, q := range map[string]struct {
			history.Query
			want int
		}{
			"everything":         {history.Query{Most: 1000}, n},
			"newest fifty":       {history.Query{}, history.DefaultRows},
			"by decision":        {history.Query{Decision: "D-7"}, 1},
			"by who":             {history.Query{Who: "user:ana", Most: 1000}, n - n/5 - 1},
			"facts":              {history.Query{Facts: "f", Types: []sallyport.EventType{sallyport.EventFacts}}, 1},
			"several terms":      {history.Query{Who: "user:ana", Action: sallyport.ModelInfer, Outcome: "allow", On: "acme/*", Since: time.Unix(1, 0), Before: 4}, 3},
			"a name is a value":  {history.Query{Who: "user:bob'; DROP TABLE audit_event", Most: 1000}, n / 5},
			"by types":           {history.Query{Types: []sallyport.EventType{sallyport.EventUnmapped, sallyport.EventCut}, Most: 1000}, n / 5},
			"a type's beginning": {history.Query{Types: []sallyport.EventType{"route"}}, 0},
			"by resource":        {history.Query{On: "acme/m1@v1", Most: 1000}, 233},
			"by prefix":          {history.Query{On: "acme/m1*", Most: 1000}, 233},
			"no pattern":         {history.Query{On: "acme/m_@v1"}, 0},
			"by outcome":         {history.Query{Outcome: "deny", Most: 1000}, n / 5},
			"by time":            {history.Query{Since: time.Unix(10, 0), Until: time.Unix(20, 0)}, 10},
			"before":             {history.Query{Before: 10}, 10},
			"nobody":             {history.Query{Who: "user:eve"}, 0},
		} {
			rows, err := x.Find(t.Context(), q.Query)
			if err != nil || len(rows) != q.want {
				t.Errorf("%s: %d rows, want %d, %v", name, len(rows), q.want, err)
			}
		}
		rows, err := x.Find(t.Context(), history.Query{Decision: "D-7"})
		must(t, err)
		want := history.Row{Seq: 7, At: time.Unix(7, 0).UTC(), Type: sallyport.EventDecided, Who: "user:ana", Action: sallyport.ModelInfer, On: "acme/m1@v1", Outcome: "allow", Decision: "D-7", Reason: "a"}
		if diff := cmp.Diff([]history.Row{want}, rows); diff != "" {
			t.Error(diff)
		}
		if _, err := x.Find(t.Context(), history.Query{Most: history.MaxRows + 1}); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("too many rows: %v", err)
		}
	})
}

func TestHistoryIsRebuilt(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		leaves, broken := someEvents(t, 40), false
		for round := range 3 {
			x, err := history.Open(t.Context(), open().History(), trailOf(leaves, &broken), slog.New(slog.DiscardHandler))
			must(t, err)
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); x.Run(ctx) }()
			must(t, x.Await(t.Context(), 40))
			for range round { // also while it runs, and twice
				must(t, x.Rebuild(t.Context()))
				must(t, x.Await(t.Context(), 40))
			}
			stop()
			<-done
			if rows, err := x.Find(t.Context(), history.Query{}); err != nil || len(rows) != 40 {
				t.Errorf("round %d: %d rows, %v", round, len(rows), err)
			}
		}
	})
}

func TestHistoryAwaitGivesUp(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		broken := false
		x, err := history.Open(t.Context(), open().History(), trailOf(nil, &broken), slog.New(slog.DiscardHandler))
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := x.Await(ctx, 1); sallyport.KindOf(err) != sallyport.Unavailable {
			t.Errorf("an index that is behind: %v", err)
		}
	})
}

func TestKeptCheckpoint(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		if b, err := db.KeptCheckpoint(t.Context(), "log"); b != nil || err != nil {
			t.Fatalf("%q, %v", b, err)
		}
		must(t, db.KeepCheckpoint(t.Context(), "log", []byte("one")))
		must(t, db.KeepCheckpoint(t.Context(), "log", []byte("two\x00")))
		must(t, db.KeepCheckpoint(t.Context(), "other", []byte("three")))
		if b, err := open().KeptCheckpoint(t.Context(), "log"); string(b) != "two\x00" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	})
}

func TestPolicyParts(t *testing.T) {
	src := policy.Source{Schema: strings.Repeat("schema \"é\"\n", 4000), Policies: map[string]string{"a.cedar": strings.Repeat("x\t", 30_000), "b.cedar": ""}}
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		var events []sallyport.Event
		note := func(_ context.Context, e sallyport.Event) (uint64, error) {
			if e.Type == sallyport.EventPolicy {
				events = append(events, e)
			}
			return 0, nil
		}
		s := &change.Service{Store: open().Policy(), Note: note, Clock: time.Now, Compile: func(policy.Source) (policy.Engine, error) { return named("v1"), nil },
			Seal: func(v []byte, _ string) ([]byte, error) { return v, nil }, Seen: func() (int64, error) { return 0, nil }, See: func(int64) error { return nil }}
		_, err := s.Current(t.Context(), src)
		must(t, err)
		got, err := policy.Join(events)
		if diff := cmp.Diff(map[string]policy.Source{"v1": src}, got); diff != "" || err != nil || len(events) < 3 {
			t.Errorf("%d parts, %v\n%s", len(events), err, diff)
		}
		for i := range events {
			if b, err := events[i].Encode(); err != nil || len(b) > 60_000 {
				t.Errorf("part %d has %d bytes, %v", i, len(b), err)
			}
		}
		if got, err := policy.Join(events[:len(events)-1]); err != nil || len(got) != 0 {
			t.Errorf("a set with a part missing: %v, %v", got, err)
		}
	})
}

// named is an engine with a version and nothing else.
type named string

func (n named) Version() string                                    { return string(n) }
func (named) Load([]policy.Entity) (policy.Entities, error)        { return nil, errors.New("no entities") }
func (named) Evaluate(policy.Query, policy.Entities) policy.Result { return policy.Result{} }
func (named) Info(string) (policy.Info, bool)                      { return policy.Info{}, false }
func (named) Policies() []policy.Info                              { return nil }
