// Package keys owns the keys that sign tokens (JWKS, RFC 7517): made in time, published before they sign, sealed where
// they are kept, and dropped when nothing that they signed is alive.
//
// It leaves to others what is signed (identity/token) and what seals a key (artifact/keyring).
package keys

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
	"sallyport/internal/plumbing/secret"
)

// A Row is a signing key as it is kept: the private key sealed, and nothing beside it that an attacker with
// write access to the store could use to have a key of their own trusted. The public key is derived from what opens.
type Row struct {
	Generation int64     // 1, 2, 3, …; unique
	ID         string    // kid: the RFC 7638 thumbprint
	From       time.Time // signs from here on, until its successor does
	Sealed     []byte    // PKCS #8, sealed; the row's other fields are its associated data
}

// A Store keeps signing keys. Every method is safe for concurrent use, durable when it returns, and answers Unavailable
// when the store cannot be used. A change is told to all nodes through the feed.
type Store interface {
	// SigningKeys returns all keys in ascending order of their generations.
	SigningKeys(ctx context.Context) ([]Row, error)
	// AddSigningKey adds a key; Conflict when its generation is taken, because another node was quicker.
	AddSigningKey(ctx context.Context, k Row) error
	// DropSigningKeys removes the keys below a generation.
	DropSigningKeys(ctx context.Context, below int64) error
}

// A Config is what signing keys need.
type Config struct {
	Store  Store
	Seal   func(ctx context.Context, plaintext, associated []byte) ([]byte, error)
	Open   func(ctx context.Context, sealed, associated []byte) ([]byte, error)
	Rand   io.Reader
	Now    func() time.Time
	Period time.Duration // a key signs for as long; 0 is 30 days
	Lead   time.Duration // a key is published for as long before it signs; 0 is one hour
	Life   time.Duration // the longest life of what is signed, verifiers' leeway included: a key is published for as long after its last signature
}

// Keys are the ES256 keys that sign tokens, one at a time. The next one is published before it signs, so
// that no verifier meets a key it could not have fetched; the last one stays published until what it signed has
// expired. Methods are safe for concurrent use.
type Keys struct {
	cfg   Config
	mu    sync.Mutex // serialises changes; readers use current
	state atomic.Pointer[keyState]
}

type keyState struct {
	set     *jose.Set
	signing []signingKey // ascending generations
}

type signingKey struct {
	row    Row
	public jose.Key
	signer jose.Signer
}

// Open reads the keys, and makes the first one where there is none.
func Open(ctx context.Context, cfg Config) (*Keys, error) {
	if cfg.Period == 0 {
		cfg.Period = 30 * 24 * time.Hour
	}
	if cfg.Lead == 0 {
		cfg.Lead = time.Hour
	}
	if cfg.Life <= 0 {
		return nil, sallyport.E("open signing keys", sallyport.Invalid, "how long signed tokens live is not said", "")
	}
	k := &Keys{cfg: cfg}
	k.state.Store(&keyState{})
	if err := k.Reload(ctx); err != nil {
		return nil, err
	}
	if len(k.state.Load().signing) > 0 {
		return k, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k, k.add(ctx, cfg.Now())
}

// Current returns the published public keys.
func (k *Keys) Current() *jose.Set { return k.state.Load().set }

// Reload takes over what other nodes did to the keys. Call it when the feed says so, and every minute.
func (k *Keys) Reload(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.reload(ctx)
}

// Tend rotates when the newest key has signed for a period, and removes keys whose last token has expired.
func (k *Keys) Tend(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.reload(ctx); err != nil {
		return err
	}
	if n := k.newest(); n == nil || !k.cfg.Now().Before(n.From.Add(k.cfg.Period)) {
		return k.next(ctx)
	}
	return k.prune(ctx)
}

// Rotate publishes a new key, which signs after the lead. While one is waiting already it does nothing.
func (k *Keys) Rotate(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.reload(ctx); err != nil {
		return err
	}
	return k.next(ctx)
}

// Replace makes a new key sign at once and forgets all others: everything they signed is refused from now on.
// It is for a key that is feared to be known.
func (k *Keys) Replace(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.cfg.Now()
	if err := k.reload(ctx); err != nil {
		return err
	}
	if err := k.add(ctx, now); err != nil {
		return err
	}
	if k.newest().From.After(now) {
		return sallyport.E("replace signing keys", sallyport.Conflict, "another node made a key at the same time", "repeat the command")
	}
	if err := k.cfg.Store.DropSigningKeys(ctx, k.newest().Generation); err != nil {
		return err
	}
	return k.reload(ctx)
}

func (k *Keys) newest() *Row {
	all := k.state.Load().signing
	if len(all) == 0 {
		return nil
	}
	return &all[len(all)-1].row
}

func (k *Keys) next(ctx context.Context) error {
	now := k.cfg.Now()
	if n := k.newest(); n != nil && now.Before(n.From) {
		return k.prune(ctx)
	}
	if err := k.add(ctx, now.Add(k.cfg.Lead)); err != nil {
		return err
	}
	return k.prune(ctx)
}

// prune drops the keys whose successor has signed for longer than any token lives.
func (k *Keys) prune(ctx context.Context) error {
	keep := int64(0)
	for _, s := range k.state.Load().signing {
		if k.cfg.Now().After(s.row.From.Add(k.cfg.Life)) {
			keep = s.row.Generation
		}
	}
	all := k.state.Load().signing
	if len(all) == 0 || all[0].row.Generation >= keep {
		return nil
	}
	if err := k.cfg.Store.DropSigningKeys(ctx, keep); err != nil {
		return err
	}
	return k.reload(ctx)
}

// add makes a key that signs from the given time on. When another node was quicker, its key is taken over.
func (k *Keys) add(ctx context.Context, from time.Time) error {
	const op = "make signing key"
	key, err := ecdsa.GenerateKey(elliptic.P256(), k.cfg.Rand)
	if err != nil {
		return sallyport.Wrap(op, sallyport.Unavailable, "no randomness", err)
	}
	row := Row{Generation: 1, ID: jose.Thumbprint(key.Public()), From: from.UTC().Truncate(time.Microsecond)}
	if n := k.newest(); n != nil {
		row.Generation = n.Generation + 1
	}
	plain, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return sallyport.Wrap(op, sallyport.Other, "", err)
	}
	defer clear(plain)
	if row.Sealed, err = k.cfg.Seal(ctx, plain, row.associated()); err != nil {
		return sallyport.Wrap(op, sallyport.Unavailable, "the key cannot be sealed", err)
	}
	if err := k.cfg.Store.AddSigningKey(ctx, row); err != nil && sallyport.KindOf(err) != sallyport.Conflict {
		return err
	}
	return k.reload(ctx)
}

