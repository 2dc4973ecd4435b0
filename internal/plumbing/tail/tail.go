// Package tail owns the loop by which somebody follows the trail and keeps how far they came: entries in batches, at
// least once, begun again after whatever fails (NIST SP 800-92, section 2.3: log analysis apart from log generation).
// It leaves the trail to audit/trail, the cursor to a store, and what an event means to the follower.
package tail

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"time"

	"sallyport"
)

// A Source yields every durable entry of the trail from one on, as it comes, until ctx ends.
type Source func(ctx context.Context, from uint64) iter.Seq2[Leaf, error]

// A Leaf is one entry of the trail.
type Leaf struct {
	Seq  uint64
	Data []byte
}

// A Follower is somebody who follows the trail.
type Follower struct {
	Name   string // for the log
	Source Source
	// Types are the events that Handle is given; others only move the cursor.
	Types []sallyport.EventType
	// Next is the number of the first event that was not handled yet.
	Next func(ctx context.Context) (uint64, error)
	// Handle takes events, in order, and keeps next with what it made of them, in one transaction: events that it failed
	// on come again, and those before a crash may.
	Handle func(ctx context.Context, events []sallyport.Logged, next uint64) error
	// Skipped is told of an entry that cannot be handled, though those around it can: it is passed over when this returns
	// nil. What it tells must be durable then. nil = nothing is ever passed over.
	Skipped func(ctx context.Context, seq uint64, cause error) error
	Logger  *slog.Logger

	rest     time.Duration // after a failure; 0 = pause
	failures int           // in a row, guarded by handling
	told     map[uint64]bool
	handling sync.Mutex // held while Handle runs, and while what was made of the log is forgotten

	mu      sync.Mutex
	handled uint64
	changed chan struct{}
	restart context.CancelCauseFunc // of the round that runs
	round   int
}

var errAgain = errors.New("it is to begin anew")

// Rebuild runs forget, which makes Next return 0 again, while nothing is being handled, and follows from there.
func (f *Follower) Rebuild(ctx context.Context, forget func(context.Context) error) error {
	f.handling.Lock()
	defer f.handling.Unlock()
	if err := forget(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.round++
	f.handled = 0
	if f.restart != nil {
		f.restart(errAgain)
	}
	return nil
}

const (
	most    = 512                   // events of one batch
	lull    = 20 * time.Millisecond // how long an event may wait for more
	skipped = 4096                  // other entries after which the cursor is kept all the same
	pause   = time.Second           // after a failure
	patient = 30                    // failures in a row after which entries are handled one by one
	sure    = 3                     // failures of one entry, each beside a success without it, after which it is passed over
)

// Run follows until ctx ends. What fails is logged and begun again from the cursor.
func (f *Follower) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := f.follow(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, errAgain) {
			f.Logger.ErrorContext(ctx, "following the log failed and begins again", "who", f.Name, "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(cmp.Or(f.rest, pause)):
			}
		}
	}
}

// Await returns when every event below seq has been handled by this follower, or ctx ends.
func (f *Follower) Await(ctx context.Context, seq uint64) error {
	for {
		f.mu.Lock()
		if f.changed == nil {
			f.changed = make(chan struct{})
		}
		handled, changed := f.handled, f.changed
		f.mu.Unlock()
		if handled >= seq {
			return nil
		}
		select {
		case <-ctx.Done():
			return sallyport.Wrap("follow log", sallyport.Unavailable, f.Name+" has not caught up with the log", ctx.Err())
		case <-changed:
		}
	}
}

func (f *Follower) advance(next uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handled = next
	if f.changed != nil {
		close(f.changed)
	}
	f.changed = make(chan struct{})
}

var errEnded = errors.New("the log was closed")

// follow reads in one goroutine and handles in another, so that a lone event does not wait for a full batch.
func (f *Follower) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f.mu.Lock()
	round := f.round
	f.restart = cancel
	f.mu.Unlock()
	from, err := f.Next(ctx)
	if err != nil {
		return err
	}
	f.advance(from)
	leaves, done := make(chan Leaf, most), make(chan struct{})
	go func() {
		defer close(done)
		cancel(f.handle(ctx, leaves, round))
	}()
	err = f.read(ctx, from, leaves)
	close(leaves)
	<-done
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

