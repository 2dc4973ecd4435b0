// Package clients owns which programs may ask for tokens: OAuth clients (RFC 6749, section 2), what each may use, and how
// each proves who it is (RFC 7523, RFC 8705, or not at all).
//
// A client has exactly one way to prove itself, and a request that comes by another is refused. Public clients, which
// have none, are known by their redirect addresses and PKCE alone.
//
// It leaves to others what a token may then do, and every word of HTTP.
package clients

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport"
)

// A Grant is a way to get tokens, spelled as in grant_type.
type Grant string

// The grant types there are. Implicit and password are not among them (RFC 9700, section 2).
const (
	Code        Grant = "authorization_code"
	Refresh     Grant = "refresh_token"
	Device      Grant = "urn:ietf:params:oauth:grant-type:device_code"
	Credentials Grant = "client_credentials"
	Exchange    Grant = "urn:ietf:params:oauth:grant-type:token-exchange"
)

// Grants returns every grant type there is.
func Grants() []Grant { return []Grant{Code, Refresh, Device, Credentials, Exchange} }

// A Method is how a client proves who it is, spelled as in token_endpoint_auth_method.
type Method string

// The methods there are. None holds a secret that both sides know.
const (
	None          Method = "none"                        // a public client
	PrivateKey    Method = "private_key_jwt"             // RFC 7523: an assertion, signed by a registered key
	TLS           Method = "tls_client_auth"             // RFC 8705, section 2.1: a certificate of a registered authority, with a registered name
	SelfSignedTLS Method = "self_signed_tls_client_auth" // RFC 8705, section 2.2: a registered certificate
)

// Methods returns every method there is.
func Methods() []Method { return []Method{None, PrivateKey, TLS, SelfSignedTLS} }

// MaxOverlap is the longest time for which a rotated refresh token may be used again.
const MaxOverlap = 30 * time.Second

// A Client is a program that asks for tokens, on somebody's behalf or as a service. The zero value may do nothing.
type Client struct {
	ID               string          `json:"id"`
	Name             string          `json:"name"`                        // as people read it
	RedirectURIs     []string        `json:"redirect_uris,omitempty"`     // compared character by character
	LoopbackRedirect string          `json:"loopback_redirect,omitempty"` // path, such as "/callback", on http://127.0.0.1:PORT or http://[::1]:PORT (RFC 8252); "" = none
	Grants           []Grant         `json:"grants"`                      // what it may use
	Scopes           sallyport.Scope `json:"scopes"`                      // the most it may ask for
	Default          sallyport.Scope `json:"default,omitempty"`           // when it asks for none; empty = it must ask
	Audiences        []string        `json:"audiences"`                   // what its tokens may be for, the default first

	Method      Method          `json:"method"`                // "" is None
	Keys        json.RawMessage `json:"keys,omitempty"`        // PrivateKey: JWKS (RFC 7517), public keys only
	Thumbprint  string          `json:"thumbprint,omitempty"`  // SelfSignedTLS: x5t#S256 of its certificate
	Authority   string          `json:"authority,omitempty"`   // TLS: PEM of the authority that issues its certificates
	Certificate string          `json:"certificate,omitempty"` // TLS: the one DNS or URI name (SAN) that its certificate has
	// TokenEndpointAudience also accepts assertions whose audience is the token endpoint: for programs of before
	// rfc7523bis. Every audience but the issuer can be abused by another server that such a program also talks to.
	TokenEndpointAudience bool `json:"token_endpoint_audience,omitempty"`

	Principal sallyport.PrincipalID `json:"principal,omitempty"` // whom it is by itself: a service or an agent; "" = nobody
	Serves    []string              `json:"serves,omitempty"`    // audiences whose tokens it may introspect: it is their resource server
	Push      bool                  `json:"push,omitempty"`      // it must push its authorization requests (RFC 9126)
	Bind      bool                  `json:"bind,omitempty"`      // its tokens must be bound to a key (RFC 9449 or RFC 8705)
	Overlap   time.Duration         `json:"overlap,omitempty"`   // how long a rotated refresh token is good for once more, by the same DPoP key

	PostLogout []string `json:"post_logout,omitempty"` // addresses to which a sign-out may lead back, compared character by character
	LogoutURI  string   `json:"logout_uri,omitempty"`  // is told when a session ends (OpenID Connect Back-Channel Logout)

	Created time.Time `json:"created,omitzero"`
	Builtin bool      `json:"-"` // ships with the server and cannot be removed
}

// Public reports whether the client cannot prove who it is.
func (c Client) Public() bool { return c.Method == None || c.Method == "" }

// Allows reports whether the client may use a grant type.
func (c Client) Allows(g Grant) bool { return slices.Contains(c.Grants, g) }

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

// RedirectOrigins returns the origins of the redirect addresses, as sources of a Content Security Policy.
func (c Client) RedirectOrigins() []string {
	var all []string
	if c.LoopbackRedirect != "" {
		all = append(all, "http://127.0.0.1:*")
	}
	for _, uri := range append(slices.Clone(c.RedirectURIs), c.PostLogout...) {
		if u, err := url.Parse(uri); err == nil {
			all = append(all, u.Scheme+"://"+u.Host)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(all)))
}

