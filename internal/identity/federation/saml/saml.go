// Package saml owns the conversation with a SAML 2.0 identity provider as its service provider (saml-core-2.0-os,
// saml-profiles-2.0-os section 4.1): requests by redirect, responses by POST.
//
// A response is read twice. First by a strict reader of ours that knows one shape: one assertion, itself signed, where it
// belongs, with algorithms from a list, for us, in answer to our request, now. What has another shape is refused before a
// signature is looked at, so that nothing can be wrapped. Then by a library that verifies the signature against pinned
// certificates. Both must agree.
//
// The library stands in this package only, behind [federation.Upstream]; the build tag nosaml links a program without it. That
// a request is answered once and an assertion counts once is left to federation.
package saml

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"time"

	"sallyport"
)

const (
	leeway     = time.Minute    // between two clocks
	longest    = 24 * time.Hour // life of an assertion
	maxMessage = 256 << 10      // bytes of a response or of metadata
)

// The NameID formats that can name somebody for longer than one session.
const (
	Persistent  = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	Unspecified = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"
	Address     = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
)

// A Config says who the provider is and who we are there.
type Config struct {
	Title        string              // for messages
	Entity       string              // the provider's entity id
	SSO          string              // where requests go, by redirect
	Certificates []*x509.Certificate // the provider's, pinned: nobody else's signature counts, whoever issued it
	Own          string              // our entity id
	ACS          string              // where responses come
	NameID       string              // the format to ask for; Persistent by default
	Now          func() time.Time
}

// Issuer is the first half of the identities of a provider: an OpenID Connect issuer of the same name is another.
func Issuer(entity string) string { return "saml:" + entity }

// check refuses what cannot be meant, and fills in the format.
func (c Config) check() (Config, error) {
	const op = "saml provider"
	bad := func(message, hint string) error { return sallyport.E(op, sallyport.Invalid, message, hint) }
	if c.Entity == "" || c.Own == "" || c.Now == nil {
		return c, bad("entity ids and clock are needed", "")
	}
	if len(c.Certificates) == 0 {
		return c, bad("no certificate of the provider is pinned", "set certificate_files or metadata_file")
	}
	if c.NameID == "" {
		c.NameID = Persistent
	}
	if c.NameID != Persistent && c.NameID != Unspecified && c.NameID != Address {
		return c, bad(fmt.Sprintf("the name id format %.200q does not name people for longer than a session", c.NameID), "use the persistent format")
	}
	acs, err := url.Parse(c.ACS)
	if err != nil || acs.Host == "" || acs.Scheme != "https" && acs.Scheme != "http" {
		return c, bad("our own address is no http(s) URL", "")
	}
	return c, checkLocation(c.SSO, acs.Scheme == "http")
}

// checkLocation refuses an address that is not one of a web server: metadata may hold script.
func checkLocation(address string, plain bool) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !plain) {
		return sallyport.E("saml provider", sallyport.Invalid, fmt.Sprintf("the location %.200q is no https URL", address), "copy the HTTP-Redirect location of the single sign-on service")
	}
	return nil
}
