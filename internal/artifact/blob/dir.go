package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	blobsDir  = "blobs"  // blobs/ab/ab12…: 256 directories, so that none becomes slow
	stagesDir = "stages" // stages/ID.part
	partExt   = ".part"
	putPrefix = "put." // no stage id has a dot, so these never meet
	copySize  = 256 << 10
)

// Op is a step on the file system that can fail.
type Op string

// The steps, as Hooks see them.
const (
	OpWrite    Op = "write"
	OpTruncate Op = "truncate"
	OpSync     Op = "sync"    // of a file
	OpSyncDir  Op = "syncdir" // of a directory
	OpRename   Op = "rename"
	OpRemove   Op = "remove"
	OpMkdir    Op = "mkdir"
)

// Hooks let a test make the file system fail. The zero value does nothing.
type Hooks struct {
	// Before is called ahead of each step; its error takes the place of the step. A failing write has written half.
	Before func(op Op, name string) error
}

func (h Hooks) before(op Op, name string) error {
	if h.Before == nil {
		return nil
	}
	return h.Before(op, name)
}

// Dir is a [Store] in a directory of a local file system. One process at a time may use a directory.
type Dir struct {
	root  *os.Root // symbolic links out of it are refused by the system
	hooks Hooks

	mu   sync.Mutex
	open map[string]bool // ids of stages in use
	puts int64           // names temporary files
}

var _ Store = (*Dir)(nil)

// NewDir opens the store in dir, which it creates when missing, and closes it to other users of the machine.
func NewDir(dir string, hooks Hooks) (*Dir, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("blob: open %s: %w", dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("blob: open %s: %w", dir, err)
	}
	d := &Dir{root: root, hooks: hooks, open: make(map[string]bool)}
	for _, sub := range []string{blobsDir, stagesDir} {
		if err := d.mkdir(sub); err != nil {
			_ = root.Close()
			return nil, err
		}
	}
	return d, nil
}

// Close lets go of the directory. Open blobs stay readable.
func (d *Dir) Close() error { return d.root.Close() }

func blobPath(g Digest) string {
	s := g.String()
	return path.Join(blobsDir, s[:2], s)
}

// mkdir makes a directory durable, also when an earlier process made it and died before it could.
func (d *Dir) mkdir(name string) error {
	if err := d.hooks.before(OpMkdir, name); err != nil {
		return fmt.Errorf("blob: mkdir %s: %w", name, err)
	}
	if err := d.root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("blob: mkdir %s: %w", name, err)
	}
	return d.syncDir(path.Dir(name))
}

// syncDir makes the names in a directory durable.
func (d *Dir) syncDir(name string) error {
	err := d.hooks.before(OpSyncDir, name)
	if err == nil {
		var f *os.File
		if f, err = d.root.Open(name); err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
	}
	if err != nil {
		return fmt.Errorf("blob: sync directory %s: %w", name, err)
	}
	return nil
}

func (d *Dir) remove(name string) error {
	err := d.hooks.before(OpRemove, name)
	if err == nil {
		err = d.root.Remove(name)
	}
	if err != nil {
		return fmt.Errorf("blob: remove %s: %w", name, err)
	}
	return nil
}

// Put implements [Store].
func (d *Dir) Put(ctx context.Context, r io.Reader) (Digest, error) {
	d.mu.Lock()
	d.puts++
	name := fmt.Sprintf("%s%d.%d", putPrefix, os.Getpid(), d.puts)
	d.mu.Unlock()
	s, err := d.stage(name)
	if err != nil {
		return Digest{}, err
	}
	defer s.Close()
	if err := s.Truncate(0); err != nil { // of a process with our number, long ago
		return Digest{}, err
	}
	buf := make([]byte, copySize)
	if _, err := io.CopyBuffer(onlyWriter{s}, &ctxReader{ctx, r}, buf); err != nil {
		return Digest{}, errors.Join(err, s.Discard())
	}
	return s.Commit(ctx)
}

// onlyWriter and ctxReader keep io.CopyBuffer from finding a way around the context.
type onlyWriter struct{ io.Writer }

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, fmt.Errorf("blob: put: %w", err)
	}
	return c.r.Read(p)
}

