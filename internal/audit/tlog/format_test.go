package tlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/transparency-dev/tessera/api/layout"
)

// Paths are those of the specification, and of the engine that writes the files.
func TestPathsAgreeWithTheEngine(t *testing.T) {
	for _, size := range []uint64{1, 255, 256, 70_000, 1 << 40, math.MaxUint64} {
		for _, level := range []int{Entries, 0, 1, 2, 7} {
			for _, index := range []uint64{0, 1, 255, 273, 999, 1000, 1234067, 1 << 50} {
				tile := TileAt(level, index, size)
				if tile.Width == 0 {
					continue
				}
				p := layout.PartialTileSize(uint64(max(level, 0)), index, size)
				want := layout.EntriesPath(index, p)
				if level >= 0 {
					want = layout.TilePath(uint64(level), index, p)
				}
				if got := tile.Path(); got != want {
					t.Errorf("size %d: %s, engine %s", size, got, want)
				}
				if back, err := ParsePath(tile.Path()); err != nil || back != tile {
					t.Errorf("%s parsed as %+v, %v", tile.Path(), back, err)
				}
			}
		}
	}
	// The example of the specification: 70,000 entries.
	for _, want := range []Tile{{0, 272, 256}, {0, 273, 112}, {1, 0, 256}, {1, 1, 17}, {2, 0, 1}, {0, 274, 0}, {3, 0, 0}} {
		if got := TileAt(want.Level, want.Index, 70_000); got != want {
			t.Errorf("tile %+v, want %+v", got, want)
		}
	}
}

func TestParsePathRefusesOtherSpellings(t *testing.T) {
	for _, path := range []string{
		"", "checkpoint", "tile", "tile/", "tile/0", "tile/0/", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/00/000", "tile/64/000",
		"tile/-1/000", "tile/0/x000/000", "tile/0/001/000", "tile/0/x001/x000", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01",
		"tile/0/000.p", "tile/0/000.p/", "tile/0/000.p/1.p/1", "tile/entries/../000", "/tile/0/000", "tile/0/000/", "tile/0/+01",
		"tile/0/x018/x446/x744/x073/x709/x551/616", "tile/0/" + strings.Repeat("x001/", 40) + "000", "tile/0/000\x00",
	} {
		if tile, err := ParsePath(path); err == nil {
			t.Errorf("%q parsed as %+v", path, tile)
		}
	}
	if tile, err := ParsePath("tile/0/x018/x446/x744/x073/x709/x551/615"); err != nil || tile.Index != math.MaxUint64 {
		t.Errorf("greatest index: %+v, %v", tile, err)
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"tile/0/x001/x234/067.p/8", "tile/entries/000", "tile/63/999.p/255", "tile/0/x18446744073709551615/000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if tile, err := ParsePath(path); err == nil && tile.Path() != path {
			t.Errorf("%q parsed as %+v", path, tile)
		}
	})
}

