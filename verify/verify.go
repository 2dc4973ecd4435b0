package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"sallyport/internal/audit/tlog"
)

// Options add to what Log checks. The zero value checks the log alone.
type Options struct {
	// Earlier are signed checkpoints of the same log that were kept: the log must still begin with each of them.
	Earlier [][]byte
	// Each, if set, is called with every entry in order, once the entry agrees with its tile and states its own place.
	// The whole is proven only when Log returns without error. An error from Each ends the verification with it.
	// The leaf must not be kept or changed.
	Each func(index uint64, leaf []byte) error
}

// Report says what was verified. It is complete only when it came without an error.
type Report struct {
	Origin  string // name of the log
	Size    uint64 // entries the signed checkpoint covers
	Root    string // root hash of the tree over them, in base64
	Checked uint64 // entries read and hashed
	Earlier int    // kept checkpoints the log was found consistent with
}

// Finding is the error for a log that is not what it claims to be. Any other error means that the verification could not
// be finished.
type Finding struct {
	// Index and Last bound the bad entries: the first bad one is at least Index and at most Last. Where one entry can be
	// named they are equal. For a checkpoint that fails by itself both are 0.
	Index, Last uint64
	// Path is the file at fault, where one is.
	Path string
	// Problem says what is wrong.
	Problem string
}

// Error names the first bad index, the file and the problem.
func (f *Finding) Error() string {
	where := ""
	if f.Path != "" {
		where = " (" + f.Path + ")"
	}
	if f.Index == f.Last {
		return fmt.Sprintf("verify log: bad from entry %d on%s: %s", f.Index, where, f.Problem)
	}
	return fmt.Sprintf("verify log: bad from an entry between %d and %d on%s: %s", f.Index, f.Last, where, f.Problem)
}

// Log verifies the whole log that source reads. trust is the log's verifier key (name+hash+key), or the text of a C2SP
// tlog-policy that names it and the witnesses whose cosignatures are needed. A *Finding is returned as the error when the
// log is bad. Log reads files one by one and each of bounded length, ends at the first that is bad, and obeys ctx.
func Log(ctx context.Context, source Source, trust string, o Options) (Report, error) {
	policy, err := tlog.ParsePolicy(trust)
	if err != nil {
		return Report{}, fmt.Errorf("verify log: %w", err)
	}
	signed, err := source(ctx, tlog.CheckpointPath)
	if err != nil {
		return Report{}, fmt.Errorf("verify log: read its checkpoint: %w", err)
	}
	head, err := policy.Open(signed)
	if err != nil {
		return Report{}, &Finding{Path: tlog.CheckpointPath, Problem: err.Error()}
	}
	w := walk{
		source: source, each: o.Each, head: head,
		report: Report{Origin: head.Origin, Size: head.Size, Root: head.Root.String()},
		tree:   (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0),
		tiles:  map[int]*loadedTile{},
	}
	if w.earlier, err = openEarlier(policy, o.Earlier, head); err != nil {
		return w.report, err
	}
	err = w.run(ctx)
	return w.report, err
}

// openEarlier verifies kept checkpoints and sorts them by size. The quorum may have been another one at their time, so
// that only the log's own signature counts.
func openEarlier(policy *tlog.Policy, kept [][]byte, head tlog.Checkpoint) ([]tlog.Checkpoint, error) {
	var earlier []tlog.Checkpoint
	for i, signed := range kept {
		c, err := policy.WithoutQuorum().Open(signed)
		if err != nil {
			return nil, fmt.Errorf("verify log: kept checkpoint %d: %w", i, err)
		}
		if c.Origin != head.Origin {
			return nil, fmt.Errorf("verify log: kept checkpoint %d is of log %q, this is log %q", i, c.Origin, head.Origin)
		}
		if c.Size > head.Size {
			return nil, &Finding{Index: head.Size, Last: head.Size, Path: tlog.CheckpointPath,
				Problem: fmt.Sprintf("the log was cut: it ends after %d entries, a kept checkpoint covers %d", head.Size, c.Size)}
		}
		earlier = append(earlier, c)
	}
	slices.SortFunc(earlier, func(a, b tlog.Checkpoint) int { return cmp.Compare(a.Size, b.Size) })
	return earlier, nil
}

// walk is one pass over a log, from the first entry to the last.
type walk struct {
	source  Source
	each    func(uint64, []byte) error
	head    tlog.Checkpoint
	earlier []tlog.Checkpoint // still to be met, by size
	proven  uint64            // size of the last kept checkpoint that agreed
	report  Report
	tree    *compact.Range
	tiles   map[int]*loadedTile // the current tile of each level above 0
}

type loadedTile struct {
	tile   tlog.Tile
	hashes []tlog.Hash
}

func (w *walk) run(ctx context.Context) error {
	if err := w.meetEarlier(); err != nil {
		return err
	}
	for first := uint64(0); first < w.head.Size; first += tlog.TileWidth {
		if err := w.bundle(ctx, first); err != nil {
			return err
		}
	}
	return w.agree(w.head, "the signed checkpoint")
}

// bundle checks the entries of one bundle against themselves, their tile, and the tree above.
func (w *walk) bundle(ctx context.Context, first uint64) error {
	leaves, missing, err := w.entries(ctx, first)
	if err != nil {
		return err
	}
	hashes, err := w.tile(ctx, tlog.TileAt(0, first/tlog.TileWidth, w.head.Size), first)
	if err != nil {
		return err
	}
	for i, leaf := range leaves {
		index := first + uint64(i)
		hash := tlog.LeafHash(leaf)
		if err := w.entry(index, leaf, hash, hashes[i]); err != nil {
			return err
		}
		if err := w.add(ctx, hash); err != nil {
			return err
		}
		w.report.Checked = index + 1
		if err := w.meetEarlier(); err != nil {
			return err
		}
	}
	if missing != nil {
		return missing
	}
	return nil
}

