// Package training owns when each person was last trained to see through fraud, and on whose word (NIST SP 800-53 AT-4).
// Policies ask for it: authz/facts puts it among what is known of a call.
//
// The package leaves what somebody learnt from to govern/drill and to those who train elsewhere, and who may record it to
// the door.
package training

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"sallyport"
)

// The limits on what is kept.
const (
	MaxWhy = 300                       // bytes of a reason
	Oldest = 10 * 365 * 24 * time.Hour // what lies further back is no training
)

// A Record is the newest training of one person.
type Record struct {
	Who  sallyport.PrincipalID // a person, by their main account
	At   time.Time             // when it was, to the second
	By   sallyport.PrincipalID // who said so
	Why  string                // where it was held, or the drill that it followed
	Kept time.Time             // when it was recorded
}

// A Store keeps the newest training of each person. Writes are durable when they return. All methods may be called
// concurrently, from several nodes on one store.
type Store interface {
	// Put keeps a training unless the person has a newer one, and returns the one that is kept.
	Put(ctx context.Context, r Record) (Record, error)
	// Withdraw forgets a person's training; NotFound when there is none.
	Withdraw(ctx context.Context, who sallyport.PrincipalID) error
	// Get returns a person's; NotFound.
	Get(ctx context.Context, who sallyport.PrincipalID) (Record, error)
	// All returns when each person was last trained.
	All(ctx context.Context) (map[sallyport.PrincipalID]time.Time, error)
}

// A Service records training. Its fields are set before its first use; its methods may be called concurrently.
type Service struct {
	Store Store
	// Note writes an event to the trail. Where it fails nothing is kept.
	Note  func(context.Context, sallyport.Event) error
	Clock func() time.Time
}

// By is who says something, the person behind, and by which decision.
type By struct {
	Who      sallyport.PrincipalID
	Person   sallyport.PrincipalID
	Decision string
}

// Vouch records that somebody else was trained at a time, elsewhere. Nobody vouches for themselves.
func (s *Service) Vouch(ctx context.Context, who sallyport.PrincipalID, at time.Time, why string, by By) (Record, error) {
	const op = "record training"
	if err := s.check(op, who, why, by); err != nil {
		return Record{}, err
	}
	now := s.now()
	at = at.UTC().Truncate(time.Second)
	if at.After(now) || at.Before(now.Add(-Oldest)) {
		return Record{}, sallyport.E(op, sallyport.Invalid, at.Format(time.RFC3339)+" is not in the last ten years", "say when the training was, such as --at 2026-03-04")
	}
	return s.keep(ctx, Record{Who: who, At: at, By: by.Who, Why: why, Kept: now}, by.Decision)
}

// Learned records that a person has read, now, what a drill teaches. what names the drill.
func (s *Service) Learned(ctx context.Context, who sallyport.PrincipalID, what string) (Record, error) {
	if who.Kind() != sallyport.User {
		return Record{}, sallyport.E("record training", sallyport.Invalid, "only people are trained", "")
	}
	now := s.now()
	return s.keep(ctx, Record{Who: who, At: now, By: who, Why: what, Kept: now}, "")
}

func (s *Service) keep(ctx context.Context, r Record, decision string) (Record, error) {
	e := sallyport.Event{Type: sallyport.EventTrained, Who: r.By, On: string(r.Who), Decision: decision,
		Detail: map[string]string{"what": "recorded", "trained": r.At.Format(time.RFC3339), "why": r.Why}}
	if err := s.Note(ctx, e); err != nil {
		return Record{}, err
	}
	return s.Store.Put(ctx, r)
}

// Withdraw takes back what was recorded of somebody else: they count as never trained.
func (s *Service) Withdraw(ctx context.Context, who sallyport.PrincipalID, why string, by By) error {
	const op = "withdraw training"
	if err := s.check(op, who, why, by); err != nil {
		return err
	}
	if _, err := s.Store.Get(ctx, who); err != nil {
		return err
	}
	e := sallyport.Event{Type: sallyport.EventTrained, Who: by.Who, On: string(who), Decision: by.Decision, Detail: map[string]string{"what": "withdrawn", "why": why}}
	if err := s.Note(ctx, e); err != nil {
		return err
	}
	return s.Store.Withdraw(ctx, who)
}

// check refuses what cannot be recorded of who by whom.
func (s *Service) check(op string, who sallyport.PrincipalID, why string, by By) error {
	switch {
	case who.Kind() != sallyport.User:
		return sallyport.E(op, sallyport.Invalid, "only people are trained", "name a person")
	case by.Who == "" || by.Person == "" || by.Who == who || by.Person == who:
		return sallyport.E(op, sallyport.Conflict, "nobody says of themselves that they were trained", "ask somebody else who administers identities")
	case strings.TrimSpace(why) == "" || len(why) > MaxWhy || !utf8.ValidString(why) || why != sallyport.Flat(why):
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the reason is not one line of 1 to %d bytes", MaxWhy), "say where the training was held, with --why")
	}
	return nil
}

func (s *Service) now() time.Time { return s.Clock().UTC().Truncate(time.Second) }
