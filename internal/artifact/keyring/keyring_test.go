package keyring

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"sallyport/internal/plumbing/secret"
)

// memory is a Store as the contract describes it. before and after stand around each change of a row.
type memory struct {
	mu     sync.Mutex
	rows   map[string]Row
	before func() error // its error takes the place of the change
	after  func() error // its error hides a change that happened
}

func newMemory() *memory { return &memory{rows: map[string]Row{}} }

func (m *memory) change(do func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.before != nil {
		if err := m.before(); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	if m.after != nil {
		return m.after()
	}
	return nil
}

func (m *memory) Put(_ context.Context, row Row) error {
	return m.change(func() error {
		old, found := m.rows[row.Artifact]
		switch {
		case row.Revision == 0 && found:
			return ErrExists
		case row.Revision != 0 && !found:
			return ErrNotFound
		case row.Revision != old.Revision:
			return ErrConflict
		}
		row.Revision++
		row.Wrapped = slices.Clone(row.Wrapped)
		m.rows[row.Artifact] = row
		return nil
	})
}

func (m *memory) Get(_ context.Context, artifact string) (Row, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	row, ok := m.rows[artifact]
	if !ok {
		return Row{}, ErrNotFound
	}
	return row, nil
}

func (m *memory) Delete(_ context.Context, artifact string) error {
	return m.change(func() error {
		if _, ok := m.rows[artifact]; !ok {
			return ErrNotFound
		}
		delete(m.rows, artifact)
		return nil
	})
}

func (m *memory) List(_ context.Context, after string, limit int) ([]Row, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var rows []Row
	for id, row := range m.rows {
		if id > after {
			rows = append(rows, row)
		}
	}
	slices.SortFunc(rows, func(a, b Row) int { return cmp.Compare(a.Artifact, b.Artifact) })
	return rows[:min(limit, len(rows))], nil
}

// place is a machine: a key file and a data directory apart from it.
func place(t testing.TB) LocalConfig {
	t.Helper()
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	if err := errors.Join(os.Mkdir(data, 0o700), os.Mkdir(filepath.Join(dir, "keys"), 0o700)); err != nil {
		t.Fatal(err)
	}
	return LocalConfig{
		Path: filepath.Join(dir, "keys", "kek.json"), DataDir: data, Random: rand.Reader,
		Now: func() time.Time { return time.Unix(1_700_000_000, 0) }, scryptLog2: 4,
	}
}

func create(t testing.TB, cfg LocalConfig) *Local {
	t.Helper()
	l, err := CreateLocal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func reopen(t testing.TB, cfg LocalConfig) *Local {
	t.Helper()
	cfg.before = nil
	l, err := OpenLocal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func fill(t testing.TB, r *Ring, n int) map[string][]byte {
	t.Helper()
	keys := map[string][]byte{}
	for i := range n {
		id := fmt.Sprintf("acme/model-%03d@sha256:%d", i, i)
		dek, err := r.Create(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		keys[id] = slices.Clone(dek.Reveal())
	}
	return keys
}

func wantKeys(t testing.TB, r *Ring, keys map[string][]byte) {
	t.Helper()
	for id, want := range keys {
		dek, err := r.Key(t.Context(), id)
		if err != nil || !bytes.Equal(dek.Reveal(), want) {
			t.Errorf("key of %s: %v", id, err)
		}
	}
}

func TestRing(t *testing.T) {
	store, cfg := newMemory(), place(t)
	r := &Ring{Store: store, Wrapper: create(t, cfg), Random: rand.Reader}
	keys := fill(t, r, 3)
	r = &Ring{Store: store, Wrapper: reopen(t, cfg), Random: rand.Reader} // another process
	wantKeys(t, r, keys)
	seen := map[string]bool{}
	for id, key := range keys {
		if seen[string(key)] || len(key) != KeySize {
			t.Error("two artifacts share a data key, or it has another size")
		}
		seen[string(key)] = true
		if _, err := r.Create(t.Context(), id); !errors.Is(err, ErrExists) {
			t.Errorf("second Create = %v, want ErrExists", err)
		}
		row, _ := store.Get(t.Context(), id)
		if bytes.Contains(row.Wrapped, key) {
			t.Error("a row holds the data key in the clear")
		}
	}
	wantKeys(t, r, keys)
	for _, id := range []string{"", strings.Repeat("x", 256)} {
		if _, err := r.Create(t.Context(), id); err == nil {
			t.Errorf("an id of %d bytes was accepted", len(id))
		}
		if _, err := r.Key(t.Context(), id); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("an id of %d bytes was looked up", len(id))
		}
	}
	r.Random = iotest.ErrReader(io.ErrUnexpectedEOF)
	if _, err := r.Create(t.Context(), "new"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Create without randomness = %v", err)
	}
	if _, err := r.Key(t.Context(), "new"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Key = %v, want ErrNotFound", err)
	}
}

func TestShred(t *testing.T) {
	store, cfg := newMemory(), place(t)
	r := &Ring{Store: store, Wrapper: create(t, cfg), Random: rand.Reader}
	keys := fill(t, r, 3)
	for id := range keys {
		if err := r.Shred(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		delete(keys, id)
		if _, err := r.Key(t.Context(), id); !errors.Is(err, ErrNotFound) {
			t.Errorf("Key after Shred = %v", err)
		}
		if err := r.Shred(t.Context(), id); !errors.Is(err, ErrNotFound) {
			t.Errorf("second Shred = %v", err)
		}
		wantKeys(t, r, keys)
	}
}

// TestShreddedWhileRewrapping deletes each row between its reading and its replacement: it must not come back.
func TestShreddedWhileRewrapping(t *testing.T) {
	store, cfg := newMemory(), place(t)
	r := &Ring{Store: store, Wrapper: create(t, cfg), Random: rand.Reader}
	fill(t, r, 5)
	store.before = func() error {
		clear(store.rows)
		return nil
	}
	if _, n, err := r.Rotate(t.Context()); n != 0 || err != nil {
		t.Errorf("Rotate = %d, %v, want 0", n, err)
	}
	if len(store.rows) != 0 {
		t.Errorf("%d shredded rows came back", len(store.rows))
	}
}

// TestChangedWhileRewrapping lets another process rewrap the row first.
func TestChangedWhileRewrapping(t *testing.T) {
	store, cfg := newMemory(), place(t)
	r := &Ring{Store: store, Wrapper: create(t, cfg), Random: rand.Reader}
	keys := fill(t, r, 5)
	raced := false
	store.before = func() error {
		if !raced {
			raced = true
			for id, row := range store.rows {
				row.Revision++
				store.rows[id] = row
			}
		}
		return nil
	}
	if _, n, err := r.Rotate(t.Context()); n != 5 || err != nil {
		t.Errorf("Rotate = %d, %v, want 5", n, err)
	}
	store.before = nil
	wantKeys(t, r, keys)
	store.before = func() error { return ErrConflict }
	if _, _, err := r.Rotate(t.Context()); !errors.Is(err, ErrConflict) {
		t.Errorf("Rotate against endless changes = %v", err)
	}
}

func TestRotateRewrapPrune(t *testing.T) {
	store, cfg := newMemory(), place(t)
	local := create(t, cfg)
	r := &Ring{Store: store, Wrapper: local, Random: rand.Reader}
	keys := fill(t, r, 2*pageSize+7)
	old, _ := local.Versions(t.Context())
	before, _ := store.Get(t.Context(), "acme/model-000@sha256:0")
	current, n, err := r.Rotate(t.Context())
	if err != nil || n != len(keys) {
		t.Fatalf("Rotate = %d, %v", n, err)
	}
	for id, row := range store.rows {
		if row.KeyID != current || row.Revision != 2 {
			t.Errorf("%s: under %s at revision %d", id, row.KeyID, row.Revision)
		}
	}
	wantKeys(t, r, keys)
	if n, err := r.Rewrap(t.Context()); n != 0 || err != nil {
		t.Errorf("second Rewrap = %d, %v", n, err)
	}
	if _, err := r.unwrap(t.Context(), before); err != nil {
		t.Errorf("the old version was destroyed too early: %v", err)
	}
	destroyed, err := r.Prune(t.Context())
	if err != nil || !slices.Equal(destroyed, old) {
		t.Fatalf("Prune = %q, %v, want %q", destroyed, err, old)
	}
	r = &Ring{Store: store, Wrapper: reopen(t, cfg), Random: rand.Reader}
	wantKeys(t, r, keys)
	if _, err := r.unwrap(t.Context(), before); !errors.Is(err, ErrUnwrap) {
		t.Errorf("a row under a destroyed version: %v, want ErrUnwrap", err)
	}
	if destroyed, err := r.Prune(t.Context()); len(destroyed) != 0 || err != nil {
		t.Errorf("second Prune = %q, %v", destroyed, err)
	}
}

func TestPruneKeepsWhatIsUsed(t *testing.T) {
	store, cfg := newMemory(), place(t)
	local := create(t, cfg)
	r := &Ring{Store: store, Wrapper: local, Random: rand.Reader}
	keys := map[string][]byte{}
	for i := range 4 {
		dek, err := r.Create(t.Context(), fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		keys[fmt.Sprint(i)] = slices.Clone(dek.Reveal())
		if _, err := local.Rotate(t.Context()); err != nil { // without Rewrap: interrupted
			t.Fatal(err)
		}
	}
	if err := r.Shred(t.Context(), "1"); err != nil {
		t.Fatal(err)
	}
	delete(keys, "1")
	destroyed, err := r.Prune(t.Context())
	if err != nil || len(destroyed) != 1 || !strings.HasPrefix(destroyed[0], "local-2-") {
		t.Errorf("Prune = %q, %v, want the version of the shredded row only", destroyed, err)
	}
	wantKeys(t, r, keys)
	ids, _ := local.Versions(t.Context())
	if err := local.Destroy(t.Context(), ids[len(ids)-1]); err == nil {
		t.Error("the current version was destroyed")
	}
	if err := local.Destroy(t.Context(), "local-9"); err == nil {
		t.Error("an unknown version was destroyed")
	}
}

var errDead = errors.New("the process is dead")

// TestKilledAtEveryWrite is I-18: a rotation with its pruning dies at the n-th write to the key file or to the rows,
// before the write or right after it, for every n. Then everything opens with the keys on the disk, in a new process, and
// the work can be finished.
func TestKilledAtEveryWrite(t *testing.T) {
	for n := 1; ; n++ {
		store, cfg := newMemory(), place(t)
		r := &Ring{Store: store, Wrapper: create(t, cfg), Random: rand.Reader}
		keys := fill(t, r, 5)
		count := 0
		die := func() error {
			if count++; count >= n {
				return errDead
			}
			return nil
		}
		cfg.before = func(string) error { return die() }
		store.before, store.after = die, die
		dying := reopenWith(t, cfg)
		r = &Ring{Store: store, Wrapper: dying, Random: rand.Reader}
		_, _, err := r.Rotate(t.Context())
		if err == nil {
			_, err = r.Prune(t.Context())
		}
		store.before, store.after = nil, nil
		if count < n {
			if err != nil {
				t.Fatal(err)
			}
			if n < 15 {
				t.Fatalf("only %d writes were seen", n)
			}
			return
		}
		if !errors.Is(err, errDead) {
			t.Fatalf("killed at write %d, the caller sees %v", n, err)
		}
		wantKeys(t, r, keys) // downloads in flight in the process that failed
		local := reopen(t, cfg)
		r = &Ring{Store: store, Wrapper: local, Random: rand.Reader}
		wantKeys(t, r, keys)
		if _, _, err := r.Rotate(t.Context()); err != nil {
			t.Fatalf("after a kill at write %d: Rotate: %v", n, err)
		}
		if _, err := r.Prune(t.Context()); err != nil {
			t.Fatalf("after a kill at write %d: Prune: %v", n, err)
		}
		wantKeys(t, &Ring{Store: store, Wrapper: reopen(t, cfg)}, keys)
		if ids, _ := local.Versions(t.Context()); len(ids) != 1 {
			t.Fatalf("after a kill at write %d: versions %q remain", n, ids)
		}
		if t.Failed() {
			t.Fatalf("killed at write %d", n)
		}
	}
}

func reopenWith(t testing.TB, cfg LocalConfig) *Local {
	t.Helper()
	l, err := OpenLocal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestConcurrentUse(t *testing.T) {
	store, cfg := newMemory(), place(t)
	r := &Ring{Store: store, Wrapper: create(t, cfg), Random: rand.Reader}
	keys := fill(t, r, 20)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 20 {
				if _, err := r.Create(t.Context(), fmt.Sprintf("new-%d-%d", g, i)); err != nil {
					t.Errorf("Create: %v", err)
				}
				wantKeys(t, r, keys)
			}
		})
	}
	for range 5 {
		if _, _, err := r.Rotate(t.Context()); err != nil {
			t.Errorf("Rotate: %v", err)
		}
		if _, err := r.Prune(t.Context()); err != nil {
			t.Errorf("Prune: %v", err)
		}
	}
	wg.Wait()
	r = &Ring{Store: store, Wrapper: reopen(t, cfg)}
	for id := range store.rows {
		if _, err := r.Key(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
}

// wrapperSuite is what every Wrapper must do.
func wrapperSuite(t *testing.T, w Wrapper) {
	dek := secret.NewBytes(bytes.Repeat([]byte{7}, KeySize))
	wrapped, id, err := w.Wrap(t.Context(), dek, []byte("aad"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := w.Unwrap(t.Context(), wrapped, id, []byte("aad")); err != nil || !got.Equal(dek) {
		t.Fatalf("Unwrap: %v", err)
	}
	again, _, _ := w.Wrap(t.Context(), dek, []byte("aad"))
	if bytes.Equal(again, wrapped) {
		t.Error("wrapping twice gives the same bytes")
	}
	for _, aad := range []string{"", "aa", "aad ", "AAD"} {
		if _, err := w.Unwrap(t.Context(), wrapped, id, []byte(aad)); !errors.Is(err, ErrUnwrap) {
			t.Errorf("Unwrap for %q = %v, want ErrUnwrap", aad, err)
		}
	}
	for i := range wrapped {
		bad := slices.Clone(wrapped)
		bad[i] ^= 1
		if _, err := w.Unwrap(t.Context(), bad, id, []byte("aad")); !errors.Is(err, ErrUnwrap) {
			t.Errorf("Unwrap with byte %d changed = %v", i, err)
		}
		if _, err := w.Unwrap(t.Context(), wrapped[:i], id, []byte("aad")); !errors.Is(err, ErrUnwrap) {
			t.Errorf("Unwrap of %d bytes = %v", i, err)
		}
	}
	next, err := w.Rotate(t.Context())
	if err != nil || next == id {
		t.Fatalf("Rotate = %s, %v", next, err)
	}
	if ids, err := w.Versions(t.Context()); err != nil || !slices.Equal(ids, []string{id, next}) {
		t.Errorf("Versions = %q, %v", ids, err)
	}
	if _, now, err := w.Wrap(t.Context(), dek, nil); now != next || err != nil {
		t.Errorf("Wrap after Rotate uses %s, %v", now, err)
	}
	if _, err := w.Unwrap(t.Context(), wrapped, next, []byte("aad")); !errors.Is(err, ErrUnwrap) {
		t.Errorf("Unwrap under another version = %v", err)
	}
	if got, err := w.Unwrap(t.Context(), wrapped, id, []byte("aad")); err != nil || !got.Equal(dek) {
		t.Errorf("Unwrap under the old version: %v", err)
	}
	if err := w.Health(t.Context()); err != nil {
		t.Errorf("Health = %v", err)
	}
	if err := w.Destroy(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Unwrap(t.Context(), wrapped, id, []byte("aad")); !errors.Is(err, ErrUnwrap) {
		t.Errorf("Unwrap under a destroyed version = %v", err)
	}
	if _, _, err := w.Wrap(t.Context(), secret.Bytes{}, nil); err == nil {
		t.Error("an empty key was wrapped")
	}
}

func TestWrapper(t *testing.T) {
	t.Run("clear", func(t *testing.T) { wrapperSuite(t, create(t, place(t))) })
	t.Run("passphrase", func(t *testing.T) {
		cfg := place(t)
		cfg.Passphrase = secret.NewText("correct horse")
		wrapperSuite(t, create(t, cfg))
	})
}
