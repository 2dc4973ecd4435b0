package trail_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sallyport/internal/audit/trail"
)

// copyDir copies a directory as a crash or a backup would leave it.
func copyDir(t testing.TB, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// failing makes the n-th call of write, sync, truncate or remove fail, and all later ones succeed.
type failing struct {
	op    string
	n     int64
	err   error
	calls atomic.Int64
}

func (f *failing) hit(op string) error {
	if op == f.op && f.calls.Add(1) == f.n {
		return &os.PathError{Op: op, Path: "journal", Err: f.err}
	}
	return nil
}

func (f *failing) files() trail.Files {
	return trail.Files{
		Write: func(file *os.File, b []byte) (int, error) {
			if err := f.hit("write"); err != nil {
				n, _ := file.Write(b[:len(b)/2]) // half of it got there
				return n, err
			}
			return file.Write(b)
		},
		Sync: func(file *os.File) error {
			return errors.Join(f.hit("fsync"), file.Sync())
		},
		Truncate: func(file *os.File, size int64) error {
			return errors.Join(f.hit("truncate"), file.Truncate(size))
		},
		Remove: func(name string) error {
			if err := f.hit("remove"); err != nil {
				return err
			}
			return os.Remove(name)
		},
	}
}

// JT3: for the n-th write, fsync or removal that fails, nothing is acknowledged afterwards, and the restart keeps every
// acknowledged record.
func TestJT3NthFailureIsFinal(t *testing.T) {
	for _, op := range []string{"write", "fsync", "remove"} {
		for _, errno := range []error{syscall.EIO, syscall.ENOSPC} {
			for n := int64(1); ; n++ {
				if !failNth(t, &failing{op: op, n: n, err: errno}) {
					break
				}
			}
		}
	}
}

// failNth runs a trail through a failure and a restart. It reports whether the failure was reached.
func failNth(t *testing.T, f *failing) bool {
	l := newLog(t)
	l.options.Logger = nil
	l.options.SegmentBytes = 400
	l.options.Files = f.files()
	tree := &fakeTree{}
	what := fmt.Sprintf("%s %d fails with %v", f.op, f.n, f.err)
	acked := 0
	tr, err := trail.Open(t.Context(), tree, l.options)
	if err == nil {
		failed := false
		for i := range 8 {
			seq, err := tr.Record(t.Context(), body(i))
			switch {
			case err == nil && failed:
				t.Fatalf("%s: record %d acknowledged after a failure", what, i)
			case err == nil && seq != uint64(acked):
				t.Fatalf("%s: record %d got number %d, want %d", what, i, seq, acked)
			case err == nil:
				acked++
			case !errors.Is(err, trail.ErrBlocked) || !errors.Is(err, f.err):
				t.Fatalf("%s: %v", what, err)
			default:
				failed = true
			}
		}
		if ready := tr.Health().Ready(); (ready != nil) != failed {
			t.Errorf("%s: ready is %v", what, ready)
		}
		if failed && errors.Is(f.err, syscall.ENOSPC) && tr.Health().Reserve {
			t.Errorf("%s: the reserve was not freed", what)
		}
		tr.Close()
	} else if !errors.Is(err, f.err) {
		t.Fatalf("%s: open: %v", what, err)
	}
	reached := f.calls.Load() >= f.n

	l.options.Files = trail.Files{}
	tr, err = trail.Open(t.Context(), tree, l.options)
	if err != nil {
		t.Fatalf("%s: restart: %v", what, err)
	}
	defer tr.Close()
	entries := readAll(t, tr)
	if len(entries) < acked {
		t.Fatalf("%s: %d records acknowledged, %d found", what, acked, len(entries))
	}
	for i, e := range entries {
		if string(e.Leaf) != leaf(i) {
			t.Fatalf("%s: record %d is %s", what, i, e.Leaf)
		}
	}
	if !tr.Health().Reserve {
		t.Errorf("%s: no reserve after the restart", what)
	}
	return reached
}

// JT3 for the tree: when the engine cannot write, records are still acknowledged up to the limit, and a restart feeds them.
func TestTreeThatCannotWriteBlocksOnlyAtTheLimit(t *testing.T) {
	l := newLog(t)
	l.options.HardBacklog = 20
	tr := l.mustOpen(t)
	record(t, tr, 5)
	covered(t, tr)
	state := filepath.Join(l.treeDir(), ".state", "treeState")
	good, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(state, []byte("{"), 0o600); err != nil { // the engine cannot integrate any more
		t.Fatal(err)
	}
	for i := 5; i < 25; i++ {
		if _, err := tr.Record(t.Context(), body(i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tr.Record(t.Context(), body(25)); !errors.Is(err, trail.ErrBlocked) {
		t.Errorf("record beyond the limit: %v", err)
	}
	if err := tr.Health().Ready(); !errors.Is(err, trail.ErrBlocked) {
		t.Errorf("ready at the limit: %v", err)
	}
	tr.Close()
	if err := os.WriteFile(state, good, 0o600); err != nil {
		t.Fatal(err)
	}
	tr = l.mustOpen(t)
	awaitFed(t, tr)
	record(t, tr, 1)
	covered(t, tr)
	tr.Close()
	if size := l.verify(t).Size; size != 26 {
		t.Errorf("%d entries in the log", size)
	}
}

// JT7: a journal that ends below the tree, an older copy of either, or a log that misses a known checkpoint is refused.
func TestJT7RollbackIsRefused(t *testing.T) {
	l := newLog(t)
	l.options.SegmentBytes = 1 << 10
	l.options.Policy = policy(t, quorumPolicy(l.vkey)) // no segment is ever deleted
	old := t.TempDir()
	tr := l.mustOpen(t)
	record(t, tr, 30)
	awaitFed(t, tr)
	tr.Close()
	copyDir(t, l.dir, old)
	tr = l.mustOpen(t)
	record(t, tr, 30)
	awaitFed(t, tr)
	tr.Close()
	now := t.TempDir()
	copyDir(t, l.dir, now)
	known, err := os.ReadFile(filepath.Join(l.treeDir(), "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	segments := l.segments(t)
	last := segments[len(segments)-1]

	for what, change := range map[string]func(t *testing.T){
		"older journal":     func(t *testing.T) { copyDir(t, filepath.Join(old, "journal"), filepath.Join(l.dir, "journal")) },
		"no journal":        func(t *testing.T) { copyDir(t, t.TempDir(), filepath.Join(l.dir, "journal")) },
		"last segment gone": func(t *testing.T) { must(t, os.Remove(last)) },
		"last group cut":    func(t *testing.T) { must(t, os.Truncate(last, 70)) },
		"older copy of all": func(t *testing.T) { copyDir(t, old, l.dir); l.options.Known = [][]byte{known} },
		"older log, first segment gone": func(t *testing.T) {
			copyDir(t, filepath.Join(old, "log"), l.treeDir())
			for _, s := range segments[:len(segments)-1] {
				must(t, os.Remove(s))
			}
		},
		"rewritten under the same key": func(t *testing.T) { // JT13, with a kept checkpoint in the witness's place
			copyDir(t, t.TempDir(), l.dir)
			tr := l.mustOpen(t)
			for i := range 80 {
				if _, err := tr.Record(t.Context(), body(i+1)); err != nil {
					t.Fatal(err)
				}
			}
			awaitFed(t, tr)
			tr.Close()
			l.options.Known = [][]byte{known}
		},
	} {
		t.Run(what, func(t *testing.T) {
			copyDir(t, now, l.dir)
			l.options.Known = nil
			change(t)
			_, err := l.open(t)
			if !errors.Is(err, trail.ErrRolledBack) && !errors.Is(err, trail.ErrDamaged) {
				t.Errorf("open: %v", err)
			}
		})
	}
	t.Run("unchanged", func(t *testing.T) {
		copyDir(t, now, l.dir)
		l.options.Known = [][]byte{known}
		if tr := l.mustOpen(t); tr.Size() != 60 {
			t.Errorf("%d records", tr.Size())
		}
	})
	t.Run("older log, whole journal", func(t *testing.T) { // the journal alone can rebuild what the log lost
		copyDir(t, now, l.dir)
		copyDir(t, filepath.Join(old, "log"), l.treeDir())
		l.options.Known = nil
		tr := l.mustOpen(t)
		awaitFed(t, tr)
		tr.Close()
		l.verify(t, known)
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func awaitFed(t testing.TB, tr *trail.Trail) {
	t.Helper()
	for tr.Health().Fed < tr.Size() {
		if err := tr.Health().Feeder; err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

// A tree with another record than the journal is refused at the start.
func TestDivergedTreeIsRefused(t *testing.T) {
	l := newLog(t)
	other := newLog(t)
	other.skey, other.vkey, other.options.Policy = l.skey, l.vkey, l.options.Policy
	for i, l := range []*log{l, other} {
		tr := l.mustOpen(t)
		for n := range 10 {
			if _, err := tr.Record(t.Context(), body(n+i)); err != nil {
				t.Fatal(err)
			}
		}
		awaitFed(t, tr)
		tr.Close()
	}
	copyDir(t, other.treeDir(), l.treeDir())
	if _, err := l.open(t); !errors.Is(err, trail.ErrDiverged) || !strings.Contains(err.Error(), "record 0") {
		t.Errorf("open: %v", err)
	}
}

// JT9, JT10: an engine that swaps two batches, returns one wrong index, or loses a batch between two is never fed again;
// records are acknowledged on, none leaves the journal, and the restart refuses the tree.
func TestJT9JT10WrongIndexStopsTheFeeder(t *testing.T) {
	for what, wrong := range map[string]func(f *fakeTree, entries [][]byte) ([]uint64, error){
		"swapped": func(f *fakeTree, entries [][]byte) ([]uint64, error) {
			half := len(entries) / 2
			second := f.add(entries[half:])
			return append(f.add(entries[:half]), second...), nil
		},
		"one wrong": func(f *fakeTree, entries [][]byte) ([]uint64, error) {
			indexes := f.add(entries)
			indexes[len(indexes)-1]++
			return indexes, nil
		},
		"one missing": func(f *fakeTree, entries [][]byte) ([]uint64, error) { return f.add(entries)[1:], nil },
		"batch lost": func(f *fakeTree, entries [][]byte) ([]uint64, error) {
			f.add(entries[len(entries)/2:])
			return nil, errors.New("disk full")
		},
	} {
		t.Run(what, func(t *testing.T) {
			l := newLog(t)
			l.options.FeedEvery = 200 * time.Millisecond // so that a group has at least one call in it
			tree := &fakeTree{append: wrong}
			tr, err := trail.Open(t.Context(), tree, l.options)
			if err != nil {
				t.Fatal(err)
			}
			defer tr.Close()
			bodies := make([][]byte, 64)
			for i := range bodies {
				bodies[i] = body(i)
			}
			for range 20 {
				if _, err := tr.Record(t.Context(), bodies...); err != nil {
					t.Fatal(err)
				}
			}
			for tr.Health().Feeder == nil {
				time.Sleep(time.Millisecond)
			}
			if _, err := tr.Record(t.Context(), bodies...); err != nil {
				t.Errorf("record after the feeder stopped: %v", err)
			}
			if err := tr.Health().Ready(); err == nil {
				t.Error("ready with a feeder that stopped")
			}
			if got := len(readAll(t, tr)); got != 21*64 {
				t.Errorf("%d records", got)
			}
			tr.Close()
			if tree.calls != 1 || tr.Health().Fed != 0 {
				t.Errorf("fed %d times, to %d", tree.calls, tr.Health().Fed)
			}
		})
	}
}

// JT11, I-21: with the feeder stuck, records are acknowledged up to the hard limit, then refused; none is dropped, and all
// go in, in order, when it moves again.
func TestJT11BacklogIsBounded(t *testing.T) {
	l := newLog(t)
	l.options.SoftBacklog, l.options.HardBacklog = 10, 50
	stuck := make(chan struct{})
	tree := &fakeTree{append: func(f *fakeTree, entries [][]byte) ([]uint64, error) {
		<-stuck
		return f.add(entries), nil
	}}
	tr, err := trail.Open(t.Context(), tree, l.options)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	record(t, tr, 49)
	if h := tr.Health(); !h.Behind || h.Ready() != nil {
		t.Errorf("below the limit: %+v, %v", h, h.Ready())
	}
	if _, err := tr.Record(t.Context(), body(49), body(50)); !errors.Is(err, trail.ErrBlocked) {
		t.Errorf("two records with room for one: %v", err)
	}
	record(t, tr, 1)
	for range 3 {
		if _, err := tr.Record(t.Context(), body(0)); !errors.Is(err, trail.ErrBlocked) {
			t.Errorf("record at the limit: %v", err)
		}
	}
	if tr.Health().Ready() == nil {
		t.Error("ready at the limit")
	}
	close(stuck)
	awaitFed(t, tr)
	record(t, tr, 30)
	tr.Close()
	if len(tree.entries) != 80 {
		t.Fatalf("%d entries in the tree", len(tree.entries))
	}
	for i, e := range tree.entries {
		if !strings.HasPrefix(string(e), fmt.Sprintf(`{"log":%q,"seq":%d,`, origin, i)) {
			t.Errorf("entry %d is %s", i, e)
		}
	}
}

// quorumPolicy needs a witness that never answers.
func quorumPolicy(vkey string) string {
	return "log " + vkey + "\n" +
		"witness w PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\nquorum w\n"
}

// JT12: without the quorum of witnesses no segment is deleted, whatever is integrated and signed, and no receipt is given.
func TestJT12NoQuorumNoDeletion(t *testing.T) {
	l := newLog(t)
	l.options.SegmentBytes = 1 << 10
	l.options.Policy = policy(t, quorumPolicy(l.vkey))
	tr := l.mustOpen(t)
	record(t, tr, 100)
	awaitFed(t, tr)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := tr.Receipt(ctx, 3); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("receipt without quorum: %v", err)
	}
	if _, err := tr.Checkpoint(t.Context()); err == nil {
		t.Error("checkpoint without quorum")
	}
	before := l.segments(t)
	record(t, tr, 100)
	awaitFed(t, tr)
	tr.Close()
	after := l.segments(t)
	if len(before) < 5 || !slices.Equal(before, after[:len(before)]) || tr.Health().Journal != 0 {
		t.Errorf("segments before %d, after %d, journal from %d", len(before), len(after), tr.Health().Journal)
	}
	// The same directory under a policy without witnesses: now they go.
	l.options.Policy = policy(t, l.vkey)
	tr = l.mustOpen(t)
	for tr.Health().Journal == 0 {
		record(t, tr, 1)
	}
}

// What a trail needs must be given; nothing has a permissive default.
func TestOpenRefusesIncompleteOptions(t *testing.T) {
	l := newLog(t)
	for what, change := range map[string]func(o *trail.Options){
		"no directory":      func(o *trail.Options) { o.Dir = "" },
		"no policy":         func(o *trail.Options) { o.Policy = nil },
		"no origin":         func(o *trail.Options) { o.Origin = "" },
		"other origin":      func(o *trail.Options) { o.Origin = "sallyport.test/log/n2" },
		"origin with quote": func(o *trail.Options) { o.Origin = `a"b` },
		"huge segment":      func(o *trail.Options) { o.SegmentBytes = 1 << 40 },
		"negative wait":     func(o *trail.Options) { o.FeedEvery = -1 },
	} {
		o := l.options
		change(&o)
		if tr, err := trail.Open(t.Context(), &fakeTree{}, o); err == nil {
			t.Errorf("%s: opened", what)
			tr.Close()
		}
	}
}

// After Close nothing is recorded, and every later Close says the same.
func TestClosedTrailIsBlocked(t *testing.T) {
	tr := newLog(t).mustOpen(t)
	record(t, tr, 2)
	if err := errors.Join(tr.Close(), tr.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Record(t.Context(), body(0)); !errors.Is(err, trail.ErrBlocked) {
		t.Errorf("record after close: %v", err)
	}
	if err := tr.Health().Ready(); !errors.Is(err, trail.ErrBlocked) {
		t.Errorf("ready after close: %v", err)
	}
}
