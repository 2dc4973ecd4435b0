package extauthz_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"sallyport"
	"sallyport/internal/enforce/extauthz"
	"sallyport/internal/enforce/gateway"
	"sallyport/internal/enforce/gateway/hfhub"
	"sallyport/internal/enforce/gateway/native"
	"sallyport/internal/enforce/gateway/openai"
	"sallyport/internal/enforce/guard/guardtest"
	"sallyport/internal/plumbing/secret"
)

const (
	origin = "https://models.acme.test"
	host   = "models.acme.test"
	edge   = "the-token-of-the-proxy-named-edge-0001" // may ask for hub and chat
	lone   = "the-token-of-the-proxy-named-lone-0002" // may ask for chat
	weight = "/hf/acme/open/resolve/main/model.safetensors"
)

func audience(dialect string) string { return "https://gate.test/" + dialect }

// upstreams are one of each dialect.
func upstreams(t testing.TB, w *guardtest.World) []extauthz.Upstream {
	t.Helper()
	hub, err := hfhub.New(nil, w.Guard, audience("hf"))
	if err != nil {
		t.Fatal(err)
	}
	chat, err := openai.New(nil, w.Guard, nil)
	if err != nil {
		t.Fatal(err)
	}
	own, err := native.New(nil, w.Guard)
	if err != nil {
		t.Fatal(err)
	}
	at := func(name, prefix, aud string, p gateway.Protocol) extauthz.Upstream {
		return extauthz.Upstream{Name: name, Protocol: p, Prefix: prefix, Origin: origin, Audience: audience(aud), Environment: sallyport.Production}
	}
	return []extauthz.Upstream{at("hub", "/hf", "hf", hub), at("chat", "", "openai", chat), at("own", "/vault", "vault", own)}
}

// A site is the door over a real guard, asked by a real client of Envoy's protocol.
type site struct {
	*guardtest.World
	service *extauthz.Service
	client  authv3.AuthorizationClient
	conn    *grpc.ClientConn
	http    string
}

func newSite(t testing.TB) *site { return newSiteOf(t, guardtest.New(t)) }

func newSiteOf(t testing.TB, w *guardtest.World) *site {
	t.Helper()
	s := &site{World: w}
	var err error
	s.service, err = extauthz.New(extauthz.Config{Guard: s.Guard, Upstreams: upstreams(t, s.World), Logger: slog.New(slog.DiscardHandler), Nonce: func() string { return "n-1" },
		Proxies: []extauthz.Proxy{{Name: "edge", Token: secret.NewText(edge), Upstreams: []string{"hub", "chat", "own"}},
			{Name: "lone", Token: secret.NewText(lone), Upstreams: []string{"chat"}},
			{Name: "mesh", SAN: []string{"spiffe://acme.test/envoy"}, Upstreams: []string{"hub"}},
			{Name: "both", SAN: []string{"both.acme.test"}, Token: secret.NewText(edge + "-both"), Upstreams: []string{"hub"}}}})
	if err != nil {
		t.Fatal(err)
	}
	s.conn = dial(t, serve(t, s.service.GRPC(nil)), insecure.NewCredentials())
	s.client = authv3.NewAuthorizationClient(s.conn)
	front := httptest.NewServer(s.service.HTTP())
	t.Cleanup(front.Close)
	s.http = front.URL
	return s
}

func serve(t testing.TB, server *grpc.Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return l.Addr().String()
}

func dial(t testing.TB, addr string, creds credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient(addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// An ask is what a test's Envoy says.
type ask struct {
	token, upstream, method, path string
	header                        map[string]string
	body                          string
	edit                          func(*authv3.AttributeContext)
}

// bearer is the field with the token of somebody for a dialect.
func bearer(name, dialect string) map[string]string {
	return map[string]string{"authorization": "Bearer " + guardtest.Token(name, sallyport.MultiFactor, audience(dialect), "*")}
}

func with(h map[string]string, more ...string) map[string]string {
	for i := 0; i+1 < len(more); i += 2 {
		h[more[i]] = more[i+1]
	}
	return h
}

// check asks with the deadline that Envoy has by default.
func (s *site) check(t testing.TB, a ask) *authv3.CheckResponse {
	t.Helper()
	out, err := s.send(t.Context(), s.client, a)
	if err != nil {
		t.Fatalf("%s %s: %v", a.method, a.path, err)
	}
	return out
}

func (s *site) send(ctx context.Context, client authv3.AuthorizationClient, a ask) (*authv3.CheckResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	if a.token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, extauthz.TokenHeader, a.token)
	}
	return client.Check(ctx, &authv3.CheckRequest{Attributes: a.attributes()})
}

func (a ask) attributes() *authv3.AttributeContext {
	if a.method == "" {
		a.method = "GET"
	}
	headers := map[string]string{":method": a.method, ":path": a.path, ":authority": host, "user-agent": "test"}
	for k, v := range a.header {
		headers[k] = v
	}
	h := &authv3.AttributeContext_HttpRequest{Method: a.method, Path: a.path, Host: host, Headers: headers, RawBody: []byte(a.body), Size: int64(len(a.body))}
	if a.body != "" {
		headers["content-type"] = "application/json"
		headers["x-envoy-auth-partial-body"] = "false"
	}
	in := &authv3.AttributeContext{Source: &authv3.AttributeContext_Peer{Address: address("192.0.2.7")},
		Request: &authv3.AttributeContext_Request{Http: h}, ContextExtensions: map[string]string{"upstream": a.upstream}}
	if a.edit != nil {
		a.edit(in)
	}
	return in
}

// An authority signs certificates of proxies.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, pool: x509.NewCertPool()}
	self := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mesh"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, self, self, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	return a
}

// issue signs a certificate with names: a URI where there is "://", else a DNS name.
func (a *authority) issue(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	for _, n := range names {
		if strings.Contains(n, "://") {
			u, err := url.Parse(n)
			if err != nil {
				t.Fatal(err)
			}
			leaf.URIs = append(leaf.URIs, u)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: parsed}
}
