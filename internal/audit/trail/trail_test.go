package trail_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"sallyport/internal/audit/tlog"
	"sallyport/internal/audit/trail"
	"sallyport/internal/audit/trail/tiles"
	"sallyport/verify"
)

const origin = "sallyport.test/log/n1"

// log is a trail on the real Merkle log in one directory, with its keys.
type log struct {
	dir        string
	skey, vkey string
	options    trail.Options
}

func newLog(t testing.TB) *log {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	l := &log{dir: t.TempDir(), skey: skey, vkey: vkey}
	l.options = trail.Options{Dir: l.dir, Origin: origin, Policy: policy(t, vkey), FeedEvery: time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	return l
}

func policy(t testing.TB, text string) *tlog.Policy {
	t.Helper()
	p, err := tlog.ParsePolicy(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (l *log) treeDir() string { return filepath.Join(l.dir, "log") }

func (l *log) tree(t testing.TB) *tiles.Tree {
	t.Helper()
	signer, err := note.NewSigner(l.skey)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := tiles.Open(t.Context(), l.treeDir(), signer, tiles.Options{CheckpointInterval: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// open opens the trail; the error is that of trail.Open, and then the tree is closed again.
func (l *log) open(t testing.TB) (*trail.Trail, error) {
	t.Helper()
	tree := l.tree(t)
	tr, err := trail.Open(t.Context(), tree, l.options)
	if err != nil {
		if err := tree.Close(); err != nil {
			t.Fatal(err)
		}
		return nil, err
	}
	t.Cleanup(func() { tr.Close() })
	return tr, nil
}

func (l *log) mustOpen(t testing.TB) *trail.Trail {
	t.Helper()
	tr, err := l.open(t)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// verify checks the whole log on disk from outside.
func (l *log) verify(t testing.TB, earlier ...[]byte) verify.Report {
	t.Helper()
	report, err := verify.Log(t.Context(), verify.Dir(l.treeDir()), l.vkey, verify.Options{Earlier: earlier})
	if err != nil {
		t.Fatalf("verify: %v (after %+v)", err, report)
	}
	return report
}

func (l *log) segments(t testing.TB) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(l.dir, "journal", "*.journal"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func record(t testing.TB, tr *trail.Trail, n int) {
	t.Helper()
	for i := range n {
		if _, err := tr.Record(t.Context(), body(i)); err != nil {
			t.Fatal(err)
		}
	}
}

func body(i int) []byte { return fmt.Appendf(nil, `{"n":%d,"pad":%q}`, i, strings.Repeat("x", i%50)) }

func leaf(seq int) string { return string(tlog.AppendLeaf(nil, origin, uint64(seq), body(seq))) }

// covered waits until a checkpoint covers everything recorded.
func covered(t testing.TB, tr *trail.Trail) {
	t.Helper()
	if _, err := tr.Receipt(t.Context(), tr.Size()-1); err != nil {
		t.Fatal(err)
	}
}

func readAll(t testing.TB, tr *trail.Trail) []trail.Entry {
	t.Helper()
	var all []trail.Entry
	for uint64(len(all)) < tr.Size() {
		entries, err := tr.Read(t.Context(), uint64(len(all)), 1000)
		if err != nil || len(entries) == 0 {
			t.Fatalf("read from %d of %d: %d entries, %v", len(all), tr.Size(), len(entries), err)
		}
		all = append(all, entries...)
	}
	return all
}

// Acknowledged records are in the journal and in the log under their numbers, across restarts.
func TestRecordsAreInTheLogUnderTheirNumbers(t *testing.T) {
	l := newLog(t)
	for round := range 3 {
		tr := l.mustOpen(t)
		if got, want := tr.Size(), uint64(round*300); got != want {
			t.Fatalf("opened with %d records, want %d", got, want)
		}
		for i := range 300 {
			seq, err := tr.Record(t.Context(), body(round*300+i))
			if err != nil || seq != uint64(round*300+i) {
				t.Fatalf("record %d: seq %d, %v", i, seq, err)
			}
		}
		for i, e := range readAll(t, tr) {
			if string(e.Leaf) != leaf(i) || e.Seq != uint64(i) {
				t.Fatalf("entry %d is %d %s", i, e.Seq, e.Leaf)
			}
		}
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
		if got := l.verify(t).Size; got != uint64(300*(round+1)) {
			t.Fatalf("the log has %d entries", got)
		}
	}
}

// The bodies of one call stand together, in order, whatever others write.
func TestBodiesOfOneCallStandTogether(t *testing.T) {
	tr := newLog(t).mustOpen(t)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 20 {
				first, err := tr.Record(t.Context(), fmt.Appendf(nil, `{"w":%d,"i":%d,"part":1}`, w, i), []byte(`{}`))
				if err != nil {
					t.Error(err)
					return
				}
				entries, err := tr.Read(t.Context(), first, 2)
				if err != nil || len(entries) != 2 || !bytes.HasSuffix(entries[0].Leaf, fmt.Appendf(nil, `,"w":%d,"i":%d,"part":1}`, w, i)) ||
					string(entries[1].Leaf) != fmt.Sprintf(`{"log":%q,"seq":%d}`, origin, first+1) {
					t.Errorf("read back %d: %v %v", first, entries, err)
				}
			}
		})
	}
	wg.Wait()
}

// A follower sees every record once and in order, from memory, journal and tree, and ends with its context or the trail.
func TestFollowSeesEveryRecordInOrder(t *testing.T) {
	l := newLog(t)
	l.options.SegmentBytes = 4 << 10
	tr := l.mustOpen(t)
	record(t, tr, 500)
	covered(t, tr)
	tr.Close()
	tr = l.mustOpen(t) // memory is empty now
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	follow := func(ctx context.Context, enough func()) {
		n := 0
		for e, err := range tr.Follow(ctx, 3) {
			if err != nil || e.Seq != uint64(n+3) {
				t.Errorf("followed to %d: %d %v", n, e.Seq, err)
				break
			}
			if n++; n == 1197 {
				enough()
			}
		}
		done <- n
	}
	go follow(ctx, cancel)
	go follow(t.Context(), func() {})
	for i := range 700 {
		if _, err := tr.Record(t.Context(), body(i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := <-done; n != 1197 {
		t.Errorf("follower with a context saw %d records", n)
	}
	tr.Close()
	if n := <-done; n != 1197 {
		t.Errorf("follower until close saw %d records", n)
	}
}

// A caller that has gone away is recorded all the same.
func TestCancelledCallerIsRecorded(t *testing.T) {
	tr := newLog(t).mustOpen(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	seq, err := tr.Record(ctx, []byte(`{"a":1}`))
	if err != nil || seq != 0 || tr.Size() != 1 {
		t.Errorf("seq %d, %v, size %d", seq, err, tr.Size())
	}
}

// JT15: 65,535 bytes are accepted, 65,536 are refused before the journal, and what is no JSON object too.
func TestJT15LimitsAreKeptBeforeTheJournal(t *testing.T) {
	tr := newLog(t).mustOpen(t)
	overhead := len(tlog.AppendLeaf(nil, origin, 0, []byte(`{"p":""}`)))
	fill := func(size int) []byte {
		return fmt.Appendf(nil, `{"p":"%s"}`, strings.Repeat("x", size-overhead))
	}
	for _, bad := range [][][]byte{
		{fill(tlog.MaxEntrySize + 1)}, {[]byte(`{}`), fill(tlog.MaxEntrySize + 1)}, {[]byte(``)}, {[]byte(`[]`)}, {[]byte(`{`)},
		{[]byte("{}\n")}, {[]byte(`{"a":1}{"b":2}`)}, {}, slices.Repeat([][]byte{[]byte(`{}`)}, 101), {nil},
	} {
		if _, err := tr.Record(t.Context(), bad...); !errors.Is(err, trail.ErrRefused) || errors.Is(err, trail.ErrBlocked) {
			t.Errorf("record of %d bodies, first %.20q: %v", len(bad), bad, err)
		}
	}
	if tr.Size() != 0 {
		t.Fatalf("%d records after refusals", tr.Size())
	}
	seq, err := tr.Record(t.Context(), fill(tlog.MaxEntrySize))
	if err != nil || seq != 0 {
		t.Fatalf("largest record: %d, %v", seq, err)
	}
	covered(t, tr)
	entries, err := tr.Read(t.Context(), 0, 1)
	if err != nil || len(entries[0].Leaf) != tlog.MaxEntrySize {
		t.Errorf("largest record read back: %v", err)
	}
}

// JT8: a second open is refused and does the first one no harm.
func TestJT8SecondOpenIsRefused(t *testing.T) {
	l := newLog(t)
	tr := l.mustOpen(t)
	signer, err := note.NewSigner(l.skey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tiles.Open(t.Context(), l.treeDir(), signer, tiles.Options{}); !errors.Is(err, tiles.ErrLocked) {
		t.Errorf("second open of the tree: %v", err)
	}
	if _, err := trail.Open(t.Context(), &fakeTree{}, l.options); !errors.Is(err, trail.ErrLocked) {
		t.Errorf("second open of the trail: %v", err)
	}
	record(t, tr, 3)
	covered(t, tr)
}

// JT17: a receipt is verified with nothing but its bytes and the public key.
func TestJT17ReceiptVerifiesOffline(t *testing.T) {
	l := newLog(t)
	tr := l.mustOpen(t)
	record(t, tr, 300)
	for _, seq := range []uint64{0, 255, 256, 299} {
		receipt, err := tr.Receipt(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		proven, err := verify.Receipt(receipt, l.vkey)
		if err != nil || proven.Index != seq || string(proven.Leaf) != leaf(int(seq)) || proven.Origin != origin {
			t.Errorf("receipt for %d: %+v, %v", seq, proven, err)
		}
	}
	if _, err := tr.Receipt(t.Context(), 300); err == nil {
		t.Error("receipt for a record that does not exist")
	}
}

// Records carry on after a start with the tree behind the journal; segments go only when a checkpoint covers them.
func TestSegmentsGoWhenACheckpointCoversThem(t *testing.T) {
	l := newLog(t)
	l.options.SegmentBytes = 2 << 10
	tr := l.mustOpen(t)
	for tr.Health().Journal == 0 {
		record(t, tr, 20)
	}
	h := tr.Health()
	if h.Journal > h.Published || h.Published > h.Fed || h.Fed > h.Durable {
		t.Errorf("health %+v: out of order", h)
	}
	if err := h.Ready(); err != nil || !h.Reserve {
		t.Errorf("ready: %v, %+v", err, h)
	}
	readAll(t, tr) // its first part comes from the tree now
	tr.Close()
	l.verify(t)
	tr = l.mustOpen(t)
	readAll(t, tr)
}

// fakeTree stands for an engine that fails in ways the real one does not on demand.
type fakeTree struct {
	mu      sync.Mutex
	entries [][]byte
	append  func(f *fakeTree, entries [][]byte) ([]uint64, error)
	calls   int
}

func (f *fakeTree) Size(context.Context) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return uint64(len(f.entries)), nil
}

func (f *fakeTree) Append(_ context.Context, entries [][]byte) ([]uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.append != nil {
		return f.append(f, entries)
	}
	return f.add(entries), nil
}

func (f *fakeTree) add(entries [][]byte) (indexes []uint64) {
	for _, e := range entries {
		indexes = append(indexes, uint64(len(f.entries)))
		f.entries = append(f.entries, e)
	}
	return indexes
}

// Fetch has entry bundles only.
func (f *fakeTree) Fetch(_ context.Context, path string) ([]byte, error) {
	tile, err := tlog.ParsePath(path)
	if err != nil || tile.Level != tlog.Entries {
		return nil, os.ErrNotExist
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var bundle []byte
	for _, e := range f.entries[tile.Index*tlog.TileWidth:][:tile.Width] {
		if bundle, err = tlog.AppendEntry(bundle, e); err != nil {
			return nil, err
		}
	}
	return bundle, nil
}

func (f *fakeTree) Close() error { return nil }
