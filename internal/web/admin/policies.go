package admin

import (
	"sallyport"
	"sallyport/internal/authz/change"
	"sallyport/internal/authz/policy"
	"sallyport/internal/web/api"
)

// policyRoutes are about the policy set in force and the keys.
func policyRoutes() []Route {
	return []Route{
		{"GET", "/policy", sallyport.PolicyRead, system, (*API).policy},
		{"GET", "/policy/versions", sallyport.PolicyRead, system, (*API).policyVersions},
		{"POST", "/policy", sallyport.PolicyActivate, system, (*API).activate},
		{"POST", "/keys/rotate", sallyport.SystemConfigure, system, (*API).rotateKeys},
	}
}

func setOut(s change.Set) api.PolicySet {
	return api.PolicySet{Version: s.Version, Schema: s.Source.Schema, Policies: s.Source.Policies, By: s.By, Why: s.Why, At: s.Activated}
}

func (a *API) policy(c *Call) (any, error) {
	s, err := a.Rooms.Policies.Store.Active(c.Context())
	return setOut(s), err
}

func (a *API) policyVersions(c *Call) (any, error) {
	all, err := a.Rooms.Policies.Store.List(c.Context())
	out := []api.PolicySet{}
	for _, s := range all {
		out = append(out, setOut(s))
	}
	return out, err
}

// activate puts a set in force and ends what it no longer permits.
func (a *API) activate(c *Call) (any, error) {
	var in api.PolicySet
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.Why == "" {
		return nil, sallyport.E("activate policy", sallyport.Invalid, "a change of policy needs a reason", "say why")
	}
	engine, err := a.Rooms.Policies.Activate(c.Context(), a.Facts, policy.Source{Schema: in.Schema, Policies: in.Policies}, c.Permit.Who().ID, in.Why)
	if err != nil {
		return nil, err
	}
	if _, err := a.enforce(c); err != nil {
		return nil, err
	}
	in.Version, in.By = engine.Version(), c.Permit.Who().ID
	return in, nil
}

func (a *API) rotateKeys(c *Call) (any, error) {
	id, n, err := a.Rooms.Keys.Rotate(c.Permit)
	if err != nil {
		return nil, err
	}
	return api.Rotation{Key: id, Rewrapped: n}, a.note(c, sallyport.EventChanged, "keys", map[string]string{"what": "key-encryption key rotated", "key": id})
}
