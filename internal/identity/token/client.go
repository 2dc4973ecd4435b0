package token

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"sallyport"
)

// A GrantType is a way to get tokens, spelled as in grant_type.
type GrantType string

// The grant types there are. Implicit and password are not among them (RFC 9700, section 2).
const (
	GrantCode    GrantType = "authorization_code"
	GrantRefresh GrantType = "refresh_token"
	GrantDevice  GrantType = "urn:ietf:params:oauth:grant-type:device_code"
)

// A Client is a program that asks for tokens on somebody's behalf. All clients are public today: they prove who
// they are by nothing but PKCE and their redirect addresses.
type Client struct {
	ID               string
	Name             string      // as people read it
	RedirectURIs     []string    // compared character by character
	LoopbackRedirect string      // path, such as "/callback", on http://127.0.0.1:PORT or http://[::1]:PORT (RFC 8252); "" = none
	Grants           []GrantType // what it may use
	Scopes           sallyport.Scope
	Default          sallyport.Scope // when it asks for none; empty = it must ask
	Audiences        []string        // what its tokens may be for, the default first
}

// AllowsRedirect reports whether uri is exactly one that was registered. The port of a loopback address is free,
// nothing else is.
func (c Client) AllowsRedirect(uri string) bool {
	if uri == "" {
		return false
	}
	if slices.Contains(c.RedirectURIs, uri) {
		return true
	}
	_, ok := c.LoopbackPort(uri)
	return ok
}

// LoopbackPort returns the port of a permitted loopback redirect address.
func (c Client) LoopbackPort(uri string) (int, bool) {
	if c.LoopbackRedirect == "" {
		return 0, false
	}
	rest, ok := strings.CutPrefix(uri, "http://127.0.0.1:")
	if !ok {
		rest, ok = strings.CutPrefix(uri, "http://[::1]:")
	}
	digits, path, slash := strings.Cut(rest, "/")
	port, err := strconv.Atoi(digits)
	if !ok || !slash || err != nil || strconv.Itoa(port) != digits || port < 1 || port > 65535 || "/"+path != c.LoopbackRedirect {
		return 0, false
	}
	return port, true
}

// Allows reports whether the client may use a grant type.
func (c Client) Allows(g GrantType) bool { return slices.Contains(c.Grants, g) }

// Resolve turns what a client asks for into what a person is asked to approve: an empty scope becomes the client's
// default, no audience all of the client's. The errors are invalid_scope and invalid_target.
func (c Client) Resolve(scope sallyport.Scope, audiences []string) (sallyport.Scope, []string, error) {
	if len(scope) == 0 {
		scope = c.Default
	}
	if len(scope) == 0 {
		return nil, nil, fault("invalid_scope", "no scope was asked for", "name the actions, such as scope=model.infer@acme/fraud")
	}
	if len(scope.String()) > maxScope || !scope.Within(c.Scopes) {
		return nil, nil, fault("invalid_scope", "the client is not registered for this scope", "ask for less")
	}
	if len(audiences) == 0 {
		return scope, slices.Clone(c.Audiences), nil
	}
	for _, a := range audiences {
		if !slices.Contains(c.Audiences, a) {
			return nil, nil, fault("invalid_target", "the client is not registered for this resource", "ask for one of "+strings.Join(c.Audiences, ", "))
		}
	}
	sorted := slices.Compact(slices.Sorted(slices.Values(audiences)))
	slices.SortStableFunc(sorted, func(a, b string) int { return slices.Index(c.Audiences, a) - slices.Index(c.Audiences, b) })
	return scope, sorted, nil
}

// A Registry is the clients there are. It does not change while the server runs.
type Registry struct{ byID map[string]Client }

// NewRegistry checks the clients.
func NewRegistry(clients ...Client) (*Registry, error) {
	r := &Registry{byID: make(map[string]Client, len(clients))}
	for _, c := range clients {
		if err := c.check(); err != nil {
			return nil, err
		}
		if _, twice := r.byID[c.ID]; twice {
			return nil, sallyport.E("register client", sallyport.Invalid, fmt.Sprintf("two clients are called %q", c.ID), "")
		}
		r.byID[c.ID] = c
	}
	return r, nil
}

func (c Client) check() error {
	const op = "register client"
	if err := sallyport.CheckName(op, c.ID); err != nil {
		return err
	}
	bad := func(what string) error {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("client %s: %s", c.ID, what), "")
	}
	for _, uri := range c.RedirectURIs {
		u, err := url.Parse(uri)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" || strings.ContainsAny(uri, "#*\\") {
			return bad(fmt.Sprintf("the redirect address %q is not a full https address without user and fragment", uri))
		}
	}
	switch {
	case c.Name == "" || len(c.Name) > 64:
		return bad("its name has no or more than 64 bytes")
	case c.LoopbackRedirect != "" && (!strings.HasPrefix(c.LoopbackRedirect, "/") || strings.ContainsAny(c.LoopbackRedirect, "?#*\\%")):
		return bad("the loopback redirect is not a plain path")
	case len(c.Scopes) == 0 || len(c.Audiences) == 0 || len(c.Grants) == 0:
		return bad("scopes, audiences and grants are needed; empty means nothing")
	case !c.Default.Within(c.Scopes):
		return bad("its default scope is wider than its scopes")
	}
	return nil
}

// Find returns a client by its id.
func (r *Registry) Find(id string) (Client, bool) {
	c, ok := r.byID[id]
	return c, ok
}

// All returns the clients, sorted by their ids.
func (r *Registry) All() []Client {
	all := slices.Collect(maps.Values(r.byID))
	slices.SortFunc(all, func(a, b Client) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// Audiences returns the doors behind an external URL that tokens can be for: the API, which is the default, then
// the model doors.
func Audiences(external string) []string {
	return []string{external + "/api", external + "/hf", external + "/openai", external + "/vault"}
}

// CommandLine is the client that ships with the server: the sallyport command.
func CommandLine(external string) Client {
	return Client{
		ID: "sallyport-cli", Name: "Sallyport command line", LoopbackRedirect: "/callback",
		Grants: []GrantType{GrantCode, GrantRefresh, GrantDevice}, Scopes: sallyport.Scope{"*"}, Audiences: Audiences(external),
	}
}
