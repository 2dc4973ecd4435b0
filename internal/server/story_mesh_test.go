package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	bignum "math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/server"
)

const (
	meshHost  = "models.acme.example"
	meshToken = "0123456789abcdef0123456789abcdef0123"
)

// mesh is the configuration of a proxy that stands in front of a hub and a model server.
func mesh(t *testing.T) server.ExtAuthz {
	t.Helper()
	token := filepath.Join(t.TempDir(), "edge.token")
	if err := os.WriteFile(token, []byte(meshToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return server.ExtAuthz{GRPC: "127.0.0.1:0", HTTP: "127.0.0.1:0",
		Upstreams: []server.MeshUpstream{{Name: "hub", Speaks: "hfhub", External: "https://" + meshHost, Prefix: "/hf", Environment: sallyport.Production},
			{Name: "chat", Speaks: "openai", External: "https://" + meshHost, Prefix: "/openai"}},
		Proxies: []server.ExternalProxy{{Name: "edge", TokenFile: token, Upstreams: []string{"hub", "chat"}}}}
}

// asksFor sends what the person's own client would send, as Envoy asks about it.
func (r *story) asksFor(c *grpc.ClientConn, upstream string, q request) *authv3.CheckResponse {
	r.t.Helper()
	h := r.build(r.t.Context(), q)
	in := &authv3.AttributeContext_HttpRequest{Method: h.Method, Path: q.path, Host: meshHost, RawBody: []byte(q.body), HeaderMap: &corev3.HeaderMap{}}
	add := func(name, value string) {
		in.HeaderMap.Headers = append(in.HeaderMap.Headers, &corev3.HeaderValue{Key: strings.ToLower(name), RawValue: []byte(value)})
	}
	for name, values := range h.Header {
		for _, v := range values {
			add(name, v)
		}
	}
	add("x-envoy-auth-partial-body", "false")
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(r.t.Context(), "x-sallyport-proxy", meshToken), patience)
	defer cancel()
	out, err := authv3.NewAuthorizationClient(c).Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: in}, ContextExtensions: map[string]string{"upstream": upstream}}})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// TestEN1Mesh asks the same over the proxy as at the door itself: the outcomes are the same, and so are the words.
func TestEN1Mesh(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	r.restartWith(func() { r.config.ExtAuthz = mesh(t) })
	at, front := r.server.ExtAuthz()
	c, err := grpc.NewClient(at, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, x := range []struct {
		who, upstream string
		q             request
		outcome       string
	}{
		{"ana", "hub", request{door: client.Hub, path: hubFile(base, tokenizer)}, allowed},
		{"ana", "hub", request{door: client.Hub, path: hubFile(fraud, weights)}, denied},
		{"ana", "hub", request{door: client.Hub, path: hubFile(keel, weights)}, denied},
		{"ana", "hub", request{door: client.Hub, path: hubFile(ghost, weights)}, denied},
		{"ana", "hub", request{door: client.Hub, path: "/hf/api/spaces"}, denied},
		{"ana", "chat", chat(fraud, false, 1), allowed},
		{"tess", "chat", chat(fraud, false, 1), denied},
	} {
		who := r.As(x.who)
		inline := who.Send(x.q)
		inline.Want(x.outcome)
		out := who.asksFor(c, x.upstream, x.q)
		if (out.GetOkResponse() != nil) != (x.outcome == allowed) {
			t.Errorf("%s %s: %v", x.who, x.q.path, out)
			continue
		}
		id := out.GetDynamicMetadata().AsMap()["decision"].(string)
		e, _ := r.decided(id)
		if e.Outcome != x.outcome {
			t.Errorf("%s %s: recorded as %q", x.who, x.q.path, e.Outcome)
		}
		if d := out.GetDeniedResponse(); d != nil {
			if got, want := strings.ReplaceAll(d.GetBody(), id, "D"), strings.ReplaceAll(string(inline.last.body), inline.last.decision, "D"); got != want || int(d.GetStatus().GetCode()) != inline.last.status {
				t.Errorf("%s %s: %d %s, at the door %d %s", x.who, x.q.path, d.GetStatus().GetCode(), got, inline.last.status, want)
			}
		}
	}
	// What the policy obliges to about the answer, a proxy cannot carry out.
	r.As("ana").Pull(base).Want(allowed)
	out := r.As("ana").asksFor(c, "hub", request{door: client.Hub, path: hubFile(base, weights)})
	if e, _ := r.decided(out.GetDynamicMetadata().AsMap()["decision"].(string)); e.Outcome != denied || e.Reasons[0] != "obligation.unsupported" || out.GetDeniedResponse() == nil {
		t.Errorf("%v, recorded as %+v", out, e)
	}
	// Over HTTP, and without the proxy's token.
	for token, want := range map[string]int{meshToken: http.StatusOK, "": http.StatusForbidden} {
		h := r.As("ana").build(t.Context(), request{door: client.Hub})
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+front+"/nginx/hub", nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header = http.Header{"Authorization": h.Header["Authorization"], "X-Original-Method": {"GET"}, "X-Original-Uri": {hubFile(base, tokenizer)}, "X-Original-Host": {meshHost}, "X-Sallyport-Proxy": {token}}
		a, err := http.DefaultTransport.RoundTrip(q)
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		if a.StatusCode != want {
			t.Errorf("token %q: %d, want %d", token, a.StatusCode, want)
		}
	}
}

// TestMeshTLS: with authorities, both listeners want a certificate of theirs; the file may change.
func TestMeshTLS(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	file := filepath.Join(t.TempDir(), "mesh-ca.pem")
	first, second := newRoot(t), newRoot(t)
	first.write(t, file)
	r.restartWith(func() {
		r.config.ExtAuthz = mesh(t)
		r.config.ExtAuthz.ClientCA = file
		r.config.ExtAuthz.Proxies = []server.ExternalProxy{{Name: "edge", SAN: []string{"edge.acme.example"}, Upstreams: []string{"hub", "chat"}}}
	})
	at, _ := r.server.ExtAuthz()
	trusted := x509.NewCertPool()
	own, err := os.ReadFile(r.server.CA())
	if err != nil || !trusted.AppendCertsFromPEM(own) {
		t.Fatal(err)
	}
	shake := func(root *root) error {
		c, err := tls.Dial("tcp", at, &tls.Config{RootCAs: trusted, ServerName: "localhost", NextProtos: []string{"h2"}, Certificates: []tls.Certificate{root.leaf(t, "edge.acme.example")}})
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetReadDeadline(time.Now().Add(patience))
		_, err = c.Read(make([]byte, 1)) // in TLS 1.3 the refusal comes with the first byte
		return err
	}
	if err := shake(first); err != nil {
		t.Errorf("its own: %v", err)
	}
	if err := shake(second); err == nil {
		t.Error("another authority's certificate is taken")
	}
	creds := credentials.NewTLS(&tls.Config{RootCAs: trusted, ServerName: "localhost", Certificates: []tls.Certificate{first.leaf(t, "edge.acme.example")}})
	c, err := grpc.NewClient(at, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if out := r.As("ana").asksFor(c, "hub", request{door: client.Hub, path: hubFile(base, tokenizer)}); out.GetOkResponse() == nil {
		t.Errorf("%v", out)
	}
	second.write(t, file)
	if err := shake(second); err != nil {
		t.Errorf("after the change: %v", err)
	}
	if err := shake(first); err == nil {
		t.Error("after the change the old authority's certificate is taken")
	}
}

// TestEN1PastTheDoor: a model server that requires the gateway's certificate is reached through the gateway and in no
// other way: not without a certificate, not with one of an enrolled device, not with one of somebody else.
func TestEN1PastTheDoor(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	own, err := os.ReadFile(r.server.CA())
	if err != nil {
		t.Fatal(err)
	}
	wants := x509.NewCertPool()
	wants.AppendCertsFromPEM(own)
	file, up := r.lockedUpstream(wants)
	r.restartWith(func() {
		r.config.Upstreams = []server.Upstream{{Name: "up", URL: up.URL + "/v1", KeyFile: r.config.Upstreams[0].KeyFile, TLS: server.UpstreamTLS{CAFile: file, Mutual: true}}}
	})
	ana := r.As("ana")
	ana.Infer(base).Want(allowed)
	device := ana.Laptop("laptop", "")
	stranger := newRoot(t).leaf(t, "localhost")
	for name, certificate := range map[string]func(*tls.CertificateRequestInfo) (*tls.Certificate, error){
		"nobody":     nil,
		"a device":   device.Certificate,
		"a stranger": func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &stranger, nil },
	} {
		pool := x509.NewCertPool()
		pool.AddCert(up.Certificate())
		wire := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, GetClientCertificate: certificate}, DisableKeepAlives: true}}
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, up.URL+"/v1/chat/completions", strings.NewReader(`{"model":"served-base","messages":[]}`))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer "+r.up.key) // even with the upstream's key
		if a, err := wire.Do(q); err == nil {
			a.Body.Close()
			t.Errorf("%s reaches the model server past the door: %s", name, a.Status)
		}
	}
	ana.Infer(base).Want(allowed)
}

