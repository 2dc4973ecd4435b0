package server

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/identity/federation"
	"sallyport/internal/identity/federation/ldap"
	"sallyport/internal/identity/federation/oidc"
	"sallyport/internal/identity/federation/saml"
	"sallyport/internal/identity/jose"
	"sallyport/internal/identity/signin"
	"sallyport/internal/plumbing/httpsafe"
)

const (
	maxDocument = 1 << 20 // bytes of any answer of an identity provider
	documentBy  = 10 * time.Second
)

// openFederation makes the identity providers. None is called before somebody signs in by it.
func (s *Server) openFederation(context.Context) error {
	f := &federation.Service{Store: s.db.Federation(), Now: s.clock, Random: rand.Reader}
	for _, c := range s.config.Federation {
		p, err := s.identityProvider(c)
		if err != nil {
			return fmt.Errorf("identity provider %s: %w", c.Name, err)
		}
		if slices.ContainsFunc(f.Providers, func(o federation.Provider) bool { return o.Issuer == p.Issuer }) {
			return sallyport.E("configuration", sallyport.Invalid, fmt.Sprintf("the issuer of %s is another provider's too", p.Name), "two providers of one issuer could speak for each other's people")
		}
		f.Providers = append(f.Providers, p)
	}
	s.rooms.federation, s.rooms.signin.Federation = f, f
	return nil
}

func (s *Server) identityProvider(c IdentityProvider) (federation.Provider, error) {
	rules, err := c.rules()
	p := federation.Provider{Name: c.Name, Title: c.Title, Kind: federation.Kind(c.Kind), Issuer: c.issuer(), Rules: rules}
	if p.Title == "" {
		p.Title = c.Name
	}
	if err != nil {
		return p, err
	}
	switch p.Kind {
	case federation.OIDC:
		err = s.speakOIDC(&p, c.OIDC)
	case federation.SAML:
		err = s.speakSAML(&p, c.SAML)
	case federation.LDAP:
		err = s.speakLDAP(&p, c.LDAP)
	default:
		err = sallyport.E("configuration", sallyport.Invalid, fmt.Sprintf("no kind of identity provider is called %.40q", c.Kind), "use oidc, saml or ldap")
	}
	return p, err
}

func (s *Server) speakOIDC(p *federation.Provider, c OIDCProvider) error {
	secret, err := readSecret(c.SecretFile)
	if err != nil {
		return err
	}
	key, err := clientKey(c)
	if err != nil {
		return err
	}
	roots, err := authorities(c.AuthorityPEM)
	if err != nil {
		return err
	}
	hosts, err := c.hosts()
	if err != nil {
		return err
	}
	client, err := oidc.New(oidc.Config{Title: p.Title, Issuer: c.Issuer, Client: c.Client, Secret: secret, Key: key, Scopes: c.Scopes, ACR: c.AskACR, UserInfo: c.UserInfo,
		Redirect: s.config.External + "/login/oidc/" + p.Name + "/callback", HTTP: providerClient(hosts, roots), Now: s.clock, Random: rand.Reader})
	if err != nil {
		return err
	}
	p.Upstream, p.Logout, p.Test = client, client.Logout, client.Test
	return nil
}

// providerClient calls the listed hosts, and any other only where it is on the public Internet: a provider's documents must not
// send us to our neighbours.
func providerClient(hosts []*url.URL, roots *x509.CertPool) *http.Client {
	listed := map[string]http.RoundTripper{}
	for _, u := range hosts {
		listed[u.Host] = trusting(httpsafe.Client(only(u), 4), roots)
	}
	public := httpsafe.Client(func(a netip.AddrPort) bool { return httpsafe.Global(a.Addr()) }, 4)
	way := roundTrip(func(r *http.Request) (*http.Response, error) {
		if one, ok := listed[r.URL.Host]; ok {
			return one.RoundTrip(r)
		}
		return public.Transport.RoundTrip(r)
	})
	return httpsafe.Bounded(&http.Client{Transport: way, CheckRedirect: public.CheckRedirect}, maxDocument, documentBy)
}

