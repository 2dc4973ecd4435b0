// Package leaver owns the end of an account (the leaver of NIST SP 800-53 AC-2):
// everything by which somebody could still act ends at once and everywhere, and
// what they answered for waits for a successor.
//
// An order to leave is kept before anything is ended and forgotten when all of it
// is done and recorded, so that a process that dies half-way goes on at its next
// start. Each step may be taken twice.
//
// The package leaves the records to their rooms, running calls to the guard, and
// who may give such an order to the doors.
package leaver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/grant"
	"sallyport/internal/authz/role"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/session"
	"sallyport/internal/identity/token"
)

// DefaultGrace is how long a service works on without anybody who answers for it.
const DefaultGrace = 7 * 24 * time.Hour

// maxWhy bounds the reason of an order, in bytes.
const maxWhy = 300

// Rooms are the rooms whose records end.
type Rooms struct {
	Directory *directory.Service
	Sessions  *session.Service
	Tokens    *token.Issuer
	Grants    *grant.Service
	Approvals *approval.Service
	Roles     *role.Service
	Catalog   *catalog.Service
}

// An Order says who leaves and how far. It is kept until it was carried out.
type Order struct {
	Who   sallyport.PrincipalID
	By    sallyport.PrincipalID // who ordered it; "" for the system itself
	Why   string                // one line, at most 300 bytes
	To    directory.State       // Suspended or Removed
	For   Extent
	Begun time.Time
}

// An Extent is how much of an account ends.
type Extent string

// The extents. A pause leaves memberships, roles and what the account owns as they
// are; a departure leaves nothing that would be there again when the account is.
const (
	Pause     Extent = "pause"
	Departure Extent = "departure"
)

// A Charge is something that somebody who left had answered for.
type Charge struct {
	Thing   string                // "service:trainer", "agent:helper", the reference of a model or dataset, or "approver:acme/fraud"
	Org     string                // the organisation it belongs to
	From    sallyport.PrincipalID // who left
	Since   time.Time
	Due     time.Time // when a service or an agent stops; zero for what does nothing by itself
	Stopped bool      // it was suspended for want of somebody who answers for it
}

// A Store keeps orders that are not carried out yet and charges that nobody has
// taken. Every change is durable when the method returns, and one of the charges
// is announced to followers of the directory in the same transaction. Methods are
// safe for concurrent use.
type Store interface {
	// Begin keeps an order, in place of an older one for the same account, and returns it as it is kept: it ends no
	// less than the older one would have, and has a Begun of its own.
	Begin(ctx context.Context, o Order) (Order, error)
	// Unfinished returns the orders that are kept, the oldest first.
	Unfinished(ctx context.Context) ([]Order, error)
	// Finish forgets an order, and no newer one for the same account. None is no error.
	Finish(ctx context.Context, o Order) error
	// AddCharges adds charges. One whose thing is kept already stays as it is.
	AddCharges(ctx context.Context, all []Charge) error
	// Charges returns all charges, sorted by thing.
	Charges(ctx context.Context) ([]Charge, error)
	// Stop notes that a charge was suspended; NotFound.
	Stop(ctx context.Context, thing string) error
	// Settle removes the charge of a thing; NotFound.
	Settle(ctx context.Context, thing string) error
}

// A Service carries orders out. Its fields are set before its first use, all but
// Devices and Enforce are needed, and its methods are safe for concurrent
// use.
type Service struct {
	Rooms Rooms
	Store Store
	Now   func() time.Time
	Grace time.Duration // how long services work on without an owner; 0 is DefaultGrace
	// Note records an event, durably.
	Note func(ctx context.Context, e sallyport.Event) error
	// Devices ends the certificates of an account's devices and returns how many; may be nil.
	Devices func(ctx context.Context, owner, by sallyport.PrincipalID, why string) (int, error)
	// Enforce brings the changes into force on this node and cuts what is running and no longer permitted. It returns
	// how many calls of these accounts were cut since a time; may be nil, where nothing runs.
	Enforce func(ctx context.Context, since time.Time, accounts []sallyport.PrincipalID) (int, error)
	Logger  *slog.Logger
}

// A Report counts what an order ended.
type Report struct {
	Who      sallyport.PrincipalID
	State    directory.State
	Accounts int // the account and the second accounts of the same person
	Sessions int
	Families int // token families: logins of programs, and what acts on the account's behalf
	Grants   int
	Requests int // open questions that they had asked
	Votes    int // theirs on questions that are still open
	Devices  int
	Groups   int
	Roles    int
	Guests   int
	Charges  int           // what waits for a successor
	Cut      int           // running calls, as far as this node saw
	InEffect time.Duration // from the order to when no call on this node was permitted any more
}

// Leave ends everything that an account holds, for good: it stays suspended, and
// should it be brought back it has no right it had before. by gave the order, why
// is one line. It is refused with Conflict where a resource would be left without
// an administrator. It goes on when ctx ends; where it fails half-way the account
// is dead already, and Recover finishes it.
func (s *Service) Leave(ctx context.Context, id, by sallyport.PrincipalID, why string) (Report, error) {
	return s.order(ctx, Order{Who: id, By: by, Why: why, To: directory.Suspended, For: Departure})
}

