package approval

import (
	"context"
	"slices"

	"sallyport"
)

// EndPerson takes back the open questions that a person has asked, and those that
// were approved and not used, but for approved ones of the topic settled, which
// nobody uses. It takes their votes off questions that are still open: nobody's
// yes counts who is not there any more. It returns how many there were of each,
// and may be called again.
func (s *Service) EndPerson(ctx context.Context, person sallyport.PrincipalID, settled string) (asked, votes int, err error) {
	for _, state := range []State{Pending, Approved} {
		own, err := s.all(ctx, Filter{Person: person, State: state})
		if err != nil {
			return asked, votes, err
		}
		for _, r := range own {
			if state == Approved && r.Topic == settled {
				continue
			}
			if err := s.end(ctx, r.ID, state); err != nil {
				return asked, votes, err
			}
			asked++
		}
	}
	open, err := s.all(ctx, Filter{State: Pending})
	if err != nil {
		return asked, votes, err
	}
	of := func(v Vote) bool { return v.Person == person }
	for _, r := range open {
		if !slices.ContainsFunc(r.Votes, of) {
			continue
		}
		_, err := s.Store.Update(ctx, r.ID, func(r *Request) error {
			if r.State == Pending {
				r.Votes = slices.DeleteFunc(slices.Clone(r.Votes), of)
			}
			return nil
		})
		if err != nil {
			return asked, votes, err
		}
		votes++
	}
	return asked, votes, nil
}

// end withdraws a request that stands where it is expected, and leaves it alone
// where somebody was faster.
func (s *Service) end(ctx context.Context, id string, was State) error {
	_, err := s.Store.Update(ctx, id, func(r *Request) error {
		if r.State == was {
			r.State, r.Decided = Withdrawn, s.now()
		}
		return nil
	})
	return err
}

// all returns everything that f selects, however much that is.
func (s *Service) all(ctx context.Context, f Filter) ([]Request, error) {
	f.At = s.now()
	var found []Request
	seen := map[string]bool{}
	for {
		page, err := s.Store.List(ctx, f)
		if err != nil {
			return nil, err
		}
		before := len(found)
		for _, r := range page {
			if !seen[r.ID] {
				seen[r.ID] = true
				found = append(found, r)
			}
		}
		if len(found) == before || len(page) < MaxList {
			return found, nil
		}
		f.Until = page[len(page)-1].Created // again, for those of the same instant
	}
}
