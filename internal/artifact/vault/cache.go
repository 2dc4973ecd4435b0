package vault

import (
	"container/list"
	"sync"

	"sallyport/internal/artifact/blob"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/artifact/seal"
	"sallyport/internal/plumbing/secret"
)

// maxWeight bounds the cache: about 100 bytes of memory a unit.
const maxWeight = 1 << 18

// An entry is what is kept in memory of a version. All but the key is immutable.
type entry struct {
	files    []catalog.File // sorted by path
	manifest Manifest

	memory seal.Memory // of the readers of its files

	mu   sync.RWMutex
	key  secret.Bytes
	gone bool // the key is zeroed
}

func (e *entry) weight() int {
	n := 8
	for _, f := range e.manifest.Files {
		n += 8 + len(f.Blocks)
	}
	return n
}

// unseal opens a sealed file of the version.
func (e *entry) unseal(src blob.Blob, context []byte) (*seal.Reader, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.gone {
		return nil, seal.ErrKey // dropped between look-up and use, because the version was retired
	}
	return e.memory.Open(src, src.Size(), e.key, context)
}

// forget zeroes the key.
func (e *entry) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = true
	e.key.Zero()
}

// A cache keeps the versions that were used last, by version id.
type cache struct {
	mu     sync.Mutex
	byID   map[string]*list.Element
	recent list.List // of *cached, the latest first
	weight int
}

type cached struct {
	id string
	*entry
}

func newCache() *cache { return &cache{byID: map[string]*list.Element{}} }

func (c *cache) get(id string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byID[id]
	if e == nil {
		return nil
	}
	c.recent.MoveToFront(e)
	return e.Value.(*cached).entry
}

// put keeps e under id. What makes room for it goes without zeroing its key:
// somebody may be about to use it, and it is not destroyed, only not kept.
func (c *cache) put(id string, e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID[id] != nil || e.weight() > maxWeight {
		return
	}
	c.byID[id] = c.recent.PushFront(&cached{id, e})
	for c.weight += e.weight(); c.weight > maxWeight; {
		c.remove(c.recent.Back())
	}
}

func (c *cache) remove(e *list.Element) *entry {
	old := c.recent.Remove(e).(*cached)
	delete(c.byID, old.id)
	c.weight -= old.weight()
	return old.entry
}

// drop forgets a version and zeroes its key.
func (c *cache) drop(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byID[id]; e != nil {
		c.remove(e).forget()
	}
}
