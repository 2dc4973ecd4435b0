package tail

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"testing"

	"sallyport"
)

// A record is a log in memory that can grow, and what a follower made of it.
type record struct {
	mu     sync.Mutex
	leaves [][]byte
	grown  chan struct{}

	cursor uint64
	seen   []uint64
	fail   int // so many times Handle fails
	fed    int // so many times reading fails
}

func newRecord() *record { return &record{grown: make(chan struct{})} }

func (r *record) add(types ...sallyport.EventType) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range types {
		r.leaves = append(r.leaves, fmt.Appendf(nil, `{"log":"x/\",\"t\":\"","seq":%d,"t":%q,"at":1,"x":{"k":",\"t\":\"decided\""}}`, len(r.leaves), t))
	}
	close(r.grown)
	r.grown = make(chan struct{})
}

func (r *record) source(ctx context.Context, from uint64) iter.Seq2[Leaf, error] {
	return func(yield func(Leaf, error) bool) {
		for {
			r.mu.Lock()
			if r.fed > 0 {
				r.fed--
				r.mu.Unlock()
				yield(Leaf{}, errors.New("the disk is slow"))
				return
			}
			left, grown := r.leaves[min(from, uint64(len(r.leaves))):], r.grown
			r.mu.Unlock()
			for _, data := range left {
				if !yield(Leaf{from, data}, nil) {
					return
				}
				from++
			}
			select {
			case <-ctx.Done():
				return
			case <-grown:
			}
		}
	}
}

func (r *record) follower(t *testing.T, types ...sallyport.EventType) *Follower {
	return &Follower{Name: "test", Source: r.source, Types: types, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Next: func(context.Context) (uint64, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.cursor, nil
		},
		Handle: func(_ context.Context, events []sallyport.Logged, next uint64) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.fail > 0 {
				r.fail--
				return errors.New("the store is down")
			}
			for _, e := range events {
				r.seen = append(r.seen, e.Seq)
			}
			r.cursor = next
			return nil
		}}
}

func run(t *testing.T, f *Follower) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { f.Run(ctx) })
	return func() { cancel(); running.Wait() }
}

// Every event that is wanted comes once and in order, whatever stands between, and after a restart from where it stood.
func TestFollow(t *testing.T) {
	r := newRecord()
	for i := range 1500 {
		r.add(sallyport.EventDecided)
		if i%3 == 0 {
			r.add(sallyport.EventSignedIn)
		}
	}
	f := r.follower(t, sallyport.EventSignedIn)
	stop := run(t, f)
	if err := f.Await(t.Context(), 2000); err != nil {
		t.Fatal(err)
	}
	r.add(sallyport.EventSignedIn)
	if err := f.Await(t.Context(), 2001); err != nil {
		t.Fatal(err)
	}
	stop()
	if len(r.seen) != 501 {
		t.Fatalf("%d events, want 501", len(r.seen))
	}
	for i := 1; i < len(r.seen); i++ {
		if r.seen[i] <= r.seen[i-1] {
			t.Fatalf("event %d comes after %d", r.seen[i], r.seen[i-1])
		}
	}
	r.add(sallyport.EventSignedIn)
	again := r.follower(t, sallyport.EventSignedIn)
	defer run(t, again)()
	if err := again.Await(t.Context(), 2002); err != nil {
		t.Fatal(err)
	}
	if len(r.seen) != 502 || r.seen[501] != 2001 {
		t.Errorf("after a restart: %d events, the last %d", len(r.seen), r.seen[len(r.seen)-1])
	}
}

// Events that could not be handled come again, and none is lost.
func TestFailuresAreBegunAgain(t *testing.T) {
	r := newRecord()
	r.fail, r.fed = 1, 1
	r.add(sallyport.EventSignedIn, sallyport.EventDecided, sallyport.EventSignedIn)
	f := r.follower(t, sallyport.EventSignedIn)
	defer run(t, f)()
	if err := f.Await(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if len(r.seen) != 2 || r.fail != 0 || r.fed != 0 {
		t.Errorf("%v was handled, %d failures are left", r.seen, r.fail+r.fed)
	}
}

func TestAwaitEnds(t *testing.T) {
	r := newRecord()
	f := r.follower(t)
	defer run(t, f)()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Await(ctx, 1); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("awaiting what does not come: %v", err)
	}
}

func TestWants(t *testing.T) {
	f := &Follower{Types: []sallyport.EventType{sallyport.EventDecided}}
	for leaf, want := range map[string]bool{
		`{"log":"a","seq":1,"t":"decided","at":1}`:                     true,
		`{"log":"a","seq":1,"t":"refused","at":1,"x":{"t":"decided"}}`: false,
		`{"log":"a\",\"t\":\"decided","seq":1,"t":"refused"}`:          false,
		`{"seq":1}`: true, ``: true, `{"log":"a","t":"deci`: true,
	} {
		if got := f.wants([]byte(leaf)); got != want {
			t.Errorf("%s: %v, want %v", leaf, got, want)
		}
	}
}

// What was made of the log is made anew from its beginning, each event once, whatever was under way.
func TestRebuild(t *testing.T) {
	r := newRecord()
	for range 3000 {
		r.add(sallyport.EventSignedIn)
	}
	f := r.follower(t, sallyport.EventSignedIn)
	defer run(t, f)()
	for range 5 {
		if err := f.Rebuild(t.Context(), func(context.Context) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.cursor, r.seen = 0, nil
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Await(t.Context(), 3000); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, seq := range r.seen {
		if seq != uint64(i) {
			t.Fatalf("event %d stands at %d", seq, i)
		}
	}
	if len(r.seen) != 3000 {
		t.Errorf("%d events, want 3000", len(r.seen))
	}
	down := errors.New("down")
	if err := f.Rebuild(t.Context(), func(context.Context) error { return down }); !errors.Is(err, down) {
		t.Errorf("what could not be forgotten: %v", err)
	}
}
