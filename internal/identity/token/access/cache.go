package access

import (
	"crypto/sha256"
	"sync"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
)

const shards = 16

// A cache remembers verified tokens under the SHA-256 of their text, never the text. Each shard has two generations:
// when the young one is full it becomes the old one and what was old is gone, so that what is used stays, and the
// memory is bounded without a list to maintain.
type cache struct {
	most   int64 // bytes of one generation of one shard
	shards [shards]shard
}

type shard struct {
	mu         sync.Mutex
	young, old map[[sha256.Size]byte]remembered
	cost       int64
}

type remembered struct {
	principal sallyport.Principal
	consent   string    // the families that let others act, "" for none
	keys      *jose.Set // that verified it; others might not
	until     time.Time
	cost      int64 // bytes, about
}

func (c *cache) shard(sum [sha256.Size]byte) *shard { return &c.shards[sum[0]%shards] }

// get returns what a token was verified to prove, with the same keys and not long ago.
func (c *cache) get(sum [sha256.Size]byte, keys *jose.Set, now time.Time) (remembered, bool) {
	s := c.shard(sum)
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.young[sum]
	if !ok {
		if r, ok = s.old[sum]; ok {
			s.put(sum, r, c.most)
		}
	}
	if !ok || r.keys != keys || !now.Before(r.until) {
		return remembered{}, false
	}
	return r, true
}

func (c *cache) put(sum [sha256.Size]byte, r remembered) {
	s := c.shard(sum)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(sum, r, c.most)
}

func (s *shard) put(sum [sha256.Size]byte, r remembered, most int64) {
	if s.young == nil || s.cost+r.cost > most {
		s.young, s.old, s.cost = map[[sha256.Size]byte]remembered{}, s.young, 0
	}
	if _, there := s.young[sum]; !there {
		s.cost += r.cost
	}
	s.young[sum] = r
}
