package breakglass

import (
	"context"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/approval"
)

// settle opens what was approved: recorded, then counted from now, then the role. However often it is called, an opening
// begins once.
func (s *Service) settle(ctx context.Context, d Definition, id string, r approval.Request) (Opening, error) {
	people := make([]sallyport.PrincipalID, len(r.Votes))
	for i, v := range r.Votes {
		people[i] = v.Person
	}
	o, err := s.Store.Update(ctx, id, func(o *Opening) error {
		if o.State != Asked {
			return nil
		}
		o.State, o.From, o.Until, o.Approvers = Open, r.Decided, r.Decided.Add(d.For), people
		return nil
	})
	if err != nil || o.Assignment != "" || o.At(s.now()) != Open {
		return o, err
	}
	detail := map[string]string{"opening": o.ID, "why": o.Why, "until": o.Until.Format(time.RFC3339), "role": d.Role, "scope": d.Scope.String(), "approvers": join(people)}
	if err := s.note(ctx, o.Who, "opened", d.Name, detail); err != nil {
		return o, err
	}
	if err := s.Note(ctx, sallyport.Event{Type: sallyport.EventAlarm, Who: o.Who, On: d.Scope.String(), Reasons: []string{"breakglass.opened"}, Detail: detail}); err != nil {
		return o, err
	}
	assignment, err := s.Assign(ctx, o.Who, d, o.Until)
	if sallyport.KindOf(err) == sallyport.Conflict {
		assignment, err = "held already", nil
	}
	if err != nil {
		return o, err
	}
	return s.Store.Update(ctx, id, func(o *Opening) error { o.Assignment = assignment; return nil })
}

// Recover opens what an earlier process left approved without its role. Call it once at the start.
func (s *Service) Recover(ctx context.Context) error {
	openings, err := s.Store.Openings(ctx, MaxList)
	if err != nil {
		return err
	}
	for _, o := range openings {
		if o.State != Asked && (o.State != Open || o.Assignment != "") {
			continue
		}
		r, err := s.Approvals.Get(ctx, o.Request)
		if err != nil {
			return err
		}
		if r.State != approval.Approved {
			continue
		}
		d, _, err := s.of(ctx, o.Request)
		if err == nil {
			_, err = s.settle(ctx, d, o.ID, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// End ends an opening before its time.
func (s *Service) End(ctx context.Context, id string, by sallyport.PrincipalID) (Opening, error) {
	const op = "end break-glass"
	o, err := s.find(ctx, op, id)
	if err != nil {
		return Opening{}, err
	}
	if o.At(s.now()) != Open {
		return Opening{}, sallyport.E(op, sallyport.Conflict, id+" is not open", "")
	}
	if err := s.note(ctx, by, "ended", o.Name, map[string]string{"opening": id, "assignment": o.Assignment}); err != nil {
		return Opening{}, err
	}
	if strings.HasPrefix(o.Assignment, "A-") {
		if err := s.Unassign(ctx, o.Assignment); err != nil && sallyport.KindOf(err) != sallyport.NotFound {
			return Opening{}, err
		}
	}
	return s.Store.Update(ctx, id, func(o *Opening) error {
		if now := s.now(); now.Before(o.Until) {
			o.Until = now
		}
		return nil
	})
}

// Review closes the record of an opening that is over: by a person who neither opened it nor approved it.
func (s *Service) Review(ctx context.Context, id, text string, by sallyport.Principal) (Opening, error) {
	const op = "review break-glass"
	if err := oneLine(op, text); err != nil {
		return Opening{}, err
	}
	if by.ID.Kind() != sallyport.User || by.Person.Kind() != sallyport.User {
		return Opening{}, sallyport.E(op, sallyport.Invalid, "only a person reviews", "sign in as yourself")
	}
	now := s.now()
	check := func(o *Opening) error {
		switch {
		case o.At(now) == Reviewed:
			return sallyport.E(op, sallyport.Conflict, id+" is reviewed already", "")
		case o.At(now) != Over:
			return sallyport.E(op, sallyport.Conflict, id+" is not over", "review it when it is")
		case by.Person == o.Person || by.ID == o.Who || slices.Contains(o.Approvers, by.Person):
			return sallyport.E(op, sallyport.Conflict, "who opened it or agreed to it does not review it", "ask somebody else")
		}
		return nil
	}
	o, err := s.find(ctx, op, id)
	if err == nil {
		err = check(&o)
	}
	if err == nil {
		err = s.note(ctx, by.ID, "reviewed", o.Name, map[string]string{"opening": id, "review": text})
	}
	if err != nil {
		return Opening{}, err
	}
	return s.Store.Update(ctx, id, func(o *Opening) error {
		if err := check(o); err != nil {
			return err
		}
		o.State, o.Reviewer, o.ReviewedAt, o.Review = Reviewed, by.ID, now, text
		return nil
	})
}