// entries reads the bundle that begins with entry first. A bundle that ends early gives the entries before its end and
// the finding for the rest.
func (w *walk) entries(ctx context.Context, first uint64) (leaves [][]byte, missing *Finding, err error) {
	t := tlog.TileAt(tlog.Entries, first/tlog.TileWidth, w.head.Size)
	raw, err := w.fetch(ctx, t, first, first)
	if err != nil {
		return nil, nil, err
	}
	leaves, err = tlog.ParseBundle(raw, t.Width)
	if err != nil {
		at := first + uint64(len(leaves))
		return leaves, &Finding{Index: at, Last: at, Path: t.Path(), Problem: err.Error()}, nil
	}
	return leaves, nil, nil
}

// tile reads a tile of hashes whose first hash covers entries from first on.
func (w *walk) tile(ctx context.Context, t tlog.Tile, first uint64) ([]tlog.Hash, error) {
	last := min(w.head.Size, first+uint64(t.Width)<<(tlog.TileHeight*t.Level)) - 1
	raw, err := w.fetch(ctx, t, first, last)
	if err != nil {
		return nil, err
	}
	hashes, err := tlog.ParseTile(raw, t.Width)
	if err != nil {
		return nil, &Finding{Index: first, Last: last, Path: t.Path(), Problem: err.Error()}
	}
	return hashes, nil
}

// fetch reads the file of t; that it is missing is a finding, that it cannot be read is not.
func (w *walk) fetch(ctx context.Context, t tlog.Tile, first, last uint64) ([]byte, error) {
	raw, err := tlog.FetchTile(ctx, tlog.Fetch(w.source), t)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Finding{Index: first, Last: last, Path: t.Path(), Problem: "the file is missing"}
	}
	if err != nil {
		return nil, fmt.Errorf("verify log: from entry %d on: %w", first, err)
	}
	return raw, nil
}

// entry checks what an entry says of itself, which tells a moved entry from a changed one, and its hash.
func (w *walk) entry(index uint64, leaf []byte, hash, want tlog.Hash) error {
	bad := func(problem string) error {
		t := tlog.TileAt(tlog.Entries, index/tlog.TileWidth, w.head.Size)
		return &Finding{Index: index, Last: index, Path: t.Path(), Problem: problem}
	}
	origin, seq, err := tlog.ParseLeaf(leaf)
	switch {
	case hash != want && err == nil && seq != index:
		return bad(fmt.Sprintf("entry %d stands here: entries were dropped or reordered", seq))
	case hash != want:
		return bad("the entry and its hash in the tile differ: one of them was changed")
	case err != nil:
		return bad(err.Error())
	case origin != w.head.Origin || seq != index:
		return bad(fmt.Sprintf("the entry says it is %d of log %q", seq, origin))
	}
	if w.each != nil {
		if err := w.each(index, leaf); err != nil {
			return fmt.Errorf("verify log: entry %d: %w", index, err)
		}
	}
	return nil
}

// add puts one leaf hash on the tree and compares every hash of a higher tile that it completes.
func (w *walk) add(ctx context.Context, hash tlog.Hash) error {
	var failed error
	visit := func(id compact.NodeID, got []byte) {
		if id.Level == 0 || id.Level%tlog.TileHeight != 0 || failed != nil {
			return
		}
		failed = w.node(ctx, id, tlog.Hash(got))
	}
	if err := w.tree.Append(hash[:], visit); err != nil {
		return fmt.Errorf("verify log: %w", err)
	}
	return failed
}

// node compares the hash of one full tile below with the tile above.
func (w *walk) node(ctx context.Context, id compact.NodeID, got tlog.Hash) error {
	level := int(id.Level / tlog.TileHeight)
	t := tlog.TileAt(level, id.Index/tlog.TileWidth, w.head.Size)
	first := id.Index << id.Level
	at := w.tiles[level]
	if at == nil || at.tile != t {
		hashes, err := w.tile(ctx, t, t.Index*tlog.TileWidth<<id.Level)
		if err != nil {
			return err
		}
		at = &loadedTile{t, hashes}
		w.tiles[level] = at
	}
	if at.hashes[id.Index%tlog.TileWidth] != got {
		return &Finding{Index: first, Last: first + 1<<id.Level - 1, Path: t.Path(),
			Problem: "the entries and the hash over them differ: one of them was changed"}
	}
	return nil
}

// meetEarlier compares the tree so far with the kept checkpoints of its size.
func (w *walk) meetEarlier() error {
	for len(w.earlier) > 0 && w.earlier[0].Size == w.tree.End() {
		if err := w.agree(w.earlier[0], "a kept checkpoint: the log was forked or rewritten"); err != nil {
			return err
		}
		w.proven, w.earlier = w.earlier[0].Size, w.earlier[1:]
		w.report.Earlier++
	}
	return nil
}

// agree compares the tree so far with a checkpoint of its size.
func (w *walk) agree(c tlog.Checkpoint, what string) error {
	root := tlog.EmptyRoot()
	if w.tree.End() > 0 {
		raw, err := w.tree.GetRootHash(nil)
		if err != nil {
			return fmt.Errorf("verify log: %w", err)
		}
		root = tlog.Hash(raw)
	}
	if root != c.Root {
		return &Finding{Index: w.proven, Last: max(c.Size, w.proven+1) - 1,
			Problem: fmt.Sprintf("the first %d entries do not give the root hash of %s", c.Size, what)}
	}
	return nil
}
