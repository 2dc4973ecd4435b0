// Package change owns which policy set is in force (policy administration point,
// PAP; XACML 3.0, section 3.1): it validates a set, keeps every set that was ever
// in force under its content hash, writes it to the trail, and puts it in force.
//
// It leaves the language to authz/policy/cedar and decisions to authz/decision.
package change

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"sallyport"
	"sallyport/internal/authz/facts"
	"sallyport/internal/authz/policy"
)

// A Set is a policy set that is or was in force.
type Set struct {
	Version   string                `json:"version"` // content hash, "sha256:…"
	Source    policy.Source         `json:"source"`
	By        sallyport.PrincipalID `json:"by"`
	Why       string                `json:"why"`
	Activated time.Time             `json:"activated"` // the last time it was put in force
}

// A Store keeps policy sets for ever. Its methods are durable when they return
// and may be called concurrently.
type Store interface {
	// Activate keeps the set and makes it the one in force, in one transaction.
	Activate(ctx context.Context, s Set) error
	// Active returns the set in force, NotFound when there was none yet.
	Active(ctx context.Context) (Set, error)
	// Get returns the set of a version, NotFound when it was never in force.
	Get(ctx context.Context, version string) (Set, error)
	// List returns all sets, newest first, without their sources.
	List(ctx context.Context) ([]Set, error)
}

// A Service changes the policy set in force. Its methods may be called from many
// goroutines; activations happen one after the other in the store's order.
type Service struct {
	Store   Store
	Schema  string // of sets that bring none: the program's own
	Compile func(policy.Source) (policy.Engine, error)
	Note    func(context.Context, sallyport.Event) (uint64, error)
	Clock   func() time.Time
}

// Current compiles the set in force. With none yet it puts first in force, on
// behalf of nobody: the set that the program ships with.
func (s *Service) Current(ctx context.Context, first policy.Source) (policy.Engine, error) {
	set, err := s.Store.Active(ctx)
	if sallyport.KindOf(err) == sallyport.NotFound {
		return s.Activate(ctx, nil, first, "", "the set that the program ships with")
	}
	if err != nil {
		return nil, err
	}
	engine, err := s.Compile(set.Source)
	if err != nil {
		return nil, fmt.Errorf("the policy set in force, %s: %w", set.Version, err)
	}
	if engine.Version() != set.Version {
		return nil, sallyport.E("open policy", sallyport.Unavailable, "the policy set in force does not have the content its version names",
			"put a set in force again with 'sallyport policy activate DIR'")
	}
	return engine, s.write(ctx, set)
}

// Activate validates a set, writes it to the trail, keeps it and puts it in force
// in keeper (nil before there is one). The set is in the trail before any
// decision is made by it.
func (s *Service) Activate(ctx context.Context, keeper *facts.Keeper, src policy.Source, by sallyport.PrincipalID, why string) (policy.Engine, error) {
	if src.Schema == "" {
		src.Schema = s.Schema // kept and written down with the set: another program may come with another one
	}
	if len(src.Policies) == 0 {
		return nil, sallyport.E("activate policy", sallyport.Invalid, "the set is empty: nobody could do anything under it, nor put another in force", "name a directory with .cedar files")
	}
	engine, err := s.Compile(src)
	if err != nil {
		return nil, err
	}
	if err := checkMachines(engine); err != nil {
		return nil, err
	}
	set := Set{Version: engine.Version(), Source: src, By: by, Why: why, Activated: s.Clock().UTC().Truncate(time.Microsecond)}
	if err := s.write(ctx, set); err != nil {
		return nil, err
	}
	if err := s.Store.Activate(ctx, set); err != nil {
		return nil, err
	}
	if keeper != nil {
		keeper.Use(engine)
	}
	return engine, nil
}

// partSize is how much of a set one event carries: an event has at most 65,535
// bytes, and JSON may double what it quotes.
const partSize = 24 << 10

// write puts the set into the trail, in parts, so that a replay needs nothing but
// the trail.
func (s *Service) write(ctx context.Context, set Set) error {
	text, err := json.Marshal(set.Source)
	if err != nil {
		return sallyport.Wrap("activate policy", sallyport.Other, "encode", err)
	}
	pieces := cut(string(text), partSize)
	for i, piece := range pieces {
		_, err := s.Note(ctx, sallyport.Event{Type: sallyport.EventPolicy, Who: set.By, On: set.Version, Detail: map[string]string{
			"part": fmt.Sprint(i), "of": fmt.Sprint(len(pieces)), "why": set.Why, "text": piece}})
		if err != nil {
			return err
		}
	}
	return nil
}

// cut cuts text into pieces of at most size bytes, never inside a character: half
// of one does not survive JSON.
func cut(text string, size int) []string {
	var pieces []string
	for len(text) > size {
		end := size
		for !utf8.RuneStart(text[end]) {
			end--
		}
		pieces, text = append(pieces, text[:end]), text[end:]
	}
	return append(pieces, text)
}