func (f *Follower) read(ctx context.Context, from uint64, leaves chan<- Leaf) error {
	for leaf, err := range f.Source(ctx, from) {
		if err != nil {
			return err
		}
		select {
		case leaves <- leaf:
		case <-ctx.Done():
			return nil
		}
	}
	return errEnded
}

func (f *Follower) handle(ctx context.Context, leaves <-chan Leaf, round int) error {
	passed := 0
	for {
		first, ok := <-leaves
		if !ok {
			return nil
		}
		batch, err := f.fill(ctx, first, leaves)
		if err != nil {
			return err
		}
		if passed += batch.passed; len(batch.events) > 0 || passed >= skipped {
			if err := f.give(ctx, batch, round); err != nil {
				return err
			}
			passed = 0
		}
		f.advance(batch.next)
	}
}

// give hands a batch over, unless it was read before everything was to begin anew.
func (f *Follower) give(ctx context.Context, b batch, round int) error {
	f.handling.Lock()
	defer f.handling.Unlock()
	f.mu.Lock()
	current := f.round
	f.mu.Unlock()
	if round != current {
		return errAgain
	}
	err := f.Handle(ctx, b.events, b.next)
	if err == nil {
		f.failures = 0
		return nil
	}
	if f.failures++; f.failures <= patient || f.Skipped == nil || ctx.Err() != nil {
		return err
	}
	return f.singly(ctx, b)
}

// singly handles the events of a batch one by one, so that one which cannot be handled does not stand in the way of all that
// come after it. A store that is down is no such event: then nothing can be kept without it either.
func (f *Follower) singly(ctx context.Context, b batch) error {
	for i, e := range b.events {
		next := b.next
		if i+1 < len(b.events) {
			next = b.events[i+1].Seq
		}
		var err error
		for range sure {
			if err = f.Handle(ctx, []sallyport.Logged{e}, next); err == nil {
				break
			}
			if down := f.Handle(ctx, nil, e.Seq); down != nil {
				return down
			}
		}
		if err == nil {
			continue
		}
		if err := f.skip(ctx, e.Seq, err); err != nil {
			return err
		}
		if err := f.Handle(ctx, nil, next); err != nil {
			return err
		}
	}
	f.failures = 0
	return nil
}

// skip tells of an entry that is passed over.
func (f *Follower) skip(ctx context.Context, seq uint64, cause error) error {
	if f.Skipped == nil {
		return cause
	}
	if f.told[seq] { // and was read again since
		return nil
	}
	f.Logger.ErrorContext(ctx, "an entry of the log is passed over", "who", f.Name, "seq", seq, "err", cause)
	if err := f.Skipped(ctx, seq, cause); err != nil {
		return err
	}
	if f.told == nil {
		f.told = map[uint64]bool{}
	}
	f.told[seq] = true
	return nil
}

type batch struct {
	events []sallyport.Logged
	passed int
	next   uint64
}

// fill takes what comes within a lull.
func (f *Follower) fill(ctx context.Context, leaf Leaf, leaves <-chan Leaf) (batch, error) {
	var b batch
	timer := time.NewTimer(lull)
	defer timer.Stop()
	for {
		b.next = leaf.Seq + 1
		if f.wants(leaf.Data) {
			e, err := sallyport.DecodeLogged(leaf.Data)
			if err == nil {
				b.events = append(b.events, e)
			} else if err := f.skip(ctx, leaf.Seq, err); err != nil {
				return b, err
			}
		} else {
			b.passed++
		}
		if len(b.events) >= most || b.passed >= skipped {
			return b, nil
		}
		var ok bool
		select {
		case leaf, ok = <-leaves:
			if !ok {
				return b, nil
			}
		case <-timer.C:
			return b, nil
		}
	}
}

// wants reads an event's type without reading the event: the trail writes log, number and type first, in this order.
func (f *Follower) wants(leaf []byte) bool {
	_, rest, found := bytes.Cut(leaf, []byte(`,"t":"`))
	kind, _, closed := bytes.Cut(rest, []byte(`"`))
	if !found || !closed {
		return true // of another form: the decoder says what is wrong
	}
	for _, t := range f.Types {
		if string(t) == string(kind) {
			return true
		}
	}
	return false
}
