//go:build nosaml

package saml

import (
	"context"
	"crypto/x509"
	"net/url"

	"sallyport"
	"sallyport/internal/identity/federation"
)

// A Client is nothing in a program that was built without SAML.
type Client struct{}

// New refuses: this program was built without SAML.
func New(Config) (*Client, error) { return nil, none() }

// Begin implements [federation.Upstream].
func (*Client) Begin(context.Context, federation.Attempt) (string, error) { return "", none() }

// Read implements [federation.Upstream].
func (*Client) Read(context.Context, federation.Attempt, url.Values) (federation.Assertion, error) {
	return federation.Assertion{}, none()
}

// Metadata returns nothing.
func (*Client) Metadata() []byte { return nil }

// Test refuses.
func (*Client) Test(context.Context) ([]string, error) { return nil, none() }

// ReadMetadata refuses.
func ReadMetadata([]byte) (entity, sso string, certificates []*x509.Certificate, err error) {
	return "", "", nil, none()
}

func none() error {
	return sallyport.E("saml provider", sallyport.Invalid, "this program was built without SAML (nosaml)", "use OpenID Connect, or a program with SAML")
}
