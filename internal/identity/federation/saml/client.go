//go:build !nosaml

package saml

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
	"github.com/crewjam/saml"
	dsig "github.com/russellhaering/goxmldsig"

	"sallyport"
	"sallyport/internal/identity/federation"
)

// A Client is one provider. It is safe for concurrent use.
type Client struct {
	config Config
	acs    url.URL
	idp    *saml.EntityDescriptor
}

// New makes a client.
func New(c Config) (*Client, error) {
	c, err := c.check()
	if err != nil {
		return nil, err
	}
	acs, err := url.Parse(c.ACS)
	if err != nil {
		return nil, err
	}
	keys := make([]saml.KeyDescriptor, 0, len(c.Certificates))
	for _, one := range c.Certificates {
		keys = append(keys, saml.KeyDescriptor{Use: "signing", KeyInfo: saml.KeyInfo{X509Data: saml.X509Data{
			X509Certificates: []saml.X509Certificate{{Data: base64.StdEncoding.EncodeToString(one.Raw)}}}}})
	}
	idp := &saml.EntityDescriptor{EntityID: c.Entity, IDPSSODescriptors: []saml.IDPSSODescriptor{{
		SSODescriptor:        saml.SSODescriptor{RoleDescriptor: saml.RoleDescriptor{KeyDescriptors: keys}},
		SingleSignOnServices: []saml.Endpoint{{Binding: saml.HTTPRedirectBinding, Location: c.SSO}},
	}}}
	return &Client{config: c, acs: *acs, idp: idp}, nil
}

// provider is the library's view of both sides, at one moment.
func (c *Client) provider(now time.Time) *saml.ServiceProvider {
	return &saml.ServiceProvider{EntityID: c.config.Own, AcsURL: c.acs, IDPMetadata: c.idp, AuthnNameIDFormat: saml.NameIDFormat(c.config.NameID),
		AllowIDPInitiated: false, SignatureVerifier: verifier{now}}
}

// Begin implements [federation.Upstream]. No network is needed: the browser carries the request.
func (c *Client) Begin(_ context.Context, a federation.Attempt) (string, error) {
	now := c.config.Now()
	p := c.provider(now)
	if a.Fresh {
		force := true
		p.ForceAuthn = &force
	}
	r, err := p.MakeAuthenticationRequest(c.config.SSO, saml.HTTPRedirectBinding, saml.HTTPPostBinding)
	if err != nil {
		return "", err
	}
	r.ID, r.IssueInstant = a.Request, now.UTC()
	to, err := r.Redirect(url.QueryEscape(a.State), p)
	if err != nil {
		return "", err
	}
	return to.String(), nil
}

// Read implements [federation.Upstream].
func (c *Client) Read(_ context.Context, a federation.Attempt, answer url.Values) (federation.Assertion, error) {
	text := answer["SAMLResponse"]
	if len(text) != 1 || len(text[0]) > base64.StdEncoding.EncodedLen(maxMessage) || answer.Has("SAMLart") {
		return federation.Assertion{}, refuse(faultSize, nil)
	}
	doc, err := base64.StdEncoding.DecodeString(text[0])
	if err != nil {
		return federation.Assertion{}, refuse(faultXML, err)
	}
	now := c.config.Now()
	found := inspect(doc, want{Entity: c.config.Entity, Own: c.config.Own, ACS: c.config.ACS, Request: a.Request, Now: now, Longest: longest})
	if len(found.faults) > 0 {
		return federation.Assertion{}, refuse(found.faults[0], fmt.Errorf("%v", found.faults))
	}
	got, err := c.provider(now).ParseXMLResponse(doc, []string{a.Request}, c.acs)
	if err != nil {
		return federation.Assertion{}, refuse("signature", private(err))
	}
	if got.ID != found.id {
		return federation.Assertion{}, refuse(faultCount, nil) // cannot happen: two readers of one document
	}
	return convert(got, found.end), nil
}

func convert(got *saml.Assertion, end time.Time) federation.Assertion {
	a := federation.Assertion{Issuer: Issuer(got.Issuer.Value), Subject: got.Subject.NameID.Value, ID: got.ID, Expires: end, Claims: federation.Claims{}}
	for _, s := range got.AuthnStatements {
		a.AuthTime, a.Session = s.AuthnInstant.UTC(), s.SessionIndex
		if s.SessionNotOnOrAfter != nil {
			a.End = s.SessionNotOnOrAfter.UTC()
		}
		if class := s.AuthnContext.AuthnContextClassRef; class != nil {
			a.ACR = class.Value
		}
	}
	for _, statement := range got.AttributeStatements {
		for _, one := range statement.Attributes {
			values := make([]string, 0, len(one.Values))
			for _, v := range one.Values {
				values = append(values, v.Value)
			}
			a.Claims[one.Name] = values
		}
	}
	return a
}

