package directory

import (
	"context"
	"fmt"
	"time"

	"sallyport"
)

// limit is the furthest end that may be set at a time.
func limit(now time.Time) time.Time { return now.AddDate(1, 0, 0) }

// checkTerm holds purpose, end, sponsor and source against the kind of the member, which was created now.
func (m *Member) checkTerm(op string) error {
	bad := func(message, hint string) error { return sallyport.E(op, sallyport.Invalid, message, hint) }
	person := m.ID.Kind() == sallyport.User
	if m.Environment != "" {
		if _, err := sallyport.ParseEnvironment(string(m.Environment)); err != nil {
			return err
		}
	}
	switch {
	case !printable(m.Purpose, maxPurpose):
		return bad("the purpose is too long or holds characters that do not print", fmt.Sprintf("use at most %d printing characters", maxPurpose))
	case !person && m.Purpose == "":
		return bad(fmt.Sprintf("%s has no purpose", m.ID), "say what it is for")
	case len(m.Source) > maxSource || len(m.External) > maxSubject || !printable(m.Source, maxSource) || m.External != "" && m.Source == "":
		return bad("source or external id is too long, or the one stands without the other", "")
	case m.Environment != "" && person:
		return bad(fmt.Sprintf("%s is a person and stands in no environment", m.ID), "leave the environment out")
	case m.Guest && (!person || m.Person != m.ID):
		return bad(fmt.Sprintf("%s cannot be a guest", m.ID), "invite a person by their main account")
	case m.Guest == (m.Sponsor == ""):
		return bad("a guest needs a sponsor, and nobody else has one", "name the person who vouches for the guest")
	case m.Ends.IsZero() && (!person || m.Guest):
		return bad(fmt.Sprintf("%s has no end", m.ID), "say until when, at most a year ahead")
	case !m.Ends.IsZero():
		return checkEnd(op, m.Ends, m.Created)
	}
	return nil
}

func checkEnd(op string, ends, now time.Time) error {
	if !ends.After(now) || ends.After(limit(now)) {
		return sallyport.E(op, sallyport.Invalid, "the end is not within a year from now", "give a time in the future, at most a year ahead")
	}
	return nil
}

// checkSponsor wants an active person of the house.
func (s *Service) checkSponsor(ctx context.Context, op string, id sallyport.PrincipalID) error {
	m, err := s.answerable(ctx, op, id)
	if err != nil {
		return err
	}
	if m.State != Active || m.Guest {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%s cannot vouch for a guest", id), "name an active person who is no guest")
	}
	return nil
}

// Extend sets a new end for a member that has one, at most a year from now. Somebody must still answer for it.
func (s *Service) Extend(ctx context.Context, id sallyport.PrincipalID, ends time.Time) error {
	const op = "extend"
	ends = ends.UTC().Truncate(time.Microsecond)
	return s.update(ctx, id, func(m *Member, _ []Group) error {
		switch {
		case m.State == Removed:
			return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%s was removed for good", id), "")
		case m.Ends.IsZero():
			return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%s has no end", id), "")
		}
		m.Ends = ends
		return checkEnd(op, ends, m.Updated)
	})
}

// SetSponsor makes another person vouch for a guest.
func (s *Service) SetSponsor(ctx context.Context, id, sponsor sallyport.PrincipalID) error {
	const op = "set sponsor"
	if err := s.checkSponsor(ctx, op, sponsor); err != nil {
		return err
	}
	return s.update(ctx, id, func(m *Member, _ []Group) error {
		if !m.Guest || m.State == Removed {
			return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%s is no guest", id), "only guests have a sponsor")
		}
		m.Sponsor = sponsor
		return nil
	})
}

// An Overdue is an active member that may act no longer, and why: it ended, or the person who vouches for it left.
type Overdue struct {
	Member Member
	Why    string
}

// Overdue returns what a sweep has to suspend now: members whose time is over, and guests whose sponsor is suspended,
// removed or not there.
func (d Dump) Overdue(now time.Time) []Overdue {
	active := map[sallyport.PrincipalID]bool{}
	for _, m := range d.Members {
		active[m.ID] = m.State == Active && !m.Ended(now)
	}
	var due []Overdue
	for _, m := range d.Members {
		switch {
		case m.State != Active:
		case m.Ended(now):
			due = append(due, Overdue{m, "the account has ended"})
		case m.Guest && !active[m.Sponsor]:
			due = append(due, Overdue{m, "the sponsor is not active"})
		}
	}
	return due
}
