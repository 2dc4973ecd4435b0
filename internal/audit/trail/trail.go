// Package trail owns the append-only record of everything that happened: a group-commit journal that is fsynced before
// it acknowledges, and the one feeder that hands the journal in order to a Merkle log, so that the sequence number of a
// record is its index in the log (C2SP tlog-tiles, RFC 6962).
//
// It leaves the meaning of records to its callers, the engine of the Merkle log to a Tree such as audit/trail/tiles,
// formats and proofs to audit/tlog, and verification by outsiders to the public package verify.
//
// An acknowledgement means: the record is durable on this disk under its number. A little later it is in the tree, and
// once a checkpoint covers it a receipt proves it. A failed write or fsync is final: the process acknowledges nothing
// any more, and the next start decides what is on the disk.
package trail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sallyport/internal/audit/tlog"
)

// Errors to branch on with errors.Is.
var (
	// ErrBlocked: the trail records nothing, for the reason that stands beside it. Refuse what would have been recorded.
	ErrBlocked = errors.New("the audit trail is blocked")
	// ErrRefused: this record cannot be written, others can. It is no JSON object or too long.
	ErrRefused = errors.New("record refused")
	// ErrLocked: another trail has the directory open.
	ErrLocked = errors.New("the audit trail is in use by another process or another part of this one")
	// ErrDamaged: the journal does not read back as it was written. Keep a copy and restore it; nothing was changed.
	ErrDamaged = errors.New("the audit journal is damaged")
	// ErrRolledBack: journal, Merkle log and known checkpoints are not of one history; one of them is older than the others.
	ErrRolledBack = errors.New("the audit trail was rolled back")
	// ErrDiverged: the Merkle log holds another record than the journal. It must be sealed and a new log begun.
	ErrDiverged = errors.New("the audit journal and the Merkle log differ")

	errClosed  = errors.New("it was closed")
	errBehind  = errors.New("try again")
	errRetired = errors.New("no longer in the journal")
)

// Tree is a Merkle log over the records, in order. One trail uses one Tree, and nobody else appends to it.
// Its methods are called by several goroutines at once, Append by one only.
type Tree interface {
	// Size returns how many entries are integrated and durable.
	Size(ctx context.Context) (uint64, error)
	// Append adds entries in order, waits until they are integrated and durable, and returns the index each was given.
	// After an error the tree may hold any of them.
	Append(ctx context.Context, entries [][]byte) ([]uint64, error)
	// Fetch reads a file of the log; see tlog.Fetch.
	Fetch(ctx context.Context, path string) ([]byte, error)
	// Close publishes what is integrated, as far as possible, and gives the log free.
	Close() error
}

// Options say where a trail lives and when it pushes back. Dir, Origin and Policy are required.
type Options struct {
	Dir    string // the directory of this trail: lock, reserve and journal/
	Origin string // name of the log, such as "sallyport.acme/log/node1"; see tlog.CheckOrigin
	Policy *tlog.Policy

	Known        [][]byte      // signed checkpoints kept elsewhere, which the log must still contain
	SegmentBytes int64         // a new journal segment begins after so many bytes; 0 means 4 MiB, at most 256 MiB
	SoftBacklog  uint64        // records not yet in the tree that raise a warning; 0 means 131,072
	HardBacklog  uint64        // records not yet in the tree at which Record refuses; 0 means 1,048,576
	FeedEvery    time.Duration // how long small groups wait for more before they enter the tree; 0 means 100 ms, at most 10 s
	Logger       *slog.Logger  // nil discards
	Files        Files         // fault injection
}

// Trail is an open trail. All its methods may be called by any goroutine.
type Trail struct {
	o       Options
	tree    Tree
	lock    *os.File
	journal *journal
	recent  recent

	fed       atomic.Uint64 // records in the tree
	published atomic.Uint64 // size of the newest checkpoint seen
	reserved  atomic.Bool   // the reserve file stands

	requests   chan *request
	writerDone chan struct{}
	feederDone chan struct{}
	drain      chan struct{} // closed: the feeder feeds what is left and ends
	stopFeeder context.CancelFunc

	mu                   sync.RWMutex // guards closed, and sending on requests against closing it
	closed               bool
	latchMu              sync.Mutex // guards what follows
	writerErr, feederErr error
	closeOnce            sync.Once
	closeErr             error
}

