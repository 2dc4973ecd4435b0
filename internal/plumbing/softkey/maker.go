package softkey

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"strings"
	"time"
)

// A Maker makes keys of one model and attests them (section 8.2, packed attestation).
type Maker struct {
	AAGUID      string // of the model
	aaguid      [16]byte
	root        *x509.Certificate
	certificate []byte // of the model's attestation key
	key         *ecdsa.PrivateKey
}

// NewMaker makes a maker with a root certificate of its own, valid for a year around now, and a random model id.
func NewMaker(name string, now time.Time) (*Maker, error) {
	m := &Maker{}
	if _, err := rand.Read(m.aaguid[:]); err != nil {
		return nil, err
	}
	h := hex.EncodeToString(m.aaguid[:])
	m.AAGUID = strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name + " root"}, NotBefore: now.AddDate(0, -6, 0),
		NotAfter: now.AddDate(0, 6, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	if err != nil {
		return nil, err
	}
	if m.root, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	if m.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	id, err := asn1.Marshal(m.aaguid[:])
	if err != nil {
		return nil, err
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: root.NotBefore, NotAfter: root.NotAfter, BasicConstraintsValid: true,
		Subject:         pkix.Name{Country: []string{"DE"}, Organization: []string{name}, OrganizationalUnit: []string{"Authenticator Attestation"}, CommonName: name},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 45724, 1, 1, 4}, Value: id}}} // id-fido-gen-ce-aaguid
	m.certificate, err = x509.CreateCertificate(rand.Reader, leaf, m.root, m.key.Public(), rootKey)
	return m, err
}

// Root is the certificate that attestations lead to.
func (m *Maker) Root() *x509.Certificate { return m.root }

// RootPEM is Root as a file.
func (m *Maker) RootPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.root.Raw})
}

// Key makes a key of the model: its passkeys are attested, counted, and never copied.
func (m *Maker) Key() *Key { return &Key{maker: m} }
