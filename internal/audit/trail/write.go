package trail

import (
	"context"
	"fmt"

	"sallyport/internal/audit/tlog"
)

const (
	// maxBodies bounds one call of Record, so that its records always fit one group.
	maxBodies = 100
	// recordOverhead bounds what a record adds to its body, without the origin: header, members, comma, 20 digits.
	recordOverhead = recordHeaderSize + len(`{"log":"","seq":,`) + 20
)

// request is one call of Record on its way to the writer.
type request struct {
	bodies [][]byte
	size   int // upper bound of its records in the journal
	reply  chan reply
}

type reply struct {
	first uint64
	err   error
}

// Record appends the bodies consecutively and returns the sequence number of the first when all of them are durable.
// Each body is one JSON object without members "log" and "seq"; the record gets them as its first members. A caller that
// goes away is recorded all the same: neither the end nor the deadline of ctx matters here. The bodies must not change
// before Record returns.
//
// ErrRefused says that a body is no such object or its record would exceed 65,535 bytes; nothing of the call is written.
// ErrBlocked says that nothing can be recorded now: the disk failed, the tree lags too far behind, or the trail is
// closed. After a failure of the disk the records of the call may or may not turn up in the log.
func (t *Trail) Record(_ context.Context, bodies ...[]byte) (first uint64, err error) {
	if len(bodies) == 0 || len(bodies) > maxBodies {
		return 0, fmt.Errorf("record: %w: %d bodies, 1 to %d can go together", ErrRefused, len(bodies), maxBodies)
	}
	r := &request{bodies: bodies, reply: make(chan reply, 1)}
	for _, body := range bodies {
		if err := tlog.CheckBody(body); err != nil {
			return 0, fmt.Errorf("record: %w: %w", ErrRefused, err)
		}
		r.size += recordOverhead + len(t.o.Origin) + len(body)
	}
	t.mu.RLock()
	if t.closed {
		t.mu.RUnlock()
		return 0, fmt.Errorf("record: %w: %w", ErrBlocked, errClosed)
	}
	t.requests <- r // the writer takes requests until they are closed, whatever happens to the disk
	t.mu.RUnlock()
	answer := <-r.reply
	if answer.err != nil {
		return 0, fmt.Errorf("record: %w", answer.err)
	}
	return answer.first, nil
}

// write is the writer: the one goroutine that numbers records and appends to the journal.
func (t *Trail) write(next uint64) {
	defer close(t.writerDone)
	var pending *request // taken, but too large for the group before
	for {
		requests, size := t.collect(pending)
		if len(requests) == 0 {
			return
		}
		pending = nil
		if n := len(requests); n > 1 && size > maxGroupBytes {
			pending, requests = requests[n-1], requests[:n-1]
		}
		next = t.commit(requests, next, size)
	}
}

// collect waits for a request and takes what else is waiting. No timer delays a group: under load the fsync of one group
// is the time in which the next one gathers. Only the last request may take the group beyond its limit.
func (t *Trail) collect(pending *request) (requests []*request, size int) {
	if pending == nil {
		var ok bool
		if pending, ok = <-t.requests; !ok {
			return nil, 0
		}
	}
	requests, size = append(requests, pending), pending.size
	for count := len(pending.bodies); count <= maxGroupRecords-maxBodies && size <= maxGroupBytes; {
		select {
		case r, ok := <-t.requests:
			if !ok {
				return requests, size
			}
			requests, size, count = append(requests, r), size+r.size, count+len(r.bodies)
		default:
			return requests, size
		}
	}
	return requests, size
}

// commit writes the requests as one group, answers them, and returns the next number to give.
func (t *Trail) commit(requests []*request, next uint64, size int) uint64 {
	if err := t.latched(&t.writerErr); err != nil {
		answer(requests, nil, err)
		return next
	}
	g := group{data: beginGroup(make([]byte, 0, groupHeaderSize+size)), first: next}
	firsts := make([]uint64, len(requests))
	taken := requests[:0:len(requests)]
	for _, r := range requests {
		seq, err := t.admit(&g, r)
		if err != nil {
			r.reply <- reply{err: err}
			continue
		}
		firsts[len(taken)] = seq
		taken = append(taken, r)
	}
	if len(g.leaves) == 0 {
		return next
	}
	endGroup(g.data, g.first, len(g.leaves))
	if err := t.journal.append(g.data, g.first, len(g.leaves)); err != nil {
		err = fmt.Errorf("%w: journal of record %d: %w; nothing is recorded until a restart", ErrBlocked, g.first, err)
		t.latch(&t.writerErr, err)
		answer(taken, nil, err)
		return next
	}
	t.recent.add(g.leaves)
	answer(taken, firsts, nil)
	return g.first + uint64(len(g.leaves))
}

// group is a group being built.
type group struct {
	data   []byte
	first  uint64
	leaves [][]byte
}

// admit numbers and encodes the records of one request, all of them or none.
func (t *Trail) admit(g *group, r *request) (first uint64, err error) {
	first = g.first + uint64(len(g.leaves))
	if backlog := first + uint64(len(r.bodies)) - t.fed.Load(); backlog > t.o.HardBacklog {
		err := t.latched(&t.feederErr)
		return 0, fmt.Errorf("%w: %d records wait for the Merkle log, at most %d may; %w", ErrBlocked, backlog, t.o.HardBacklog,
			orElse(err, errBehind))
	}
	size, count := len(g.data), len(g.leaves)
	for _, body := range r.bodies {
		var leaf []byte
		g.data, leaf = appendRecord(g.data, t.o.Origin, g.first+uint64(len(g.leaves)), body)
		if len(leaf) > tlog.MaxEntrySize {
			g.data, g.leaves = g.data[:size], g.leaves[:count]
			return 0, fmt.Errorf("%w: %d bytes with log and number, at most %d fit; record a digest instead",
				ErrRefused, len(leaf), tlog.MaxEntrySize)
		}
		g.leaves = append(g.leaves, leaf)
	}
	return first, nil
}

func answer(requests []*request, firsts []uint64, err error) {
	for i, r := range requests {
		if err != nil {
			r.reply <- reply{err: err}
		} else {
			r.reply <- reply{first: firsts[i]}
		}
	}
}

func orElse(err, other error) error {
	if err != nil {
		return err
	}
	return other
}
