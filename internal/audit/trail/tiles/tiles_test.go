package tiles

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/transparency-dev/tessera"
	"golang.org/x/mod/sumdb/note"

	"sallyport/internal/audit/tlog"
	"sallyport/internal/audit/trail"
)

var _ trail.Tree = (*Tree)(nil)

const origin = "sallyport.test/log/n1"

func newSigner(t testing.TB, name string) (note.Signer, *tlog.Policy) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := tlog.ParsePolicy(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return signer, policy
}

func entries(from, n int) (all [][]byte) {
	for i := range n {
		all = append(all, tlog.AppendLeaf(nil, origin, uint64(from+i), []byte(`{}`)))
	}
	return all
}

// What is appended is integrated when Append returns, and covered by a checkpoint when Close returns, across opens.
func TestAppendedEntriesAreIntegratedAndPublished(t *testing.T) {
	signer, policy := newSigner(t, origin)
	dir := filepath.Join(t.TempDir(), "log")
	size := 0
	for round, n := range []int{1, 255, 1024, 700} {
		tree, err := Open(t.Context(), dir, signer, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tree.Size(t.Context()); err != nil || got != uint64(size) {
			t.Fatalf("round %d: opened at size %d, %v", round, got, err)
		}
		indexes, err := tree.Append(t.Context(), entries(size, n))
		if err != nil {
			t.Fatal(err)
		}
		for i, index := range indexes {
			if index != uint64(size+i) {
				t.Fatalf("round %d: entry %d got index %d", round, size+i, index)
			}
		}
		size += n
		if got, err := tree.Size(t.Context()); err != nil || got != uint64(size) {
			t.Errorf("round %d: size %d after appending to %d, %v", round, got, size, err)
		}
		raw, err := tlog.FetchTile(t.Context(), tree.Fetch, tlog.TileAt(tlog.Entries, uint64(size-1)/256, uint64(size)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := tlog.ParseBundle(raw, (size-1)%256+1)
		if err != nil || string(got[len(got)-1]) != string(entries(size-1, 1)[0]) {
			t.Errorf("round %d: last entry read back: %v", round, err)
		}
		if err := tree.Close(); err != nil {
			t.Fatal(err)
		}
		signed, err := os.ReadFile(filepath.Join(tree.Dir(), "checkpoint"))
		if err != nil {
			t.Fatal(err)
		}
		if c, err := policy.Open(signed); err != nil || c.Size != uint64(size) {
			t.Errorf("round %d: checkpoint %+v, %v", round, c, err)
		}
	}
}

// JT9 on the real engine: with absurdly small batches, one group in flight keeps its order.
func TestJT9OneGroupInFlightKeepsItsOrder(t *testing.T) {
	signer, _ := newSigner(t, origin)
	tree, err := Open(t.Context(), t.TempDir(), signer, Options{batchSize: 2, batchAge: 20 * time.Microsecond})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	for i := range 150 {
		indexes, err := tree.Append(t.Context(), entries(2*i, 2))
		if err != nil || indexes[0] != uint64(2*i) || indexes[1] != uint64(2*i+1) {
			t.Fatalf("group %d: indexes %v, %v", i, indexes, err)
		}
	}
}

// A group whose enqueuing is held up is not cut in two by the engine: when what was added first fails, nothing more of the
// group was added, so that no later record takes the place of an earlier one.
func TestJT9SlowGroupIsNotSplit(t *testing.T) {
	broken := errors.New("bad block")
	for _, fails := range []bool{true, false} {
		added := 0
		tree := &Tree{batchSize: 4, batchAge: 5 * time.Millisecond}
		tree.add = func(context.Context, *tessera.Entry) tessera.IndexFuture {
			index := uint64(added)
			added++
			if index == 1 {
				time.Sleep(tree.batchAge)
			}
			return func() (tessera.Index, error) {
				if fails && index < 2 {
					return tessera.Index{}, broken
				}
				return tessera.Index{Index: index}, nil
			}
		}
		indexes, err := tree.Append(t.Context(), entries(0, 11))
		if fails && (!errors.Is(err, broken) || added != 2) {
			t.Errorf("%d entries were added, %v", added, err)
		}
		if !fails && (err != nil || len(indexes) != 11 || indexes[10] != 10) {
			t.Errorf("indexes %v, %v", indexes, err)
		}
	}
}

// Fetch opens the files of a log and nothing else.
func TestFetchOpensNothingElse(t *testing.T) {
	signer, _ := newSigner(t, origin)
	tree, err := Open(t.Context(), t.TempDir(), signer, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	for _, path := range []string{"", ".", "..", ".state/treeState", "tile", "tile/0", "../x.lock", "/etc/passwd", "checkpoint/", "tile/0/../../checkpoint"} {
		if raw, err := tree.Fetch(t.Context(), path); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %d bytes, %v", path, len(raw), err)
		}
	}
	if _, err := tree.Fetch(t.Context(), "tile/0/000"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("tile that is not there: %v", err)
	}
	if _, err := tree.Fetch(t.Context(), "checkpoint"); err != nil {
		t.Error(err)
	}
}

// A second Open of a directory is refused, and the lock goes with Close; so is a name that is no origin.
func TestOneOwnerOnly(t *testing.T) {
	signer, _ := newSigner(t, origin)
	dir := t.TempDir()
	tree, err := Open(t.Context(), dir, signer, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, same := range []string{dir, dir + "/", filepath.Join(dir, "..", filepath.Base(dir))} {
		if second, err := Open(t.Context(), same, signer, Options{}); !errors.Is(err, ErrLocked) {
			t.Errorf("second open as %s: %v, %v", same, second, err)
		}
	}
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
	if tree, err = Open(t.Context(), dir, signer, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
	bad, _ := newSigner(t, "log\u201cquoted")
	if _, err := Open(t.Context(), t.TempDir(), bad, Options{}); err == nil {
		t.Error("opened a log with an odd name")
	}
	if _, err := Open(t.Context(), t.TempDir(), signer, Options{Witnesses: []byte("quorum nobody\n")}); err == nil {
		t.Error("opened a log with a bad witness policy")
	}
	if _, err := Open(t.Context(), t.TempDir(), signer, Options{CheckpointInterval: time.Millisecond}); err == nil {
		t.Error("opened a log with too short an interval")
	}
}

// Partial files that a full one replaced are collected, so that they do not add up.
func TestPartialFilesAreCollected(t *testing.T) {
	signer, _ := newSigner(t, origin)
	dir := t.TempDir()
	tree, err := Open(t.Context(), dir, signer, Options{CheckpointInterval: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	for i := range 4 {
		if _, err := tree.Append(t.Context(), entries(i*100, 100)); err != nil {
			t.Fatal(err)
		}
	}
	partial := filepath.Join(dir, "tile", "entries", "000.p")
	if _, err := os.Stat(partial); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(partial); errors.Is(err, fs.ErrNotExist) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if _, err := os.Stat(filepath.Join(dir, "tile", "entries", "001.p", fmt.Sprint(400-256))); err != nil {
		t.Errorf("the partial bundle of the newest checkpoint: %v", err)
	}
}
