package vault

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/artifact/blob"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/artifact/seal"
	"sallyport/internal/enforce/guard"
)

// wantModel pulls a version and compares every byte.
func (w *world) wantModel(t testing.TB, target string, files map[string][]byte) {
	t.Helper()
	p := w.pull(t, target)
	v, err := w.vault.Version(p)
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Files) != len(files) {
		t.Errorf("%s has %d files, want %d", target, len(v.Files), len(files))
	}
	for path, want := range files {
		got, err := w.read(p, path)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s of %s: %d bytes, %v, want %d", path, target, len(got), err, len(want))
		}
	}
}

func (w *world) read(p *guard.Permit, path string) ([]byte, error) {
	f, err := w.vault.Open(p, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

func TestPushAndPull(t *testing.T) {
	w := newWorld(t)
	files := model(t, 9<<20)
	made := w.pushed(t, files)
	if made.Number != "v1" || len(made.Files) != len(files) || made.PushedBy != "user:ana" {
		t.Errorf("pushed %s with %d files by %s", made.Number, len(made.Files), made.PushedBy)
	}
	w.wantModel(t, "acme/fraud", files)
	w.restart(t)
	w.wantModel(t, "acme/fraud@v1", files)
	w.wantModel(t, "acme/fraud@sha256:"+made.Digest, files)
	if models := w.vault.Models(); len(models) != 2 || models[1].String() != "acme/fraud" {
		t.Errorf("Models = %v", models)
	}
	m, err := w.vault.Manifest(w.pull(t, "acme/fraud"))
	if err != nil {
		t.Fatal(err)
	}
	if _, digest, err := m.Encode(); digest != made.Digest || err != nil {
		t.Errorf("the manifest's digest is %s, %v, the version's %s", digest, err, made.Digest)
	}
	kinds := map[string]string{}
	for _, f := range m.Files {
		kinds[f.Path] = f.Kind
	}
	if want := map[string]string{"model.safetensors": "weights", "config.json": "config", "tokenizer/tokenizer.json": "tokenizer",
		"README.md": "card", "empty.txt": "data"}; !maps.Equal(kinds, want) {
		t.Errorf("kinds %v, want %v", kinds, want)
	}
	_, err = w.vault.Version(w.permit(t, "ana", sallyport.ModelRead, "acme/chat", ""))
	wantKind(t, "the version of a model without one", err, sallyport.NotFound)
}

func wantKind(t testing.TB, what string, err error, want sallyport.Kind) {
	t.Helper()
	if err == nil || sallyport.KindOf(err) != want {
		t.Errorf("%s = %v, want an error of kind %v", what, err, want)
	}
}

// TestFileReads: every way to read gives the same bytes (I-17).
func TestFileReads(t *testing.T) {
	w := newWorld(t)
	files := map[string][]byte{"model.safetensors": weights(t, 1<<20)}
	want := files["model.safetensors"]
	w.pushed(t, files)
	f, err := w.vault.Open(w.pull(t, "acme/fraud"), "model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 80 {
		off, n := rand.IntN(len(want)+10), 1+rand.IntN(400<<10)
		b := make([]byte, n)
		got, err := f.ReadAt(b, int64(off))
		whole := want[min(off, len(want)):min(off+n, len(want))]
		if !bytes.Equal(b[:got], whole) || (err == nil) != (got == n) || err != nil && !errors.Is(err, io.EOF) {
			t.Fatalf("ReadAt(%d bytes, %d) = %d, %v", n, off, got, err)
		}
		if _, err := f.Seek(int64(off), io.SeekStart); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if rand.IntN(2) == 0 {
			_, err = io.Copy(&out, io.LimitReader(f, int64(n)))
		} else {
			_, err = f.WriteTo(&out)
			whole = want[min(off, len(want)):]
		}
		if err != nil || !bytes.Equal(out.Bytes(), whole) {
			t.Fatalf("%d bytes from %d: %d, %v", n, off, out.Len(), err)
		}
	}
	if at, err := f.Seek(-5, io.SeekEnd); at != int64(len(want)-5) || err != nil {
		t.Errorf("Seek = %d, %v", at, err)
	}
	if at, err := f.Seek(2, io.SeekCurrent); at != int64(len(want)-3) || err != nil {
		t.Errorf("Seek = %d, %v", at, err)
	}
	if _, err := f.Seek(-1, io.SeekStart); err == nil {
		t.Error("a seek before the beginning succeeds")
	}
}

// TestStolenData searches all that a thief of the data directory would get, a
// finished version and an upload under way, for bytes of the model and for the
// digests of its files and blocks.
func TestStolenData(t *testing.T) {
	w := newWorld(t)
	files := model(t, 9<<20)
	w.pushed(t, files)
	under := map[string][]byte{"model.safetensors": weights(t, 9<<20), "README.md": []byte(card + "2"), "NOTICE": []byte("and this needle is not sent")}
	u, err := w.vault.Begin(w.push(t), specs(under), Made{})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"model.safetensors", "README.md"} {
		b := under[path]
		if _, err := w.vault.Append(w.push(t), u.ID, path, 0, bytes.NewReader(b[:min(len(b), 2*BlockSize)])); err != nil {
			t.Fatal(err)
		}
	}
	needles := map[string][]byte{"the card": []byte("needle")}
	for _, m := range []map[string][]byte{files, under} {
		for _, s := range specs(m) {
			for i, d := range append([]string{s.SHA256}, s.Blocks...) {
				raw, _ := hex.DecodeString(d)
				what := s.Path + ", digest " + string(rune('0'+i))
				needles[what], needles[what+", binary"] = []byte(d), raw
			}
		}
		b := m["model.safetensors"]
		for _, at := range []int{100, 1 << 20, 5 << 20, 8<<20 - 40} {
			needles["weights"+hex.EncodeToString(b[at:at+2])] = b[at : at+16]
		}
	}
	seen, blobs := 0, 0
	err = filepath.WalkDir(w.data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		seen += len(raw)
		blobs += strings.Count(path, string(filepath.Separator)+"blobs"+string(filepath.Separator))
		for what, needle := range needles {
			if len(needle) > 0 && bytes.Contains(raw, needle) {
				t.Errorf("%s: %s", path, what)
			}
		}
		return err
	})
	if err != nil || seen < 17<<20 || blobs < 8 {
		t.Errorf("searched %d bytes, %d blobs, %v: the search proves nothing", seen, blobs, err)
	}
	if key, err := os.ReadFile(w.keyFile); err != nil || len(key) == 0 {
		t.Errorf("the key file beside the data: %v", err)
	}
}

