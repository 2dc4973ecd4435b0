// Package tiles owns the Merkle log of a trail as C2SP tlog-tiles files: tessera's POSIX driver behind audit/trail's Tree.
//
// It leaves order, durability before the tree and retention to audit/trail, and serving to others: the directory is
// plain files (checkpoint, tile/...) that any file server may hand out. The file system must be a real POSIX one.
package tiles

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
	"k8s.io/klog/v2"

	"sallyport/internal/audit/tlog"
)

const (
	batchSize = 1024
	// batchAge is how long a batch waits for its end: long against any pause between two entries of one group.
	batchAge = 50 * time.Millisecond
	// collectEvery is how often partial files that a full one replaced are deleted, 100 bundles at a time.
	collectEvery    = time.Second
	shutdownTimeout = 5 * time.Second
)

// ErrLocked is returned by Open when this process or another one has the log open.
var ErrLocked = errors.New("the Merkle log is in use")

// Options change how a log is kept. The zero value is a log without witnesses.
type Options struct {
	Logger             *slog.Logger  // for the engine's warnings; nil discards
	CheckpointInterval time.Duration // between two published checkpoints; 0 means 200 ms, at least 100 ms
	Witnesses          []byte        // C2SP tlog-policy text with witness URLs: no checkpoint is published without its quorum
	batchSize          uint          // tests only: 0 means batchSize
	batchAge           time.Duration // tests only: 0 means batchAge
}

// Tree is an open log. It implements audit/trail's Tree.
type Tree struct {
	dir      string
	root     *os.Root
	lock     *os.File
	add      tessera.AddFn
	reader   tessera.LogReader
	shutdown func() error // waits for the last checkpoint
	stop     context.CancelFunc

	batchSize uint
	batchAge  time.Duration
}

// Open opens or creates the log in dir, which signer signs and names. Nobody else may write there: a lock beside the
// directory, dir + ".lock", keeps out a second Open of this process or another, which would corrupt the log.
// The engine logs through one place for the whole process: the Logger of the first Open gets the warnings of all.
func Open(ctx context.Context, dir string, signer note.Signer, o Options) (*Tree, error) {
	t, err := open(ctx, dir, signer, o)
	if err != nil {
		return nil, fmt.Errorf("open Merkle log %s: %w", dir, err)
	}
	return t, nil
}

func open(ctx context.Context, dir string, signer note.Signer, o Options) (*Tree, error) {
	if err := tlog.CheckOrigin(signer.Name()); err != nil {
		return nil, err
	}
	if o.batchSize == 0 {
		o.batchSize, o.batchAge = batchSize, batchAge
	}
	options, err := o.append(signer)
	if err != nil {
		return nil, err
	}
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	lock, err := lockFile(filepath.Clean(dir) + ".lock")
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	redirect(o.Logger)
	living, stop := context.WithCancel(context.WithoutCancel(ctx))
	t := &Tree{dir: dir, root: root, lock: lock, stop: stop, batchSize: o.batchSize, batchAge: o.batchAge}
	driver, err := posix.New(living, posix.Config{Path: dir})
	if err == nil {
		var appender *tessera.Appender
		var shutdown func(context.Context) error
		if appender, shutdown, t.reader, err = tessera.NewAppender(living, driver, options); err == nil {
			t.add, t.shutdown = appender.Add, func() error { return shutdown(living) }
			return t, nil
		}
	}
	stop()
	return nil, errors.Join(err, root.Close(), lock.Close())
}

func (o Options) append(signer note.Signer) (*tessera.AppendOptions, error) {
	if o.CheckpointInterval == 0 {
		o.CheckpointInterval = 200 * time.Millisecond
	}
	// Never WithAntispam: a record dropped as a twin would shift every later index. No republishing without growth, so
	// that nothing is written after a shutdown.
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithBatching(o.batchSize, o.batchAge).
		WithCheckpointInterval(o.CheckpointInterval).
		WithCheckpointRepublishInterval(0).
		WithGarbageCollectionInterval(collectEvery).
		WithShutdownTimeout(shutdownTimeout)
	if len(o.Witnesses) > 0 {
		group, err := tessera.NewWitnessGroupFromPolicy(o.Witnesses)
		if err != nil {
			return nil, fmt.Errorf("witness policy: %w", err)
		}
		options.WithWitnesses(group, &tessera.WitnessOptions{})
	}
	return options, nil
}

