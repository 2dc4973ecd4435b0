package storetest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/internal/artifact/keyring"
	"sallyport/internal/store/sqldb"
)

func TestKeyring(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		a, b := open().Keyring(), open().Keyring()
		row := keyring.Row{Artifact: "one", KeyID: "k1", Wrapped: []byte{0, 1, 0xff}}
		must(t, a.Put(t.Context(), row))
		if err := b.Put(t.Context(), row); !errors.Is(err, keyring.ErrExists) {
			t.Errorf("a second insert = %v", err)
		}
		got, err := b.Get(t.Context(), "one")
		if err != nil || got.Revision != 1 || got.KeyID != "k1" || !bytes.Equal(got.Wrapped, row.Wrapped) {
			t.Errorf("Get = %+v, %v", got, err)
		}
		got.KeyID, got.Wrapped = "k2", []byte("again")
		must(t, a.Put(t.Context(), got))
		if err := b.Put(t.Context(), got); !errors.Is(err, keyring.ErrConflict) {
			t.Errorf("a replacement of an older revision = %v", err)
		}
		if now, err := b.Get(t.Context(), "one"); err != nil || now.Revision != 2 || now.KeyID != "k2" {
			t.Errorf("Get = %+v, %v", now, err)
		}
		must(t, a.Delete(t.Context(), "one"))
		_, err = b.Get(t.Context(), "one")
		for what, err := range map[string]error{"Get": err, "Delete": b.Delete(t.Context(), "one"), "Put": b.Put(t.Context(), got)} {
			if !errors.Is(err, keyring.ErrNotFound) {
				t.Errorf("%s of what was deleted = %v", what, err)
			}
		}
	})
}

func TestKeyringList(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		s := open().Keyring()
		var want []string
		for _, id := range []string{"b", "a", "Z", "é", "a-", "B", "a.b"} {
			must(t, s.Put(t.Context(), keyring.Row{Artifact: id, KeyID: "k", Wrapped: []byte(id)}))
			want = append(want, id)
		}
		slices.Sort(want)
		var got []string
		for after := ""; ; {
			rows, err := s.List(t.Context(), after, 2)
			must(t, err)
			if len(rows) == 0 {
				break
			}
			for _, r := range rows {
				got, after = append(got, r.Artifact), r.Artifact
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("List = %q, want %q, in bytewise order", got, want)
		}
	})
}

// TestKeyringRing runs the room on the store: keys of two nodes, a rotation
// between them, and 30 replacements of one row of which one wins.
func TestKeyringRing(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		dir := t.TempDir()
		must(t, os.Mkdir(filepath.Join(dir, "data"), 0o700))
		local, err := keyring.CreateLocal(keyring.LocalConfig{Path: filepath.Join(dir, "keys"), DataDir: filepath.Join(dir, "data"), Random: rand.Reader, Now: time.Now})
		must(t, err)
		a := &keyring.Ring{Store: open().Keyring(), Wrapper: local, Random: rand.Reader}
		b := &keyring.Ring{Store: open().Keyring(), Wrapper: local, Random: rand.Reader}
		for i := range 5 {
			key, err := a.Create(t.Context(), fmt.Sprintf("v%d", i))
			must(t, err)
			got, err := b.Key(t.Context(), fmt.Sprintf("v%d", i))
			if err != nil || !got.Equal(key) {
				t.Errorf("the other node's key of v%d: %v", i, err)
			}
		}
		if _, n, err := a.Rotate(t.Context()); n != 5 || err != nil {
			t.Errorf("Rotate = %d, %v", n, err)
		}
		if gone, err := a.Prune(t.Context()); len(gone) != 1 || err != nil {
			t.Errorf("Prune = %v, %v", gone, err)
		}
		_, err = b.Key(t.Context(), "v3")
		must(t, err)
		row, err := a.Store.Get(t.Context(), "v3")
		must(t, err)
		var won atomic.Int32
		together(30, func(i int) {
			s := []*keyring.Ring{a, b}[i%2].Store
			switch err := s.Put(t.Context(), row); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, keyring.ErrConflict):
				t.Error(err)
			}
		})
		if won.Load() != 1 {
			t.Errorf("%d replacements of one revision, want 1", won.Load())
		}
	})
}

// TestShreddedKeyLeavesNoTrace looks for a deleted wrapped key in the raw files of
// the embedded database (I-18).
func TestShreddedKeyLeavesNoTrace(t *testing.T) {
	dir := t.TempDir()
	db, err := sqldb.Open(t.Context(), "sqlite:"+filepath.Join(dir, "store.db"))
	must(t, err)
	defer db.Close()
	s := db.Keyring()
	secret := []byte("wrapped-key-" + rand.Text())
	for i := range 50 {
		must(t, s.Put(t.Context(), keyring.Row{Artifact: fmt.Sprint("other", i), KeyID: "k", Wrapped: []byte("other")}))
	}
	must(t, s.Put(t.Context(), keyring.Row{Artifact: "one", KeyID: "k", Wrapped: secret}))
	if !inFiles(t, dir, secret) {
		t.Fatal("the key is nowhere: the search proves nothing")
	}
	must(t, s.Delete(t.Context(), "one"))
	if inFiles(t, dir, secret) {
		t.Error("the wrapped key is still in the database's files")
	}
}

func inFiles(t *testing.T, dir string, what []byte) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	must(t, err)
	for _, f := range files {
		raw, err := os.ReadFile(f)
		must(t, err)
		if bytes.Contains(raw, what) {
			return true
		}
	}
	return false
}