// Open opens the trail in o.Dir over tree, repairs what a crash may have left, and refuses what a crash cannot explain:
// ErrLocked, ErrDamaged, ErrRolledBack, ErrDiverged. The trail closes tree; after an error that is left to the caller.
// ctx bounds the opening only.
func Open(ctx context.Context, tree Tree, o Options) (*Trail, error) {
	o, err := o.checked()
	if err != nil {
		return nil, fmt.Errorf("open audit trail: %w", err)
	}
	if err := errors.Join(o.Files.makeDir(o.Dir), o.Files.makeDir(filepath.Join(o.Dir, "journal"))); err != nil {
		return nil, fmt.Errorf("open audit trail: %w", err)
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open audit trail: %w", err)
	}
	t := &Trail{
		o: o, tree: tree, lock: lock,
		journal:    &journal{dir: filepath.Join(o.Dir, "journal"), origin: o.Origin, limit: o.SegmentBytes, files: o.Files},
		requests:   make(chan *request, maxGroupRecords),
		writerDone: make(chan struct{}),
		feederDone: make(chan struct{}),
		drain:      make(chan struct{}),
	}
	if err := t.start(ctx); err != nil {
		return nil, fmt.Errorf("open audit trail %s: %w", o.Dir, errors.Join(err, t.journal.close(), lock.Close()))
	}
	return t, nil
}

func (o Options) checked() (Options, error) {
	if err := tlog.CheckOrigin(o.Origin); err != nil {
		return o, err
	}
	if o.Dir == "" || o.Policy == nil || !o.Policy.Accepts(o.Origin) {
		return o, fmt.Errorf("log %q needs a directory and a policy with its verifier key", o.Origin)
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 4 << 20
	}
	if o.SoftBacklog == 0 {
		o.SoftBacklog = 1 << 17
	}
	if o.HardBacklog == 0 {
		o.HardBacklog = 1 << 20
	}
	if o.FeedEvery == 0 {
		o.FeedEvery = 100 * time.Millisecond
	}
	if o.SegmentBytes < 0 || o.SegmentBytes > maxSegmentBytes || o.FeedEvery < 0 || o.FeedEvery > 10*time.Second {
		return o, fmt.Errorf("segment of %d bytes, feeding every %v: out of bounds", o.SegmentBytes, o.FeedEvery)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Files = o.Files.orReal()
	return o, nil
}

// start checks journal against tree before it changes either, then mends the journal and starts writer and feeder.
func (t *Trail) start(ctx context.Context) error {
	integrated, err := t.tree.Size(ctx)
	if err != nil {
		return fmt.Errorf("size of the Merkle log: %w", err)
	}
	torn, err := t.journal.scan(integrated)
	if err != nil {
		return err
	}
	if err := t.compare(ctx, integrated); err != nil {
		return err
	}
	if torn != nil {
		t.o.Logger.Warn("audit journal: dropping an incomplete group that was never acknowledged",
			"file", torn.path, "keep", max(torn.keep, 0))
	}
	if err := t.journal.mend(torn); err != nil {
		return fmt.Errorf("mend the journal: %w", err)
	}
	if err := t.ensureReserve(); err != nil {
		t.o.Logger.Warn("audit journal: no reserve for a full disk", "error", err)
	}
	_, next := t.journal.bounds()
	t.fed.Store(integrated)
	t.recent.first = next
	feeding, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t.stopFeeder = cancel
	go t.write(next)
	go t.feed(feeding)
	return nil
}

// compare refuses a journal and a tree that cannot belong together. A record is fed only after its fsync, so the tree is
// never ahead of the journal, and nothing is retired before it is in the tree, so the journal never begins behind it.
func (t *Trail) compare(ctx context.Context, integrated uint64) error {
	first, next := t.journal.bounds()
	if integrated > next {
		return fmt.Errorf("%w: the Merkle log has %d records, the journal ends at %d", ErrRolledBack, integrated, next)
	}
	if first > integrated {
		return fmt.Errorf("%w: the journal begins at %d, the Merkle log ends at %d", ErrRolledBack, first, integrated)
	}
	if err := t.compareKnown(ctx, integrated); err != nil {
		return err
	}
	const back = 2 * maxFeed // whatever the last groups before a crash can have disturbed
	seq := first
	if integrated > back {
		seq = max(first, integrated-back)
	}
	for seq < integrated {
		want, err := t.journal.read(seq, int(integrated-seq))
		if err != nil {
			return err
		}
		for len(want) > 0 {
			got, err := t.readTree(ctx, seq, len(want), integrated)
			if err != nil {
				return fmt.Errorf("compare with the Merkle log: %w", err)
			}
			for i := range got {
				if string(got[i].Leaf) != string(want[i]) {
					return fmt.Errorf("%w at record %d", ErrDiverged, seq)
				}
				seq++
			}
			want = want[len(got):]
		}
	}
	return nil
}

// compareKnown checks the log's own checkpoint and those known from elsewhere against it.
func (t *Trail) compareKnown(ctx context.Context, integrated uint64) error {
	signedBy := t.o.Policy.WithoutQuorum() // witnesses may have been down, or unknown then
	newest := tlog.Checkpoint{Origin: t.o.Origin, Root: tlog.EmptyRoot()}
	raw, err := t.tree.Fetch(ctx, tlog.CheckpointPath)
	if err == nil {
		newest, err = signedBy.Open(raw)
	} else if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return err
	}
	if newest.Origin != t.o.Origin || newest.Size > integrated {
		return fmt.Errorf("%w: the checkpoint of log %q is at size %d, the Merkle log %q at %d",
			ErrRolledBack, newest.Origin, newest.Size, t.o.Origin, integrated)
	}
	for _, signed := range t.o.Known {
		known, err := signedBy.Open(signed)
		if err != nil {
			return fmt.Errorf("known checkpoint: %w", err)
		}
		if known.Origin != newest.Origin || known.Size > newest.Size {
			return fmt.Errorf("%w: a checkpoint of log %q at size %d is known, here is log %q at %d",
				ErrRolledBack, known.Origin, known.Size, newest.Origin, newest.Size)
		}
		hashes, err := tlog.ConsistencyProof(ctx, t.tree.Fetch, known.Size, newest.Size)
		if err == nil {
			err = tlog.VerifyConsistency(known, newest, hashes)
		}
		if err != nil {
			return fmt.Errorf("%w: known checkpoint at size %d: %w", ErrRolledBack, known.Size, err)
		}
	}
	t.published.Store(newest.Size)
	return nil
}

