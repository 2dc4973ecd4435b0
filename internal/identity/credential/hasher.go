package credential

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"runtime"

	"golang.org/x/crypto/argon2"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

const (
	saltLen   = 16
	hashLen   = 32
	minPepper = 16
)

// A Hasher hashes passwords with Argon2id and a pepper, and bounds how many at once: memory stays under the number of
// processors times the cost of one. Methods are safe for concurrent use.
type Hasher struct {
	cost    cost
	peppers map[[4]byte]secret.Bytes // by key id
	current [4]byte
	slots   chan struct{} // one for each computation under way
	line    chan struct{} // one for each that is under way or waits
	random  io.Reader
	decoy   phc                                                                      // what people who do not exist are checked against
	derive  func(password, salt []byte, t, m uint32, threads uint8, n uint32) []byte // argon2.IDKey
}

// NewHasher makes a Hasher. pepper keys an HMAC over the password before it is hashed, so that hashes alone are of no
// use; older holds peppers that stored hashes may still use. queue is how many may wait for their turn.
func NewHasher(pepper secret.Bytes, older []secret.Bytes, queue int, random io.Reader) (*Hasher, error) {
	slots := runtime.GOMAXPROCS(0)
	h := &Hasher{
		cost: floorCost(), peppers: map[[4]byte]secret.Bytes{}, current: keyID(pepper), random: random, derive: argon2.IDKey,
		slots: make(chan struct{}, slots), line: make(chan struct{}, slots+max(0, queue)),
	}
	for _, p := range append([]secret.Bytes{pepper}, older...) {
		if p.Len() < minPepper {
			return nil, errors.New("new hasher: a pepper has fewer than 16 bytes; make one of 32 random bytes and keep it outside the data directory")
		}
		h.peppers[keyID(p)] = p
	}
	h.decoy = phc{cost: h.cost, keyid: h.current[:], salt: make([]byte, saltLen), hash: make([]byte, hashLen)}
	for _, b := range [][]byte{h.decoy.salt, h.decoy.hash} {
		if _, err := io.ReadFull(random, b); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// keyID names a pepper without telling anything about it.
func keyID(pepper secret.Bytes) (id [4]byte) {
	mac := hmac.New(sha256.New, pepper.Reveal())
	mac.Write([]byte("sallyport pepper id"))
	copy(id[:], mac.Sum(nil))
	return id
}

// enter waits for a turn. It is Busy at once where the line is full.
func (h *Hasher) enter(ctx context.Context) (leave func(), err error) {
	const op = "sign in"
	select {
	case h.line <- struct{}{}:
	default:
		return nil, sallyport.E(op, sallyport.Busy, "too many people sign in at this moment", "try again in a few seconds").Because("password.queue")
	}
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots; <-h.line }, nil
	case <-ctx.Done():
		<-h.line
		return nil, sallyport.Wrap(op, sallyport.Unavailable, "the wait for a turn ended", ctx.Err())
	}
}

// hash makes the PHC string of a normalised password. The caller holds a turn.
func (h *Hasher) hash(clear string) (string, error) {
	p := phc{cost: h.cost, keyid: h.current[:], salt: make([]byte, saltLen)}
	if _, err := io.ReadFull(h.random, p.salt); err != nil {
		return "", sallyport.Wrap("hash password", sallyport.Unavailable, "no randomness", err)
	}
	p.hash = h.compute(p, clear, hashLen)
	return p.String(), nil
}

// verify compares a normalised password with a stored hash, "" for none: then it does the same work for nothing. stale
// asks to hash again, because parameters or pepper have changed. The caller holds a turn.
func (h *Hasher) verify(stored, clear string) (good, stale bool, err error) {
	p, absent := h.decoy, stored == ""
	if !absent {
		if p, err = parsePHC(stored); err != nil {
			return false, false, err
		}
	}
	if _, known := h.peppers[[4]byte(p.keyid)]; !known {
		return false, false, errors.New("verify password: the pepper of the stored hash is not configured; add it to the older ones")
	}
	same := subtle.ConstantTimeCompare(h.compute(p, clear, len(p.hash)), p.hash) == 1
	good = same && !absent
	return good, good && (p.cost != h.cost || [4]byte(p.keyid) != h.current || len(p.salt) < saltLen || len(p.hash) < hashLen), nil
}

func (h *Hasher) compute(p phc, clear string, n int) []byte {
	mac := hmac.New(sha256.New, h.peppers[[4]byte(p.keyid)].Reveal())
	mac.Write([]byte(clear))
	return h.derive(mac.Sum(nil), p.salt, p.cost.passes, p.cost.memory, p.cost.threads, uint32(n))
}