// eachBlob calls visit with the path of every stored blob.
func (w *world) eachBlob(t testing.TB, visit func(path string)) {
	t.Helper()
	err := w.blobs.List(context.Background(), func(i blob.Info) error {
		name := i.Digest.String()
		visit(filepath.Join(w.data, "blobs", "blobs", name[:2], name))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestAnyBitFlipped: whatever bit of whatever stored byte changes, and wherever a
// file is cut or grows, a reader gets an error or the right bytes (I-17).
func TestAnyBitFlipped(t *testing.T) {
	w := newWorld(t)
	files := map[string][]byte{"README.md": []byte(card), "model.safetensors": weights(t, 40<<10)}
	made := w.pushed(t, files)
	p := w.pull(t, "acme/fraud")
	broken := func(what string) {
		w.vault.cache.drop(made.ID)
		failed := false
		for path, want := range files {
			got, err := w.read(p, path)
			if err == nil && !bytes.Equal(got, want) {
				t.Fatalf("%s: wrong bytes of %s without an error", what, path)
			}
			if err != nil {
				failed = true
				if sallyport.KindOf(err) != sallyport.Other || !bytes.HasPrefix(want, got) {
					t.Fatalf("%s: %s: %d bytes, %v", what, path, len(got), err)
				}
			}
		}
		if !failed {
			t.Fatalf("%s: nobody noticed", what)
		}
	}
	w.eachBlob(t, func(path string) {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write := func(b []byte) {
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		step := max(1, len(raw)/80)
		for i := 0; i < len(raw); i += step {
			bad := slices.Clone(raw)
			bad[i] ^= 1 << rand.IntN(8)
			write(bad)
			broken(filepath.Base(path))
		}
		for _, bad := range [][]byte{raw[:len(raw)-1], raw[:len(raw)/2], {}, append(slices.Clone(raw), 0), append(slices.Clone(raw), raw...)} {
			write(bad)
			broken("length of " + filepath.Base(path))
		}
		write(raw)
	})
	w.vault.cache.drop(made.ID)
	w.wantModel(t, "acme/fraud", files)
}

// TestSwappedPlaces: who can write to the database cannot put one file, version
// or model in the place of another.
func TestSwappedPlaces(t *testing.T) {
	w := newWorld(t)
	one := map[string][]byte{"a.md": []byte("one a"), "b.md": []byte("one b")}
	two := map[string][]byte{"a.md": []byte("two a"), "b.md": []byte("two b")}
	v1, v2 := w.pushed(t, one), w.pushed(t, two)
	for what, swap := range map[string]func(*catalog.Version){
		"files":     func(v *catalog.Version) { v.Files[0].Blob, v.Files[1].Blob = v.Files[1].Blob, v.Files[0].Blob },
		"versions":  func(v *catalog.Version) { v.Files[0].Blob = v2.Files[0].Blob },
		"manifests": func(v *catalog.Version) { v.Manifest = v2.Manifest },
		"models":    func(v *catalog.Version) { v.Model = "chat" },
		"tenants":   func(v *catalog.Version) { v.Org = "evil" },
		"digests":   func(v *catalog.Version) { v.Digest = v2.Digest },
		"paths":     func(v *catalog.Version) { v.Files[0].Path = "c.md" },
		"fewer":     func(v *catalog.Version) { v.Files = v.Files[:1] },
	} {
		bad := v1
		bad.Files = slices.Clone(v1.Files)
		swap(&bad)
		w.vault.cache.drop(v1.ID)
		w.vault.Catalog = &catalog.Service{Store: lying{w.db.Catalog(), bad.Files}, Clock: w.clock}
		e, err := w.vault.load(t.Context(), bad)
		if err == nil { // the places are looked at when a file is opened
			f := e.files[0]
			var b blob.Blob
			g, _ := blob.ParseDigest(f.Blob)
			if b, err = w.blobs.Open(t.Context(), g); err == nil {
				_, err = e.unseal(b, fileContext(bad, f))
				b.Close()
			}
		}
		if err == nil {
			t.Errorf("swapped %s: nobody noticed", what)
		}
	}
}

// lying is a catalog that names other places.
type lying struct {
	catalog.Store
	files []catalog.File
}

func (l lying) Files(context.Context, string) ([]catalog.File, error) { return l.files, nil }

// TestCutStopsReader: a lock stops every way of reading at once, and an upload.
func TestCutStopsReader(t *testing.T) {
	w := newWorld(t)
	files := map[string][]byte{"model.safetensors": weights(t, 6<<20)}
	w.pushed(t, files)
	p, pushing := w.pull(t, "acme/fraud"), w.push(t)
	f, err := w.vault.Open(p, "model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.CopyN(io.Discard, f, 1<<20); err != nil {
		t.Fatal(err)
	}
	next := map[string][]byte{"model.safetensors": weights(t, 9<<20)}
	u, err := w.vault.Begin(pushing, specs(next), Made{})
	if err != nil {
		t.Fatal(err)
	}
	// The order comes while the second block is on its way.
	b := next["model.safetensors"]
	arriving := io.MultiReader(bytes.NewReader(b[:BlockSize+1000]), lockReader{func() { w.lock(t, "user:ana") }}, bytes.NewReader(b[BlockSize+1000:]))
	have, err := w.vault.Append(pushing, u.ID, "model.safetensors", 0, arriving)
	wantCut(t, "Append", err)
	if have != BlockSize {
		t.Errorf("after the cut %d bytes are kept, want one block", have)
	}
	n, err := f.Read(make([]byte, 10))
	wantCut(t, "Read", err)
	m, err := f.ReadAt(make([]byte, 1<<20), 0)
	wantCut(t, "ReadAt", err)
	k, err := f.WriteTo(io.Discard)
	wantCut(t, "WriteTo", err)
	if n+m+int(k) != 0 {
		t.Errorf("%d bytes were read after the cut", n+m+int(k))
	}
	_, err = w.vault.Open(p, "model.safetensors")
	wantCut(t, "Open", err)
	_, err = w.vault.Version(p)
	wantCut(t, "Version", err)
	_, err = w.vault.Commit(pushing, u.ID, "")
	wantCut(t, "Commit", err)
}

type lockReader struct{ do func() }

func (l lockReader) Read([]byte) (int, error) { l.do(); return 0, io.EOF }

func wantCut(t testing.TB, what string, err error) {
	t.Helper()
	if _, ok := errors.AsType[*guard.Cut](err); !ok {
		t.Errorf("%s after the cut = %v", what, err)
	}
}

// TestPermitsOpenWhatTheySay: each action opens its files and nothing else; nil,
// the zero permit and one that is done open nothing.
func TestPermitsOpenWhatTheySay(t *testing.T) {
	w := newWorld(t)
	files := model(t, 1<<10)
	w.pushed(t, files)
	opens := map[sallyport.Action][]string{
		sallyport.ModelPull:    slices.Sorted(maps.Keys(files)),
		sallyport.ModelPullAux: {"README.md", "config.json", "tokenizer/tokenizer.json"},
		sallyport.ModelRead:    {"README.md"},
		sallyport.ModelExport:  slices.Sorted(maps.Keys(files)),
	}
	for _, a := range sallyport.Actions() {
		if a.Group() != "model" || a == sallyport.ModelList || a == sallyport.ModelRegister { // those are of organisations
			continue
		}
		p := w.permit(t, "ana", a, "acme/fraud", "")
		for path := range files {
			f, err := w.vault.Open(p, path)
			if (err == nil) != slices.Contains(opens[a], path) {
				t.Errorf("%s opens %s: %v", a, path, err)
			}
			if err == nil {
				f.Close()
			}
		}
		_, err := w.vault.Version(p)
		if (err == nil) != slices.Contains(readers(), a) {
			t.Errorf("Version for %s: %v", a, err)
		}
		if a != sallyport.ModelPush {
			_, err = w.vault.Begin(p, specs(files), Made{})
			wantKind(t, "Begin for "+string(a), err, sallyport.Other)
		}
		if _, _, err = w.vault.RotateKeys(p); err == nil {
			t.Errorf("%s rotates keys", a)
		}
		if a != sallyport.ModelRetire && a != sallyport.ModelDelete {
			wantKind(t, "Retire for "+string(a), w.vault.Retire(p), sallyport.Other)
		}
	}
	p := w.permit(t, "ana", sallyport.ModelPull, "acme/fraud", "config.json")
	if _, err := w.read(p, "config.json"); err != nil {
		t.Error(err)
	}
	_, err := w.vault.Open(p, "model.safetensors")
	wantKind(t, "another file than the permit's", err, sallyport.Other)
	_, err = w.vault.Open(w.pull(t, "acme/fraud"), "../config.json")
	wantKind(t, "a file that is not there", err, sallyport.NotFound)
	done := w.pull(t, "acme/fraud")
	if err := done.Done(sallyport.Delivered{}); err != nil {
		t.Fatal(err)
	}
	for what, p := range map[string]*guard.Permit{"nil": nil, "zero": {}, "done": done} {
		_, open := w.vault.Open(p, "README.md")
		_, version := w.vault.Version(p)
		_, manifest := w.vault.Manifest(p)
		_, begin := w.vault.Begin(p, specs(files), Made{})
		_, commit := w.vault.Commit(p, strings.Repeat("a", 26), "")
		if open == nil || version == nil || manifest == nil || begin == nil || commit == nil || w.vault.Retire(p) == nil {
			t.Errorf("a permit that is %s opens something", what)
		}
	}
}

// TestTheTagMoves is A-21: bytes served are those of the version decided on.
func TestTheTagMoves(t *testing.T) {
	w := newWorld(t)
	one, two := model(t, 1<<10), model(t, 1<<10)
	w.pushed(t, one)
	p := w.pull(t, "acme/fraud")
	v2 := w.pushed(t, two)
	if v2.Number != "v2" {
		t.Fatalf("the second push is %s", v2.Number)
	}
	if got, err := w.read(p, "model.safetensors"); err != nil || !bytes.Equal(got, one["model.safetensors"]) {
		t.Errorf("the permit for v1 gives %d bytes, %v", len(got), err)
	}
	w.wantModel(t, "acme/fraud", two)
	w.wantModel(t, "acme/fraud@v1", one)
}

// TestRetire: from then on unreadable, for permits of before too, and when the
// bytes come back from a backup; the bytes go, and the version's number stays.
func TestRetire(t *testing.T) {
	w := newWorld(t)
	one, two := model(t, 1<<20), model(t, 1<<20)
	v1 := w.pushed(t, one)
	w.pushed(t, two)
	before := w.pull(t, "acme/fraud@v1")
	if _, err := w.read(before, "README.md"); err != nil {
		t.Fatal(err)
	}
	retire := w.permit(t, "ana", sallyport.ModelRetire, "acme/fraud@v1", "")
	if err := w.vault.Retire(retire); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := w.read(before, "README.md")
		wantKind(t, "a read after the retirement", err, sallyport.NotFound)
	}
	if _, err := w.keys.Key(t.Context(), v1.ID); err == nil {
		t.Error("the key is still there")
	}
	if err := w.vault.Retire(retire); err == nil {
		t.Error("a version is retired twice")
	}
	w.wantModel(t, "acme/fraud@v2", two)
	stored := func() (n int) {
		w.eachBlob(t, func(string) { n++ })
		return n
	}
	had := stored()
	if err := w.vault.Sweep(t.Context()); err != nil || stored() != had {
		t.Errorf("an early sweep: %d of %d blobs, %v", stored(), had, err)
	}
	w.later(t, 2*Expiry)
	if err := w.vault.Sweep(t.Context()); err != nil || stored() != had/2 {
		t.Errorf("a later sweep leaves %d of %d blobs, %v", stored(), had, err)
	}
	w.wantModel(t, "acme/fraud@v2", two)
}

// TestRotation is I-18 and A-39: keys rotate in the middle of a download and of an
// upload, blobs stay as they are, and both end well, after a restart too.
func TestRotation(t *testing.T) {
	w := newWorld(t)
	files := model(t, 3<<20)
	w.pushed(t, files)
	before := map[string]bool{}
	w.eachBlob(t, func(path string) { before[path] = true })
	p := w.pull(t, "acme/fraud")
	f, err := w.vault.Open(p, "model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head := make([]byte, 1<<20)
	if _, err := io.ReadFull(f, head); err != nil {
		t.Fatal(err)
	}
	next := map[string][]byte{"model.safetensors": weights(t, 9<<20)}
	u, err := w.vault.Begin(w.push(t), specs(next), Made{})
	if err != nil {
		t.Fatal(err)
	}
	if u.Files[0].Have, err = w.vault.Append(w.push(t), u.ID, "model.safetensors", 0, bytes.NewReader(next["model.safetensors"][:BlockSize])); err != nil {
		t.Fatal(err)
	}
	_, n, err := w.vault.RotateKeys(w.permit(t, "ana", sallyport.SystemConfigure, "system", ""))
	if err != nil || n != 2 {
		t.Fatalf("RotateKeys = %d, %v, want a version's and an upload's", n, err)
	}
	if gone, err := w.keys.Prune(t.Context()); len(gone) != 1 || err != nil {
		t.Errorf("Prune = %v, %v", gone, err)
	}
	rest, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(append(head, rest...), files["model.safetensors"]) {
		t.Errorf("the download ends after %d bytes, %v", len(rest), err)
	}
	w.eachBlob(t, func(path string) {
		if !before[path] {
			t.Errorf("a rotation made %s", path)
		}
	})
	w.restart(t)
	if u, err = w.vault.Begin(w.push(t), specs(next), Made{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.send(t, u, next, "next"); err != nil {
		t.Fatal(err)
	}
	w.wantModel(t, "acme/fraud@next", next)
	w.wantModel(t, "acme/fraud@v1", files)
}

// TestNothingIsShared: the same content pushed twice has nothing in common on the
// disk, so that nobody learns by pushing what others have.
func TestNothingIsShared(t *testing.T) {
	w := newWorld(t)
	files := map[string][]byte{"README.md": []byte(card), "config.json": []byte("{}")}
	one, two := w.pushed(t, files), w.pushed(t, files)
	if one.Digest == two.Digest || one.Manifest == two.Manifest || one.Files[0].Blob == two.Files[0].Blob {
		t.Errorf("two pushes of the same files share something: %+v, %+v", one, two)
	}
	n := 0
	w.eachBlob(t, func(string) { n++ })
	if n != 6 {
		t.Errorf("%d blobs, want 2 × (2 files and a manifest)", n)
	}
}

// TestCacheIsBounded and forgets keys of what it drops.
func TestCacheIsBounded(t *testing.T) {
	c := newCache()
	big := Manifest{Files: []ManifestFile{{Blocks: make([]string, maxWeight/4)}}}
	for _, id := range []string{"a", "b", "c", "d", "a"} {
		c.put(id, &entry{manifest: big})
	}
	if c.get("a") != nil && c.get("b") != nil && c.get("c") != nil && c.get("d") != nil || c.weight > maxWeight {
		t.Errorf("the cache weighs %d of %d", c.weight, maxWeight)
	}
	c.put("huge", &entry{manifest: Manifest{Files: []ManifestFile{{Blocks: make([]string, maxWeight)}}}})
	if c.get("huge") != nil {
		t.Error("what is larger than the cache is in it")
	}
	d := c.get("d")
	if d == nil {
		t.Fatal("the latest is not there")
	}
	c.drop("d")
	if _, err := d.unseal(nil, nil); !errors.Is(err, seal.ErrKey) || c.get("d") != nil {
		t.Errorf("a dropped entry opens: %v", err)
	}
}
