package clients

import (
	"context"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
	"sallyport/internal/plumbing/secret"
)

// AssertionType is the one client_assertion_type (RFC 7523, section 2.2).
const AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// leeway is by how much the clocks of clients may differ from ours.
const leeway = 10 * time.Second

// A Proof is what came with a request to prove who the client is. Everything that came is in it: what a client's method
// does not ask for is refused.
type Proof struct {
	ClientID      string      // client_id of the form, "" where it was not given
	Assertion     secret.Text // client_assertion
	AssertionType string
	Secret        bool                // a client_secret or an Authorization header was sent
	Certificates  []*x509.Certificate // of the TLS connection, the client's first
}

// A Place is what a client proves itself to.
type Place struct {
	Issuer        string // the audience of assertions
	TokenEndpoint string // accepted as well by clients that are registered so
}

// Authenticate returns the client that a proof proves, and the credential that proved it: "jwk:" and the RFC 7638 thumbprint of the key
// of an assertion, "x5t:" and the SHA-256 of a certificate, both base64url, "" for a client that proves nothing. The errors are of kind NotFound or Invalid with a reason that
// begins with invalid_client, Conflict for an assertion that was used before, or Unavailable.
func (r *Registry) Authenticate(ctx context.Context, p Proof, at Place) (c Client, credential string, err error) {
	if p.Secret {
		return Client{}, "", refuse("secret", "no client here has a secret that two know")
	}
	id, err := p.client()
	if err != nil {
		return Client{}, "", err
	}
	if c, err = r.Find(ctx, id); err != nil {
		return Client{}, "", err
	}
	if c.Method != PrivateKey && (!p.Assertion.IsZero() || p.AssertionType != "") {
		return Client{}, "", refuse("method", "the client is not registered for assertions")
	}
	switch c.Method {
	case None, "":
		return c, "", nil
	case PrivateKey:
		credential, err = r.assertion(ctx, c, p, at)
		return c, credential, err
	case TLS:
		err = c.chain(p.Certificates, r.now())
	case SelfSignedTLS:
		err = c.pinned(p.Certificates)
	default:
		return Client{}, "", refuse("method", "the client has no method")
	}
	if err == nil {
		credential = "x5t:" + jose.CertificateThumbprint(p.Certificates[0].Raw)
	}
	return c, credential, err
}

// client finds who the request says it is from. An assertion is read without trust, only to find whose keys to try.
func (p Proof) client() (string, error) {
	if p.Assertion.IsZero() {
		if p.ClientID == "" {
			return "", refuse("missing", "client_id is missing")
		}
		return p.ClientID, nil
	}
	said, err := jose.Peek(p.Assertion.Reveal())
	if err != nil || p.ClientID != "" && p.ClientID != said.Issuer {
		return "", refuse("assertion", "the client assertion cannot be read, or is another client's")
	}
	return said.Issuer, nil
}

// assertion verifies a client assertion. It counts as used only after everything else about it was right, so that
// nobody burns the id of an assertion that was never good.
func (r *Registry) assertion(ctx context.Context, c Client, p Proof, at Place) (credential string, err error) {
	if p.Assertion.IsZero() || p.AssertionType != AssertionType {
		return "", refuse("method", "the client must prove itself by a client_assertion")
	}
	keys, err := jose.ParseSet(c.Keys)
	if err != nil {
		return "", err
	}
	want := jose.AssertionWant{Client: c.ID, Issuer: at.Issuer, Now: r.now(), Leeway: leeway}
	if c.TokenEndpointAudience {
		want.TokenEndpoint = at.TokenEndpoint
	}
	good, err := jose.VerifyAssertion(p.Assertion.Reveal(), keys, want)
	if err != nil {
		return "", refuse(sallyport.ReasonOf(err), "the client assertion is not valid here")
	}
	err = r.store.UseAssertion(ctx, c.ID, good.ID, good.Expires)
	if sallyport.KindOf(err) == sallyport.Conflict {
		return "", refuse("replay", "the client assertion was used before")
	}
	return "jwk:" + good.Key, err
}

func (c Client) pinned(shown []*x509.Certificate) error {
	if len(shown) == 0 || subtle.ConstantTimeCompare([]byte(jose.CertificateThumbprint(shown[0].Raw)), []byte(c.Thumbprint)) != 1 {
		return refuse("certificate", "the client must prove itself by its registered certificate")
	}
	return nil
}

// chain verifies a certificate against the client's own authority, and no other.
func (c Client) chain(shown []*x509.Certificate, now time.Time) error {
	bad := refuse("certificate", "the client must prove itself by a certificate of its registered authority and name")
	if len(shown) == 0 {
		return bad
	}
	roots, err := c.authorities()
	if err != nil {
		return err
	}
	between := x509.NewCertPool()
	for _, cert := range shown[1:] {
		between.AddCert(cert)
	}
	_, err = shown[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil || !hasName(shown[0], c.Certificate) {
		return errors.Join(bad, err)
	}
	return nil
}

// hasName reports whether a certificate has exactly this DNS or URI name. A name with an asterisk is a name like any
// other: nothing is matched.
func hasName(cert *x509.Certificate, name string) bool {
	for _, u := range cert.URIs {
		if u.String() == name {
			return true
		}
	}
	return slices.Contains(cert.DNSNames, name)
}

func refuse(why, message string) error {
	return sallyport.E("authenticate client", sallyport.Invalid, message, "").Because("invalid_client." + why)
}
