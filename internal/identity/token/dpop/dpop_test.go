package dpop

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
	"sallyport/internal/plumbing/secret"
)

// zeros makes every jti the same.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

const address = "https://sallyport.example/oauth/token"

func newProofs(t *testing.T, at *time.Time, key string) *Proofs {
	t.Helper()
	p, err := New(secret.NewBytes([]byte(strings.Repeat(key, 32))), func() time.Time { return *at })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func proof(t *testing.T, p *Proofs, key *ecdsa.PrivateKey, sameID bool) string {
	t.Helper()
	s := jose.Signer{Key: key, Algorithm: jose.ES256, Rand: rand.Reader}
	if sameID {
		s.Rand = zeros{}
	}
	raw, err := s.SignProof(jose.ProofFor{Method: "POST", URL: address, Nonce: p.Nonce(), Now: p.now()})
	if err != nil {
		t.Fatal(err)
	}
	return raw.Reveal()
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestDPOP4IDs accepts one jti once a key, and under another key.
func TestDPOP4IDs(t *testing.T) {
	at := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	p := newProofs(t, &at, "a")
	one, two := newKey(t), newKey(t)
	check := func(raw string) (string, error) {
		return p.Check([]string{raw}, "POST", address, secret.Text{})
	}
	if got, err := check(proof(t, p, one, true)); err != nil || got != "jkt:"+jose.Thumbprint(one.Public()) {
		t.Errorf("the first: %q, %v", got, err)
	}
	for range 5 { // through both generations
		if _, err := check(proof(t, p, one, true)); sallyport.ReasonOf(err) != ReasonReplay {
			t.Errorf("the same id under the same key at %v: %v", at, err)
		}
		at = at.Add(29 * time.Second)
	}
	if _, err := check(proof(t, p, two, true)); err != nil {
		t.Errorf("the same id under another key: %v", err)
	}
	at = at.Add(10 * time.Minute)
	if _, err := check(proof(t, p, one, true)); err != nil {
		t.Errorf("the same id when no proof of before is good any more: %v", err)
	}
}

// TestDPOP4AtOnce shows one proof many times at once: it counts once.
func TestDPOP4AtOnce(t *testing.T) {
	at := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	p := newProofs(t, &at, "a")
	raw := proof(t, p, newKey(t), false)
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := p.Check([]string{raw}, "POST", address, secret.Text{}); err == nil {
				won.Add(1)
			} else if sallyport.ReasonOf(err) != ReasonReplay {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("one proof counted %d times", won.Load())
	}
}

// TestNoncesOfOtherNodes believes nonces of nodes with the same key, and of no others.
func TestNoncesOfOtherNodes(t *testing.T) {
	at := time.Date(2026, 11, 20, 10, 0, 59, 0, time.UTC)
	here, there, stranger := newProofs(t, &at, "a"), newProofs(t, &at, "a"), newProofs(t, &at, "b")
	key := newKey(t)
	if _, err := here.Check([]string{proof(t, there, key, false)}, "POST", address, secret.Text{}); err != nil {
		t.Errorf("another node's nonce: %v", err)
	}
	if _, err := here.Check([]string{proof(t, stranger, key, false)}, "POST", address, secret.Text{}); sallyport.ReasonOf(err) != ReasonNonce {
		t.Errorf("a stranger's nonce: %v", err)
	}
	if here.Nonce() != there.Nonce() || here.Nonce() == stranger.Nonce() {
		t.Error("nonces do not depend on the key alone")
	}
	before := here.Nonce()
	if at = at.Add(time.Second); here.Nonce() == before {
		t.Error("the nonce does not change with the minute")
	}
}

// TestNoRoom believes nothing that it could not remember.
func TestNoRoom(t *testing.T) {
	at := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	p := newProofs(t, &at, "a")
	p.most = 3
	key := newKey(t)
	for range 3 {
		if _, err := p.Check([]string{proof(t, p, key, false)}, "POST", address, secret.Text{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Check([]string{proof(t, p, key, false)}, "POST", address, secret.Text{}); sallyport.KindOf(err) != sallyport.Busy {
		t.Errorf("without room: %v", err)
	}
	at = at.Add(2 * time.Minute)
	if _, err := p.Check([]string{proof(t, p, key, false)}, "POST", address, secret.Text{}); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(secret.NewBytes(bytes.Repeat([]byte{1}, 31)), time.Now); err == nil {
		t.Error("a short key is accepted")
	}
	if _, err := New(secret.NewBytes(bytes.Repeat([]byte{1}, 32)), nil); err == nil {
		t.Error("no clock is accepted")
	}
	p := newProofs(t, new(time.Time), "a")
	if key, err := p.Check(nil, "POST", address, secret.Text{}); key != "" || err != nil {
		t.Errorf("no proof at all: %q, %v", key, err)
	}
}
