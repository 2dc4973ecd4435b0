package server_test

import (
	"crypto/rand"
	"maps"
	"sync"
)

// canaries are the secrets of a run: what each is, by its value.
type canaries struct {
	mu      sync.Mutex
	secrets map[string]string
}

func newCanaries() *canaries { return &canaries{secrets: map[string]string{}} }

// add makes a secret.
func (c *canaries) add(name string) string {
	s := "canary-" + rand.Text()
	c.note(name, s)
	return s
}

// note keeps a secret that the system made.
func (c *canaries) note(name, secret string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(secret) >= 12 {
		c.secrets[secret] = name
	}
}

func (c *canaries) all() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.secrets)
}
