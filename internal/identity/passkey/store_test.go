package passkey

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"testing"
	"time"

	"sallyport"
)

// shelf is a Store for tests inside the package: the real one imports it. The conformance of the real ones, and that it
// is exactly once that something happens there, is storetest's.
type shelf struct {
	mu         sync.Mutex
	handles    map[sallyport.PrincipalID][]byte
	passkeys   []Passkey
	ceremonies map[[32]byte]Ceremony
	broken     error
}

func openStore(*testing.T, string) *shelf {
	return &shelf{handles: map[sallyport.PrincipalID][]byte{}, ceremonies: map[[32]byte]Ceremony{}}
}

func (m *shelf) lock() func() { m.mu.Lock(); return m.mu.Unlock }

func (m *shelf) Handle(_ context.Context, id sallyport.PrincipalID, fresh []byte) ([]byte, error) {
	defer m.lock()()
	if m.handles[id] == nil {
		m.handles[id] = fresh
	}
	return m.handles[id], m.broken
}

func (m *shelf) Passkeys(_ context.Context, q Query) (all []Passkey, err error) {
	defer m.lock()()
	for _, p := range m.passkeys {
		if q.Hash != nil && p.Hash == *q.Hash || q.Hash == nil && p.Member == q.Member {
			all = append(all, p)
		}
	}
	return all, m.broken
}

func (m *shelf) Insert(_ context.Context, p Passkey) error {
	defer m.lock()()
	if slices.ContainsFunc(m.passkeys, func(o Passkey) bool { return o.Hash == p.Hash }) {
		return sallyport.E("store", sallyport.Conflict, "", "")
	}
	m.passkeys = append(m.passkeys, p)
	return m.broken
}

func (m *shelf) Update(_ context.Context, p Passkey) error {
	defer m.lock()()
	for i, o := range m.passkeys {
		if o.ID == p.ID && o.Version == p.Version-1 {
			m.passkeys[i] = p
			return m.broken
		}
	}
	return sallyport.E("store", sallyport.Conflict, "", "")
}

func (m *shelf) Remove(_ context.Context, member sallyport.PrincipalID, id string) error {
	defer m.lock()()
	for i, o := range m.passkeys {
		if o.ID == id && o.Member == member {
			m.passkeys = slices.Delete(m.passkeys, i, i+1)
			return m.broken
		}
	}
	return sallyport.E("store", sallyport.NotFound, "", "")
}

func (m *shelf) PutCeremony(_ context.Context, c Ceremony, _ time.Time) error {
	defer m.lock()()
	m.ceremonies[c.Hash] = c
	return m.broken
}

func (m *shelf) TakeCeremony(_ context.Context, h [sha256.Size]byte) (Ceremony, error) {
	defer m.lock()()
	c, ok := m.ceremonies[h]
	if delete(m.ceremonies, h); !ok {
		return c, sallyport.E("store", sallyport.NotFound, "", "")
	}
	return c, m.broken
}
