package token

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

// remember is the longest that a verified token is trusted without checking its signature again.
const remember = time.Minute

// A VerifierConfig is what a Verifier needs.
type VerifierConfig struct {
	Issuer string         // exact iss of every token
	Keys   func() *KeySet // the published keys now; another pointer when they changed
	Leeway time.Duration  // 0 to 30 s, for clocks that differ
	Bytes  int64          // at most as much memory for verified tokens; 0 = 8 MiB
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
	if cfg.Leeway < 0 || cfg.Leeway > maxLeeway {
		return nil, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the leeway %v is not between 0 and %v", cfg.Leeway, maxLeeway), "")
	}
	if cfg.Bytes == 0 {
		cfg.Bytes = 8 << 20
	}
	v := &Verifier{cfg: cfg, revoked: map[string]time.Time{}}
	v.cache.most = cfg.Bytes / shards / 2
	return v, nil
}

// Verify returns the principal of an access token that is meant for exactly this audience, given as the JWT itself
// or behind HubPrefix. The principal's slices are shared: they must not be changed. An error is of kind Unknown, and
// its reason says why: token.size, form, header, algorithm, type, key, signature, claims, issuer, audience, time,
// expired, early, revoked (each behind "token.").
func (v *Verifier) Verify(_ context.Context, raw secret.Text, audience string, now time.Time) (sallyport.Principal, error) {
	if raw.Len() == 0 || raw.Len() > maxRaw+len(HubPrefix) {
		return sallyport.Principal{}, refusal("size")
	}
	text := strings.TrimPrefix(raw.Reveal(), HubPrefix)
	keys := v.cfg.Keys()
	sum := v.sum(text)
	p, ok := v.cache.get(sum, keys, now)
	if !ok {
		c, err := parse(text, keys)
		if err != nil {
			return sallyport.Principal{}, err
		}
		if err := c.check(v.cfg.Issuer, audience, now, v.cfg.Leeway); err != nil {
			return sallyport.Principal{}, err
		}
		if p, err = c.principal(); err != nil {
			return sallyport.Principal{}, err
		}
		v.cache.put(sum, remembered{principal: p, keys: keys, until: now.Add(remember), cost: int64(2*len(text) + 512)})
	}
	switch {
	case audience == "" || p.Audience != audience:
		return sallyport.Principal{}, refusal("audience")
	case !now.Before(p.Expires.Add(v.cfg.Leeway)):
		return sallyport.Principal{}, refusal("expired")
	case v.isRevoked(p.Family):
		return sallyport.Principal{}, refusal("revoked")
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

// parse checks form, header and signature, and reads the claims. Whatever is refused is refused by the cheapest
// check first: the signature costs some 60 microseconds, all that stands before it less than five.
func parse(text string, keys *KeySet) (*claims, error) {
	h, err := readHeader(text)
	if err != nil {
		return nil, err
	}
	if h.Algorithm != string(es256) && h.Algorithm != string(edDSA) && h.Algorithm != string(edDSAFully) {
		return nil, refusal("algorithm")
	}
	if h.Type != accessType {
		return nil, refusal("type")
	}
	if keys == nil {
		return nil, refusal("key")
	}
	verifier := keys.verifier(h.KeyID, h.Algorithm)
	if verifier == nil {
		return nil, refusal("key")
	}
	parsed, err := jwt.ParseSigned(text, algorithms())
	if err != nil {
		return nil, refusal("form")
	}
	c := new(claims)
	switch err := parsed.Claims(verifier, c); {
	case errors.Is(err, jose.ErrCryptoFailure):
		return nil, refusal("signature")
	case err != nil:
		return nil, refusal("claims")
	}
	return c, nil
}

// readHeader wants three parts of base64url in the one spelling they have.
func readHeader(text string) (header, error) {
	if strings.Count(text, ".") != 2 || strings.ContainsAny(text, "\r\n") { // the decoder would pass over line ends
		return header{}, refusal("form")
	}
	head, rest, _ := strings.Cut(text, ".")
	body, signature, _ := strings.Cut(rest, ".")
	if len(head) > maxHeader {
		return header{}, refusal("size")
	}
	strict := base64.RawURLEncoding.Strict()
	first, errHead := strict.DecodeString(head)
	_, errBody := strict.DecodeString(body)
	_, errSignature := strict.DecodeString(signature)
	if errHead != nil || errBody != nil || errSignature != nil {
		return header{}, refusal("form")
	}
	return parseHeader(first)
}

// Forget makes every token of the families worthless at once, whether it was verified before or not. Call it with
// what Issuer.Revoked returns at the start, then with each revocation that the feed brings.
func (v *Verifier) Forget(revoked ...Revoked) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, r := range revoked {
		// Twice the lifetime: a node whose clock lags, or that was issuing at that moment, signs a little later.
		v.revoked[r.Family] = r.At.Add(2 * AccessLifetime)
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
