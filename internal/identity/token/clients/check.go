package clients

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/identity/jose"
)

const (
	maxList = 32   // entries of any list of a client
	maxURI  = 1024 // bytes
	maxText = 64
)

func (c Client) bad(what string) error {
	return sallyport.E("register client", sallyport.Invalid, fmt.Sprintf("client %s: %s", c.ID, what), "")
}

// check refuses a client that is not complete, or contradicts itself. An id is a plain name: it cannot be that of a
// principal, which has a colon (RFC 9700, section 4.15).
func (c Client) check() error {
	if err := sallyport.CheckName("register client", c.ID); err != nil {
		return err
	}
	switch {
	case c.Name == "" || len(c.Name) > maxText || sallyport.OneLine(c.Name) != c.Name:
		return c.bad("its name is not one line of 1 to 64 bytes")
	case len(c.Grants) == 0 || len(c.Audiences) == 0:
		return c.bad("grants and audiences are needed; empty means nothing")
	case len(c.RedirectURIs)+len(c.PostLogout) > maxList || len(c.Audiences) > maxList || len(c.Serves) > maxList:
		return c.bad("a list has more than 32 entries")
	case !c.Default.Within(c.Scopes):
		return c.bad("its default scope is wider than its scopes")
	case c.Overlap < 0 || c.Overlap > MaxOverlap:
		return c.bad("the overlap is not between 0 and 30 seconds")
	}
	if _, err := sallyport.ParseScope(c.Scopes.String()); err != nil {
		return err
	}
	for _, check := range []func() error{c.checkAddresses, c.checkGrants, c.checkMethod, c.checkPrincipal} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c Client) checkAddresses() error {
	for _, uri := range slices.Concat(c.RedirectURIs, c.PostLogout) {
		if !fullHTTPS(uri) && !(c.LoopbackRedirect == "" && loopbackHTTP(uri)) {
			return c.bad(fmt.Sprintf("the address %q is not a full https address without user and fragment", uri))
		}
	}
	for _, a := range slices.Concat(c.Audiences, c.Serves) {
		u, err := url.Parse(a)
		if err != nil || len(a) > 256 || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || strings.ContainsAny(a, "# ") {
			return c.bad(fmt.Sprintf("the audience %q is not an absolute address without query and fragment", a))
		}
	}
	switch {
	case c.LoopbackRedirect != "" && (!strings.HasPrefix(c.LoopbackRedirect, "/") || len(c.LoopbackRedirect) > maxURI || strings.ContainsAny(c.LoopbackRedirect, "?#*\\%")):
		return c.bad("the loopback redirect is not a plain path")
	case c.LogoutURI != "" && !fullHTTPS(c.LogoutURI) && !loopbackHTTP(c.LogoutURI):
		return c.bad("the logout address is not a full https address without user and fragment")
	}
	return nil
}

func fullHTTPS(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && len(uri) <= maxURI && u.Scheme == "https" && u.Host != "" && u.User == nil && u.Fragment == "" && !strings.ContainsAny(uri, "#*\\")
}

// loopbackHTTP accepts a program on the server's own machine, for trials.
func loopbackHTTP(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && len(uri) <= maxURI && u.Scheme == "http" && u.User == nil && !strings.ContainsAny(uri, "#*\\") && slices.Contains([]string{"127.0.0.1", "::1"}, u.Hostname())
}

func (c Client) checkGrants() error {
	for _, g := range c.Grants {
		if !slices.Contains(Grants(), g) {
			return c.bad(fmt.Sprintf("no grant type is called %q", sallyport.OneLine(string(g))))
		}
	}
	switch {
	case c.Allows(Code) && len(c.RedirectURIs) == 0 && c.LoopbackRedirect == "":
		return c.bad("a client with authorization codes needs a redirect address")
	case c.Allows(Credentials) && (c.Public() || c.Principal == ""):
		return c.bad("client_credentials is for a client that proves who it is and acts as a service")
	case c.Public() && (len(c.Serves) > 0 || c.Principal != ""):
		return c.bad("a public client proves nothing: it is no resource server and no service")
	}
	return nil
}

func (c Client) checkPrincipal() error {
	if c.Principal == "" {
		return nil
	}
	id, err := sallyport.ParsePrincipalID(string(c.Principal))
	if err != nil || id != c.Principal || id.Kind() == sallyport.User {
		return c.bad("its principal is neither service:NAME nor agent:NAME")
	}
	if id.Kind() == sallyport.Agent && c.Allows(Credentials) {
		return c.bad("an agent acts on somebody's behalf only, by token exchange")
	}
	return nil
}

// checkMethod wants exactly what the method needs.
func (c Client) checkMethod() error {
	has := map[string]bool{"keys": len(c.Keys) > 0, "thumbprint": c.Thumbprint != "", "authority": c.Authority != "", "certificate": c.Certificate != ""}
	needs := map[Method][]string{None: nil, "": nil, PrivateKey: {"keys"}, TLS: {"authority", "certificate"}, SelfSignedTLS: {"thumbprint"}}
	want, known := needs[c.Method]
	if !known {
		return c.bad(fmt.Sprintf("no method is called %q", sallyport.OneLine(string(c.Method))))
	}
	for what, there := range has {
		if there != slices.Contains(want, what) {
			return c.bad(fmt.Sprintf("%s and %s do not go together: it has exactly what its method needs", c.Method, what))
		}
	}
	switch c.Method {
	case PrivateKey:
		set, err := jose.ParseSet(c.Keys)
		if err != nil || len(set.Keys()) == 0 {
			return c.bad("its keys are no JWKS document with a usable public key")
		}
	case SelfSignedTLS:
		if b, err := base64.RawURLEncoding.Strict().DecodeString(c.Thumbprint); err != nil || len(b) != 32 {
			return c.bad("its thumbprint is not the SHA-256 of a certificate in base64url")
		}
	case TLS:
		if _, err := c.authorities(); err != nil || len(c.Certificate) > maxURI {
			return c.bad("its authority is no certificate in PEM")
		}
	}
	return nil
}

func (c Client) authorities() (*x509.CertPool, error) {
	pool, rest := x509.NewCertPool(), []byte(c.Authority)
	for range maxList {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		pool.AddCert(cert)
	}
	if pool.Equal(x509.NewCertPool()) {
		return nil, fmt.Errorf("no certificate")
	}
	return pool, nil
}
