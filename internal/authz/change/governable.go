package change

import (
	"fmt"

	"sallyport"
	"sallyport/internal/authz/facts"
	"sallyport/internal/authz/policy"
)

// governable refuses a set under which nobody could change it again: somebody must be able to propose, as many others as
// need be to approve, and somebody to activate, with their best proof and device. Without a keeper there is nobody to ask about.
func (s *Service) governable(keeper *facts.Keeper, engine policy.Engine) error {
	if keeper == nil {
		return nil
	}
	able := map[sallyport.Action]map[sallyport.PrincipalID]bool{}
	for _, a := range []sallyport.Action{sallyport.PolicyPropose, sallyport.PolicyApprove, sallyport.PolicyActivate} {
		people, err := s.Able(keeper.Snapshot(), engine, a)
		if err != nil {
			return err
		}
		able[a] = people
		if len(people) == 0 {
			return sallyport.E("propose policy", sallyport.Invalid, fmt.Sprintf("under this set nobody could take the action %s: it could never be changed again", a), "permit it to somebody")
		}
	}
	for p := range able[sallyport.PolicyPropose] {
		others := len(able[sallyport.PolicyApprove])
		if able[sallyport.PolicyApprove][p] {
			others--
		}
		if others >= s.Need {
			return nil
		}
	}
	return sallyport.E("propose policy", sallyport.Invalid, fmt.Sprintf("under this set there are not %d people to approve what somebody else proposes: it could never be changed again", s.Need),
		"permit policy.approve to more people")
}
