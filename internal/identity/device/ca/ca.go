// Package ca owns the authority that signs devices' certificates: X.509 SVIDs (RFC 5280; SPIFFE X.509-SVID) that live for
// a day, under an intermediate that can name nothing else than devices of one trust domain, under a root.
//
// Keys lie sealed in the store, so that every node signs and verifies alike. Rotation makes a new intermediate, or a new
// root as well; what was signed before it stays good until it ends by itself.
//
// It leaves who may have a certificate, and which of them are revoked, to device.
package ca

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"sallyport"
)

// Lifetimes of what the authority signs.
const (
	LeafLife         = 24 * time.Hour
	IntermediateLife = 365 * 24 * time.Hour
	RootLife         = 10 * 365 * 24 * time.Hour
	ListLife         = time.Hour           // of a revocation list
	lead             = 30 * 24 * time.Hour // an intermediate is replaced so long before it ends, a root an intermediate's life before
	leeway           = time.Minute         // of clocks that are behind ours
)

// A Record is one key of the authority as it is kept.
type Record struct {
	ID          string // SHA-256 of its public key, the first 16 bytes, hexadecimal
	Parent      string // id of the root that signed it, "" for a root
	Certificate []byte // DER
	Sealed      []byte // its private key
	Made        time.Time
	Retired     time.Time // zero while it signs
}

// A Store keeps the authority. Methods are safe for concurrent use.
type Store interface {
	// Authorities returns every record, the oldest first.
	Authorities(ctx context.Context) ([]Record, error)
	// Succeed retires the record after, which must sign at present ("" = there is none), and adds next, in one transaction;
	// Conflict where another one signs. Of parallel calls one wins. A root is retired with it where next has a root.
	Succeed(ctx context.Context, after string, next []Record, at time.Time) error
	// Forget destroys records.
	Forget(ctx context.Context, ids []string) error
}

// Config is what an authority needs. All fields are needed.
type Config struct {
	Store  Store
	Domain string // trust domain: a DNS name
	Seal   func(plain, associated []byte) ([]byte, error)
	Open   func(sealed, associated []byte) ([]byte, error)
	Now    func() time.Time
	Random io.Reader
}

// An Authority signs and verifies device certificates. It is safe for concurrent use.
type Authority struct {
	Config

	mu     sync.Mutex
	now    generation
	looked time.Time // when the store was last read
}

// A generation is what the store held when it was read.
type generation struct {
	signer signer   // the intermediate that signs
	root   signer   // that signed it
	live   []signer // every intermediate whose certificates may not have ended
	roots  *x509.CertPool
	pem    []byte // of the roots
}

