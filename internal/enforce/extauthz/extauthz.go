// Package extauthz owns the door for proxies that ask before they pass a request on (external authorization: Envoy's
// ext_authz v3 over gRPC and HTTP, nginx's auth_request, Caddy's forward_auth; policy enforcement points of a mesh). What
// a proxy says of a request becomes the request that the gateway would have seen, and goes through the gateway's order of
// work with the same dialects and route tables; an allowed one is answered instead of served.
//
// Two are held to account: the caller, by their own credentials, and the proxy that asks, by its certificate or token. A
// proxy asks only for the upstreams it is registered for. There is no response phase here: a permit ends when it is
// handed over, a permit that obliges to anything is denied, and what only the gateway can serve is refused.
//
// It leaves reading requests and the words of refusals to the dialects, decisions to the guard, and listeners to the
// server.
package extauthz

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/enforce/gateway"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
)

// An Upstream is what proxies stand in front of.
type Upstream struct {
	Name        string // by which proxies ask: "hub"
	Protocol    gateway.Protocol
	Prefix      string // below which the dialect begins on the proxy: "/hf", or ""
	Origin      string // SCHEME://HOST[:PORT] by which clients call the proxy
	Audience    string // what callers' tokens must be for
	Environment sallyport.Environment
}

// A Proxy is one that may ask.
type Proxy struct {
	Name      string
	SAN       []string    // of its client certificate: a URI ("spiffe://…") or a DNS name; empty = it has none
	Token     secret.Text // which it sends in the field TokenHeader; empty = it has none
	Upstreams []string
}

// TokenHeader is the field, or the gRPC metadata, with a proxy's own token.
const TokenHeader = "X-Sallyport-Proxy"

// minToken is the least length of a proxy's token.
const minToken = 32

// A Config says who may ask about what.
type Config struct {
	Guard     *guard.Guard
	Upstreams []Upstream
	Proxies   []Proxy
	// Certified reports whether a caller's certificate is that of an enrolled device. Others count as none.
	Certified func(ctx context.Context, chain []*x509.Certificate) error
	Nonce     func() string // of proofs of possession; nil = none is given out
	Help      string        // where people read on
	Logger    *slog.Logger
}

// A Service answers proxies. Make one with New; it is safe for concurrent use.
type Service struct {
	config Config
	way    map[string]*way // by PROXY/UPSTREAM
	hashes [][sha256.Size]byte
}

// A way is one upstream, as one proxy may ask for it.
type way struct {
	Upstream
	name    string // in records: "extauthz:PROXY/UPSTREAM"
	handler http.Handler
}

// concurrent is how many questions of one proxy about one upstream are answered at once.
const concurrent = 1024

// New returns the door. A proxy without certificate and token, or one that names an upstream which is not there, is an
// error, as is anything that stands twice.
func New(c Config) (*Service, error) {
	s := &Service{config: c, way: map[string]*way{}, hashes: make([][sha256.Size]byte, len(c.Proxies))}
	upstreams := map[string]Upstream{}
	for _, u := range c.Upstreams {
		if err := checkUpstream(u); err != nil {
			return nil, err
		}
		if _, twice := upstreams[u.Name]; twice {
			return nil, invalid(fmt.Sprintf("the upstream %q stands twice", u.Name), "")
		}
		upstreams[u.Name] = u
	}
	seen := map[string]bool{}
	for i, p := range c.Proxies {
		s.hashes[i] = sha256.Sum256([]byte(p.Token.Reveal()))
		if err := checkProxy(p, seen); err != nil {
			return nil, err
		}
		for _, name := range p.Upstreams {
			u, ok := upstreams[name]
			if !ok {
				return nil, invalid(fmt.Sprintf("the proxy %q names the upstream %q, which is not there", p.Name, name), "add it to \"extauthz.upstreams\"")
			}
			if len(doorName(p, u)) > maxDoor {
				return nil, invalid(fmt.Sprintf("the names %q and %q are too long together", p.Name, u.Name), "use shorter ones")
			}
			s.add(p, u)
		}
	}
	return s, nil
}

// maxDoor is how long the name of a door may be in a decision, in bytes.
const maxDoor = 64

func doorName(p Proxy, u Upstream) string { return "extauthz:" + p.Name + "/" + u.Name }

func (s *Service) add(p Proxy, u Upstream) {
	w := &way{Upstream: u, name: doorName(p, u)}
	door := gateway.New(gateway.Door{Protocol: u.Protocol, Guard: s.config.Guard, Prefix: u.Prefix, Audience: u.Audience, Help: s.config.Help,
		Logger: s.config.Logger, Nonce: s.config.Nonce, Name: w.name, Origin: u.Origin, Pass: handOver}, concurrent)
	w.handler = httpsafe.Recorded(door, func(r *http.Request) error { return s.odd(r.Context(), w, r) })
	s.way[p.Name+"/"+u.Name] = w
}

