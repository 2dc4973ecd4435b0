package caller

import "sync"

// mostRecent is how many entries a generation of a recent holds.
const mostRecent = 1 << 15

// A recent remembers what was put into it of late, in two generations: when the young one is full it becomes the old one,
// and what was old is forgotten. The zero value is ready.
type recent[K comparable, V any] struct {
	mu         sync.Mutex
	young, old map[K]V
}

func (r *recent[K, V]) get(key K) (V, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.young[key]
	if !ok {
		if v, ok = r.old[key]; ok {
			r.keep(key, v)
		}
	}
	return v, ok
}

func (r *recent[K, V]) put(key K, value V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keep(key, value)
}

func (r *recent[K, V]) keep(key K, value V) {
	if r.young == nil || len(r.young) >= mostRecent {
		if _, there := r.young[key]; !there {
			r.young, r.old = map[K]V{}, r.young
		}
	}
	r.young[key] = value
}