// Stage implements [Store].
func (d *Dir) Stage(ctx context.Context, id string) (Stage, error) {
	if id == "" || len(id) > 64 || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return nil, fmt.Errorf("blob: stage %.80q: want 1 to 64 of a-z, 0-9 and -", id)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("blob: stage %s: %w", id, err)
	}
	return d.stage(id)
}

func (d *Dir) stage(id string) (*dirStage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open[id] {
		return nil, fmt.Errorf("blob: stage %s: %w", id, ErrBusy)
	}
	name := path.Join(stagesDir, id+partExt)
	f, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("blob: stage %s: %w", id, err)
	}
	s := &dirStage{dir: d, id: id, name: name, f: f}
	info, err := f.Stat()
	if err == nil {
		err = s.rehash(info.Size())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("blob: stage %s: %w", id, err), f.Close())
	}
	d.open[id] = true
	return s, nil
}

// Open implements [Store].
func (d *Dir) Open(_ context.Context, g Digest) (Blob, error) {
	f, err := d.root.Open(blobPath(g))
	if err != nil {
		return nil, wrap("open", g, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		return nil, errors.Join(wrap("open", g, err), f.Close())
	}
	return &dirBlob{f, info.Size()}, nil
}

func wrap(what string, g Digest, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNotFound
	}
	return fmt.Errorf("blob: %s %s: %w", what, g, err)
}

type dirBlob struct {
	*os.File
	size int64
}

func (b *dirBlob) Size() int64 { return b.size }

// Stat implements [Store].
func (d *Dir) Stat(_ context.Context, g Digest) (Info, error) {
	info, err := d.root.Lstat(blobPath(g))
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		return Info{}, wrap("stat", g, err)
	}
	return Info{Digest: g, Size: info.Size(), Modified: info.ModTime()}, nil
}

// Delete implements [Store].
func (d *Dir) Delete(_ context.Context, g Digest) error {
	name := blobPath(g)
	if err := d.remove(name); err != nil {
		return wrap("delete", g, err)
	}
	return d.syncDir(path.Dir(name))
}

// names lists a directory in order.
func (d *Dir) names(dir string) ([]string, error) {
	f, err := d.root.Open(dir)
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, errors.Join(err, f.Close())
}

// List implements [Store]. Files that are no blobs are passed over.
func (d *Dir) List(ctx context.Context, visit func(Info) error) error {
	shards, err := d.names(blobsDir)
	if err != nil {
		return fmt.Errorf("blob: list: %w", err)
	}
	for _, shard := range shards {
		names, err := d.names(path.Join(blobsDir, shard))
		if err != nil {
			return fmt.Errorf("blob: list: %w", err)
		}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("blob: list: %w", err)
			}
			g, err := ParseDigest(name)
			if err != nil || !strings.HasPrefix(name, shard) {
				continue
			}
			info, err := d.Stat(ctx, g)
			if errors.Is(err, ErrNotFound) {
				continue // deleted meanwhile
			}
			if err != nil {
				return err
			}
			if err := visit(info); err != nil {
				return err
			}
		}
	}
	return nil
}

// Sweep implements [Store]. Stages in use stay.
func (d *Dir) Sweep(ctx context.Context, before time.Time) (int, error) {
	names, err := d.names(stagesDir)
	if err != nil {
		return 0, fmt.Errorf("blob: sweep: %w", err)
	}
	removed := 0
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return removed, fmt.Errorf("blob: sweep: %w", err)
		}
		gone, err := d.sweep(name, before)
		if err != nil {
			return removed, err
		}
		if gone {
			removed++
		}
	}
	return removed, nil
}

func (d *Dir) sweep(name string, before time.Time) (bool, error) {
	d.mu.Lock() // so that nobody opens the stage between the look and the removal
	defer d.mu.Unlock()
	full := path.Join(stagesDir, name)
	info, err := d.root.Lstat(full)
	if err != nil || d.open[strings.TrimSuffix(name, partExt)] || !info.ModTime().Before(before) {
		return false, nil //nolint:nilerr // gone meanwhile
	}
	return true, d.remove(full)
}