// Remove is Leave for an account that never comes back. Its name stays taken.
func (s *Service) Remove(ctx context.Context, id, by sallyport.PrincipalID, why string) (Report, error) {
	return s.order(ctx, Order{Who: id, By: by, Why: why, To: directory.Removed, For: Departure})
}

// Suspend ends sessions, logins, grants and what is running, as Leave does, and
// leaves memberships, roles and services for the account's return. Its services
// stop with it.
func (s *Service) Suspend(ctx context.Context, id, by sallyport.PrincipalID, why string) (Report, error) {
	return s.order(ctx, Order{Who: id, By: by, Why: why, To: directory.Suspended, For: Pause})
}

func (s *Service) order(ctx context.Context, o Order) (Report, error) {
	const op = "leave"
	ctx = context.WithoutCancel(ctx)
	if len(o.Why) > maxWhy || o.Why == "" {
		return Report{}, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the reason has %d bytes", len(o.Why)), fmt.Sprintf("write 1 to %d", maxWhy))
	}
	m, err := s.Rooms.Directory.Get(ctx, o.Who)
	if err != nil {
		return Report{}, err
	}
	if m.State == directory.Removed && o.To != directory.Removed {
		return Report{}, sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%s was removed for good", o.Who), "")
	}
	if m.State == directory.Active && m.Person == m.ID {
		if err := s.Rooms.Roles.CheckLeaving(ctx, m.ID); err != nil {
			return Report{}, err
		}
	}
	o.Begun = s.now()
	if o, err = s.Store.Begin(ctx, o); err != nil {
		return Report{}, err
	}
	return s.carryOut(ctx, o, m)
}

// Return brings an account back. What an order to leave has not ended yet ends
// first: nobody is back with an old right because a disk was full.
func (s *Service) Return(ctx context.Context, id sallyport.PrincipalID) error {
	ctx = context.WithoutCancel(ctx)
	m, err := s.Rooms.Directory.Get(ctx, id)
	if err != nil {
		return err
	}
	orders, err := s.Store.Unfinished(ctx)
	if err != nil {
		return err
	}
	for _, o := range orders {
		if o.Who != id && o.Who != m.Person {
			continue
		}
		if err := s.resume(ctx, o); err != nil {
			return err
		}
	}
	return s.Rooms.Directory.SetState(ctx, id, directory.Active)
}

// Recover finishes the orders that an earlier process left, or whose end failed.
// Call it at the start and now and then. It returns how many it finished.
func (s *Service) Recover(ctx context.Context) (int, error) {
	orders, err := s.Store.Unfinished(ctx)
	if err != nil {
		return 0, err
	}
	done := 0
	var errs []error
	for _, o := range orders {
		if err := s.resume(ctx, o); err != nil {
			errs = append(errs, fmt.Errorf("%s leaves: %w", o.Who, err))
			continue
		}
		done++
	}
	return done, errors.Join(errs...)
}

// resume carries out an order that is kept.
func (s *Service) resume(ctx context.Context, o Order) error {
	m, err := s.Rooms.Directory.Get(ctx, o.Who)
	if err == nil {
		_, err = s.carryOut(ctx, o, m)
	}
	return err
}

// carryOut takes every step, also after one that failed: what can be ended ends.
// The state comes first, because it alone stops every call.
func (s *Service) carryOut(ctx context.Context, o Order, m directory.Member) (Report, error) {
	w := &leaving{Service: s, Order: o, member: m, report: Report{Who: o.Who}}
	if err := w.state(ctx); err != nil {
		return w.report, err
	}
	errs := []error{w.proofs(ctx), w.permissions(ctx), w.devices(ctx)}
	if o.For == Departure {
		errs = append(errs, w.memberships(ctx), w.charges(ctx), w.guests(ctx))
	}
	errs = append(errs, w.enforce(ctx))
	if err := errors.Join(errs...); err != nil {
		return w.report, err
	}
	if err := s.Note(ctx, w.event()); err != nil {
		return w.report, err
	}
	return w.report, s.Store.Finish(ctx, o)
}

func (w *leaving) event() sallyport.Event {
	r := w.report
	detail := map[string]string{"why": w.Why, "state": string(r.State), "extent": string(w.For), "micros": strconv.FormatInt(r.InEffect.Microseconds(), 10),
		sallyport.Ordered: strconv.FormatInt(w.Begun.UnixMicro(), 10)}
	for name, n := range map[string]int{"accounts": r.Accounts, "sessions": r.Sessions, "families": r.Families, "grants": r.Grants,
		"requests": r.Requests, "votes": r.Votes, "devices": r.Devices, "groups": r.Groups, "roles": r.Roles, "guests": r.Guests,
		"charges": r.Charges, "cut": r.Cut} {
		if n > 0 {
			detail[name] = strconv.Itoa(n)
		}
	}
	return sallyport.Event{Type: sallyport.EventLeft, Who: w.By, On: string(w.Who), Detail: detail}
}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }
