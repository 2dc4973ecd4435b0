package httpsafe_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"net/http"
	"slices"
	"testing"

	"sallyport"
	"sallyport/internal/plumbing/httpsafe"
)

func certificate(t testing.TB) *x509.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{SerialNumber: big.NewInt(1)}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPeerCertificate(t *testing.T) {
	c := certificate(t)
	for want, r := range map[bool]*http.Request{false: {}, true: {TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}}}} {
		if got := httpsafe.PeerCertificate(r); slices.Equal(got, c.Raw) != want {
			t.Errorf("%v, want a certificate: %v", got, want)
		}
	}
	if got := httpsafe.PeerCertificate(&http.Request{TLS: &tls.ConnectionState{}}); got != nil {
		t.Errorf("a connection without one: %v", got)
	}
}

func TestClientCertificateHeader(t *testing.T) {
	c := certificate(t)
	good := ":" + base64.StdEncoding.EncodeToString(c.Raw) + ":"
	if got, err := httpsafe.ClientCertificate(http.Header{"Client-Cert": {good}}); err != nil || !got.Equal(c) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := httpsafe.ClientCertificate(http.Header{}); err != nil || got != nil {
		t.Errorf("none: %v, %v", got, err)
	}
	for _, bad := range [][]string{{good, good}, {good[1:]}, {good + ", " + good}, {""}, {"::"}, {":AA:"}, {":" + base64.StdEncoding.EncodeToString(make([]byte, 16<<10)) + ":"}, {":" + base64.RawURLEncoding.EncodeToString(c.Raw) + "-:"}} {
		if got, err := httpsafe.ClientCertificate(http.Header{"Client-Cert": bad}); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%.40q: %v, %v", bad, got, err)
		}
	}
	h := http.Header{"Client-Cert": {"x"}, "Client-Cert-Chain": {"x"}, "X_client_cert": {"x"}, "Ssl-Client-Cert": {"x"}, "X-Forwarded-Client-Cert": {"x"}, "X-Ssl-Anything": {"x"}, "Accept": {"x"}}
	if got := httpsafe.ClientCertificateHeaders(h); len(got) != 6 || slices.Contains(got, "Accept") {
		t.Errorf("headers that pass certificates on: %q", got)
	}
}

func FuzzClientCertificate(f *testing.F) {
	f.Add(":" + base64.StdEncoding.EncodeToString(certificate(f).Raw) + ":")
	f.Add("::")
	f.Add(" :AAAA: ")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := httpsafe.ClientCertificate(http.Header{"Client-Cert": {s}})
		if (c == nil) == (err == nil) || err != nil && sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%v, %v", c, err)
		}
	})
}
