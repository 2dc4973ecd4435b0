package workload

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
)

// How the keys of issuers are fetched. Whoever can reach the token endpoint can send proofs with any kid: what they
// cause must not depend on how many they send.
const (
	coolDown    = 30 * time.Second // between two fetches of one issuer, whatever their outcome
	fresh       = time.Hour        // keys are fetched anew after
	stale       = 24 * time.Hour   // keys serve for as long when they cannot be fetched anew
	forgetKid   = 10 * time.Minute // a kid that was not there is not looked for again before
	maxMissing  = 256              // kids of one issuer that are remembered as not there
	fetchWithin = 5 * time.Second
	maxDocument = 64 << 10 // bytes, of keys and of discovery
)

// A cache holds the keys of issuers by where they come from. The zero value is empty.
type cache struct {
	mu      sync.Mutex
	entries map[string]*entry
}

// An entry is the keys of one issuer. Its lock is never held while fetching.
type entry struct {
	mu      sync.Mutex
	set     *jose.Set // nil until the first fetch succeeded
	fetched time.Time // when set was fetched
	tried   time.Time // when a fetch was begun last
	missing map[string]time.Time
	running chan struct{} // closed when the fetch under way ends; nil when none is
}

// keysOf returns the keys of a rule's issuer, in which kid is looked for.
func (s *Service) keysOf(ctx context.Context, r Rule, kid string) (*jose.Set, error) {
	if len(r.Keys) > 0 {
		return r.Kind.parseKeys(r.Keys)
	}
	e := s.keys.entry(string(r.Kind) + " " + r.Issuer + " " + r.KeysURL)
	set, running, ours := e.begin(s.Now(), kid)
	switch {
	case running == nil:
		return usable(set)
	case ours:
		set, err := s.fetch(ctx, r)
		e.end(s.Now(), kid, set, err)
		close(running)
	default:
		select {
		case <-running:
		case <-ctx.Done():
			return nil, sallyport.Wrap("fetch keys", sallyport.Unavailable, "the request ended", ctx.Err())
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return usable(e.current(s.Now()))
}

func usable(set *jose.Set) (*jose.Set, error) {
	if set == nil {
		return nil, sallyport.E("fetch keys", sallyport.Unavailable, "the keys of the issuer cannot be had now", "try again in a minute")
	}
	return set, nil
}

func (c *cache) entry(source string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = map[string]*entry{}
	}
	if c.entries[source] == nil {
		if len(c.entries) >= maxRules { // rules were removed since
			clear(c.entries)
		}
		c.entries[source] = &entry{missing: map[string]time.Time{}}
	}
	return c.entries[source]
}

// current returns the keys that still serve, nil where there are none. The caller holds the lock.
func (e *entry) current(now time.Time) *jose.Set {
	if e.set == nil || now.Sub(e.fetched) >= stale {
		return nil
	}
	return e.set
}

// begin returns the keys to use at once; or, to wait for, a fetch that is under way; or a new one, which is the caller's
// to carry out and to close.
func (e *entry) begin(now time.Time, kid string) (set *jose.Set, running chan struct{}, ours bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	set = e.current(now)
	missing, known := e.missing[kid]
	lacking := set != nil && kid != "" && !set.Has(kid) && !(known && now.Sub(missing) < forgetKid)
	switch {
	case set != nil && !lacking && now.Sub(e.fetched) < fresh:
		return set, nil, false
	case e.running != nil && (set == nil || lacking):
		return nil, e.running, false
	case e.running != nil, !e.tried.IsZero() && now.Sub(e.tried) < coolDown:
		return set, nil, false
	}
	e.running, e.tried = make(chan struct{}), now
	return set, e.running, true
}

// end takes over what a fetch brought. What it did not bring is not looked for again for a while.
func (e *entry) end(now time.Time, kid string, set *jose.Set, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running = nil
	if err != nil {
		return
	}
	e.set, e.fetched = set, now
	for id, at := range e.missing {
		if set.Has(id) || now.Sub(at) >= forgetKid || len(e.missing) >= maxMissing {
			delete(e.missing, id)
		}
	}
	if kid != "" && !set.Has(kid) {
		e.missing[kid] = now
	}
}

// fetch reads the keys of an issuer, by discovery (OpenID Connect Discovery, section 4) where the rule names no address.
// It goes on when the caller that began it goes away: others wait for it.
func (s *Service) fetch(ctx context.Context, r Rule) (*jose.Set, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchWithin)
	defer cancel()
	at := r.KeysURL
	if at == "" {
		text, err := s.get(ctx, strings.TrimSuffix(r.Issuer, "/")+"/.well-known/openid-configuration")
		if err != nil {
			return nil, err
		}
		var found struct {
			Issuer string `json:"issuer"`
			Keys   string `json:"jwks_uri"`
		}
		if err := json.Unmarshal(text, &found); err != nil {
			return nil, unreadable(err)
		}
		if found.Issuer != r.Issuer || !address(found.Keys) {
			return nil, unreadable(fmt.Errorf("it speaks of issuer %.200q with keys at %.200q", found.Issuer, found.Keys))
		}
		at = found.Keys
	}
	text, err := s.get(ctx, at)
	if err != nil {
		return nil, err
	}
	return r.Kind.parseKeys(text)
}

func (s *Service) get(ctx context.Context, at string) ([]byte, error) {
	const op = "fetch keys"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, unreadable(err)
	}
	request.Header.Set("Accept", "application/json")
	answer, err := s.Client.Do(request)
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Unavailable, "the issuer does not answer", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, sallyport.E(op, sallyport.Unavailable, fmt.Sprintf("the issuer answers %d", answer.StatusCode), "")
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxDocument+1))
	if err != nil || len(text) > maxDocument {
		return nil, sallyport.Wrap(op, sallyport.Unavailable, "the issuer's answer broke off or is over 64 KiB", err)
	}
	return text, nil
}

func unreadable(err error) error {
	return sallyport.Wrap("read keys", sallyport.Invalid, "the issuer's document is not what it should be", err)
}