type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func trusting(c *http.Client, roots *x509.CertPool) http.RoundTripper {
	if t, ok := c.Transport.(*http.Transport); ok && roots != nil {
		t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return c.Transport
}

func (s *Server) speakSAML(p *federation.Provider, c SAMLProvider) error {
	config := saml.Config{Title: p.Title, Entity: c.Entity, SSO: c.SSO, NameID: c.NameID, Now: s.clock,
		Own: s.config.External + "/saml/" + p.Name + "/metadata", ACS: s.config.External + "/saml/" + p.Name + "/acs"}
	if c.MetadataFile != "" {
		raw, err := readFile(c.MetadataFile)
		if err != nil {
			return err
		}
		entity, sso, certificates, err := saml.ReadMetadata(raw)
		if err != nil || c.Entity != "" && c.Entity != entity {
			return sallyport.Wrap("read saml metadata", sallyport.Invalid, c.MetadataFile+" cannot be used, or is of another entity", err)
		}
		config.Entity, config.SSO, config.Certificates = entity, sso, certificates
	}
	for _, file := range c.Certificates {
		raw, err := readFile(file)
		if err != nil {
			return err
		}
		block, _ := pem.Decode(raw)
		if block == nil {
			return sallyport.E("read certificate", sallyport.Invalid, file+" holds no PEM", "")
		}
		one, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return sallyport.Wrap("read certificate", sallyport.Invalid, file+" holds no certificate", err)
		}
		config.Certificates = append(config.Certificates, one)
	}
	client, err := saml.New(config)
	if err != nil {
		return err
	}
	p.Issuer, p.Upstream, p.Test = saml.Issuer(config.Entity), client, client.Test
	return nil
}

func (s *Server) speakLDAP(p *federation.Provider, c LDAPProvider) error {
	password, err := readSecret(c.PasswordFile)
	if err != nil {
		return err
	}
	roots, err := authorities(c.AuthorityPEM)
	if err != nil {
		return err
	}
	if c.ID == "" {
		c.ID = "entryUUID"
	}
	d, err := ldap.New(ldap.Config{Name: p.Name, Title: p.Title, URL: c.URL, Roots: roots, BindDN: c.BindDN, Password: password, Base: c.Base, Filter: c.Filter, Active: c.Active,
		ID: c.ID, BinaryID: c.BinaryID, Attributes: c.Attributes, GroupBase: c.GroupBase, GroupFilter: c.GroupFilter, GroupName: c.GroupName, Timeout: c.Timeout})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, d.Close)
	p.Check, p.Test = d.Check, d.Test
	if c.Poll > 0 {
		s.sweeps = append(s.sweeps, sweep{p.Name, c.Poll, d.Lookup})
	}
	return nil
}

// A sweep looks for leavers and movers of one directory.
type sweep struct {
	provider string
	every    time.Duration
	look     signin.Lookup
}

// runSweep sweeps until ctx ends. A directory that cannot answer ends nobody.
func (s *Server) runSweep(ctx context.Context, w sweep) {
	every(ctx, w.every, func() {
		if gone, err := s.rooms.signin.Sweep(ctx, w.provider, w.look, s.gone); err != nil && ctx.Err() == nil {
			s.logger.WarnContext(ctx, "sweep failed", "idp", w.provider, "left", gone, "err", err)
		}
	})
}

// gone ends everything that somebody has, on the word of a directory.
func (s *Server) gone(ctx context.Context, id sallyport.PrincipalID, why string) error {
	_, err := s.rooms.leaver.Leave(ctx, id, "", why)
	return err
}

// clientKey reads the key by which we prove ourselves to a provider, nil where there is none.
func clientKey(c OIDCProvider) (*jose.Signer, error) {
	if c.KeyFile == "" {
		return nil, nil
	}
	raw, err := readFile(c.KeyFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, sallyport.E("read client key", sallyport.Invalid, c.KeyFile+" holds no PEM", "write PKCS #8")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, sallyport.Wrap("read client key", sallyport.Invalid, c.KeyFile+" holds no PKCS #8 key", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok || jose.AlgorithmOf(signer.Public()) == "" {
		return nil, sallyport.E("read client key", sallyport.Invalid, c.KeyFile+" holds a key that cannot sign", "use P-256, Ed25519 or RSA")
	}
	return &jose.Signer{Key: signer, Algorithm: jose.AlgorithmOf(signer.Public()), KeyID: c.KeyID, Rand: rand.Reader}, nil
}

// authorities reads a bundle of certificates, nil where there is none: the system's.
func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	raw, err := readFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, sallyport.E("read certificates", sallyport.Invalid, file+" holds no certificate", "write PEM")
	}
	return pool, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, sallyport.Wrap("read file", sallyport.Invalid, fmt.Sprintf("the file %s cannot be opened", path), err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err != nil || len(raw) > maxDocument {
		return nil, sallyport.Wrap("read file", sallyport.Invalid, fmt.Sprintf("the file %s cannot be read or is over 1 MiB", path), err)
	}
	return raw, nil
}
