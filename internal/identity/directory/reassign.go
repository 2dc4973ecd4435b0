package directory

import (
	"context"
	"fmt"

	"sallyport"
)

// Reassign makes another person of the same organisation answer for a service or
// an agent. Who answered until then stays in the trail. People always answer for
// themselves: for them it is refused.
func (s *Service) Reassign(ctx context.Context, id, to sallyport.PrincipalID) error {
	const op = "reassign"
	owner, err := s.Store.Member(ctx, to)
	if err != nil {
		return err
	}
	return s.update(ctx, id, func(m *Member, _ []Group) error {
		switch {
		case m.ID.Kind() == sallyport.User:
			return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%s is a person's account", id), "only a service or an agent gets another owner")
		case m.State == Removed:
			return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%s was removed for good", id), "")
		case owner.Person != owner.ID || owner.State == Removed || owner.Org != m.Org:
			return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%s is not the main account of a person of %s", to, m.Org), "name the account of the person who answers for it")
		}
		m.Person = to
		return nil
	})
}

// Describe changes what people read of a member and where to write to it.
func (s *Service) Describe(ctx context.Context, id sallyport.PrincipalID, display, email string) error {
	return s.update(ctx, id, func(m *Member, _ []Group) error {
		m.Display, m.Email = display, email
		return m.check("describe")
	})
}
