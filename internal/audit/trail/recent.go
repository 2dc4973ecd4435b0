package trail

import "sync"

// recentBytes bounds the leaves kept in memory for the feeder and for followers that keep up.
const recentBytes = 8 << 20

// recent holds the newest durable leaves and wakes those who wait for more.
type recent struct {
	mu      sync.Mutex
	first   uint64   // sequence number of leaves[0]
	leaves  [][]byte // up to the newest durable record
	bytes   int
	changed chan struct{} // closed at the next change; nil while nobody waits
}

// durable returns the number after the last durable record.
func (r *recent) durable() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.first + uint64(len(r.leaves))
}

// add appends the leaves of a group that is durable now.
func (r *recent) add(leaves [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, leaf := range leaves {
		r.bytes += len(leaf)
	}
	r.leaves = append(r.leaves, leaves...)
	for r.bytes > recentBytes && len(r.leaves) > 1 {
		r.bytes -= len(r.leaves[0])
		r.leaves[0] = nil
		r.leaves, r.first = r.leaves[1:], r.first+1
	}
	r.wakeLocked()
}

// wake makes everybody look again, without a new record.
func (r *recent) wake() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wakeLocked()
}

func (r *recent) wakeLocked() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// get returns up to limit leaves from record from on. When there is none yet it returns a channel that is closed at the
// next change instead; both are nil when the record is no longer in memory.
func (r *recent) get(from uint64, limit int) ([][]byte, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	end := r.first + uint64(len(r.leaves))
	switch {
	case from >= end:
		if r.changed == nil {
			r.changed = make(chan struct{})
		}
		return nil, r.changed
	case from < r.first:
		return nil, nil
	}
	have := r.leaves[from-r.first:]
	return append([][]byte(nil), have[:min(limit, len(have))]...), nil
}