// TestUpstreamCertificateRotates: the files are replaced under a running server.
func TestUpstreamCertificateRotates(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ca := newRoot(t)
	wants := x509.NewCertPool()
	wants.AddCert(ca.cert)
	file, up := r.lockedUpstream(wants)
	seen := make(chan string, 10)
	next := up.Config.Handler
	up.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		seen <- q.TLS.PeerCertificates[0].DNSNames[0]
		next.ServeHTTP(w, q)
	})
	dir := t.TempDir()
	pair := server.UpstreamTLS{CAFile: file, Mutual: true, CertFile: filepath.Join(dir, "c.pem"), CertKey: filepath.Join(dir, "k.pem")}
	ca.writePair(t, pair.CertFile, pair.CertKey, "one.acme.example")
	r.restartWith(func() {
		r.config.Upstreams = []server.Upstream{{Name: "up", URL: up.URL + "/v1", KeyFile: r.config.Upstreams[0].KeyFile, TLS: pair}}
	})
	ana := r.As("ana")
	for _, name := range []string{"one.acme.example", "two.acme.example", "three.acme.example"} {
		ca.writePair(t, pair.CertFile, pair.CertKey, name)
		up.CloseClientConnections()
		ana.Infer(base).Want(allowed)
		if got := <-seen; got != name {
			t.Errorf("the model server saw %s, want %s", got, name)
		}
	}
	if err := os.WriteFile(pair.CertFile, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	up.CloseClientConnections()
	ana.Infer(base).Want(allowed)
	if got := <-seen; got != "three.acme.example" {
		t.Errorf("with a file that is half written the model server saw %s", got)
	}
}

// lockedUpstream is the model server again, over TLS that wants a certificate of some authorities. It returns the file
// with its own authority.
func (r *story) lockedUpstream(authorities *x509.CertPool) (string, *httptest.Server) {
	r.t.Helper()
	up := httptest.NewUnstartedServer(http.HandlerFunc(r.up.serve))
	up.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authorities, Time: r.clock.Now}
	up.StartTLS()
	r.t.Cleanup(up.Close)
	file := filepath.Join(r.t.TempDir(), "upstream-ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: up.Certificate().Raw}), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return file, up
}

// A root is an authority of somebody's own.
type root struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newRoot(t *testing.T) *root {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	self := &x509.Certificate{SerialNumber: bignum.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "mesh"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, self, self, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &root{key, cert}
}

func (r *root) leaf(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: bignum.NewInt(time.Now().UnixNano()), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, r.cert, &key.PublicKey, r.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (r *root) write(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// writePair writes a certificate and its key, with a time of their own.
func (r *root) writePair(t *testing.T, certFile, keyFile, name string) {
	t.Helper()
	c := r.leaf(t, name)
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, keyFile: {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
