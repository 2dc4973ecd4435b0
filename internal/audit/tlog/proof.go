package tlog

import (
	"context"
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// maxProofHashes bounds a proof: a tree of 64-bit size has no longer path.
const maxProofHashes = 64

// VerifyInclusion checks an RFC 6962 section 2.1.1 proof that the entry with this leaf hash is at index in the tree of c.
func VerifyInclusion(leaf Hash, index uint64, hashes []Hash, c Checkpoint) error {
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, c.Size, leaf[:], unpack(hashes), c.Root[:]); err != nil {
		return fmt.Errorf("verify inclusion of entry %d in log %q at size %d: %w", index, c.Origin, c.Size, err)
	}
	return nil
}

// VerifyConsistency checks an RFC 6962 section 2.1.2 proof that the tree of newer begins with the tree of older. Both are
// checkpoints of one log. Everything is consistent with an empty older tree.
func VerifyConsistency(older, newer Checkpoint, hashes []Hash) error {
	if older.Origin != newer.Origin {
		return fmt.Errorf("verify consistency: logs %q and %q differ", older.Origin, newer.Origin)
	}
	err := proof.VerifyConsistency(rfc6962.DefaultHasher, older.Size, newer.Size, unpack(hashes), older.Root[:], newer.Root[:])
	if err != nil {
		return fmt.Errorf("verify consistency of log %q from size %d to %d: %w", older.Origin, older.Size, newer.Size, err)
	}
	return nil
}

// InclusionProof builds, from the tiles that fetch reads, the proof that VerifyInclusion checks for the entry at index in
// the tree of the given size. The tiles are not verified here: verify the proof before handing it out.
func InclusionProof(ctx context.Context, fetch Fetch, index, size uint64) ([]Hash, error) {
	nodes, err := proof.Inclusion(index, size)
	if err != nil {
		return nil, fmt.Errorf("build inclusion proof: %w", err)
	}
	return build(ctx, fetch, nodes, size)
}

// ConsistencyProof builds, from the tiles that fetch reads, the proof that VerifyConsistency checks between two sizes of
// a log. The tiles are not verified here.
func ConsistencyProof(ctx context.Context, fetch Fetch, older, newer uint64) ([]Hash, error) {
	nodes, err := proof.Consistency(older, newer)
	if err != nil {
		return nil, fmt.Errorf("build consistency proof: %w", err)
	}
	return build(ctx, fetch, nodes, newer)
}

func build(ctx context.Context, fetch Fetch, nodes proof.Nodes, size uint64) ([]Hash, error) {
	r := tileReader{fetch: fetch, size: size, tiles: map[Tile][]Hash{}}
	raw := make([][]byte, len(nodes.IDs))
	for i, id := range nodes.IDs {
		h, err := r.node(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("build proof at size %d: %w", size, err)
		}
		raw[i] = h[:]
	}
	raw, err := nodes.Rehash(raw, rfc6962.DefaultHasher.HashChildren)
	if err != nil {
		return nil, fmt.Errorf("build proof at size %d: %w", size, err)
	}
	return pack(raw), nil
}

// tileReader finds tree nodes in tiles and keeps the tiles it has read, at most two a level for one proof.
type tileReader struct {
	fetch Fetch
	size  uint64
	tiles map[Tile][]Hash
}

// node returns the hash of one perfect subtree: a hash of a tile, or computed from 2, 4, … 128 neighbours in one.
func (r *tileReader) node(ctx context.Context, id compact.NodeID) (Hash, error) {
	level, up := int(id.Level/TileHeight), id.Level%TileHeight
	first := id.Index << up // position of the leftmost hash below the node, within its tile level
	t := TileAt(level, first/TileWidth, r.size)
	hashes, ok := r.tiles[t]
	if !ok {
		raw, err := FetchTile(ctx, r.fetch, t)
		if err != nil {
			return Hash{}, err
		}
		if hashes, err = ParseTile(raw, t.Width); err != nil {
			return Hash{}, fmt.Errorf("%s: %w", t.Path(), err)
		}
		r.tiles[t] = hashes
	}
	from, n := int(first%TileWidth), 1<<up
	if from+n > len(hashes) {
		return Hash{}, fmt.Errorf("%s: has no node at level %d, index %d", t.Path(), id.Level, id.Index)
	}
	return subtree(hashes[from : from+n]), nil
}

// subtree hashes a perfect subtree; the number of hashes is a power of two.
func subtree(hashes []Hash) Hash {
	if len(hashes) == 1 {
		return hashes[0]
	}
	half := len(hashes) / 2
	return NodeHash(subtree(hashes[:half]), subtree(hashes[half:]))
}

func pack(raw [][]byte) []Hash {
	hashes := make([]Hash, len(raw))
	for i, h := range raw {
		hashes[i] = Hash(h)
	}
	return hashes
}

func unpack(hashes []Hash) [][]byte {
	raw := make([][]byte, len(hashes))
	for i := range hashes {
		raw[i] = hashes[i][:]
	}
	return raw
}
