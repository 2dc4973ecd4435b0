package ca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"io"
	"math/big"
	"net"
	"net/url"
	"strings"
	"time"

	"sallyport"
)

// prefix begins the path of every name that the authority gives.
const prefix = "/device/"

// An Issued certificate goes to a device.
type Issued struct {
	Chain   [][]byte // DER, the leaf first, without the root
	Leaf    *x509.Certificate
	Expires time.Time
}

// Issue signs a certificate over a public key for a device id. The caller has seen the key prove itself.
func (a *Authority) Issue(public crypto.PublicKey, id string) (Issued, error) {
	const op = "issue certificate"
	if err := CheckKey(public); err != nil {
		return Issued{}, err
	}
	if id == "" || strings.ContainsAny(id, "/?#%") {
		return Issued{}, sallyport.E(op, sallyport.Invalid, "the device's id cannot stand in a name", "")
	}
	now := a.Now()
	g := a.current()
	t, err := a.template(now, LeafLife)
	if err != nil {
		return Issued{}, err
	}
	t.URIs = []*url.URL{{Scheme: "spiffe", Host: a.Domain, Path: prefix + id}}
	t.KeyUsage, t.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	t.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(a.Random, t, g.signer.cert, public, g.signer.key)
	if err != nil {
		return Issued{}, sallyport.Wrap(op, sallyport.Unavailable, "the certificate cannot be signed", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return Issued{}, sallyport.Wrap(op, sallyport.Unavailable, "the certificate cannot be signed", err)
	}
	return Issued{Chain: [][]byte{der, g.signer.cert.Raw}, Leaf: leaf, Expires: leaf.NotAfter}, nil
}

// CheckKey refuses keys that are too weak or of a kind that devices do not use: P-256, P-384, or RSA of 2048 to 4096 bits.
func CheckKey(public crypto.PublicKey) error {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() {
			return nil
		}
	case *rsa.PublicKey:
		if k.N != nil && k.N.BitLen() >= 2048 && k.N.BitLen() <= 4096 && k.E >= 65537 {
			return nil
		}
	}
	return sallyport.E("check key", sallyport.Invalid, "the key is of a kind that devices do not use", "use ECDSA on P-256 or P-384, or RSA of 2048 to 4096 bits")
}

// Verify checks the chain of a client (leaf first) and returns the device id that it names: signed by a live intermediate
// of ours, within its time, for client authentication, with exactly one name, and that of a device in our trust domain.
func (a *Authority) Verify(ctx context.Context, chain []*x509.Certificate) (string, error) {
	if len(chain) == 0 {
		return "", refused("no certificate", nil)
	}
	leaf, g := chain[0], a.current()
	parent := issuer(g, leaf)
	if parent == nil {
		var err error
		if g, err = a.refreshed(ctx); err != nil {
			return "", err
		}
		if parent = issuer(g, leaf); parent == nil {
			return "", refused("it was not issued by this server's authority, or so long ago that its issuer has ended", nil)
		}
	}
	between := x509.NewCertPool() // ours, and not what the client sent
	between.AddCert(parent)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: g.roots, Intermediates: between, CurrentTime: a.Now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return "", refused("its chain does not hold", err)
	}
	return a.name(leaf)
}

// issuer finds the live intermediate that signed a certificate.
func issuer(g generation, leaf *x509.Certificate) *x509.Certificate {
	for _, s := range g.live {
		if len(leaf.AuthorityKeyId) > 0 && bytes.Equal(leaf.AuthorityKeyId, s.cert.SubjectKeyId) {
			return s.cert
		}
	}
	return nil
}

// name reads the one name of a leaf.
func (a *Authority) name(leaf *x509.Certificate) (string, error) {
	if leaf.IsCA || len(leaf.URIs) != 1 || len(leaf.DNSNames)+len(leaf.EmailAddresses)+len(leaf.IPAddresses) > 0 {
		return "", refused("it does not have exactly one name", nil)
	}
	u := leaf.URIs[0]
	id, ok := strings.CutPrefix(u.Path, prefix)
	if !ok || u.Scheme != "spiffe" || u.Host != a.Domain || u.User != nil || u.RawQuery != "" || u.Fragment != "" || id == "" || strings.Contains(id, "/") {
		return "", refused("it does not name a device of this trust domain", nil)
	}
	return id, nil
}

// A Revocation is a certificate that ended before its time.
type Revocation struct {
	Serial  string // hexadecimal
	At      time.Time
	Expires time.Time
}

