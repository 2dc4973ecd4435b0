package leaver

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/authz/grant"
	"sallyport/internal/identity/directory"
)

// A leaving is one order while it is carried out.
type leaving struct {
	*Service
	Order
	member   directory.Member
	accounts []sallyport.PrincipalID // the account, then the person's second accounts
	owned    []directory.Member      // services and agents that the person answers for
	invited  []sallyport.PrincipalID // active guests whom the person vouches for
	report   Report
}

// person tells whether a person leaves, and not one account of theirs.
func (w *leaving) person() bool { return w.member.Person == w.member.ID }

// state makes the accounts unable to act. Every call asks for it.
func (w *leaving) state(ctx context.Context) error {
	all, err := w.Rooms.Directory.List(ctx)
	if err != nil {
		return err
	}
	w.accounts = []sallyport.PrincipalID{w.Who}
	for _, m := range all {
		if m.Guest && m.Sponsor == w.Who && m.State == directory.Active {
			w.invited = append(w.invited, m.ID)
		}
		switch {
		case !w.person() || m.Person != w.Who || m.ID == w.Who || m.State == directory.Removed:
		case m.ID.Kind() == sallyport.User:
			w.accounts = append(w.accounts, m.ID)
		default:
			w.owned = append(w.owned, m)
		}
	}
	if w.For == Departure {
		// Before the state changes: a service must not fall for an instant between its owner and the queue.
		if err := w.addCharges(ctx); err != nil {
			return err
		}
	}
	for _, id := range w.accounts {
		to := w.To
		if id != w.Who { // a second account of somebody removed could only act through them
			to = directory.Suspended
		}
		if err := w.Rooms.Directory.SetState(ctx, id, to); err != nil {
			return err
		}
	}
	w.report.State, w.report.Accounts = w.To, len(w.accounts)
	return nil
}

// proofs ends what shows who somebody is: browser sessions, and token families
// with those that act on their behalf. Families go first: those of a session end with
// it, and would not be counted.
func (w *leaving) proofs(ctx context.Context) error {
	var errs []error
	for _, id := range w.accounts {
		families, err := w.Rooms.Tokens.RevokeByPrincipal(ctx, id, w.Why)
		errs = append(errs, err)
		sessions, err := w.Rooms.Sessions.RevokeAll(ctx, id, w.Why)
		errs = append(errs, err)
		w.report.Sessions += len(sessions)
		w.report.Families += len(families)
	}
	return errors.Join(errs...)
}

// permissions ends grants, questions and votes. They are a person's, through
// whatever account they were got.
func (w *leaving) permissions(ctx context.Context) error {
	if !w.person() {
		return nil
	}
	var err error // questions first, and grants from those that were approved: a grant made later would be overlooked
	if w.report.Requests, w.report.Votes, err = w.Rooms.Approvals.EndPerson(ctx, w.Who, grant.Topic); err != nil {
		return err
	}
	if _, err = w.Rooms.Grants.Recover(ctx); err != nil {
		return err
	}
	w.report.Grants, err = w.Rooms.Grants.RevokePerson(ctx, w.Who, w.By)
	return err
}

// devices ends their certificates. An account that returns keeps its devices.
func (w *leaving) devices(ctx context.Context) error {
	if w.Devices == nil || w.For == Pause {
		return nil
	}
	for _, id := range w.accounts {
		n, err := w.Devices(ctx, id, w.By, w.Why)
		if err != nil {
			return err
		}
		w.report.Devices += n
	}
	return nil
}

// memberships takes groups and roles away, so that an account that is brought
// back begins with none.
func (w *leaving) memberships(ctx context.Context) error {
	for _, id := range w.accounts {
		m, err := w.Rooms.Directory.Get(ctx, id)
		if err != nil {
			return err
		}
		for _, g := range m.Groups {
			if err := w.Rooms.Directory.RemoveGroup(ctx, id, g); err != nil {
				return err
			}
			w.report.Groups++
		}
	}
	state, err := w.Rooms.Roles.List(ctx)
	if err != nil {
		return err
	}
	for _, a := range state.Assignments {
		if !slices.Contains(w.accounts, sallyport.PrincipalID(a.Subject)) {
			continue
		}
		if err := w.Rooms.Roles.Unassign(ctx, a.ID); err != nil && sallyport.KindOf(err) != sallyport.NotFound {
			return err
		}
		w.report.Roles++
	}
	return nil
}

