// Package history owns a search index of the trail (NIST SP 800-92, section 2.3):
// who did what, when, with which outcome, and where the events of one decision
// stand. It is fed by following the trail and can be made anew from it at any
// time: it is never the truth, and nothing is decided or proved from it.
//
// It leaves the events to audit/trail, and who may search to the doors.
package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"sallyport"
)

// A Row is what is found of one event.
type Row struct {
	Seq      uint64
	At       time.Time
	Type     sallyport.EventType
	Who      sallyport.PrincipalID
	Action   sallyport.Action
	On       string
	Outcome  string
	Decision string
	Facts    string // of facts: the hash by which decisions refer to them
	Reason   string // the first
}

// A Query selects rows, newest first. Empty fields select everything.
type Query struct {
	Types    []sallyport.EventType
	Who      sallyport.PrincipalID
	Action   sallyport.Action
	On       string // a resource, or the beginning of its name with "*" behind it
	Outcome  string
	Decision string
	Facts    string
	Since    time.Time
	Until    time.Time // exclusive
	Before   uint64    // rows of lower numbers only; 0 = from the newest
	Most     int       // at most MaxRows; 0 = DefaultRows
}

// Limits of one answer.
const (
	DefaultRows = 50
	MaxRows     = 1000
)

// A Store keeps the rows. It need not be durable when a method returns: what is
// lost is read from the trail again.
type Store interface {
	// Put adds rows and notes that the trail was read up to next, in one transaction.
	Put(ctx context.Context, rows []Row, next uint64) error
	// Next is the number of the first event that was not read yet.
	Next(ctx context.Context) (uint64, error)
	// Find returns what a checked query selects.
	Find(ctx context.Context, q Query) ([]Row, error)
	// Reset forgets everything.
	Reset(ctx context.Context) error
}

// A Source yields every durable entry of the trail from one on, as it comes,
// until ctx ends.
type Source func(ctx context.Context, from uint64) iter.Seq2[Leaf, error]

// A Leaf is one entry of the trail.
type Leaf struct {
	Seq  uint64
	Data []byte
}

// An Index answers searches. Its methods may be called from many goroutines.
type Index struct {
	store  Store
	source Source
	logger *slog.Logger

	writing sync.Mutex // held while the store changes

	mu      sync.Mutex
	next    uint64
	changed chan struct{}
	again   chan struct{} // closed by Rebuild
}

// Open returns an index over store, to be kept current by Run.
func Open(ctx context.Context, store Store, source Source, logger *slog.Logger) (*Index, error) {
	next, err := store.Next(ctx)
	if err != nil {
		return nil, fmt.Errorf("open history: %w", err)
	}
	return &Index{store: store, source: source, logger: logger, next: next, changed: make(chan struct{}), again: make(chan struct{})}, nil
}

// batch is how many rows are written at once while the index catches up.
const batch = 4096

// lull is how long rows may wait for more before they are written.
const lull = 250 * time.Millisecond

