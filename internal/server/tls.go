package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Lifetimes of the server's own certificates.
const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 7 * 24 * time.Hour
	leafLead = 24 * time.Hour // a leaf is replaced so long before it ends
)

// An authority issues the server's certificates from a CA of its own (RFC 5280),
// whose key lies sealed in the data directory and whose certificate clients are
// given as a file.
type authority struct {
	key   *ecdsa.PrivateKey
	cert  *x509.Certificate
	names []string
	clock func() time.Time

	mu         sync.Mutex
	leaf, mine *tls.Certificate // as a server, and as a client
}

// CAFile is the name of the CA's certificate in the data directory.
const CAFile = "ca.pem"

func openAuthority(b *box, data string, external string, clock func() time.Time) (*authority, error) {
	raw, err := b.file(data, "ca-key", newECKey)
	if err != nil {
		return nil, err
	}
	defer raw.Zero()
	key, err := x509.ParseECPrivateKey(raw.Reveal())
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(external)
	if err != nil {
		return nil, err
	}
	a := &authority{key: key, names: []string{u.Hostname()}, clock: clock}
	if loopback(u.Hostname()) {
		a.names = []string{"localhost", "127.0.0.1", "::1"}
	}
	path := filepath.Join(data, CAFile)
	if a.cert, err = readCert(path); errors.Is(err, os.ErrNotExist) {
		a.cert, err = a.selfSign(path)
	}
	if err != nil {
		return nil, fmt.Errorf("the certificate authority %s: %w", path, err)
	}
	return a, nil
}

func newECKey() ([]byte, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return x509.MarshalECPrivateKey(k)
}

func readCert(path string) (*x509.Certificate, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	return x509.ParseCertificate(block.Bytes)
}

// selfSign makes the CA's certificate, for this server's names only: a CA that
// clients trust must not be able to speak for others.
func (a *authority) selfSign(path string) (*x509.Certificate, error) {
	t, err := a.template(caLife)
	if err != nil {
		return nil, err
	}
	t.Subject = pkix.Name{CommonName: "Sallyport CA"}
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign
	t.PermittedDNSDomainsCritical = true
	for _, n := range a.names {
		if ip, err := netip.ParseAddr(n); err == nil {
			t.PermittedIPRanges = append(t.PermittedIPRanges, &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen(), ip.BitLen())})
		} else {
			t.PermittedDNSDomains = append(t.PermittedDNSDomains, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &a.key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	if err := writeNew(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func (a *authority) template(life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := a.clock()
	return &x509.Certificate{SerialNumber: serial, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(life)}, nil
}

// config serves TLS 1.2 and later with a leaf that replaces itself in time.
func (a *authority) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return a.current() }}
}

// current is the certificate that clients of ours see.
func (a *authority) current() (*tls.Certificate, error) {
	return a.renewed(&a.leaf, x509.ExtKeyUsageServerAuth)
}

// client is the certificate that upstreams see.
func (a *authority) client() (*tls.Certificate, error) {
	return a.renewed(&a.mine, x509.ExtKeyUsageClientAuth)
}

// renewed returns the certificate in held, or a new one where that ends soon.
func (a *authority) renewed(held **tls.Certificate, use x509.ExtKeyUsage) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if *held != nil && a.clock().Add(leafLead).Before((*held).Leaf.NotAfter) {
		return *held, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t, err := a.template(leafLife)
	if err != nil {
		return nil, err
	}
	t.Subject = pkix.Name{CommonName: a.names[0]}
	t.KeyUsage, t.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{use}
	for _, n := range a.names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	*held = &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key, Leaf: leaf}
	return *held, nil
}