// addCharges puts the services and agents that the person answers for into the
// queue, where they work on until they are due.
func (w *leaving) addCharges(ctx context.Context) error {
	if !w.person() {
		return nil
	}
	var all []Charge
	for _, m := range w.owned {
		if m.State != directory.Active {
			continue
		}
		all = append(all, Charge{Thing: string(m.ID), Org: m.Org, From: w.Who, Since: w.Begun, Due: w.Begun.Add(w.grace())})
	}
	w.report.Charges += len(all)
	return w.Store.AddCharges(ctx, all)
}

// charges takes the person out of the owners of models and datasets, and queues
// what nobody owns then.
func (w *leaving) charges(ctx context.Context) error {
	d, err := w.Rooms.Catalog.Dump(ctx)
	if err != nil {
		return err
	}
	var all []Charge
	drop := func(ref, org string, owners []sallyport.PrincipalID, put func([]sallyport.PrincipalID) catalog.Item) error {
		left := slices.DeleteFunc(slices.Clone(owners), func(o sallyport.PrincipalID) bool { return slices.Contains(w.accounts, o) })
		if len(left) == len(owners) {
			return nil
		}
		if len(left) == 0 { // first the queue: a charge twice is one, a model forgotten is lost
			all = append(all, Charge{Thing: ref, Org: org, From: w.Who, Since: w.Begun})
			if err := w.Store.AddCharges(ctx, all[len(all)-1:]); err != nil {
				return err
			}
		}
		return w.Rooms.Catalog.Put(ctx, put(left))
	}
	for _, m := range d.Models {
		if err := drop(m.Org+"/"+m.Name, m.Org, m.Owners, func(o []sallyport.PrincipalID) catalog.Item { m.Owners = o; return catalog.Item{Model: &m} }); err != nil {
			return err
		}
	}
	for _, x := range d.Datasets {
		if err := drop("dataset:"+x.Org+"/"+x.Name, x.Org, x.Owners, func(o []sallyport.PrincipalID) catalog.Item { x.Owners = o; return catalog.Item{Dataset: &x} }); err != nil {
			return err
		}
	}
	w.report.Charges += len(all)
	return w.duties(ctx, d)
}

// duties takes the person's accounts out of the charters of the catalog, and queues every duty that nobody active has
// then: one of a group that the person was the last of, too.
func (w *leaving) duties(ctx context.Context, d catalog.Dump) error {
	people, err := w.Rooms.Directory.Dump(ctx)
	if err != nil {
		return err
	}
	for _, c := range d.Charters {
		var all []Charge
		changed := false
		for _, duty := range catalog.Duties() {
			held := c.Holders[duty]
			left := slices.DeleteFunc(slices.Clone(held), func(h string) bool { return slices.Contains(w.accounts, sallyport.PrincipalID(h)) })
			changed = changed || len(left) < len(held)
			if len(held) > 0 && !people.Acts(left, w.now()) {
				all = append(all, Charge{Thing: chargeOf(duty, c.Ref), Org: c.Ref.Org, From: w.Who, Since: w.Begun})
			}
		}
		w.report.Charges += len(all)
		if err := w.Store.AddCharges(ctx, all); err != nil { // first the queue
			return err
		}
		if !changed {
			continue
		}
		err := w.Rooms.Catalog.SetDuties(ctx, c.Ref, func(now map[catalog.Duty][]string) error {
			for duty, held := range now {
				now[duty] = slices.DeleteFunc(slices.Clone(held), func(h string) bool { return slices.Contains(w.accounts, sallyport.PrincipalID(h)) })
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// guests suspends whom the person had vouched for, until somebody else does.
func (w *leaving) guests(ctx context.Context) error {
	for _, g := range w.invited {
		if _, err := w.Suspend(ctx, g, w.By, fmt.Sprintf("their sponsor %s has left", w.Who)); err != nil {
			return err
		}
		w.report.Guests++
	}
	return nil
}

// enforce brings the changes into force and measures how long that took.
func (w *leaving) enforce(ctx context.Context) (err error) {
	if w.Enforce != nil {
		w.report.Cut, err = w.Enforce(ctx, w.Begun, w.accounts)
	}
	w.report.InEffect = max(0, w.now().Sub(w.Begun))
	return err
}
