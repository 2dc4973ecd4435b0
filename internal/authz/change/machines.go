package change

import (
	"fmt"
	"time"

	"sallyport"
	"sallyport/internal/authz/facts"
	"sallyport/internal/authz/policy"
)

// governing are the actions that only people take.
func governing() []sallyport.Action {
	return []sallyport.Action{
		sallyport.GrantApprove, sallyport.GrantRevoke, sallyport.PolicyPropose, sallyport.PolicyApprove, sallyport.PolicyActivate,
		sallyport.HoldPlace, sallyport.HoldLift, sallyport.LabelChange, sallyport.IdentityAdminister, sallyport.ReviewDecide, sallyport.SystemConfigure,
	}
}

// checkMachines refuses a set under which a service that holds no role could govern. It asks the engine itself, so that
// no way of writing such a policy is overlooked. A schema of somebody's own that has no services has nothing to ask.
func checkMachines(engine policy.Engine) error {
	owner := policy.UID{Type: "User", ID: "nobody"}
	service := policy.UID{Type: "Service", ID: "nobody"}
	system := facts.ResourceUID(sallyport.Resource{Kind: sallyport.SystemKind})
	over, err := engine.Load([]policy.Entity{
		{UID: owner, Attrs: map[string]policy.Value{"name": {Kind: policy.StringValue, String: "nobody"}, "person": {Kind: policy.EntityValue, Entity: owner}}},
		{UID: system},
		{UID: service, Attrs: map[string]policy.Value{"owner": {Kind: policy.EntityValue, Entity: owner}}},
	})
	if err != nil {
		return nil
	}
	for _, action := range governing() {
		r := engine.Evaluate(policy.Query{
			Principal: service, Action: policy.UID{Type: "Action", ID: string(action)}, Resource: system,
			Context: policy.Context{Now: time.Unix(0, 0).UTC(), Assurance: sallyport.Hardware, Bound: true, Session: true},
		}, over)
		if r.Allowed {
			return sallyport.E("activate policy", sallyport.Invalid,
				fmt.Sprintf("services could %s without any role, by %q", action, r.Reasons), "permit it to people, or to a role")
		}
	}
	return nil
}
