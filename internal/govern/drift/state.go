package drift

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"sallyport"
	"sallyport/internal/govern/intent"
)

// Kept is the intention as a store keeps it.
type Kept struct {
	Number int64 // counts changes; 0 = nothing was ever kept
	Body   []byte
}

// A Store keeps the intention, sealed, and how far the trail was read. Writes are durable when they return; methods are safe
// for concurrent use.
type Store interface {
	Load(ctx context.Context) (Kept, error)
	// Save replaces what is kept where its number is one below, and is Conflict otherwise.
	Save(ctx context.Context, k Kept) error
	// Next is the number of the first event of the trail that was not read yet, and Advance keeps it.
	Next(ctx context.Context) (uint64, error)
	Advance(ctx context.Context, next uint64) error
}

// A Declaration says who said what is meant to be.
type Declaration struct {
	By      sallyport.PrincipalID `json:"by"`
	At      time.Time             `json:"at"`
	Source  string                `json:"source"`            // "sha256:…" of the file, "" where there was none
	Hash    string                `json:"hash"`              // of roles, groups and assignments
	Request string                `json:"request,omitempty"` // by which others approved it
}

// A Drift is one difference that was found.
type Drift struct {
	intent.Difference
	Since time.Time `json:"since"`
	// Who changed it, by which decision and event of the log; without a record all three are empty.
	Who      sallyport.PrincipalID `json:"who,omitempty"`
	Decision string                `json:"decision,omitempty"`
	Seq      uint64                `json:"seq,omitempty"`
	Recorded bool                  `json:"recorded"`
}

// state is the intention, unsealed.
type state struct {
	Number   int64        `json:"number"`
	Declared *Declaration `json:"declared,omitempty"` // nil: what the log has a record of is meant
	Want     intent.Set   `json:"want"`
	// Before are values of the configuration that were meant before these, and run until the server starts again.
	Before intent.Set        `json:"before"`
	Text   []byte            `json:"text,omitempty"` // the configuration's file as it is meant
	Open   []Drift           `json:"open,omitempty"` // sorted by key
	Asked  map[string]Change `json:"asked,omitempty"`
}

const (
	maxOpen  = 100 // differences that are found one by one: the next come when these are fixed
	maxAsked = 50
	askedFor = 7 * 24 * time.Hour // how long a change waits for its answer
)

// load returns the intention, and false where there never was one. An intention that is gone, went back or was written by
// somebody else is an error: what is then there must not become what is meant.
func (s *Service) load(ctx context.Context) (state, bool, error) {
	const op = "read intention"
	kept, err := s.Store.Load(ctx)
	if err != nil {
		return state{}, false, err
	}
	seen, err := s.Seen()
	if err != nil {
		return state{}, false, err
	}
	if kept.Number < seen {
		return state{}, false, sallyport.E(op, sallyport.Conflict, fmt.Sprintf("the store has intention %d, and %d was seen here: it is gone or went back", kept.Number, seen),
			"put the store back from its newest backup")
	}
	if kept.Number == 0 {
		return state{}, false, nil
	}
	if s.cached.Number == kept.Number && bytes.Equal(s.sealed, kept.Body) {
		return s.cached, true, nil
	}
	plain, err := s.Unseal(kept.Body)
	var st state
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(plain))
		d.DisallowUnknownFields()
		err = d.Decode(&st)
	}
	if err != nil || st.Number != kept.Number {
		return state{}, false, sallyport.Wrap(op, sallyport.Conflict, "the intention in the store was not written by this installation", err)
	}
	s.cached, s.sealed = st, kept.Body
	return st, true, nil
}

// save keeps the next intention.
func (s *Service) save(ctx context.Context, st state) error {
	st.Number++
	plain, err := json.Marshal(st)
	if err != nil {
		return sallyport.Wrap("keep intention", sallyport.Other, "", err)
	}
	sealed := s.Seal(plain)
	if err := s.Store.Save(ctx, Kept{st.Number, sealed}); err != nil {
		return err
	}
	s.cached, s.sealed = st, sealed
	return s.See(st.Number)
}

// meant is the hash of what apply declares.
func (st state) meant() string { return st.Want.Only(intent.Kind.Organisation).Hash() }
