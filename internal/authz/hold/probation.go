package hold

import (
	"context"
	"fmt"
	"time"

	"sallyport"
)

// The times of a probation: what follows a hold that a person lifted.
const (
	DefaultProbation = 72 * time.Hour
	MaxProbation     = 30 * 24 * time.Hour
)

// A Lifting says why a hold is lifted and what follows.
type Lifting struct {
	Why       string
	Probation time.Duration // 0 is what the service says
	Without   string        // why no probation follows; "" = one does
}

// Check refuses a probation that there cannot be.
func (l Lifting) Check() error {
	const op = "lift hold"
	switch {
	case l.Without != "" && l.Probation != 0:
		return sallyport.E(op, sallyport.Invalid, "a probation and a reason for none", "say one of them")
	case l.Without != "":
		return checkReason(op, l.Without)
	case l.Probation != 0 && l.Probation < time.Minute || l.Probation > MaxProbation || l.Probation%time.Second != 0: // what is signed counts seconds
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("a probation of %v is not possible", l.Probation), fmt.Sprintf("give a minute to %v, in whole seconds, or the reason why there is none", MaxProbation))
	}
	return nil
}

// OnProbation reports whether the probation after a lifted hold lasts at a time.
func (h Hold) OnProbation(at time.Time) bool { return !h.Active() && at.Before(h.Probation) }

// OnProbation returns every lifted hold whose probation lasts. It is all of them or an error.
func (s *Service) OnProbation(ctx context.Context) ([]Hold, error) {
	all, err := s.Store.Probation(ctx, s.now(), MaxActive+1)
	if len(all) > MaxActive {
		return nil, sallyport.E("list probations", sallyport.TooLarge, "more probations last than can be listed", "end some")
	}
	return all, err
}

// Acquit ends a probation before its time. It takes a person, with a reason, who is neither the one who lifted the hold nor
// the one it was on: two have looked at it then. It is written down before it is kept.
func (s *Service) Acquit(ctx context.Context, id, reason string, by Actor, note Note) (Hold, error) {
	const op = "end probation"
	if err := checkReason(op, reason); err != nil {
		return Hold{}, err
	}
	if by.ID.Kind() != sallyport.User || by.Person.Kind() != sallyport.User {
		return Hold{}, sallyport.E(op, sallyport.Invalid, "only a person ends a probation", "sign in as yourself")
	}
	h, err := s.Get(ctx, id)
	if err != nil {
		return Hold{}, err
	}
	today, err := s.Person(ctx, h.Target)
	if err != nil && sallyport.KindOf(err) != sallyport.NotFound {
		return Hold{}, err
	}
	return s.Store.Update(ctx, id, func(h *Hold) error {
		switch {
		case !h.OnProbation(s.now()):
			return sallyport.E(op, sallyport.Conflict, "no probation lasts after "+h.ID, "")
		case by.Person == h.LiftedPerson || by.ID == h.LiftedBy:
			return sallyport.E(op, sallyport.Conflict, "who lifted a hold does not end its probation", "ask another person to look at "+h.ID)
		case by.Person == h.Held || by.Person == today || string(by.ID) == h.Target:
			return sallyport.E(op, sallyport.Conflict, "nobody ends a probation of their own", "ask another person to look at "+h.ID)
		}
		h.Probation, h.ProbationWhy, h.ProbationBy = s.now(), reason, by.ID
		return note(ctx, *h)
	})
}
