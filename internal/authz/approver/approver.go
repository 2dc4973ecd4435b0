// Package approver owns whose keys sign approvals: a chain that begins with keys that the operator pins, or with the first
// administrator's on first use, in which each later key was approved by holders of earlier ones (separation of duties over
// trust itself, NIST SP 800-53 AC-5). The whole chain is verified before any key of it is used, and the longest chain ever
// seen is remembered outside the store, so that a store that was rolled back is noticed.
//
// What makes an entry good is approval/signed's; asking and voting are approval's; who may pin the first key is for the
// guard.
package approver

import (
	"context"
	"fmt"
	"sync"
	"time"

	"sallyport"
	"sallyport/internal/authz/approval/signed"
)

// MaxEntries is how long the chain may become.
const MaxEntries = 1000

// A Store keeps the chain. Its methods are durable when they return and may be called concurrently.
type Store interface {
	// Append keeps the entry that comes after n others; Conflict where there is one already.
	Append(ctx context.Context, n int, e signed.Entry) error
	// List returns all entries in order.
	List(ctx context.Context) ([]signed.Entry, error)
}

// A Seen is the longest chain that was ever verified here.
type Seen struct {
	Entries int    `json:"entries"`
	Head    string `json:"head"`
}

// A Service keeps the chain. Its fields are set before its first use; methods are safe for concurrent use.
type Service struct {
	Store Store
	Pins  []signed.Key     // trusted by the configuration
	Clock func() time.Time // steady
	// Recall returns what Remember kept, the zero Seen where it was never called. Both are of a place that whoever writes
	// to the store cannot write to.
	Recall   func() (Seen, error)
	Remember func(Seen) error

	mu   sync.Mutex
	head string // of the chain that keys were made from
	keys signed.Keys
	seen *Seen
}

// Keys returns the approvers' keys, those that are over too. A chain that does not verify, or is another than the one
// seen before, is an error of kind Conflict: nothing may be approved until somebody has looked at it.
func (s *Service) Keys(ctx context.Context) (signed.Keys, error) {
	keys, _, err := s.walk(ctx)
	return keys, err
}

// walk verifies the chain as it is kept now, and returns its entries too.
func (s *Service) walk(ctx context.Context) (signed.Keys, []signed.Entry, error) {
	entries, err := s.Store.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	if len(entries) > MaxEntries {
		return nil, nil, sallyport.E("read approvers", sallyport.Conflict, fmt.Sprintf("the chain has more than %d entries", MaxEntries), "").Because(signed.ReasonChain)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.remembered(entries); err != nil {
		return nil, nil, err
	}
	head := ""
	if n := len(entries); n > 0 {
		head = entries[n-1].Hash() // of its content: an altered entry before it breaks the walk
	}
	if s.keys != nil && head == s.head && s.linked(entries) {
		return s.keys, entries, nil
	}
	keys, head, err := signed.Walk(s.Pins, entries)
	if err != nil {
		return nil, nil, err
	}
	if s.seen == nil || len(entries) > s.seen.Entries {
		now := Seen{Entries: len(entries), Head: head}
		if err := s.Remember(now); err != nil {
			return nil, nil, sallyport.Wrap("read approvers", sallyport.Unavailable, "what was seen cannot be kept", err)
		}
		s.seen = &now
	}
	s.keys, s.head = append(signed.Keys{}, keys...), head
	return s.keys, entries, nil
}

// linked reports whether entries hang together: then the last hash is of all of them.
func (s *Service) linked(entries []signed.Entry) bool {
	prev := ""
	for _, e := range entries {
		if e.Prev != prev {
			return false
		}
		prev = e.Hash()
	}
	return true
}

// remembered refuses a chain that does not go on where the one seen before ended.
func (s *Service) remembered(entries []signed.Entry) error {
	if s.seen == nil {
		seen, err := s.Recall()
		if err != nil {
			return sallyport.Wrap("read approvers", sallyport.Unavailable, "what was seen before cannot be read", err)
		}
		s.seen = &seen
	}
	if n := s.seen.Entries; n > len(entries) || n > 0 && entries[n-1].Hash() != s.seen.Head {
		return sallyport.E("read approvers", sallyport.Conflict, "the chain of approvers' keys is not the one that was there before",
			"the store was altered or an old copy of it was put back: compare it with the log").Because(signed.ReasonChain)
	}
	return nil
}

// A Note writes an entry down, durably, as it is about to be kept. With its error the entry is not kept.
type Note func(signed.Entry) error

// First pins the first key of all. Where there is any it is a Conflict: others approve then.
func (s *Service) First(ctx context.Context, k signed.Key, note Note) (signed.Entry, error) {
	keys, entries, err := s.walk(ctx)
	if err != nil {
		return signed.Entry{}, err
	}
	if len(keys) > 0 || len(entries) > 0 {
		return signed.Entry{}, sallyport.E("pin approver's key", sallyport.Conflict, "there are approvers already", "ask them with 'sallyport approvers enrol'")
	}
	return s.append(ctx, entries, signed.Entry{Change: signed.Change{Act: signed.Pin, Key: k}, At: s.now()}, note)
}

// Add puts an approved question about a key into force, as whoever was asked signed it.
func (s *Service) Add(ctx context.Context, c signed.Change, q signed.Question, votes []signed.Vote, note Note) (signed.Entry, error) {
	_, entries, err := s.walk(ctx)
	if err != nil {
		return signed.Entry{}, err
	}
	for _, e := range entries {
		if e.Question != nil && e.Question.ID == q.ID {
			return e, nil // settled already, by another node or before a crash
		}
	}
	return s.append(ctx, entries, signed.Entry{Change: c, At: signed.Decided(votes), Question: &q, Votes: votes}, note)
}

func (s *Service) append(ctx context.Context, entries []signed.Entry, e signed.Entry, note Note) (signed.Entry, error) {
	if n := len(entries); n > 0 {
		e.Prev = entries[n-1].Hash()
	}
	if _, _, err := signed.Walk(s.Pins, append(entries[:len(entries):len(entries)], e)); err != nil {
		return signed.Entry{}, err
	}
	if err := note(e); err != nil {
		return signed.Entry{}, err
	}
	return e, s.Store.Append(ctx, len(entries), e)
}

func (s *Service) now() time.Time { return s.Clock().UTC().Truncate(time.Microsecond) }