type signer struct {
	Record
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Open reads the authority, and makes it where there is none yet.
func Open(ctx context.Context, c Config) (*Authority, error) {
	if err := checkDomain(c.Domain); err != nil {
		return nil, err
	}
	a := &Authority{Config: c}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.load(ctx); err != nil {
		return nil, err
	}
	if a.now.signer.ID == "" {
		if err := a.succeed(ctx, true); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// checkDomain refuses what is no trust domain: it is the host of the names that certificates carry.
func checkDomain(domain string) error {
	ok := len(domain) >= 1 && len(domain) <= 253 && !strings.HasPrefix(domain, ".") && !strings.HasSuffix(domain, ".") && !strings.Contains(domain, "..")
	letter := false
	for i := 0; ok && i < len(domain); i++ {
		c := domain[i]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-'
		letter = letter || c >= 'a' && c <= 'z'
	}
	if !ok || !letter {
		return sallyport.E("device authority", sallyport.Invalid, fmt.Sprintf("the trust domain %q is no DNS name", sallyport.OneLine(domain)), "set \"devices.trust_domain\" to a name of yours, in lower case")
	}
	return nil
}

// load reads the store. Under mu.
func (a *Authority) load(ctx context.Context) error {
	records, err := a.Store.Authorities(ctx)
	if err != nil {
		return err
	}
	g, err := a.read(records)
	if err != nil {
		return sallyport.Wrap("device authority", sallyport.Unavailable, "the keys that sign device certificates cannot be read", err)
	}
	a.now, a.looked = g, a.Now()
	return nil
}

func (a *Authority) read(records []Record) (generation, error) {
	g := generation{roots: x509.NewCertPool()}
	roots := map[string]signer{}
	for _, r := range records {
		s, err := a.open(r)
		if err != nil {
			return generation{}, fmt.Errorf("record %s: %w", r.ID, err)
		}
		if a.ended(r) {
			continue
		}
		if r.Parent != "" {
			g.live = append(g.live, s)
			if r.Retired.IsZero() {
				g.signer = s
			}
			continue
		}
		roots[r.ID] = s
		g.roots.AddCert(s.cert)
		g.pem = append(g.pem, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw})...)
	}
	g.root = roots[g.signer.Parent]
	return g, nil
}

func (a *Authority) open(r Record) (signer, error) {
	cert, err := x509.ParseCertificate(r.Certificate)
	if err != nil {
		return signer{}, err
	}
	plain, err := a.Config.Open(r.Sealed, label(r.ID))
	if err != nil {
		return signer{}, err
	}
	defer clear(plain)
	key, err := x509.ParseECPrivateKey(plain)
	if err != nil {
		return signer{}, err
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return signer{}, errors.New("the key is not the certificate's")
	}
	return signer{r, cert, key}, nil
}

func label(id string) []byte { return []byte("device authority " + id) }

// ended reports whether nothing that the record signed can be good any more.
func (a *Authority) ended(r Record) bool {
	return !r.Retired.IsZero() && a.Now().After(r.Retired.Add(LeafLife+leeway))
}

// Rotate makes a new intermediate, and with root a new root above it, and signs with it from now on. Certificates that were
// signed before stay good until they end.
func (a *Authority) Rotate(ctx context.Context, root bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.load(ctx); err != nil {
		return err
	}
	return a.succeed(ctx, root)
}

// Tend rotates what is about to end, destroys what is of no use any more, and reads what other nodes did.
func (a *Authority) Tend(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.load(ctx); err != nil {
		return err
	}
	now := a.Now()
	if now.Add(lead).After(a.now.signer.cert.NotAfter) {
		root := now.Add(lead + IntermediateLife).After(a.now.root.cert.NotAfter)
		if err := a.succeed(ctx, root); err != nil {
			return err
		}
	}
	records, err := a.Store.Authorities(ctx)
	if err != nil {
		return err
	}
	var gone []string
	for _, r := range records {
		if a.ended(r) {
			gone = append(gone, r.ID)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return a.Store.Forget(ctx, gone)
}

// A Key is one key of the authority, for an inventory.
type Key struct {
	ID      string
	Root    bool
	Made    time.Time
	Ends    time.Time
	Retired time.Time // zero while it signs
}

// Keys lists the keys whose certificates may still be good, roots first.
func (a *Authority) Keys(ctx context.Context) ([]Key, error) {
	records, err := a.Store.Authorities(ctx)
	if err != nil {
		return nil, err
	}
	var roots, others []Key
	for _, r := range records {
		cert, err := x509.ParseCertificate(r.Certificate)
		if err != nil {
			return nil, sallyport.Wrap("device authority", sallyport.Unavailable, "a certificate cannot be read", err)
		}
		k := Key{ID: r.ID, Root: r.Parent == "", Made: r.Made, Ends: cert.NotAfter, Retired: r.Retired}
		if k.Root {
			roots = append(roots, k)
		} else {
			others = append(others, k)
		}
	}
	return append(roots, others...), nil
}

// Roots returns the roots, for a listener to name, and as PEM for others.
func (a *Authority) Roots() (*x509.CertPool, []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now.roots, a.now.pem
}

// current returns what signs and what is trusted.
func (a *Authority) current() generation {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now
}

// lookEvery bounds how often a certificate of an unknown issuer makes a node read the store.
const lookEvery = time.Second

// refreshed returns what is trusted after another look at the store, at most once a second.
func (a *Authority) refreshed(ctx context.Context) (generation, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.Now().Sub(a.looked) < lookEvery {
		return a.now, nil
	}
	err := a.load(ctx)
	return a.now, err
}
