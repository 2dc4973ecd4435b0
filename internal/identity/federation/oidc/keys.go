package oidc

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
)

const (
	coolDown = 30 * time.Second // between two fetches, whatever asks for one
	keysFor  = time.Hour        // a set is fetched again after this, so that a withdrawn key does not verify for ever
)

// keys is a provider's key set, fetched when it is needed. While the provider is down, the old set serves.
type keys struct {
	url  string
	http *http.Client
	now  func() time.Time

	mu             sync.Mutex
	set            *jose.Set
	fetched, tried time.Time
	failed         error
}

// current returns the set; an error says that there is none to be had.
func (k *keys) current(ctx context.Context) (*jose.Set, error) { return k.get(ctx, keysFor) }

// get returns the set, fetched again if it is older than most and the last attempt is not too near.
func (k *keys) get(ctx context.Context, most time.Duration) (*jose.Set, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if (k.set == nil || now.Sub(k.fetched) >= most) && (k.tried.IsZero() || now.Sub(k.tried) >= coolDown) {
		k.tried = now
		set, err := k.fetch(ctx)
		if k.failed = err; err == nil {
			k.set, k.fetched = set, now
		}
	}
	if k.set == nil {
		return nil, fmt.Errorf("keys: %w", k.failed)
	}
	return k.set, nil
}

func (k *keys) fetch(ctx context.Context) (*jose.Set, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := k.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %d: %w", k.url, answer.StatusCode, err)
	}
	return jose.ParseSet(raw)
}

// verify checks a token, once more where a newer set can be had: the provider may have changed its keys.
func (k *keys) verify(ctx context.Context, text string, want jose.Profile) (jose.Token, error) {
	set, err := k.current(ctx)
	if err != nil {
		return jose.Token{}, err
	}
	token, err := jose.Verify(text, set, want)
	if reason := sallyport.ReasonOf(err); err == nil || reason != "jose.key" && reason != "jose.signature" {
		return token, err
	}
	newer, again := k.get(ctx, 0)
	if again != nil || newer == set {
		return token, err
	}
	return jose.Verify(text, newer, want)
}

// A keySet verifies tokens of one profile for the client library.
type keySet struct {
	keys *keys
	want jose.Profile
}

// VerifySignature implements oidc.KeySet.
func (s keySet) VerifySignature(ctx context.Context, text string) ([]byte, error) {
	if _, err := s.keys.verify(ctx, text, s.want); err != nil {
		return nil, err
	}
	_, rest, _ := strings.Cut(text, ".")
	payload, _, _ := strings.Cut(rest, ".")
	return base64.RawURLEncoding.DecodeString(payload)
}
