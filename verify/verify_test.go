package verify_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"sallyport/internal/audit/tlog"
	"sallyport/internal/audit/trail/tiles"
	"sallyport/verify"
)

const origin = "sallyport.test/log/n1"

// keys is a log's key pair.
type keys struct {
	signer note.Signer
	vkey   string
}

func newKeys(t testing.TB) keys {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return keys{signer, vkey}
}

func leaf(i int, body string) []byte { return tlog.AppendLeaf(nil, origin, uint64(i), []byte(body)) }

func leaves(n int) (all [][]byte) {
	for i := range n {
		all = append(all, leaf(i, fmt.Sprintf(`{"n":%d}`, i)))
	}
	return all
}

// extend writes leaves to a log with the real engine, and returns its checkpoint.
func (k keys) extend(t testing.TB, dir string, leaves [][]byte) []byte {
	t.Helper()
	tree, err := tiles.Open(t.Context(), dir, k.signer, tiles.Options{CheckpointInterval: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for part := range slices.Chunk(leaves, 1000) {
		if _, err := tree.Append(t.Context(), part); err != nil {
			t.Fatal(err)
		}
	}
	if err := tree.Close(); err != nil { // publishes
		t.Fatal(err)
	}
	signed, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// files are all files of a log, changed in memory.
type files map[string][]byte

func load(t testing.TB, dir string) files {
	t.Helper()
	m := files{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			m[path], err = os.ReadFile(filepath.Join(dir, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (m files) source(_ context.Context, path string) ([]byte, error) {
	if b, ok := m[path]; ok {
		return b, nil
	}
	return nil, &fs.PathError{Op: "read", Path: path, Err: fs.ErrNotExist}
}

// entries returns the entries of one bundle, and set writes them.
func (m files) entries(t testing.TB, path string, width int) [][]byte {
	t.Helper()
	e, err := tlog.ParseBundle(m[path], width)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (m files) set(t testing.TB, path string, entries [][]byte) {
	t.Helper()
	var b []byte
	for _, e := range entries {
		var err error
		if b, err = tlog.AppendEntry(b, e); err != nil {
			t.Fatal(err)
		}
	}
	m[path] = b
}

const (
	size    = 2_000 // tiles on two levels, partial ones on each
	bundle1 = "tile/entries/001"
	tile1   = "tile/0/001"
	last    = "tile/entries/007.p/208"
)

// JT14: whatever is done to the files of a log, its verification names the first bad index, offline.
func TestJT14FirstBadIndexIsNamed(t *testing.T) {
	k := newKeys(t)
	dir := t.TempDir()
	k.extend(t, dir, leaves(size))
	good := load(t, dir)
	path := func(index uint64) string { return tlog.TileAt(tlog.Entries, index/256, size).Path() }
	flip := func(b []byte, i int) []byte { b = slices.Clone(b); b[i] ^= 4; return b }

	for what, c := range map[string]struct {
		change      func(m files)
		first, last uint64
		problem     string
	}{
		"bit of an entry": {func(m files) {
			e := m.entries(t, bundle1, 256)
			e[44] = flip(e[44], len(e[44])-2)
			m.set(t, bundle1, e)
		}, 300, 300, "changed"},
		"bit of an entry's number": {func(m files) {
			e := m.entries(t, bundle1, 256)
			e[44] = flip(e[44], strings.Index(string(e[44]), "300"))
			m.set(t, bundle1, e)
		}, 300, 300, ""},
		"bit of a length":       {func(m files) { m[bundle1] = flip(m[bundle1], 1) }, 256, 256, ""},
		"bit of a leaf hash":    {func(m files) { m[tile1] = flip(m[tile1], 32*44+5) }, 300, 300, "changed"},
		"bit of a level 1 hash": {func(m files) { m["tile/1/000.p/7"] = flip(m["tile/1/000.p/7"], 32*3+5) }, 768, 1023, "changed"},
		"bit of the last entry": {func(m files) { m[last] = flip(m[last], len(m[last])-2) }, size - 1, size - 1, "changed"},
		"entry dropped":         {func(m files) { m.set(t, bundle1, slices.Delete(m.entries(t, bundle1, 256), 44, 45)) }, 300, 300, "dropped or reordered"},
		"first entry dropped":   {func(m files) { m.set(t, path(0), m.entries(t, path(0), 256)[1:]) }, 0, 0, "dropped or reordered"},
		"entries swapped":       {func(m files) { e := m.entries(t, bundle1, 256); e[44], e[50] = e[50], e[44]; m.set(t, bundle1, e) }, 300, 300, "dropped or reordered"},
		"bundles swapped":       {func(m files) { m[path(512)], m[path(768)] = m[path(768)], m[path(512)] }, 512, 512, "dropped or reordered"},
		"entry doubled":         {func(m files) { e := m.entries(t, bundle1, 256); m.set(t, bundle1, slices.Insert(e, 45, e[44])) }, 301, 301, "dropped or reordered"},
		"bundle missing":        {func(m files) { delete(m, path(1024)) }, 1024, 1024, "missing"},
		"bundle empty":          {func(m files) { m[path(1024)] = nil }, 1024, 1024, ""},
		"bundle cut":            {func(m files) { m[bundle1] = m[bundle1][:len(m[bundle1])-1] }, 511, 511, "cut short"},
		"last bundle missing":   {func(m files) { delete(m, last) }, size - 208, size - 208, "missing"},
		"tile missing":          {func(m files) { delete(m, tile1) }, 256, 511, "missing"},
		"tile cut":              {func(m files) { m[tile1] = m[tile1][:8191] }, 256, 511, ""},
		"level 1 tile missing":  {func(m files) { delete(m, "tile/1/000.p/7") }, 0, 7*256 - 1, "missing"},
		"checkpoint bit":        {func(m files) { m["checkpoint"] = flip(m["checkpoint"], 30) }, 0, 0, ""},
		"checkpoint empty":      {func(m files) { m["checkpoint"] = nil }, 0, 0, ""},
		"entry and hash changed": {func(m files) { // the forger has no access to the tiles above
			e := m.entries(t, bundle1, 256)
			e[44] = leaf(300, `{"n":"forged"}`)
			m.set(t, bundle1, e)
			h := tlog.LeafHash(e[44])
			m[tile1] = slices.Concat(m[tile1][:32*44], h[:], m[tile1][32*45:])
		}, 256, 511, "changed"},
		"last entry and its hash changed": {func(m files) { // no tile above covers it, only the checkpoint
			e := m.entries(t, last, 208)
			e[207] = leaf(size-1, `{"n":"forged"}`)
			m.set(t, last, e)
			h := tlog.LeafHash(e[207])
			tile := "tile/0/007.p/208"
			m[tile] = slices.Concat(m[tile][:32*207], h[:])
		}, 0, size - 1, "signed checkpoint"},
	} {
		t.Run(what, func(t *testing.T) {
			m := files{}
			for p, b := range good {
				m[p] = b
			}
			c.change(m)
			report, err := verify.Log(t.Context(), m.source, k.vkey, verify.Options{})
			var f *verify.Finding
			if !errors.As(err, &f) || f.Index != c.first || f.Last != c.last || !strings.Contains(f.Problem, c.problem) {
				t.Errorf("%+v, %v; want first bad index %d to %d, %q", report, err, c.first, c.last, c.problem)
			}
		})
	}
	n := 0
	report, err := verify.Log(t.Context(), verify.Dir(dir), k.vkey, verify.Options{Each: func(i uint64, got []byte) error {
		if i != uint64(n) || string(got) != string(leaf(n, fmt.Sprintf(`{"n":%d}`, n))) {
			t.Fatalf("entry %d is %d %s", n, i, got)
		}
		n++
		return nil
	}})
	if err != nil || report.Checked != size || report.Size != size || report.Origin != origin || n != size {
		t.Errorf("unchanged: %+v, %v", report, err)
	}
}

// JT14 on three levels of tiles, built here from the definition in C2SP tlog-tiles: a bit of the highest one is found.
func TestJT14ThreeLevels(t *testing.T) {
	const size = 65536 + 300
	k := newKeys(t)
	m := files{}
	all := leaves(size)
	tree := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	put := func(id compact.NodeID, hash []byte) {
		if id.Level%tlog.TileHeight == 0 {
			path := tlog.TileAt(int(id.Level/tlog.TileHeight), id.Index/256, size).Path()
			m[path] = append(m[path], hash...)
		}
	}
	for part := range slices.Chunk(all, 256) {
		for _, e := range part {
			h := tlog.LeafHash(e)
			if err := tree.Append(h[:], put); err != nil {
				t.Fatal(err)
			}
		}
		m.set(t, tlog.TileAt(tlog.Entries, (tree.End()-1)/256, size).Path(), part)
	}
	root, err := tree.GetRootHash(nil)
	if err != nil {
		t.Fatal(err)
	}
	m["checkpoint"], err = note.Sign(&note.Note{Text: tlog.Checkpoint{Origin: origin, Size: size, Root: tlog.Hash(root)}.Text()}, k.signer)
	if err != nil {
		t.Fatal(err)
	}
	if report, err := verify.Log(t.Context(), m.source, k.vkey, verify.Options{}); err != nil || report.Checked != size {
		t.Fatalf("unchanged: %+v, %v", report, err)
	}
	m["tile/2/000.p/1"][5] ^= 1
	_, err = verify.Log(t.Context(), m.source, k.vkey, verify.Options{})
	var f *verify.Finding
	if !errors.As(err, &f) || f.Index != 0 || f.Last != 65535 || f.Path != "tile/2/000.p/1" {
		t.Errorf("bit of a level 2 hash: %v", err)
	}
}

// JT14, JT13, I-05: with kept checkpoints, a log that its own key rewrote or cut is found out.
func TestJT14ForkAndTruncationByTheKeyHolder(t *testing.T) {
	k := newKeys(t)
	dir := t.TempDir()
	all := leaves(900)
	var kept [][]byte
	from := 0
	for _, n := range []int{0, 100, 256, 600} {
		kept = append(kept, k.extend(t, dir, all[from:n]))
		from = n
	}
	head := k.extend(t, dir, all[600:])
	kept = append(kept, head)
	report, err := verify.Log(t.Context(), verify.Dir(dir), k.vkey, verify.Options{Earlier: kept})
	if err != nil || report.Earlier != 5 || report.Size != 900 {
		t.Fatalf("honest log: %+v, %v", report, err)
	}
	finding := func(what, dir string, first, last uint64) {
		t.Helper()
		_, err := verify.Log(t.Context(), verify.Dir(dir), k.vkey, verify.Options{Earlier: kept})
		var f *verify.Finding
		if !errors.As(err, &f) || f.Index != first || f.Last != last {
			t.Errorf("%s: %v; want %d to %d", what, err, first, last)
		}
	}
	forked := t.TempDir()
	other := slices.Clone(all)
	other[400] = leaf(400, `{"n":"another"}`)
	k.extend(t, forked, other)
	finding("forked at 400", forked, 256, 599) // between the last checkpoint that agrees and the first that does not
	cut := t.TempDir()
	k.extend(t, cut, all[:700])
	finding("cut after 700", cut, 700, 700)

	if _, err := verify.Log(t.Context(), verify.Dir(dir), k.vkey, verify.Options{Earlier: [][]byte{[]byte("x")}}); err == nil {
		t.Error("a kept checkpoint that is none was ignored")
	}
}

// A log whose entries belong elsewhere is refused, even when every hash and signature is right.
func TestEntriesMustStateTheirPlace(t *testing.T) {
	k := newKeys(t)
	for what, bad := range map[string][]byte{
		"other number": leaf(3, `{}`),
		"other log":    tlog.AppendLeaf(nil, "sallyport.test/log/n2", 2, []byte(`{}`)),
		"no number":    []byte(`{"free":"text"}`),
	} {
		dir := t.TempDir()
		k.extend(t, dir, append(leaves(2), bad))
		_, err := verify.Log(t.Context(), verify.Dir(dir), k.vkey, verify.Options{})
		var f *verify.Finding
		if !errors.As(err, &f) || f.Index != 2 || f.Last != 2 {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Another key, no key and an unreadable directory are never a verified log.
func TestTrustIsNeeded(t *testing.T) {
	k := newKeys(t)
	dir := t.TempDir()
	k.extend(t, dir, leaves(3))
	for _, trust := range []string{"", newKeys(t).vkey, "quorum none\n", k.vkey + "x"} {
		if _, err := verify.Log(t.Context(), verify.Dir(dir), trust, verify.Options{}); err == nil {
			t.Errorf("verified with trust in %q", trust)
		}
	}
	if _, err := verify.Log(t.Context(), verify.Dir(filepath.Join(dir, "none")), k.vkey, verify.Options{}); err == nil {
		t.Error("verified a directory that does not exist")
	}
	stop := errors.New("enough")
	if _, err := verify.Log(t.Context(), verify.Dir(dir), k.vkey, verify.Options{Each: func(uint64, []byte) error { return stop }}); !errors.Is(err, stop) {
		t.Errorf("error of the callback: %v", err)
	}
}

// JT14: the verification ends with its context, and special files in place of the log's hold nothing up.
func TestDamagedDirectoryReturns(t *testing.T) {
	k := newKeys(t)
	dir := t.TempDir()
	k.extend(t, dir, leaves(600))
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	_, err := verify.Log(ctx, verify.Dir(dir), k.vkey, verify.Options{Each: func(uint64, []byte) error {
		if n++; n == 100 {
			cancel()
		}
		return nil
	}})
	if !errors.Is(err, context.Canceled) || n != 256 { // the bundle in hand is finished
		t.Errorf("cancelled after %d entries: %v", n, err)
	}
	bundle := filepath.Join(dir, "tile", "entries", "001")
	for what, put := range map[string]func() error{
		"a pipe":      func() error { return syscall.Mkfifo(bundle, 0o600) },
		"a directory": func() error { return os.Mkdir(bundle, 0o700) },
		"a hole":      func() error { return errors.Join(os.WriteFile(bundle, nil, 0o600), os.Truncate(bundle, 1<<40)) },
		"a loop":      func() error { return os.Symlink("001", bundle) },
	} {
		if err := errors.Join(os.RemoveAll(bundle), put()); err != nil {
			t.Fatal(err)
		}
		if report, err := verify.Log(t.Context(), verify.Dir(dir), k.vkey, verify.Options{}); err == nil || report.Checked != 256 {
			t.Errorf("%s: %+v, %v", what, report, err)
		}
	}
}

// JT14: the log that two engines at once on one directory corrupt verifies or fails, and returns, whatever it holds.
func TestLogOfTwoEnginesReturns(t *testing.T) {
	k := newKeys(t)
	dirs := []string{t.TempDir(), t.TempDir()}
	k.extend(t, dirs[0], leaves(700))
	other := leaves(900)
	for i := range other {
		other[i] = leaf(i, `{"engine":2}`)
	}
	k.extend(t, dirs[1], other)
	a, b := load(t, dirs[0]), load(t, dirs[1])
	var paths []string
	for p := range b {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	for seed := range 64 { // files of one engine overwrite some of the other's
		m := files{}
		for p, raw := range a {
			m[p] = raw
		}
		changed := false
		for i, p := range paths {
			if (seed*2654435761>>(i%24))&1 == 1 {
				m[p], changed = b[p], true
			}
		}
		second := uint64(0)
		report, err := verify.Log(t.Context(), m.source, k.vkey, verify.Options{Each: func(_ uint64, leaf []byte) error {
			if strings.Contains(string(leaf), "engine") {
				second++
			}
			return nil
		}})
		var f *verify.Finding
		if err != nil && (!changed || !errors.As(err, &f)) {
			t.Errorf("seed %d: %v", seed, err)
		}
		if err == nil && second != 0 && second != report.Size {
			t.Errorf("seed %d: verified a log with %d entries of another", seed, second)
		}
	}
}

// JT17: a receipt verifies with its bytes and the key alone; nothing else does.
func TestJT17Receipt(t *testing.T) {
	k := newKeys(t)
	dir := t.TempDir()
	signed := k.extend(t, dir, leaves(600))
	proof, err := tlog.InclusionProof(t.Context(), tlog.Fetch(verify.Dir(dir)), 300, 600)
	if err != nil {
		t.Fatal(err)
	}
	r := tlog.Receipt{Index: 300, Proof: proof, Extra: leaf(300, `{"n":300}`), Checkpoint: signed}
	proven, err := verify.Receipt(r.Marshal(), k.vkey)
	if err != nil || proven.Index != 300 || proven.Size != 600 || proven.Origin != origin || string(proven.Leaf) != string(r.Extra) {
		t.Fatalf("%+v, %v", proven, err)
	}
	for what, change := range map[string]func(r *tlog.Receipt){
		"other leaf":  func(r *tlog.Receipt) { r.Extra = leaf(300, `{"n":301}`) },
		"other index": func(r *tlog.Receipt) { r.Index = 301 },
		"no leaf":     func(r *tlog.Receipt) { r.Extra = nil },
		"short proof": func(r *tlog.Receipt) { r.Proof = r.Proof[1:] },
		"other head":  func(r *tlog.Receipt) { r.Checkpoint = k.extend(t, t.TempDir(), leaves(599)) },
	} {
		bad := r
		change(&bad)
		if _, err := verify.Receipt(bad.Marshal(), k.vkey); err == nil {
			t.Errorf("%s: verified", what)
		}
	}
	if _, err := verify.Receipt(r.Marshal(), newKeys(t).vkey); err == nil {
		t.Error("verified with another key")
	}
	if _, err := verify.Receipt([]byte("no receipt"), k.vkey); err == nil {
		t.Error("verified what is no receipt")
	}
	if _, err := verify.Receipt(r.Marshal(), ""); err == nil {
		t.Error("verified without a key")
	}
}

func BenchmarkLog(b *testing.B) {
	k := newKeys(b)
	dir := b.TempDir()
	k.extend(b, dir, leaves(20_000))
	for b.Loop() {
		if _, err := verify.Log(b.Context(), verify.Dir(dir), k.vkey, verify.Options{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(20_000*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}
