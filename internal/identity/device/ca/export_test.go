package ca

import (
	"crypto"
	"crypto/x509"
)

// Sign signs any template with the intermediate that signs at present, as a thief of its key could.
func (a *Authority) Sign(t *x509.Certificate, public crypto.PublicKey) (*x509.Certificate, error) {
	g := a.current()
	der, err := x509.CreateCertificate(a.Random, t, g.signer.cert, public, g.signer.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// Template is what every certificate of the authority has.
func (a *Authority) Template() (*x509.Certificate, error) { return a.template(a.Now(), LeafLife) }