func invalid(message, hint string) error {
	return sallyport.E("external authorization", sallyport.Invalid, message, hint)
}

func checkUpstream(u Upstream) error {
	o, err := url.Parse(u.Origin)
	switch {
	case sallyport.CheckName("upstream", u.Name) != nil:
		return invalid(fmt.Sprintf("the upstream name %q is no name", u.Name), "use letters, digits and hyphens")
	case err != nil || o.Scheme != "http" && o.Scheme != "https" || o.Host == "" || o.User != nil || o.Path != "" || o.RawQuery != "" || o.Fragment != "":
		return invalid(fmt.Sprintf("the upstream %q has no external URL", u.Name), "write https://HOST[:PORT], as clients call the proxy, without a path")
	case u.Prefix != "" && (!strings.HasPrefix(u.Prefix, "/") || strings.HasSuffix(u.Prefix, "/")):
		return invalid(fmt.Sprintf("the prefix of the upstream %q is no path", u.Name), "write it as /hf, without a slash at its end")
	case u.Protocol == nil || u.Audience == "":
		return invalid(fmt.Sprintf("the upstream %q speaks no dialect", u.Name), "")
	}
	return nil
}

func checkProxy(p Proxy, seen map[string]bool) error {
	if sallyport.CheckName("proxy", p.Name) != nil {
		return invalid(fmt.Sprintf("the proxy name %q is no name", p.Name), "use letters, digits and hyphens")
	}
	token := p.Token.Reveal()
	switch {
	case len(p.SAN) == 0 && token == "":
		return invalid(fmt.Sprintf("the proxy %q has neither a certificate nor a token", p.Name), "name its \"san\" or its \"token_file\"")
	case token != "" && len(token) < minToken:
		return invalid(fmt.Sprintf("the token of the proxy %q is shorter than %d characters", p.Name, minToken), "make one with: openssl rand -hex 32")
	case len(p.Upstreams) == 0:
		return invalid(fmt.Sprintf("the proxy %q may ask for nothing", p.Name), "name its \"upstreams\"")
	}
	own := []string{"name " + p.Name}
	if token != "" {
		own = append(own, "token "+token)
	}
	for _, san := range p.SAN {
		if san == "" {
			return invalid(fmt.Sprintf("the proxy %q has an empty \"san\"", p.Name), "")
		}
		own = append(own, "san "+san)
	}
	for _, key := range own {
		if seen[key] {
			what, _, _ := strings.Cut(key, " ")
			return invalid(fmt.Sprintf("the proxy %q has the %s of another one", p.Name, what), "")
		}
		seen[key] = true
	}
	return nil
}

// A Peer is what a proxy that asks shows of itself.
type Peer struct {
	Certificate *x509.Certificate // verified by the listener; nil where it showed none
	Tokens      []string          // values of TokenHeader
	IP          string
}

// find returns how a proxy may ask for an upstream. Reasons of its errors are for the record.
func (s *Service) find(peer Peer, upstream string) (*way, error) {
	i := slices.IndexFunc(s.config.Proxies, func(p Proxy) bool { return len(p.SAN) > 0 && named(peer.Certificate, p.SAN) })
	shown := sha256.Sum256(nil)
	if len(peer.Tokens) == 1 {
		shown = sha256.Sum256([]byte(peer.Tokens[0]))
	}
	for k := range s.config.Proxies {
		fits := subtle.ConstantTimeCompare(s.hashes[k][:], shown[:]) == 1
		switch p := &s.config.Proxies[k]; {
		case len(p.SAN) == 0 && i < 0 && fits && len(peer.Tokens) == 1:
			i = k
		case k == i && len(p.SAN) > 0 && !p.Token.IsZero() && !fits:
			return nil, unregistered("proxy.token")
		}
	}
	if i < 0 {
		return nil, unregistered("proxy.unknown")
	}
	w, ok := s.way[s.config.Proxies[i].Name+"/"+upstream]
	if !ok {
		return nil, unregistered("proxy.upstream")
	}
	return w, nil
}

func unregistered(reason string) error {
	return sallyport.E("ask", sallyport.Unknown, "the proxy may not ask about this", "register it in \"extauthz\"").Because(reason)
}

// named reports whether a certificate carries one of some names.
func named(c *x509.Certificate, names []string) bool {
	if c == nil {
		return false
	}
	for _, u := range c.URIs {
		if slices.Contains(names, u.String()) {
			return true
		}
	}
	return slices.ContainsFunc(c.DNSNames, func(n string) bool { return slices.Contains(names, n) })
}
