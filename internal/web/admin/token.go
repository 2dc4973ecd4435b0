package admin

import (
	"context"
	"strconv"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/clients"
	"sallyport/internal/identity/token/exchange"
	"sallyport/internal/web/api"
)

// Programs is what the API does to the authorization server.
type Programs struct {
	Clients  *clients.Registry
	Exchange *exchange.Service
	// Inventory lists every key that the server has.
	Inventory func(ctx context.Context) ([]api.KeyEntry, error)
	// RotateSigning makes a new key that signs tokens; with now the others are forgotten at once.
	RotateSigning func(ctx context.Context, now bool) error
}

// tokenRoutes are about the authorization server: its clients, its keys, and whom people let act for them.
func tokenRoutes() []Route {
	return []Route{
		{"GET", "/clients", sallyport.IdentityRead, system, (*API).clients},
		{"GET", "/clients/{id}", sallyport.IdentityRead, system, (*API).client},
		{"POST", "/clients", sallyport.SystemConfigure, system, (*API).addClient},
		{"POST", "/clients/{id}/remove", sallyport.SystemConfigure, system, (*API).removeClient},
		{"GET", "/tokens", sallyport.IdentityRead, system, (*API).tokens},
		{"GET", "/keys", sallyport.SystemConfigure, system, (*API).inventory},
		{"POST", "/keys/tokens/rotate", sallyport.SystemConfigure, system, (*API).rotateTokenKeys},
		{"GET", "/delegations", sallyport.ServerRead, system, (*API).delegations},
		{"POST", "/delegations", sallyport.ServerRead, system, (*API).delegate},
		{"POST", "/delegations/{id}/end", sallyport.ServerRead, system, (*API).endDelegation},
	}
}

func (a *API) clients(c *Call) (any, error) {
	all, err := a.Rooms.Programs.Clients.All(c.Context())
	out := []api.Program{}
	for _, one := range all {
		out = append(out, program(one))
	}
	return out, err
}

func (a *API) client(c *Call) (any, error) {
	one, err := a.Rooms.Programs.Clients.Find(c.Context(), c.PathValue("id"))
	return program(one), err
}

func program(c clients.Client) api.Program {
	p := api.Program{
		ID: c.ID, Name: c.Name, Method: string(c.Method), Grants: []string{}, Scopes: c.Scopes, Default: c.Default, Audiences: c.Audiences,
		RedirectURIs: c.RedirectURIs, Loopback: c.LoopbackRedirect, Keys: c.Keys, Thumbprint: c.Thumbprint, Authority: c.Authority,
		Certificate: c.Certificate, TokenEndpointAudience: c.TokenEndpointAudience, Principal: c.Principal, Serves: c.Serves,
		Push: c.Push, Bind: c.Bind, PostLogout: c.PostLogout, LogoutURI: c.LogoutURI, Created: c.Created, Builtin: c.Builtin,
	}
	for _, g := range c.Grants {
		p.Grants = append(p.Grants, string(g))
	}
	if p.Method == "" {
		p.Method = string(clients.None)
	}
	if c.Overlap > 0 {
		p.Overlap = c.Overlap.String()
	}
	return p
}

func (a *API) addClient(c *Call) (any, error) {
	var p api.Program
	if err := c.decode(&p); err != nil {
		return nil, err
	}
	one := clients.Client{
		ID: p.ID, Name: p.Name, Method: clients.Method(p.Method), Scopes: p.Scopes, Default: p.Default, Audiences: p.Audiences,
		RedirectURIs: p.RedirectURIs, LoopbackRedirect: p.Loopback, Keys: p.Keys, Thumbprint: p.Thumbprint, Authority: p.Authority,
		Certificate: p.Certificate, TokenEndpointAudience: p.TokenEndpointAudience, Principal: p.Principal, Serves: p.Serves,
		Push: p.Push, Bind: p.Bind, PostLogout: p.PostLogout, LogoutURI: p.LogoutURI,
	}
	for _, g := range p.Grants {
		one.Grants = append(one.Grants, clients.Grant(g))
	}
	if p.Overlap != "" {
		var err error
		if one.Overlap, err = time.ParseDuration(p.Overlap); err != nil {
			return nil, sallyport.E("register client", sallyport.Invalid, "the overlap is no duration", "write it like 10s")
		}
	}
	if err := a.standing(one); err != nil {
		return nil, err
	}
	added, err := a.Rooms.Programs.Clients.Add(c.Context(), one)
	if err != nil {
		return nil, err
	}
	return program(added), a.note(c, sallyport.EventChanged, "client:"+one.ID, map[string]string{"what": "client registered", "method": string(added.Method),
		"scopes": added.Scopes.String(), "principal": string(added.Principal)})
}