// List signs a certificate revocation list (RFC 5280, section 5) of the present intermediate. It is for others: this server
// asks its store.
func (a *Authority) List(revoked []Revocation) ([]byte, error) {
	now, g := a.Now(), a.current()
	t := &x509.RevocationList{Number: big.NewInt(now.UnixMicro()), ThisUpdate: now.Add(-leeway), NextUpdate: now.Add(ListLife)}
	for _, r := range revoked {
		n, ok := new(big.Int).SetString(r.Serial, 16)
		if !ok || now.After(r.Expires) {
			continue
		}
		t.RevokedCertificateEntries = append(t.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: n, RevocationTime: r.At, ReasonCode: 5}) // cessationOfOperation
	}
	der, err := x509.CreateRevocationList(a.Random, t, g.signer.cert, g.signer.key)
	if err != nil {
		return nil, sallyport.Wrap("revocation list", sallyport.Unavailable, "the list cannot be signed", err)
	}
	return der, nil
}

// succeed puts a new intermediate in the place of the present one, under a new root if asked. Under mu.
func (a *Authority) succeed(ctx context.Context, withRoot bool) error {
	now := a.Now()
	var next []Record
	root := a.now.root
	if withRoot {
		var err error
		if root, err = a.make(now, nil); err != nil {
			return err
		}
		next = append(next, root.Record)
	}
	between, err := a.make(now, &root)
	if err != nil {
		return err
	}
	err = a.Store.Succeed(ctx, a.now.signer.ID, append(next, between.Record), now)
	if err != nil && sallyport.KindOf(err) != sallyport.Conflict { // another node was quicker: its keys are as good
		return err
	}
	return a.load(ctx)
}

// make makes a key and its certificate: a root, or an intermediate under one.
func (a *Authority) make(now time.Time, root *signer) (signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), a.Random)
	if err != nil {
		return signer{}, sallyport.Wrap("device authority", sallyport.Unavailable, "no randomness", err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return signer{}, err
	}
	sum := sha256.Sum256(spki)
	s := signer{Record: Record{ID: hex.EncodeToString(sum[:16]), Made: now}, key: key}
	life := RootLife
	if root != nil {
		life = min(IntermediateLife, root.cert.NotAfter.Sub(now))
	}
	t, err := a.template(now, life)
	if err != nil {
		return signer{}, err
	}
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	t.SubjectKeyId = sum[:20]
	t.Subject = pkix.Name{Organization: []string{a.Domain}, CommonName: "Sallyport Device Root"} // the same over rotations: listeners name it
	parent, by := t, key
	if root != nil {
		t.Subject.CommonName = "Sallyport Devices " + s.ID[:8]
		a.constrain(t)
		s.Parent, parent, by = root.ID, root.cert, root.key
	}
	if s.Certificate, err = x509.CreateCertificate(a.Random, t, parent, &key.PublicKey, by); err != nil {
		return signer{}, err
	}
	if s.cert, err = x509.ParseCertificate(s.Certificate); err != nil {
		return signer{}, err
	}
	return s, a.seal(&s)
}

// constrain lets an intermediate sign for clients of one trust domain, and nothing with another kind of name.
func (a *Authority) constrain(t *x509.Certificate) {
	t.MaxPathLenZero = true
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	t.PermittedDNSDomainsCritical = true // the whole extension is
	t.PermittedURIDomains = []string{a.Domain}
	t.ExcludedDNSDomains, t.ExcludedEmailAddresses = []string{""}, []string{""}
	t.ExcludedIPRanges = []*net.IPNet{{IP: make(net.IP, 4), Mask: make(net.IPMask, 4)}, {IP: make(net.IP, 16), Mask: make(net.IPMask, 16)}}
}

func (a *Authority) seal(s *signer) error {
	plain, err := x509.MarshalECPrivateKey(s.key)
	if err != nil {
		return err
	}
	defer clear(plain)
	s.Sealed, err = a.Config.Seal(plain, label(s.ID))
	return err
}

// template has what every certificate has: a random serial number of 128 bits and its time.
func (a *Authority) template(now time.Time, life time.Duration) (*x509.Certificate, error) {
	raw := make([]byte, 16)
	if _, err := io.ReadFull(a.Random, raw); err != nil {
		return nil, sallyport.Wrap("device authority", sallyport.Unavailable, "no randomness", err)
	}
	serial := new(big.Int).SetBytes(raw)
	if serial.Sign() == 0 {
		serial.SetInt64(1)
	}
	return &x509.Certificate{SerialNumber: serial, NotBefore: now.Add(-leeway), NotAfter: now.Add(life)}, nil
}

func refused(why string, cause error) error {
	e := sallyport.E("device certificate", sallyport.Unknown, why, "enrol the device with 'sallyport device enroll'").Because("device.certificate")
	e.Err = cause
	return e
}