// Metadata returns what the provider must know about us.
func (c *Client) Metadata() []byte {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	escape := func(s string) string {
		var e bytes.Buffer
		_ = xml.EscapeText(&e, []byte(s)) // a buffer takes everything
		return e.String()
	}
	fmt.Fprintf(&b, `<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="%s">`+
		`<SPSSODescriptor AuthnRequestsSigned="false" WantAssertionsSigned="true" protocolSupportEnumeration="%s">`+
		`<NameIDFormat>%s</NameIDFormat>`+
		`<AssertionConsumerService Binding="%s" Location="%s" index="0" isDefault="true"/>`+
		`</SPSSODescriptor></EntityDescriptor>`+"\n", escape(c.config.Own), protocolNS, escape(c.config.NameID), saml.HTTPPostBinding, escape(c.config.ACS))
	return b.Bytes()
}

// Test reports what is configured; there is nobody to ask.
func (c *Client) Test(context.Context) ([]string, error) {
	lines := []string{"entity " + c.config.Entity, "single sign-on " + c.config.SSO}
	for _, one := range c.config.Certificates {
		lines = append(lines, fmt.Sprintf("certificate of %s until %s", sallyport.OneLine(one.Subject.String()), one.NotAfter.UTC().Format(time.DateOnly)))
		if now := c.config.Now(); now.After(one.NotAfter) || now.Before(one.NotBefore) {
			return lines, sallyport.E("saml provider", sallyport.Invalid, "a pinned certificate is not valid now", "pin the provider's new one")
		}
	}
	return lines, nil
}

// A verifier checks a signature at one moment.
type verifier struct{ now time.Time }

// VerifySignature implements saml.SignatureVerifier.
func (v verifier) VerifySignature(c *dsig.ValidationContext, e *etree.Element) error {
	c.Clock = dsig.NewFakeClockAt(v.now) // of the server, not of the machine
	_, err := c.Validate(e)
	return err
}

// ReadMetadata reads what is needed of a provider's metadata: entity id, redirect location, signing certificates. Whether the
// document is the provider's is for whoever fetched it.
func ReadMetadata(raw []byte) (entity, sso string, certificates []*x509.Certificate, err error) {
	const op = "read saml metadata"
	if s := scan(raw); slices.Contains(s.faults, faultSize) || slices.Contains(s.faults, faultXML) || slices.Contains(s.faults, faultDepth) {
		return "", "", nil, sallyport.E(op, sallyport.Invalid, "it is no XML, too large or too deep", "")
	}
	var d saml.EntityDescriptor
	if err := xml.Unmarshal(raw, &d); err != nil || len(d.IDPSSODescriptors) != 1 {
		return "", "", nil, sallyport.Wrap(op, sallyport.Invalid, "it describes no single identity provider", err)
	}
	idp := d.IDPSSODescriptors[0]
	for _, e := range idp.SingleSignOnServices {
		if err := checkLocation(e.Location, true); err != nil {
			return "", "", nil, err
		}
		if e.Binding == saml.HTTPRedirectBinding {
			sso = e.Location
		}
	}
	for _, k := range idp.KeyDescriptors {
		for _, x := range k.KeyInfo.X509Data.X509Certificates {
			der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(x.Data), ""))
			if err != nil || k.Use == "encryption" {
				continue
			}
			one, err := x509.ParseCertificate(der)
			if err != nil {
				return "", "", nil, sallyport.Wrap(op, sallyport.Invalid, "a certificate cannot be read", err)
			}
			certificates = append(certificates, one)
		}
	}
	if sso == "" || len(certificates) == 0 {
		return "", "", nil, sallyport.E(op, sallyport.Invalid, "it has no redirect location or no signing certificate", "")
	}
	return d.EntityID, sso, certificates, nil
}

func private(err error) error {
	if e, ok := err.(*saml.InvalidResponseError); ok {
		return e.PrivateErr
	}
	return err
}

// refuse keeps the fault for the log: whoever sends forged answers learns nothing.
func refuse(f fault, cause error) error {
	err := fmt.Errorf("saml: %s", f)
	if cause != nil {
		err = fmt.Errorf("saml: %s: %w", f, cause)
	}
	return sallyport.Wrap("sign in", sallyport.Unknown, "the identity provider's answer proves nothing", err).Because(federation.ReasonAnswer)
}