func TestBundles(t *testing.T) {
	var bundle []byte
	entries := [][]byte{[]byte("a"), {}, bytes.Repeat([]byte("x"), MaxEntrySize)}
	for _, e := range entries {
		var err error
		if bundle, err = AppendEntry(bundle, e); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := AppendEntry(nil, make([]byte, MaxEntrySize+1)); err == nil {
		t.Error("an entry too long was appended")
	}
	for width := 1; width <= 3; width++ {
		got, err := ParseBundle(bundle, width)
		if err != nil || len(got) != width || !bytes.Equal(got[width-1], entries[width-1]) {
			t.Errorf("width %d: %d entries, %v", width, len(got), err)
		}
	}
	for _, cut := range []int{0, 1, 2, 3, 4, 5, 100, len(bundle) - 1} {
		got, err := ParseBundle(bundle[:cut], 3)
		want := 0
		if cut >= 3 {
			want++
		}
		if cut >= 5 {
			want++
		}
		if err == nil || len(got) != want {
			t.Errorf("cut at %d: %d entries, %v", cut, len(got), err)
		}
	}
	for _, width := range []int{-1, 0, 257} {
		if _, err := ParseBundle(bundle, width); err == nil {
			t.Errorf("width %d accepted", width)
		}
		if _, err := ParseTile(make([]byte, 8192), width); err == nil {
			t.Errorf("tile of width %d accepted", width)
		}
	}
}

func FuzzParseBundle(f *testing.F) {
	f.Add([]byte("\x00\x01a\x00\x00"), 2)
	f.Add([]byte("\xff\xff"), 1)
	f.Fuzz(func(t *testing.T, raw []byte, width int) {
		entries, err := ParseBundle(raw, width)
		var again []byte
		for _, e := range entries {
			again, _ = AppendEntry(again, e)
		}
		if !bytes.HasPrefix(raw, again) || err == nil && len(entries) != width {
			t.Errorf("%d entries of %d, %v: %x is no prefix of %x", len(entries), width, err, again, raw)
		}
	})
}

func FuzzParseTile(f *testing.F) {
	f.Add(make([]byte, 64), 2)
	f.Add(make([]byte, 31), 1)
	f.Fuzz(func(t *testing.T, raw []byte, width int) {
		hashes, err := ParseTile(raw, width)
		if err == nil && (len(hashes) != width || !bytes.HasPrefix(raw, flatten(hashes))) {
			t.Errorf("%d bytes at width %d gave %d hashes", len(raw), width, len(hashes))
		}
	})
}

func TestLeavesExplainThemselves(t *testing.T) {
	for body, want := range map[string]string{
		`{}`:             `{"log":"o","seq":18446744073709551615}`,
		`{ }`:            `{"log":"o","seq":18446744073709551615}`,
		`{"a":"b"}`:      `{"log":"o","seq":18446744073709551615,"a":"b"}`,
		"{\n\t\"a\":1 }": `{"log":"o","seq":18446744073709551615,"a":1 }`,
	} {
		if err := CheckBody([]byte(body)); err != nil {
			t.Error(err)
		}
		leaf := AppendLeaf(nil, "o", math.MaxUint64, []byte(body))
		if string(leaf) != want || !json.Valid(leaf) {
			t.Errorf("leaf of %s: %s", body, leaf)
		}
		if origin, seq, err := ParseLeaf(leaf); err != nil || origin != "o" || seq != math.MaxUint64 {
			t.Errorf("%s: %q %d %v", leaf, origin, seq, err)
		}
	}
	for _, bad := range []string{"", "{", "{}", `{"log":"o"}`, `{"seq":1,"log":"o"}`, `{"log":"","seq":1}`, `{"log":"a b","seq":1}`,
		`{"log":"o","seq":}`, `{"log":"o","seq":01}`, `{"log":"o","seq":-1}`, `{"log":"o","seq":1.0}`, `{"log":"o","seq":1e3,"a":1}`,
		`{"log":"o","seq":18446744073709551616}`, `{"log":"o","seq":1`, ` {"log":"o","seq":1}`, `{"log": "o","seq":1}`} {
		if origin, seq, err := ParseLeaf([]byte(bad)); !errors.Is(err, ErrLeaf) {
			t.Errorf("%s parsed as %q %d, %v", bad, origin, seq, err)
		}
	}
	for _, bad := range []string{"", "{", "null", `"a"`, "[]", " {}", "{}\n", `{"a":}`, `{"a":1}{}`, "{\"a\":\"\x00\"}",
		`{"p":"` + strings.Repeat("x", MaxEntrySize) + `"}`} {
		if err := CheckBody([]byte(bad)); !errors.Is(err, ErrLeaf) {
			t.Errorf("body %.30q: %v", bad, err)
		}
	}
	for _, bad := range []string{"", "a b", "a\n", "a+b", `a"b`, "é", "a\\b", strings.Repeat("a", MaxOriginSize+1)} {
		if CheckOrigin(bad) == nil {
			t.Errorf("origin %.30q accepted", bad)
		}
	}
}

func FuzzLeaf(f *testing.F) {
	f.Add([]byte(`{"log":"o","seq":1,"a":2}`), uint64(0))
	f.Add([]byte(`{ }`), uint64(1<<63))
	f.Fuzz(func(t *testing.T, data []byte, seq uint64) {
		if origin, n, err := ParseLeaf(data); err == nil {
			if want := AppendLeaf(nil, origin, n, []byte(`{}`)); !bytes.HasPrefix(data, want[:len(want)-1]) {
				t.Errorf("%q parsed as %q %d", data, origin, n)
			}
		}
		if CheckBody(data) != nil {
			return
		}
		leaf := AppendLeaf(nil, "sallyport.test/log", seq, data)
		origin, got, err := ParseLeaf(leaf)
		if !json.Valid(leaf) || err != nil || got != seq || origin != "sallyport.test/log" {
			t.Errorf("body %q gives leaf %q: %q %d %v", data, leaf, origin, got, err)
		}
	})
}
