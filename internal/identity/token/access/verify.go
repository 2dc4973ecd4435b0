package access

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
	"sallyport/internal/plumbing/secret"
)

// remember is the longest that a verified token is trusted without checking its signature again.
const remember = time.Minute

// A VerifierConfig is what a Verifier needs.
type VerifierConfig struct {
	Issuer string           // exact iss of every token
	Keys   func() *jose.Set // the published keys now; another pointer when they changed
	Leeway time.Duration    // 0 to 30 s, for clocks that differ
	Bytes  int64            // at most as much memory for verified tokens; 0 = 8 MiB
}

// A Verifier tells which principal an access token proves. It remembers what it verified, and knows which families
// were revoked. Methods are safe for concurrent use.
type Verifier struct {
	cfg     VerifierConfig
	cache   cache
	mu      sync.RWMutex
	revoked map[string]time.Time // family -> when no token of it can be alive any more
	buffers sync.Pool            // of *[]byte, so that a hit copies no token to the heap
}

// NewVerifier checks the configuration.
func NewVerifier(cfg VerifierConfig) (*Verifier, error) {
	const op = "set up token verification"
	if cfg.Issuer == "" || cfg.Keys == nil {
		return nil, sallyport.E(op, sallyport.Invalid, "issuer and keys are needed", "")
	}
	if cfg.Leeway < 0 || cfg.Leeway > MaxLeeway {
		return nil, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the leeway %v is not between 0 and %v", cfg.Leeway, MaxLeeway), "")
	}
	if cfg.Bytes == 0 {
		cfg.Bytes = 8 << 20
	}
	v := &Verifier{cfg: cfg, revoked: map[string]time.Time{}}
	v.cache.most = cfg.Bytes / shards / 2
	return v, nil
}

// Verify returns the principal of an access token that is meant for exactly this audience, given as the JWT itself
// or behind HubPrefix. Where the principal has a Key, the token is bound to it, and proves nothing until the caller has
// seen that key proved. The principal's slices are shared: they must not be changed. An error is of kind Unknown, and
// its reason says why: token.size, form, header, algorithm, type, key, signature, claims, issuer, audience, time,
// expired, early, revoked (each behind "token.").
func (v *Verifier) Verify(_ context.Context, raw secret.Text, audience string, now time.Time) (sallyport.Principal, error) {
	if raw.Len() == 0 || raw.Len() > MaxRaw+len(HubPrefix) {
		return sallyport.Principal{}, refusal("size")
	}
	text := strings.TrimPrefix(raw.Reveal(), HubPrefix)
	keys := v.cfg.Keys()
	sum := v.sum(text)
	r, ok := v.cache.get(sum, keys, now)
	if !ok {
		if audience == "" {
			return sallyport.Principal{}, refusal("audience")
		}
		c, err := read(text, keys, jose.Rules{Op: "access token", Issuer: v.cfg.Issuer, Audience: audience, Sole: true, Now: now, MaxLife: Lifetime, Leeway: v.cfg.Leeway})
		if err != nil {
			return sallyport.Principal{}, err
		}
		if r.principal, err = c.principal(); err != nil {
			return sallyport.Principal{}, err
		}
		r.consent, r.keys, r.until, r.cost = c.Consent, keys, now.Add(remember), int64(2*len(text)+512)
		v.cache.put(sum, r)
	}
	p := r.principal
	switch {
	case audience == "" || p.Audience != audience:
		return sallyport.Principal{}, refusal("audience")
	case !now.Before(p.Expires.Add(v.cfg.Leeway)):
		return sallyport.Principal{}, refusal("expired")
	case v.isRevoked(p.Family) || r.consent != "" && slices.ContainsFunc(strings.Fields(r.consent), v.isRevoked):
		return sallyport.Principal{}, &Dead{Whose: p, Err: refusal("revoked")}
	}
	return p, nil
}

// sum hashes without leaving a copy of the token behind.
func (v *Verifier) sum(text string) [sha256.Size]byte {
	b, ok := v.buffers.Get().(*[]byte)
	if !ok {
		b = new([]byte)
	}
	*b = append((*b)[:0], text...)
	sum := sha256.Sum256(*b)
	clear(*b)
	v.buffers.Put(b)
	return sum
}

// A Dead is the error about a token that would be good, had it not been revoked. Whose it was is for the record: it proves
// nobody.
type Dead struct {
	Whose sallyport.Principal
	Err   error // of kind Unknown, with the reason "token.revoked"
}

// Error returns the text of Err.
func (d *Dead) Error() string { return d.Err.Error() }

// Unwrap returns Err.
func (d *Dead) Unwrap() error { return d.Err }

// A Revoked is a token family that died before its time.
type Revoked struct {
	Family string
	At     time.Time
	Reason string
}

// Forget makes every token of the families worthless at once, whether it was verified before or not. Call it with
// what is revoked at the start, then with each revocation that the feed brings.
func (v *Verifier) Forget(revoked ...Revoked) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, r := range revoked {
		// Twice the lifetime: a node whose clock lags, or that was issuing at that moment, signs a little later.
		v.revoked[r.Family] = r.At.Add(2 * Lifetime)
	}
}

// Prune forgets revocations whose tokens have all expired. Call it every minute.
func (v *Verifier) Prune(now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for family, until := range v.revoked {
		if now.After(until) {
			delete(v.revoked, family)
		}
	}
}

func (v *Verifier) isRevoked(family string) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	_, dead := v.revoked[family]
	return dead
}
