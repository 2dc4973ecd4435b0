package trail

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"sallyport/internal/audit/tlog"
)

// followBatch is how many records a follower takes at once.
const followBatch = 256

// Entry is one record of the trail as it stands in journal and log.
type Entry struct {
	Seq  uint64
	Leaf []byte // the JSON object; do not change it
}

// Size returns how many records are durable; the next one gets this number.
func (t *Trail) Size() uint64 { return t.recent.durable() }

// Read returns durable records from number from on: at least one if there is one, at most limit, none at the end. They
// come from memory, else from the journal, else from the log's entry bundles.
func (t *Trail) Read(ctx context.Context, from uint64, limit int) ([]Entry, error) {
	if limit < 1 {
		return nil, fmt.Errorf("read record %d: limit %d, at least 1 is needed", from, limit)
	}
	leaves, wait := t.recent.get(from, limit)
	if wait != nil {
		return nil, nil
	}
	if leaves == nil {
		var err error
		if leaves, err = t.journal.read(from, limit); errors.Is(err, errRetired) {
			return t.readTree(ctx, from, limit, t.fed.Load())
		} else if err != nil {
			return nil, fmt.Errorf("read record %d: %w", from, err)
		}
	}
	entries := make([]Entry, len(leaves))
	for i, leaf := range leaves {
		entries[i] = Entry{from + uint64(i), leaf}
	}
	return entries, nil
}

// readTree reads records of one entry bundle of the log at the given size.
func (t *Trail) readTree(ctx context.Context, from uint64, limit int, size uint64) ([]Entry, error) {
	tile := tlog.TileAt(tlog.Entries, from/tlog.TileWidth, size)
	skip := int(from % tlog.TileWidth)
	if skip >= tile.Width {
		return nil, fmt.Errorf("read record %d: neither in the journal nor in the Merkle log of size %d", from, size)
	}
	raw, err := tlog.FetchTile(ctx, t.tree.Fetch, tile)
	if err != nil {
		return nil, fmt.Errorf("read record %d: %w", from, err)
	}
	leaves, err := tlog.ParseBundle(raw, tile.Width)
	if err != nil {
		return nil, fmt.Errorf("read record %d: %s: %w", from, tile.Path(), err)
	}
	leaves = leaves[skip:]
	entries := make([]Entry, 0, len(leaves))
	for i, leaf := range leaves[:min(limit, len(leaves))] {
		want := from + uint64(i)
		if origin, seq, err := tlog.ParseLeaf(leaf); err != nil || origin != t.o.Origin || seq != want {
			return nil, fmt.Errorf("read record %d: %s: the entry says it is %d of log %q", want, tile.Path(), seq, origin)
		}
		entries = append(entries, Entry{want, leaf})
	}
	return entries, nil
}

// Follow yields every durable record from number from on, in order, and waits for new ones until ctx ends or the trail
// is closed; then the sequence ends. An error is yielded once, and ends it too; its Entry is zero.
func (t *Trail) Follow(ctx context.Context, from uint64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for ctx.Err() == nil {
			entries, err := t.Read(ctx, from, followBatch)
			if err != nil {
				if ctx.Err() == nil {
					yield(Entry{}, err)
				}
				return
			}
			for _, e := range entries {
				if ctx.Err() != nil || !yield(e, nil) {
					return
				}
				from = e.Seq + 1
			}
			if len(entries) == 0 && !t.awaitRecord(ctx, from) {
				return
			}
		}
	}
}

// awaitRecord waits for record from; it returns false when it will not come.
func (t *Trail) awaitRecord(ctx context.Context, from uint64) bool {
	for {
		_, wait := t.recent.get(from, 1)
		if wait == nil {
			return true
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return false
		case <-t.writerDone: // closed: no record comes after this
			return t.Size() > from
		}
	}
}

// Checkpoint returns the newest published checkpoint, signed and verified under the policy of the trail.
func (t *Trail) Checkpoint(ctx context.Context) ([]byte, error) {
	_, signed, err := t.checkpoint(ctx)
	if err != nil {
		return nil, fmt.Errorf("read checkpoint of log %q: %w", t.o.Origin, err)
	}
	return signed, nil
}

// Receipt returns a C2SP tlog-proof of record seq that carries the record itself, so that anybody with the log's
// verifier key can check it offline. It waits, as long as ctx allows, until a checkpoint covers the record.
func (t *Trail) Receipt(ctx context.Context, seq uint64) ([]byte, error) {
	fail := func(err error) ([]byte, error) { return nil, fmt.Errorf("receipt for record %d: %w", seq, err) }
	if seq >= t.Size() {
		return fail(fmt.Errorf("the trail has %d records", t.Size()))
	}
	c, signed, err := t.awaitCheckpoint(ctx, seq)
	if err != nil {
		return fail(err)
	}
	entries, err := t.Read(ctx, seq, 1)
	if err != nil {
		return fail(err)
	}
	hashes, err := tlog.InclusionProof(ctx, t.tree.Fetch, seq, c.Size)
	if err != nil {
		return fail(err)
	}
	r := tlog.Receipt{Index: seq, Proof: hashes, Extra: entries[0].Leaf, Checkpoint: signed}
	if _, err := r.VerifySelf(t.o.Policy); err != nil { // a receipt that does not verify must not leave
		return fail(err)
	}
	return r.Marshal(), nil
}

// awaitCheckpoint returns the newest checkpoint once it covers record seq.
func (t *Trail) awaitCheckpoint(ctx context.Context, seq uint64) (tlog.Checkpoint, []byte, error) {
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		c, signed, err := t.checkpoint(ctx)
		if err == nil && c.Size > seq {
			return c, signed, nil
		}
		if latched := t.latched(&t.feederErr); latched != nil && t.fed.Load() <= seq {
			return c, nil, latched
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return c, nil, errors.Join(fmt.Errorf("no checkpoint covers it yet; ask again: %w", ctx.Err()), err)
		}
	}
}

// Health is the state of a trail at one moment.
type Health struct {
	Durable   uint64 // records acknowledged
	Fed       uint64 // of them, records in the Merkle log
	Published uint64 // of them, records that a published checkpoint covers, as last seen
	Journal   uint64 // number of the first record still in the journal
	Behind    bool   // the backlog Durable - Fed is above its soft limit
	Reserve   bool   // the reserve for a full disk stands
	Writer    error  // why nothing can be recorded any more, or nil
	Feeder    error  // why nothing enters the Merkle log any more, or nil

	full bool // the backlog is at its hard limit
}

// Ready returns nil when records are acknowledged and enter the log, else why not.
func (h Health) Ready() error {
	if h.full {
		return errors.Join(fmt.Errorf("%w: %d records wait for the Merkle log", ErrBlocked, h.Durable-h.Fed), h.Writer, h.Feeder)
	}
	return errors.Join(h.Writer, h.Feeder)
}

// Health returns the state of t.
func (t *Trail) Health() Health {
	fed := t.fed.Load() // before Size, so that the backlog is never negative
	first, _ := t.journal.bounds()
	h := Health{
		Durable: t.Size(), Fed: fed, Published: t.published.Load(), Journal: first,
		Reserve: t.reserved.Load(), Writer: t.latched(&t.writerErr), Feeder: t.latched(&t.feederErr),
	}
	select {
	case <-t.writerDone:
		h.Writer = orElse(h.Writer, fmt.Errorf("%w: %w", ErrBlocked, errClosed))
	default:
	}
	h.Behind, h.full = h.Durable-fed > t.o.SoftBacklog, h.Durable-fed >= t.o.HardBacklog
	return h
}