// Resolve turns what a client asks for into what a person is asked to approve: an empty scope becomes the client's
// default, no audience all of the client's. Who only wants to know who the person is (identity) needs no scope. The
// errors are invalid_scope and invalid_target.
func (c Client) Resolve(scope sallyport.Scope, audiences []string, identity bool) (sallyport.Scope, []string, error) {
	if len(scope) == 0 && !identity {
		scope = c.Default
	}
	if len(scope) == 0 && !identity {
		return nil, nil, fault("invalid_scope", "no scope was asked for", "name the actions, such as scope=model.infer@acme/fraud")
	}
	if len(scope.String()) > MaxScope || !scope.Within(c.Scopes) {
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

// MaxScope is the longest text of a scope, in bytes.
const MaxScope = 4 << 10

// A Store keeps registered clients and the assertions they have used. Every method is safe for concurrent use, durable
// when it returns, and answers Unavailable when the store cannot be used.
type Store interface {
	// AddClient adds a client; Conflict when its id is taken, or was by one that is gone.
	AddClient(ctx context.Context, c Client) error
	// FindClient returns a client, NotFound where there is none of this id or it was removed.
	FindClient(ctx context.Context, id string) (Client, error)
	// AllClients returns the clients that were not removed, sorted by id, at most 1,000.
	AllClients(ctx context.Context) ([]Client, error)
	// RemoveClient removes a client, NotFound where there is none. Its id is never free again.
	RemoveClient(ctx context.Context, id string, at time.Time) error
	// UseAssertion notes that a client used an assertion; Conflict when it did so before. It is forgotten some time
	// after expires.
	UseAssertion(ctx context.Context, client, id string, expires time.Time) error
}

// A Registry is the clients there are: those built in, and those in the store. It is safe for concurrent use.
type Registry struct {
	builtin map[string]Client
	store   Store
	now     func() time.Time
}

// New makes a registry. Without a store there are only the clients built in.
func New(store Store, now func() time.Time, builtin ...Client) (*Registry, error) {
	r := &Registry{builtin: make(map[string]Client, len(builtin)), store: store, now: now}
	for _, c := range builtin {
		if err := c.check(); err != nil {
			return nil, err
		}
		if _, twice := r.builtin[c.ID]; twice {
			return nil, c.bad("two clients have this id")
		}
		c.Builtin = true
		r.builtin[c.ID] = c
	}
	return r, nil
}

// Find returns a client by its id, or an error of kind NotFound with the reason invalid_client.
func (r *Registry) Find(ctx context.Context, id string) (Client, error) {
	if c, ok := r.builtin[id]; ok {
		return c, nil
	}
	unknown := sallyport.E("client", sallyport.NotFound, "no client has this client_id", "register it with 'sallyport clients add'").Because("invalid_client")
	if r.store == nil || sallyport.CheckName("client", id) != nil {
		return Client{}, unknown
	}
	c, err := r.store.FindClient(ctx, id)
	if sallyport.KindOf(err) == sallyport.NotFound {
		return Client{}, unknown
	}
	return c, err
}

// All returns the clients, those built in first, sorted by id.
func (r *Registry) All(ctx context.Context) ([]Client, error) {
	var all []Client
	for _, c := range r.builtin {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Client) int { return strings.Compare(a.ID, b.ID) })
	if r.store == nil {
		return all, nil
	}
	registered, err := r.store.AllClients(ctx)
	return append(all, registered...), err
}

// Add registers a client. The audiences that it may name are for the caller to check.
func (r *Registry) Add(ctx context.Context, c Client) (Client, error) {
	if c.Method == "" {
		c.Method = None
	}
	if err := c.check(); err != nil {
		return Client{}, err
	}
	if _, ok := r.builtin[c.ID]; ok || r.store == nil {
		return Client{}, sallyport.E("register client", sallyport.Conflict, "the client "+c.ID+" is there already", "choose another id")
	}
	c.Created = r.now().UTC().Truncate(time.Microsecond)
	err := r.store.AddClient(ctx, c)
	if sallyport.KindOf(err) == sallyport.Conflict {
		err = sallyport.E("register client", sallyport.Conflict, "the id "+c.ID+" is taken, or was", "choose another id: none is given twice")
	}
	return c, err
}

// Remove takes a client out. What it was given is for the caller to revoke.
func (r *Registry) Remove(ctx context.Context, id string) error {
	if _, ok := r.builtin[id]; ok {
		return sallyport.E("remove client", sallyport.Conflict, "the client "+id+" ships with the server", "")
	}
	if _, err := r.Find(ctx, id); err != nil {
		return err
	}
	return r.store.RemoveClient(ctx, id, r.now())
}

// fault makes an error for an OAuth client; code is that of the RFC.
func fault(code, message, hint string) error {
	return sallyport.E("token request", sallyport.Invalid, message, hint).Because(code)
}
