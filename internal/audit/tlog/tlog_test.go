package tlog

import (
	"context"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// memory is a log's files in memory, written by this test alone.
type memory map[string][]byte

func (m memory) fetch(_ context.Context, path string) ([]byte, error) {
	if b, ok := m[path]; ok {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

// buildLog writes the tiles and bundles of a log whose entry i is leafOf(i), and returns its root. The hashes come from
// golang.org/x/mod/sumdb/tlog, a second implementation.
func buildLog(t testing.TB, size uint64) (memory, Hash) {
	t.Helper()
	m := memory{}
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = stored[x]
		}
		return out, nil
	})
	for i := range size {
		hashes, err := tlog.StoredHashes(int64(i), leafOf(i), reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hashes...)
	}
	for level := 0; size>>(TileHeight*level) > 0; level++ {
		for index := uint64(0); ; index++ {
			tile := TileAt(level, index, size)
			if tile.Width == 0 {
				break
			}
			var raw, bundle []byte
			for i := range uint64(tile.Width) {
				at := index*TileWidth + i
				h := stored[tlog.StoredHashIndex(level*TileHeight, int64(at))]
				raw = append(raw, h[:]...)
				if level == 0 {
					var err error
					if bundle, err = AppendEntry(bundle, leafOf(at)); err != nil {
						t.Fatal(err)
					}
				}
			}
			m[tile.Path()] = raw
			if level == 0 {
				tile.Level = Entries
				m[tile.Path()] = bundle
			}
		}
	}
	root, err := tlog.TreeHash(int64(size), reader)
	if err != nil {
		t.Fatal(err)
	}
	return m, Hash(root)
}

func leafOf(i uint64) []byte {
	return AppendLeaf(nil, "sallyport.test/log", i, fmt.Appendf(nil, `{"n":%d}`, i*i))
}

// The roots of the eight-leaf tree that the Certificate Transparency implementations test with.
func TestRootsOfCertificateTransparencyVectors(t *testing.T) {
	leaves := []string{"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"}
	roots := []string{
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	}
	var hashes []Hash
	for i, text := range leaves {
		leaf, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, LeafHash(leaf))
		size := uint64(i + 1)
		tile := TileAt(0, 0, size)
		m := memory{tile.Path(): flatten(hashes)}
		root := Hash(must(hex.DecodeString(roots[i])))
		for index := range size {
			proof, err := InclusionProof(t.Context(), m.fetch, index, size)
			if err != nil {
				t.Fatal(err)
			}
			if err := VerifyInclusion(hashes[index], index, proof, Checkpoint{Size: size, Root: root}); err != nil {
				t.Error(err)
			}
		}
	}
	if got := hex.EncodeToString(func() []byte { r := EmptyRoot(); return r[:] }()); got != "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" {
		t.Errorf("empty root %s", got)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func flatten(hashes []Hash) (raw []byte) {
	for _, h := range hashes {
		raw = append(raw, h[:]...)
	}
	return raw
}

// Inclusion proofs from tiles satisfy the second implementation as well as ours, at every kind of place and size.
func TestInclusionProofsAgreeWithSecondImplementation(t *testing.T) {
	for _, size := range []uint64{1, 2, 3, 255, 256, 257, 511, 512, 700, 1025} {
		m, root := buildLog(t, size)
		c := Checkpoint{Origin: "sallyport.test/log", Size: size, Root: root}
		for _, index := range []uint64{0, 1, size / 3, size / 2, 254, 255, 256, size - 1} {
			if index >= size {
				continue
			}
			proof, err := InclusionProof(t.Context(), m.fetch, index, size)
			if err != nil {
				t.Fatal(err)
			}
			leaf := LeafHash(leafOf(index))
			if err := VerifyInclusion(leaf, index, proof, c); err != nil {
				t.Error(err)
			}
			theirs := make(tlog.RecordProof, len(proof))
			for i, h := range proof {
				theirs[i] = tlog.Hash(h)
			}
			if err := tlog.CheckRecord(theirs, int64(size), tlog.Hash(root), int64(index), tlog.Hash(leaf)); err != nil {
				t.Errorf("index %d of %d: %v", index, size, err)
			}
			for i := range proof { // any change is refused
				proof[i][3] ^= 1
				if VerifyInclusion(leaf, index, proof, c) == nil {
					t.Errorf("index %d of %d: changed hash %d accepted", index, size, i)
				}
				proof[i][3] ^= 1
			}
			if VerifyInclusion(leaf, index+1, proof, c) == nil || VerifyInclusion(LeafHash(nil), index, proof, c) == nil ||
				VerifyInclusion(leaf, index, append(proof, Hash{}), c) == nil {
				t.Errorf("index %d of %d: another index, leaf or length accepted", index, size)
			}
		}
		if _, err := InclusionProof(t.Context(), m.fetch, size, size); err == nil {
			t.Errorf("proof for an index outside of %d", size)
		}
	}
}

// Consistency proofs from tiles satisfy the second implementation as well as ours.
func TestConsistencyProofsAgreeWithSecondImplementation(t *testing.T) {
	newer := uint64(777)
	m, root := buildLog(t, newer)
	for _, older := range []uint64{0, 1, 2, 3, 128, 255, 256, 257, 512, 776, 777} {
		old, oldRoot := buildLog(t, older)
		delete(old, "") // only its root matters
		if older == 0 {
			oldRoot = EmptyRoot()
		}
		a, b := Checkpoint{"sallyport.test/log", older, oldRoot}, Checkpoint{"sallyport.test/log", newer, root}
		proof, err := ConsistencyProof(t.Context(), m.fetch, older, newer)
		if err != nil {
			t.Fatal(err)
		}
		if err := VerifyConsistency(a, b, proof); err != nil {
			t.Error(err)
		}
		if older > 0 {
			theirs := make(tlog.TreeProof, len(proof))
			for i, h := range proof {
				theirs[i] = tlog.Hash(h)
			}
			if err := tlog.CheckTree(theirs, int64(newer), tlog.Hash(root), int64(older), tlog.Hash(oldRoot)); err != nil {
				t.Errorf("%d to %d: %v", older, newer, err)
			}
			a.Root[0] ^= 1
			if VerifyConsistency(a, b, proof) == nil {
				t.Errorf("%d to %d: another older root accepted", older, newer)
			}
		}
		a.Origin = "other"
		if VerifyConsistency(a, b, proof) == nil {
			t.Errorf("%d to %d: another log accepted", older, newer)
		}
	}
	if _, err := ConsistencyProof(t.Context(), m.fetch, 778, newer); err == nil {
		t.Error("proof from a larger tree")
	}
}

// Tiles that are missing, short or long are errors of the proof.
func TestProofsFromBadTiles(t *testing.T) {
	m, _ := buildLog(t, 600)
	path := TileAt(0, 2, 600).Path()
	good := m[path]
	for what, bad := range map[string][]byte{"short": good[:32], "odd": good[:33], "empty": {}, "long": make([]byte, 8224)} {
		m[path] = bad
		if _, err := InclusionProof(t.Context(), m.fetch, 599, 600); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", what, err)
		}
	}
	delete(m, path)
	if _, err := InclusionProof(t.Context(), m.fetch, 599, 600); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("missing: %v", err)
	}
	m[TileAt(0, 2, 600).Full().Path()] = append(good, make([]byte, 8192-len(good))...) // a full tile stands in
	if _, err := InclusionProof(t.Context(), m.fetch, 599, 600); err != nil {
		t.Errorf("full instead of partial: %v", err)
	}
}