// budget: klog is one per process, and its logger must not change while an engine runs; so the first Open sets it.
var redirected sync.Once

// redirect takes the engine's own logging off standard error and gives it to l.
func redirect(l *slog.Logger) {
	if l == nil {
		l = slog.New(slog.DiscardHandler)
	}
	redirected.Do(func() { klog.SetSlogLogger(l) })
}

// makeDir makes the log's directory and syncs its name.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	parent, err := os.Open(filepath.Dir(filepath.Clean(dir)))
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}

// lockFile holds flock(2) on a file until it is closed. The engine's own locks are fcntl(2) locks, which do not exclude
// the process that holds them.
func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(ErrLocked, err, f.Close())
	}
	return f, nil
}

// Dir returns the directory of the log, whose files may be served as they are.
func (t *Tree) Dir() string { return t.dir }

// Size returns how many entries are integrated and durable.
func (t *Tree) Size(ctx context.Context) (uint64, error) { return t.reader.IntegratedSize(ctx) }

// Append adds entries in order and returns the index each of them was given, once all are integrated and durable. The
// caller compares: after a batch that failed, the engine does not promise the order.
//
// The engine closes a batch when it is full or batchAge old. Two batches of one group would be two successes or failures:
// were the first to fail and the second not, the log would lack the first for ever. So a slow enqueuing stops well
// before its batch may close, and the rest waits for what became of it.
func (t *Tree) Append(ctx context.Context, entries [][]byte) ([]uint64, error) {
	prepared := make([]*tessera.Entry, len(entries))
	for i, e := range entries {
		prepared[i] = tessera.NewEntry(e) // hashes first: between two of them there is nothing to wait for
	}
	indexes := make([]uint64, 0, len(entries))
	for len(indexes) < len(entries) {
		futures := t.enqueue(ctx, prepared[len(indexes):])
		var failed error
		for i, future := range futures { // all of them, so that nothing is in flight when Append returns
			index, err := future()
			if err != nil && failed == nil {
				failed = fmt.Errorf("append entry %d of %d: %w", len(indexes)+i, len(entries), err)
			}
			indexes = append(indexes, index.Index)
		}
		if failed != nil {
			return nil, failed
		}
	}
	return indexes, nil
}

// enqueue adds as many entries, at least one, as one batch can be trusted to take.
func (t *Tree) enqueue(ctx context.Context, entries []*tessera.Entry) (futures []tessera.IndexFuture) {
	begun := time.Now()
	for i, e := range entries {
		if i > 0 && (uint(i) >= t.batchSize || time.Since(begun) > t.batchAge/5) {
			break
		}
		futures = append(futures, t.add(ctx, e))
	}
	return futures
}

// Fetch reads a file of the log by its C2SP tlog-tiles path: the checkpoint, a tile or an entry bundle, nothing else.
func (t *Tree) Fetch(ctx context.Context, path string) ([]byte, error) {
	if path != tlog.CheckpointPath {
		if _, err := tlog.ParsePath(path); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := t.root.Open(filepath.FromSlash(path))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > tlog.MaxFileSize {
		return nil, &fs.PathError{Op: "fetch", Path: path, Err: fs.ErrInvalid}
	}
	return io.ReadAll(io.LimitReader(f, tlog.MaxFileSize))
}

// Close waits a few seconds for a checkpoint over all entries, stops the engine and gives the log free. Entries without a
// checkpoint are not lost: the next Open publishes one.
func (t *Tree) Close() error {
	err := t.shutdown()
	t.stop()
	if err != nil {
		err = fmt.Errorf("close Merkle log %s: publish the last checkpoint: %w", t.dir, err)
	}
	return errors.Join(err, t.root.Close(), t.lock.Close())
}