// Run follows the trail until ctx ends. What fails is logged and begun again.
func (x *Index) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := x.follow(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, errAgain) {
			x.logger.ErrorContext(ctx, "the search index fell behind and begins again", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

// follow reads from where the index stands. Rows are handed over to a writer, so
// that a lone event does not wait for a full batch.
func (x *Index) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	x.mu.Lock()
	again := x.again
	x.mu.Unlock()
	rows := make(chan Row, batch)
	written := make(chan struct{})
	go func() {
		defer close(written)
		cancel(x.write(ctx, rows, again))
	}()
	err := x.read(ctx, rows)
	close(rows)
	<-written
	if cause := context.Cause(ctx); cause != nil && err == nil {
		err = cause
	}
	return err
}

func (x *Index) read(ctx context.Context, rows chan<- Row) error {
	for leaf, err := range x.source(ctx, x.position()) {
		if err != nil {
			return err
		}
		row, err := rowOf(leaf)
		if err != nil {
			return err
		}
		select {
		case rows <- row:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// errAgain ends a round of following because the index is to be made anew.
var errAgain = errors.New("the index is made anew")

func (x *Index) write(ctx context.Context, rows <-chan Row, again <-chan struct{}) error {
	for {
		var row Row
		var ok bool
		select {
		case <-again:
			return errAgain
		case row, ok = <-rows:
		}
		if !ok {
			return nil
		}
		group := append(make([]Row, 0, batch), row)
		timer := time.NewTimer(lull)
	fill:
		for len(group) < batch {
			select {
			case r, ok := <-rows:
				if !ok {
					break fill
				}
				group = append(group, r)
			case <-timer.C:
				break fill
			}
		}
		timer.Stop()
		if err := x.put(ctx, group, again); err != nil {
			return err
		}
	}
}

// put writes a group, unless the index was to be made anew since it was read.
func (x *Index) put(ctx context.Context, group []Row, again <-chan struct{}) error {
	x.writing.Lock()
	defer x.writing.Unlock()
	select {
	case <-again:
		return errAgain
	default:
	}
	next := group[len(group)-1].Seq + 1
	if err := x.store.Put(ctx, group, next); err != nil {
		return err
	}
	x.advance(next)
	return nil
}

// An entry is the part of an event that is indexed.
type entry struct {
	Type     sallyport.EventType   `json:"t"`
	At       int64                 `json:"at"`
	Who      sallyport.PrincipalID `json:"who"`
	Action   sallyport.Action      `json:"a"`
	On       string                `json:"on"`
	Outcome  string                `json:"o"`
	Decision string                `json:"d"`
	Facts    string                `json:"f"`
	Reasons  []string              `json:"r"`
}

func rowOf(leaf Leaf) (Row, error) {
	var e entry
	if err := json.Unmarshal(leaf.Data, &e); err != nil {
		return Row{}, fmt.Errorf("leaf %d: %w", leaf.Seq, err)
	}
	r := Row{Seq: leaf.Seq, At: time.UnixMicro(e.At).UTC(), Type: e.Type, Who: e.Who, Action: e.Action, On: e.On, Outcome: e.Outcome, Decision: e.Decision}
	if e.Type == sallyport.EventFacts {
		r.Facts = e.Facts // of a decision the log itself tells; the index finds where the facts stand
	}
	if len(e.Reasons) > 0 {
		r.Reason = e.Reasons[0]
	}
	return r, nil
}

func (x *Index) position() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.next
}

func (x *Index) advance(next uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.next = next
	close(x.changed)
	x.changed = make(chan struct{})
}

// Await returns when every event below seq can be found, or ctx ends.
func (x *Index) Await(ctx context.Context, seq uint64) error {
	for {
		x.mu.Lock()
		next, changed := x.next, x.changed
		x.mu.Unlock()
		if next >= seq {
			return nil
		}
		select {
		case <-ctx.Done():
			return sallyport.Wrap("search", sallyport.Unavailable, "the search index has not caught up with the log", ctx.Err())
		case <-changed:
		}
	}
}

// Find returns what q selects, newest first.
func (x *Index) Find(ctx context.Context, q Query) ([]Row, error) {
	if q.Most == 0 {
		q.Most = DefaultRows
	}
	if q.Most < 0 || q.Most > MaxRows {
		return nil, sallyport.E("search", sallyport.Invalid, fmt.Sprintf("at most %d rows at a time", MaxRows), "ask for fewer, and go on with the lowest number found")
	}
	return x.store.Find(ctx, q)
}

// Rebuild forgets everything and has Run read the trail from its beginning.
func (x *Index) Rebuild(ctx context.Context) error {
	x.writing.Lock()
	defer x.writing.Unlock()
	if err := x.store.Reset(ctx); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.next = 0
	close(x.again)
	x.again = make(chan struct{})
	return nil
}