// standing checks what only we know of a client: that a door of ours that its tokens are for is there, and that the
// service or agent that it is is there.
func (a *API) standing(c clients.Client) error {
	ours := append(token.Audiences(a.External), a.External+"/oauth/userinfo", a.External+"/scim", a.External+"/signals", a.External+"/admission", a.External+"/access")
	for _, audience := range append(append([]string{}, c.Audiences...), c.Serves...) {
		known := false
		for _, door := range ours {
			known = known || door == audience
		}
		if !known && (audience == a.External || strings.HasPrefix(audience, a.External+"/")) {
			return sallyport.E("register client", sallyport.Invalid, "no door of this server is "+sallyport.OneLine(audience), "the doors are "+strings.Join(ours, ", "))
		}
	}
	if c.Principal == "" {
		return nil
	}
	if _, known := a.Facts.Snapshot().Member(c.Principal); !known {
		return sallyport.E("register client", sallyport.Invalid, string(c.Principal)+" is not known here", "add it with 'sallyport user add' first")
	}
	return nil
}

// removeClient takes a client out, after everything that it has was ended.
func (a *API) removeClient(c *Call) (any, error) {
	id := c.PathValue("id")
	if err := a.Rooms.Programs.Clients.Remove(c.Context(), id); err != nil {
		return nil, err
	}
	ended, err := a.Rooms.Tokens.Revoke(c.Context(), token.Selector{Client: id}, "the client was removed")
	if err != nil {
		return nil, err
	}
	return api.Program{ID: id}, a.note(c, sallyport.EventChanged, "client:"+id, map[string]string{"what": "client removed", "ended": strconv.Itoa(len(ended))})
}

func (a *API) inventory(c *Call) (any, error) { return a.Rooms.Programs.Inventory(c.Context()) }

// rotateTokenKeys rotates the keys that sign tokens. Those of the log cannot be: its name and key are one identity.
func (a *API) rotateTokenKeys(c *Call) (any, error) {
	var in api.KeyRotation
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	switch in.Kind {
	case "signing":
	case "log":
		return nil, sallyport.E("rotate keys", sallyport.Conflict, "the log's key cannot be rotated: witnesses and every checkpoint so far know the log by its name and this key together",
			"start a log under another name with \"log:\" in the configuration; the old one stays verifiable with its own key")
	default:
		return nil, sallyport.E("rotate keys", sallyport.Invalid, "no kind of key is called "+sallyport.OneLine(in.Kind), "there are signing, kek, ca and log")
	}
	if err := a.note(c, sallyport.EventChanged, "keys:signing", map[string]string{"what": "token signing key rotated", "now": strconv.FormatBool(in.Now)}); err != nil {
		return nil, err
	}
	if err := a.Rooms.Programs.RotateSigning(c.Context(), in.Now); err != nil {
		return nil, err
	}
	return a.inventory(c)
}

func (a *API) delegations(c *Call) (any, error) {
	all, err := a.Rooms.Programs.Exchange.Delegations(c.Context(), c.Permit.Who().ID)
	out := []api.Delegation{}
	for _, f := range all {
		out = append(out, delegation(f))
	}
	return out, err
}

func delegation(f token.Family) api.Delegation {
	return api.Delegation{ID: f.ID, Agent: f.Actors[0], Scope: f.Scope.String(), Until: f.Expires}
}

// delegate lets an agent act for the caller.
func (a *API) delegate(c *Call) (any, error) {
	var in api.Delegation
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	life, err := time.ParseDuration(in.For)
	if err != nil {
		return nil, sallyport.E("delegate", sallyport.Invalid, "the time is no duration", "say --for 1h")
	}
	scope, err := sallyport.ParseScope(in.Scope)
	if err != nil {
		return nil, err
	}
	f, err := a.Rooms.Programs.Exchange.Delegate(c.Context(), c.Permit.Who(), in.Agent, scope, life)
	if err != nil {
		return nil, err
	}
	return delegation(f), nil
}

// endDelegation takes a permission of the caller's back; what the agent has by it ends at once.
func (a *API) endDelegation(c *Call) (any, error) {
	all, err := a.Rooms.Programs.Exchange.Delegations(c.Context(), c.Permit.Who().ID)
	if err != nil {
		return nil, err
	}
	for _, f := range all {
		if f.ID == c.PathValue("id") {
			_, err := a.Rooms.Tokens.Revoke(c.Context(), token.Selector{Family: f.ID}, "the person took the permission back")
			return delegation(f), err
		}
	}
	return nil, sallyport.E("delegate", sallyport.NotFound, "you have given no such permission", "list yours with 'sallyport delegate ls'")
}
