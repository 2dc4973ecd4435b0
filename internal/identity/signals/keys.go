package signals

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"io"
	"sync"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
	"sallyport/internal/identity/secevent"
)

// The life of a signing key: it signs for a period, and is published for as long
// again as anything that it signed may wait, and a month.
const (
	KeyPeriod = 90 * 24 * time.Hour
	keyAfter  = KeepFor + 30*24*time.Hour
	keyBits   = 2048 // CAEP's interoperability profile wants RS256 and at least as many
)

// A KeyRow is a signing key as it is kept.
type KeyRow struct {
	ID     string // kid: the RFC 7638 thumbprint
	From   time.Time
	Sealed []byte // PKCS #8
}

// KeyStore keeps signing keys. Methods are safe for concurrent use.
type KeyStore interface {
	// SignalKeys returns the keys, the oldest first.
	SignalKeys(ctx context.Context) ([]KeyRow, error)
	// AddSignalKey adds a key unless there is one as young as after, and tells which of the two there is.
	AddSignalKey(ctx context.Context, k KeyRow, after time.Time) error
	// DropSignalKey removes a key; none is no error.
	DropSignalKey(ctx context.Context, id string) error
}

// Keys are the keys that sign for partners. They are others than those of access
// tokens: a partner verifies nothing with them but what is meant for partners.
type Keys struct {
	Store      KeyStore
	Seal, Open func(text []byte, context string) ([]byte, error)
	Now        func() time.Time

	mu     sync.Mutex
	signer jose.Signer // of the newest key
	read   time.Time
	set    *jose.Set
}

// reread is how old the keys in memory may be: another node may have made one.
const reread = time.Minute

// Sign signs a token.
func (k *Keys) Sign(ctx context.Context, t secevent.Token) (string, error) {
	signer, _, err := k.load(ctx)
	if err != nil {
		return "", err
	}
	claims, err := json.Marshal(t)
	if err != nil {
		return "", err
	}
	text, err := signer.Sign(secevent.Typ, json.RawMessage(claims))
	return text.Reveal(), err
}

// Document is the published set of public keys (JWKS).
func (k *Keys) Document(ctx context.Context) (json.RawMessage, error) {
	_, set, err := k.load(ctx)
	if err != nil {
		return nil, err
	}
	return set.Document(), nil
}

// Tend makes a key when the newest has signed for a period, and removes those that
// nothing is signed by any more.
func (k *Keys) Tend(ctx context.Context) error {
	now := k.Now().UTC().Truncate(time.Microsecond)
	rows, err := k.Store.SignalKeys(ctx)
	if err != nil {
		return err
	}
	if len(rows) == 0 || now.Sub(rows[len(rows)-1].From) >= KeyPeriod {
		if err := k.make(ctx, now); err != nil {
			return err
		}
	}
	for i, r := range rows {
		if i+1 < len(rows) && now.Sub(rows[i+1].From) > keyAfter {
			if err := k.Store.DropSignalKey(ctx, r.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *Keys) make(ctx context.Context, now time.Time) error {
	private, err := rsa.GenerateKey(rand.Reader, keyBits) // the standard library reads no other source
	if err != nil {
		return sallyport.Wrap("make key", sallyport.Unavailable, "no RSA key", err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	id := jose.Thumbprint(private.Public())
	sealed, err := k.Seal(text, "signals key "+id)
	if err != nil {
		return err
	}
	k.mu.Lock()
	k.read = time.Time{}
	k.mu.Unlock()
	return k.Store.AddSignalKey(ctx, KeyRow{ID: id, From: now, Sealed: sealed}, now.Add(-KeyPeriod))
}

// load returns the newest key and the set of all, and makes the first.
func (k *Keys) load(ctx context.Context) (jose.Signer, *jose.Set, error) {
	k.mu.Lock()
	fresh := k.set != nil && k.Now().Sub(k.read) < reread
	signer, set := k.signer, k.set
	k.mu.Unlock()
	if fresh {
		return signer, set, nil
	}
	rows, err := k.Store.SignalKeys(ctx)
	if err == nil && len(rows) == 0 {
		if err = k.Tend(ctx); err == nil {
			rows, err = k.Store.SignalKeys(ctx)
		}
	}
	if err != nil {
		return signer, set, err
	}
	return k.take(rows)
}

func (k *Keys) take(rows []KeyRow) (jose.Signer, *jose.Set, error) {
	var all []jose.Key
	var newest jose.Signer
	for _, r := range rows {
		text, err := k.Open(r.Sealed, "signals key "+r.ID)
		if err != nil {
			return newest, nil, err
		}
		private, err := x509.ParsePKCS8PrivateKey(text)
		if err != nil {
			return newest, nil, sallyport.Wrap("open key", sallyport.Other, "the key "+r.ID+" cannot be read", err)
		}
		own, ok := private.(*rsa.PrivateKey)
		if !ok {
			return newest, nil, sallyport.E("open key", sallyport.Other, "the key "+r.ID+" is no RSA key", "")
		}
		public, err := jose.NewKey(r.ID, jose.RS256, own.Public())
		if err != nil {
			return newest, nil, err
		}
		all = append(all, public)
		newest = jose.Signer{Key: own, Algorithm: jose.RS256, KeyID: r.ID, Rand: io.Reader(rand.Reader)}
	}
	set, err := jose.NewSet(all...)
	if err != nil {
		return newest, nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.signer, k.set, k.read = newest, set, k.Now()
	return newest, set, nil
}