// reserveBytes is disk space kept back, so that after a full disk the next start can still record that it was full.
const reserveBytes = 1 << 20

func (t *Trail) reservePath() string { return filepath.Join(t.o.Dir, "reserve") }

func (t *Trail) ensureReserve() error {
	info, err := os.Lstat(t.reservePath())
	if err == nil && info.Size() == reserveBytes {
		t.reserved.Store(true)
		return nil
	}
	if err == nil {
		err = t.o.Files.remove(t.reservePath())
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := t.o.Files.create(t.reservePath(), make([]byte, reserveBytes))
	if err != nil {
		return errors.Join(err, os.Remove(t.reservePath()))
	}
	t.reserved.Store(true)
	return f.Close()
}

// latch stops the writer or the feeder for the life of this process.
func (t *Trail) latch(slot *error, err error) {
	t.latchMu.Lock()
	if *slot == nil {
		*slot = err
	}
	t.latchMu.Unlock()
	t.o.Logger.Error("audit trail", "error", err)
	if errors.Is(err, syscall.ENOSPC) && t.reserved.CompareAndSwap(true, false) {
		if err := t.o.Files.Remove(t.reservePath()); err != nil {
			t.o.Logger.Error("audit trail: free the reserve", "error", err)
		}
	}
	t.recent.wake()
}

func (t *Trail) latched(slot *error) error {
	t.latchMu.Lock()
	defer t.latchMu.Unlock()
	return *slot
}

// Close takes no more records, waits until those taken are durable, feeds what the tree still lacks, and closes the
// tree. The first call does the work and the others wait for its result.
func (t *Trail) Close() error {
	t.closeOnce.Do(func() {
		t.mu.Lock()
		t.closed = true
		close(t.requests)
		t.mu.Unlock()
		<-t.writerDone
		close(t.drain)
		t.recent.wake()
		<-t.feederDone
		t.stopFeeder()
		t.closeErr = errors.Join(t.tree.Close(), t.journal.close(), t.lock.Close())
	})
	return t.closeErr
}
