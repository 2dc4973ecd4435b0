package whatif

import (
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/facts"
	"sallyport/internal/authz/policy"
)

// Approvers returns who must approve a grant of a on x to the asker: what @approvers says on the policies that stop it
// without one and on those that would let it in with one, of each group the larger number. None of them saying anything,
// it is nobody in particular.
func Approvers(s *facts.Snapshot, who Asker, a sallyport.Action, x sallyport.Resource) ([]sallyport.Quorum, error) {
	f, err := s.Facts(who.Principal, x, who.At, who.IP)
	if err != nil {
		return nil, err
	}
	ask(&f, who, a)
	engine := s.Engine()
	all := approversOf(engine, decision.Decide(engine, f), nil)
	with := *f.Basis
	with.Grants = append(with.Grants[:len(with.Grants):len(with.Grants)],
		decision.Grant{ID: "G-whatif", Actions: []sallyport.Action{a}, From: who.At.Add(-time.Second), Until: who.At.Add(time.Hour)})
	if f.Basis, err = decision.Prepare(engine, &with); err != nil {
		return nil, err
	}
	f.Assurance, f.AuthTime = sallyport.Hardware, who.At // what more proof lifts is not what a grant is asked for
	return approversOf(engine, decision.Decide(engine, f), all), nil
}

func approversOf(e policy.Engine, d sallyport.Decision, all []sallyport.Quorum) []sallyport.Quorum {
	for _, r := range d.Reasons {
		if info, ok := e.Info(r.ID); ok {
			all = sallyport.MergeQuorums(all, info.Approvers)
		}
	}
	return all
}
