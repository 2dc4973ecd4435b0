package tlog

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

const (
	// TileHeight is the number of tree levels one tile spans.
	TileHeight = 8
	// TileWidth is the number of hashes in a full tile, and of entries in a full bundle.
	TileWidth = 1 << TileHeight
	// MaxEntrySize is the greatest length of one entry in bytes: a bundle gives it 16 bits.
	MaxEntrySize = 1<<16 - 1
	// MaxFileSize bounds every file of a log in bytes: a full bundle of the greatest entries.
	MaxFileSize = TileWidth * (2 + MaxEntrySize)
	// CheckpointPath is where a log keeps its newest signed checkpoint.
	CheckpointPath = "checkpoint"

	// Entries is the Level of an entry bundle, which is no level of the tree.
	Entries = -1

	maxLevel = 63 // by the specification
)

// Tile names one file of a C2SP tlog-tiles log: a tile of hashes, or with Level == Entries a bundle of entries.
type Tile struct {
	Level int    // 0 to 63 in steps of TileHeight tree levels, or Entries
	Index uint64 // position within the level
	Width int    // 1 to TileWidth; below TileWidth the tile is partial
}

// TileAt returns the tile at level and index as a tree of the given size has it; Width is 0 when it has none.
// The entry bundle over the same leaves as a level 0 tile has its Index and Width.
func TileAt(level int, index, size uint64) Tile {
	width := size >> (TileHeight * max(level, 0)) // hashes in this level
	first := index * TileWidth
	if hi, _ := bits.Mul64(index, TileWidth); hi != 0 || first >= width {
		return Tile{Level: level, Index: index}
	}
	return Tile{Level: level, Index: index, Width: int(min(width-first, TileWidth))}
}

// Path returns the slash-separated path of t below the log's prefix, such as "tile/0/x001/x234/067.p/8".
func (t Tile) Path() string {
	var b strings.Builder
	b.WriteString("tile/")
	if t.Level == Entries {
		b.WriteString("entries")
	} else {
		b.WriteString(strconv.Itoa(t.Level))
	}
	groups := []uint64{t.Index % 1000}
	for n := t.Index / 1000; n > 0; n /= 1000 {
		groups = append(groups, n%1000)
	}
	for i := len(groups) - 1; i > 0; i-- {
		fmt.Fprintf(&b, "/x%03d", groups[i])
	}
	fmt.Fprintf(&b, "/%03d", groups[0])
	if t.Width < TileWidth {
		fmt.Fprintf(&b, ".p/%d", t.Width)
	}
	return b.String()
}

// Full returns t at its full width, the file that replaces a partial tile once the tree has grown.
func (t Tile) Full() Tile {
	t.Width = TileWidth
	return t
}

// ParsePath reads a path that Path wrote, and refuses every other spelling, so that a server can let through the
// well-formed paths of a log and nothing else. CheckpointPath is no tile and is refused too.
func ParsePath(path string) (Tile, error) {
	bad := func() (Tile, error) {
		return Tile{}, fmt.Errorf("parse tile path %.120q: not of the form tile/<level>/<index>[.p/<width>]", path)
	}
	if len(path) > 120 {
		return bad()
	}
	rest, ok := strings.CutPrefix(path, "tile/")
	level, rest, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return bad()
	}
	t := Tile{Level: Entries, Width: TileWidth}
	if level != "entries" {
		n, err := strconv.ParseUint(level, 10, 8)
		if err != nil || n > maxLevel {
			return bad()
		}
		t.Level = int(n)
	}
	if index, width, partial := strings.Cut(rest, ".p/"); partial {
		n, err := strconv.ParseUint(width, 10, 8)
		if err != nil || n == 0 {
			return bad()
		}
		t.Width, rest = int(n), index
	}
	for group := range strings.SplitSeq(rest, "/") {
		n, err := strconv.ParseUint(strings.TrimPrefix(group, "x"), 10, 16)
		hi, lo := bits.Mul64(t.Index, 1000)
		if err != nil || n > 999 || hi != 0 || lo > lo+n {
			return bad()
		}
		t.Index = lo + n
	}
	if t.Path() != path { // leading zeros, signs, a missing or stray x: one spelling only
		return bad()
	}
	return t, nil
}
