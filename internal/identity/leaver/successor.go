package leaver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/identity/directory"
)

// Queue returns what waits for a successor, sorted by name.
func (s *Service) Queue(ctx context.Context) ([]Charge, error) { return s.Store.Charges(ctx) }

// Graced returns the services and agents that may act although nobody answers for
// them, each with the instant at which that ends.
func (s *Service) Graced(ctx context.Context) (map[sallyport.PrincipalID]time.Time, error) {
	all, err := s.Store.Charges(ctx)
	if err != nil {
		return nil, err
	}
	graced := map[sallyport.PrincipalID]time.Time{}
	for _, c := range all {
		if !c.Due.IsZero() && !c.Stopped {
			graced[sallyport.PrincipalID(c.Thing)] = c.Due
		}
	}
	return graced, nil
}

// Assign gives what waits for a successor to a person of the same organisation,
// who answers for it from then on. A service that was stopped for want of an owner
// runs again. NotFound where nothing of that name waits.
func (s *Service) Assign(ctx context.Context, thing string, to, by sallyport.PrincipalID) (Charge, error) {
	const op = "assign successor"
	all, err := s.Store.Charges(ctx)
	if err != nil {
		return Charge{}, err
	}
	at := slices.IndexFunc(all, func(c Charge) bool { return c.Thing == thing })
	if at < 0 {
		return Charge{}, sallyport.E(op, sallyport.NotFound, fmt.Sprintf("nothing called %.130q waits for a successor", thing), "list what does with 'sallyport successor ls'")
	}
	c := all[at]
	m, err := s.Rooms.Directory.Get(ctx, to)
	if err != nil && sallyport.KindOf(err) != sallyport.NotFound {
		return c, err
	}
	if err != nil || m.State != directory.Active || m.Person != m.ID || m.Org != c.Org {
		return c, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%s is no active person of %s", to, c.Org), "name the main account of somebody who works there")
	}
	if err := s.Note(ctx, sallyport.Event{Type: sallyport.EventChanged, Who: by, On: thing, Detail: map[string]string{"what": "successor", "from": string(c.From), "to": string(to)}}); err != nil {
		return c, err
	}
	if c.Due.IsZero() {
		err = s.giveThing(ctx, c, to)
	} else {
		err = s.giveMember(ctx, c, to)
	}
	if err != nil {
		return c, err
	}
	return c, s.Store.Settle(ctx, thing)
}

// giveMember makes somebody answer for a service or an agent, and takes it back
// where that would unite in one person what must stay apart.
func (s *Service) giveMember(ctx context.Context, c Charge, to sallyport.PrincipalID) error {
	id := sallyport.PrincipalID(c.Thing)
	if err := s.Rooms.Directory.Reassign(ctx, id, to); err != nil {
		return err
	}
	if c.Stopped { // first, because roles of what is suspended do not count
		if err := s.Rooms.Directory.SetState(ctx, id, directory.Active); err != nil {
			return err
		}
	}
	violations, err := s.Rooms.Roles.Violations(ctx)
	for _, v := range violations {
		if v.Person == to {
			err = sallyport.E("assign successor", sallyport.Conflict, fmt.Sprintf("%s would have both %s and %s", to, v.Roles[0], v.Roles[1]), "name somebody else")
		}
	}
	if err == nil {
		return nil
	}
	errs := []error{err, s.Rooms.Directory.Reassign(ctx, id, c.From)}
	if c.Stopped {
		errs = append(errs, s.Rooms.Directory.SetState(ctx, id, directory.Suspended))
	}
	return errors.Join(errs...)
}

// Taken settles what waited for a successor to a duty about ref, where somebody was named for it in another way.
func (s *Service) Taken(ctx context.Context, duty catalog.Duty, ref sallyport.Ref) error {
	err := s.Store.Settle(ctx, chargeOf(duty, ref))
	if sallyport.KindOf(err) == sallyport.NotFound {
		return nil
	}
	return err
}

// chargeOf names a duty in the queue: that of the owner of a model or a dataset bears its name alone.
func chargeOf(duty catalog.Duty, ref sallyport.Ref) string {
	if duty == catalog.Owner && (ref.Kind == sallyport.ModelKind || ref.Kind == sallyport.DatasetKind) {
		return ref.String()
	}
	return duty.Charge(ref)
}

// giveThing makes somebody an owner of a model or a dataset, or gives them the duty that was left.
func (s *Service) giveThing(ctx context.Context, c Charge, to sallyport.PrincipalID) error {
	if duty, ref, ok := catalog.ParseCharge(c.Thing); ok {
		return s.Rooms.Catalog.SetDuties(ctx, ref, func(holders map[catalog.Duty][]string) error {
			if !slices.Contains(holders[duty], string(to)) {
				holders[duty] = append(holders[duty], string(to))
			}
			return nil
		})
	}
	ref, err := sallyport.ParseRef(c.Thing)
	if err != nil {
		return err
	}
	d, err := s.Rooms.Catalog.Dump(ctx)
	if err != nil {
		return err
	}
	add := func(owners []sallyport.PrincipalID) []sallyport.PrincipalID {
		if slices.Contains(owners, to) {
			return owners
		}
		return append(slices.Clone(owners), to)
	}
	for _, m := range d.Models {
		if ref.Kind == sallyport.ModelKind && m.Org == ref.Org && m.Name == ref.Name {
			m.Owners = add(m.Owners)
			return s.Rooms.Catalog.Put(ctx, catalog.Item{Model: &m})
		}
	}
	for _, x := range d.Datasets {
		if ref.Kind == sallyport.DatasetKind && x.Org == ref.Org && x.Name == ref.Name {
			x.Owners = add(x.Owners)
			return s.Rooms.Catalog.Put(ctx, catalog.Item{Dataset: &x})
		}
	}
	return nil // it was removed since: nothing is left to answer for
}

// Tend finishes orders, suspends members whose time is over, and stops the
// services whose grace is. Call it every minute or so; whoever is due is refused
// before, too.
func (s *Service) Tend(ctx context.Context) error {
	_, err := s.Recover(ctx)
	d, derr := s.Rooms.Directory.Dump(ctx)
	all, cerr := s.Store.Charges(ctx)
	errs := []error{err, derr, cerr}
	for _, due := range d.Overdue(s.now()) {
		_, err := s.Suspend(ctx, due.Member.ID, "", due.Why)
		errs = append(errs, err)
	}
	for _, c := range all {
		if !c.Due.IsZero() && !c.Stopped && !s.now().Before(c.Due) {
			errs = append(errs, s.stop(ctx, c))
		}
	}
	return errors.Join(errs...)
}

func (s *Service) stop(ctx context.Context, c Charge) error {
	id := sallyport.PrincipalID(c.Thing)
	if err := s.Rooms.Directory.SetState(ctx, id, directory.Suspended); err != nil {
		return err
	}
	if _, err := s.Rooms.Tokens.RevokeByPrincipal(ctx, id, "nobody answers for it"); err != nil {
		return err
	}
	if err := s.Note(ctx, sallyport.Event{Type: sallyport.EventChanged, On: c.Thing, Detail: map[string]string{"what": "state", "to": string(directory.Suspended), "why": "nobody answers for it since " + string(c.From) + " left"}}); err != nil {
		return err
	}
	return s.Store.Stop(ctx, c.Thing)
}

func (s *Service) grace() time.Duration {
	if s.Grace == 0 {
		return DefaultGrace
	}
	return s.Grace
}
