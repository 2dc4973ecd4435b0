package whatif

import (
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/facts"
)

// A Gain is what a grant would change of one right.
type Gain struct {
	Action        sallyport.Action
	Before, After Cell
}

// WithGrant returns the rights on x that a grant of actions would change: those granted, and any other that comes with them.
func WithGrant(s *facts.Snapshot, who Asker, actions []sallyport.Action, x sallyport.Resource) ([]Gain, error) {
	f, err := s.Facts(who.Principal, x, who.At, who.IP)
	if err != nil {
		return nil, err
	}
	with := *f.Basis
	with.Grants = append(with.Grants[:len(with.Grants):len(with.Grants)],
		decision.Grant{ID: "G-whatif", Actions: actions, From: who.At.Add(-time.Second), Until: who.At.Add(time.Hour)})
	granted, err := decision.Prepare(s.Engine(), &with)
	if err != nil {
		return nil, err
	}
	var changes []Gain
	for _, a := range ActionsOn(x.Kind) {
		ask(&f, who, a)
		before := CellOf(decision.Decide(s.Engine(), f))
		g := f
		g.Basis = granted
		if after := CellOf(decision.Decide(s.Engine(), g)); after != before {
			changes = append(changes, Gain{a, before, after})
		}
	}
	return changes, nil
}
