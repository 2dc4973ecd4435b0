package trail

import (
	"context"
	"fmt"
	"time"

	"sallyport/internal/audit/tlog"
)

const (
	// maxFeed is the size of the one group in flight to the tree, and the tree's own batch size.
	maxFeed = 1024
	// tick is how often an idle feeder looks for a new checkpoint.
	tick = time.Second
)

// feed is the feeder: the one goroutine that takes records [fed, durable) from the journal and appends them to the tree,
// one group in flight. There is one source of order for live records and for those replayed after a start.
func (t *Trail) feed(ctx context.Context) {
	defer close(t.feederDone)
	warned := false
	for last := time.Now(); ; {
		more, draining := t.awaitFeed(ctx, last)
		if !more && draining {
			return
		}
		if more {
			last = time.Now()
			if err := t.feedGroup(ctx); err != nil {
				t.latch(&t.feederErr, fmt.Errorf("feed the Merkle log: %w; restart to compare and go on", err))
				return
			}
		}
		backlog := t.Size() - t.fed.Load()
		if warned != (backlog > t.o.SoftBacklog) {
			warned = !warned
			t.o.Logger.Warn("audit trail: records wait for the Merkle log", "backlog", backlog, "too many", warned)
		}
		t.retire(ctx)
	}
}

// awaitFeed waits until there is something to feed, or for a tick. A small group waits FeedEvery for company: the tree
// costs several fsyncs a group and a partial file a group, and nobody waits for it.
func (t *Trail) awaitFeed(ctx context.Context, last time.Time) (more, draining bool) {
	_, wait := t.recent.get(t.fed.Load(), 1)
	if wait != nil {
		timer := time.NewTimer(tick)
		defer timer.Stop()
		select {
		case <-wait:
		case <-t.drain:
		case <-timer.C:
		}
	}
	if t.Size()-t.fed.Load() < maxFeed {
		timer := time.NewTimer(time.Until(last.Add(t.o.FeedEvery)))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-t.drain:
		}
	}
	select {
	case <-t.drain:
		draining = true
	default:
	}
	return t.Size() > t.fed.Load() && ctx.Err() == nil, draining
}

// feedGroup appends one group and insists that each record got its own number as index. On a difference the tree is
// never fed again by this process.
func (t *Trail) feedGroup(ctx context.Context) error {
	from := t.fed.Load()
	entries, err := t.Read(ctx, from, maxFeed)
	if err != nil {
		return err
	}
	leaves := make([][]byte, len(entries))
	for i, e := range entries {
		leaves[i] = e.Leaf
	}
	indexes, err := t.tree.Append(ctx, leaves)
	if err != nil {
		return fmt.Errorf("records %d to %d: %w", from, from+uint64(len(leaves))-1, err)
	}
	if len(indexes) != len(leaves) {
		return fmt.Errorf("%w: %d records got %d indexes", ErrDiverged, len(leaves), len(indexes))
	}
	for i, index := range indexes {
		if want := from + uint64(i); index != want {
			return fmt.Errorf("%w: record %d got index %d", ErrDiverged, want, index)
		}
	}
	t.fed.Store(from + uint64(len(leaves)))
	return nil
}

// retire deletes journal segments whose records all lie below a published checkpoint that was read back and verified
// with the log's key and the witness quorum. Nothing less will do: not the integrated size, not a lone signature.
func (t *Trail) retire(ctx context.Context) {
	fed := t.fed.Load()
	if t.published.Load() >= fed && !t.journal.retirable(fed) {
		return
	}
	c, _, err := t.checkpoint(ctx)
	if err != nil {
		t.o.Logger.Debug("audit trail: no checkpoint to retire segments by", "error", err)
		return
	}
	t.published.Store(c.Size)
	for t.journal.retirable(min(c.Size, fed)) {
		if err := t.journal.retire(); err != nil {
			t.o.Logger.Warn("audit trail: delete a journal segment", "error", err)
			return
		}
	}
}

// checkpoint reads the newest published checkpoint and verifies it under the whole policy.
func (t *Trail) checkpoint(ctx context.Context) (tlog.Checkpoint, []byte, error) {
	signed, err := t.tree.Fetch(ctx, tlog.CheckpointPath)
	if err != nil {
		return tlog.Checkpoint{}, nil, err
	}
	c, err := t.o.Policy.Open(signed)
	if err != nil {
		return tlog.Checkpoint{}, nil, err
	}
	if c.Origin != t.o.Origin {
		return tlog.Checkpoint{}, nil, fmt.Errorf("checkpoint is of log %q, not %q", c.Origin, t.o.Origin)
	}
	return c, signed, nil
}
