package tlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
)

// ParseBundle decodes the entries of an entry bundle. width is the number of entries the tree has in it, 1 to TileWidth;
// a longer bundle is cut to width, because a full bundle may stand in for a partial one. On an error the entries before
// the bad one are returned with it, so that a caller can name the first entry that is missing.
// The entries share memory with raw.
func ParseBundle(raw []byte, width int) ([][]byte, error) {
	if width < 1 || width > TileWidth {
		return nil, fmt.Errorf("parse entry bundle: width %d is not 1 to %d", width, TileWidth)
	}
	entries := make([][]byte, 0, width)
	for len(entries) < width {
		if len(raw) < 2 {
			return entries, fmt.Errorf("parse entry bundle: ends after %d of %d entries", len(entries), width)
		}
		n := int(binary.BigEndian.Uint16(raw))
		if len(raw) < 2+n {
			return entries, fmt.Errorf("parse entry bundle: entry %d of %d bytes is cut short", len(entries), n)
		}
		entries = append(entries, raw[2:2+n:2+n])
		raw = raw[2+n:]
	}
	return entries, nil
}

// AppendEntry appends one entry to a bundle. The entry is at most MaxEntrySize bytes.
func AppendEntry(bundle, entry []byte) ([]byte, error) {
	if len(entry) > MaxEntrySize {
		return bundle, fmt.Errorf("append entry: %d bytes, at most %d fit", len(entry), MaxEntrySize)
	}
	return append(binary.BigEndian.AppendUint16(bundle, uint16(len(entry))), entry...), nil
}

// ParseTile decodes the first width hashes of a tile, 1 to TileWidth; a full tile may stand in for a partial one.
func ParseTile(raw []byte, width int) ([]Hash, error) {
	if width < 1 || width > TileWidth {
		return nil, fmt.Errorf("parse tile: width %d is not 1 to %d", width, TileWidth)
	}
	if len(raw) < width*HashSize || len(raw)%HashSize != 0 || len(raw) > TileWidth*HashSize {
		return nil, fmt.Errorf("parse tile: %d bytes are not %d hashes", len(raw), width)
	}
	hashes := make([]Hash, width)
	for i := range hashes {
		hashes[i] = Hash(raw[i*HashSize:])
	}
	return hashes, nil
}

// FetchTile reads the file of t, or when a partial one is gone the full one that replaced it.
func FetchTile(ctx context.Context, fetch Fetch, t Tile) ([]byte, error) {
	raw, err := fetch(ctx, t.Path())
	if err != nil && t.Width < TileWidth && errors.Is(err, fs.ErrNotExist) {
		full, errFull := fetch(ctx, t.Full().Path())
		if errFull == nil || !errors.Is(errFull, fs.ErrNotExist) {
			raw, err = full, errFull
		}
	}
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", t.Path(), err)
	}
	if len(raw) > MaxFileSize {
		return nil, fmt.Errorf("fetch %s: %d bytes, at most %d expected", t.Path(), len(raw), MaxFileSize)
	}
	return raw, nil
}