// reload reads the rows and opens the keys that were not open yet. The set stays the same pointer when nothing
// changed, because verified tokens are remembered under it.
func (k *Keys) reload(ctx context.Context) error {
	rows, err := k.cfg.Store.SigningKeys(ctx)
	if err != nil {
		return err
	}
	old := k.state.Load()
	next, same := &keyState{}, len(rows) == len(old.signing)
	var public []jose.Key
	for i, row := range rows {
		s := signingKey{}
		if i < len(old.signing) && old.signing[i].row.same(row) {
			s = old.signing[i]
		} else if s, err = k.open(ctx, row); err != nil {
			return err
		} else {
			same = false
		}
		next.signing = append(next.signing, s)
		public = append(public, s.public)
	}
	if same && old.set != nil {
		return nil
	}
	if next.set, err = jose.NewSet(public...); err != nil {
		return err
	}
	k.state.Store(next)
	return nil
}

func (r Row) same(o Row) bool {
	return r.Generation == o.Generation && r.ID == o.ID && r.From.Equal(o.From) && bytes.Equal(r.Sealed, o.Sealed)
}

func (r Row) associated() []byte {
	return fmt.Appendf(nil, "sallyport token signing key\x00%d\x00%s\x00%d", r.Generation, r.ID, r.From.UnixMicro())
}

func (k *Keys) open(ctx context.Context, row Row) (signingKey, error) {
	const op = "open signing key"
	plain, err := k.cfg.Open(ctx, row.Sealed, row.associated())
	if err != nil {
		return signingKey{}, sallyport.Wrap(op, sallyport.Unavailable, "the key "+row.ID+" cannot be opened", err)
	}
	defer clear(plain)
	parsed, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return signingKey{}, sallyport.Wrap(op, sallyport.Unavailable, "the key "+row.ID+" is damaged", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return signingKey{}, sallyport.E(op, sallyport.Unavailable, "the key "+row.ID+" is not an ECDSA key on P-256", "")
	}
	if jose.Thumbprint(key.Public()) != row.ID {
		return signingKey{}, sallyport.E(op, sallyport.Unavailable, "the key "+row.ID+" is another key", "")
	}
	public, err := jose.NewKey(row.ID, jose.ES256, key.Public())
	if err != nil {
		return signingKey{}, err
	}
	return signingKey{row: row, public: public, signer: jose.Signer{Key: key, Algorithm: jose.ES256, KeyID: row.ID, Rand: k.cfg.Rand}}, nil
}

// Sign signs claims as a token of a type with the key whose turn it is at now.
func (k *Keys) Sign(typ string, claims any, now time.Time) (secret.Text, error) {
	all := k.state.Load().signing
	for i := len(all) - 1; i >= 0; i-- {
		if !now.Before(all[i].row.From) {
			return all[i].signer.Sign(typ, claims)
		}
	}
	return secret.Text{}, sallyport.E("sign token", sallyport.Unavailable, "there is no signing key", "")
}

// An Entry is one key as an inventory lists it.
type Entry struct {
	ID        string
	Algorithm string
	From      time.Time // signs from here on
	Until     time.Time // its successor signs from here on, or is made then
	Signing   bool      // at the time of asking
}

// List returns the published keys, the oldest first.
func (k *Keys) List() []Entry {
	all, now := k.state.Load().signing, k.cfg.Now()
	out := make([]Entry, len(all))
	for i, s := range all {
		out[i] = Entry{ID: s.row.ID, Algorithm: string(jose.ES256), From: s.row.From, Until: s.row.From.Add(k.cfg.Period)}
		if i+1 < len(all) {
			out[i].Until = all[i+1].row.From
		}
		out[i].Signing = !now.Before(out[i].From) && (i+1 == len(all) || now.Before(out[i].Until))
	}
	return out
}
