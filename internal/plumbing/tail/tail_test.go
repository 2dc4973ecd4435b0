package tail

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
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

// One entry that can never be handled, or not even be read, is passed over and told of; every other is handled once, in order,
// and nothing is passed over while the store is down, or while that it was passed over cannot be written down.
func TestPoison(t *testing.T) {
	r := newRecord()
	for range 40 {
		r.add(sallyport.EventSignedIn)
	}
	r.leaves[7] = []byte(`{"log":"x","seq":7,"t":"signin.succeeded","at":"yesterday"}`)
	f := r.follower(t, sallyport.EventSignedIn)
	handle, told, unwritten := f.Handle, []uint64{}, 3
	f.rest = 1
	f.Handle = func(ctx context.Context, events []sallyport.Logged, next uint64) error {
		for _, e := range events {
			if e.Seq == 20 || e.Seq == 39 {
				return errors.New("no store takes this")
			}
		}
		return handle(ctx, events, next)
	}
	f.Skipped = func(_ context.Context, seq uint64, cause error) error {
		if unwritten--; unwritten >= 0 {
			return errors.New("the log is full")
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if cause == nil {
			t.Error("without a cause")
		}
		told = append(told, seq)
		return nil
	}
	r.fail = patient + 3
	defer run(t, f)()
	if err := f.Await(t.Context(), 40); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.seen) != 37 || r.cursor != 40 || r.fail != 0 {
		t.Errorf("%d events, the cursor at %d, %d failures left", len(r.seen), r.cursor, r.fail)
	}
	for i := 1; i < len(r.seen); i++ {
		if r.seen[i] <= r.seen[i-1] {
			t.Errorf("event %d comes after %d", r.seen[i], r.seen[i-1])
		}
	}
	if want := []uint64{7, 20, 39}; !slices.Equal(told, want) {
		t.Errorf("told of %v, want %v", told, want)
	}
}

// Without anybody to tell, nothing is passed over.
func TestPoisonStops(t *testing.T) {
	r := newRecord()
	r.add(sallyport.EventSignedIn, sallyport.EventSignedIn)
	f := r.follower(t, sallyport.EventSignedIn)
	tries := make(chan struct{})
	f.rest = 1
	f.Handle = func(ctx context.Context, _ []sallyport.Logged, _ uint64) error {
		select {
		case tries <- struct{}{}:
		case <-ctx.Done():
		}
		return errors.New("no store takes this")
	}
	stop := run(t, f)
	for range 2 * patient {
		<-tries
	}
	stop()
	if r.cursor != 0 {
		t.Errorf("the cursor went on to %d", r.cursor)
	}
}
