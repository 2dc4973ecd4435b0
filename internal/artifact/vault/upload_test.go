package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/artifact/blob"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/artifact/seal"
	"sallyport/internal/enforce/guard"
)

// TestPushInterrupted pushes with a restart after every single step, and once
// more with random ones: it always goes on, ends in the right bytes, and a whole
// block that was answered before a restart is sent again at most once.
func TestPushInterrupted(t *testing.T) {
	w := newWorld(t)
	for round := range 2 {
		files := model(t, 9<<20)
		sent := 0
		for step := 0; ; step++ {
			if step > 60 {
				t.Fatal("the push does not come to an end")
			}
			if round == 0 || mrand.IntN(2) == 0 {
				w.restart(t)
			}
			u, err := w.vault.Begin(w.push(t), specs(files), Made{})
			if err != nil {
				t.Fatal(err)
			}
			next, ok := lacking(u, files)
			if !ok {
				break
			}
			b := files[next.Path]
			n := min(int64(len(b))-next.Have, 2*BlockSize)
			switch mrand.IntN(4) {
			case 0: // the connection breaks within a block
				_, err = w.vault.Append(w.push(t), u.ID, next.Path, next.Have, io.MultiReader(bytes.NewReader(b[next.Have:next.Have+n/2]), brokenReader{}))
				if err == nil {
					t.Fatal("a broken connection is no error")
				}
			case 1: // a tail of zeroes or a lost tail, as after a loss of power
				w.spoilStages(t)
			}
			if u, err = w.vault.Uploaded(w.push(t), u.ID); err != nil {
				t.Fatal(err)
			}
			if next, ok = lacking(u, files); !ok {
				continue
			}
			n = min(int64(len(b))-next.Have, 2*BlockSize)
			if _, err := w.vault.Append(w.push(t), u.ID, next.Path, next.Have, bytes.NewReader(b[next.Have:next.Have+n])); err != nil {
				t.Fatal(err)
			}
			sent += int(n)
		}
		u, err := w.vault.Begin(w.push(t), specs(files), Made{})
		if err != nil {
			t.Fatal(err)
		}
		made, err := w.vault.Commit(w.push(t), u.ID, "main")
		if err != nil {
			t.Fatal(err)
		}
		again, err := w.vault.Commit(w.push(t), u.ID, "main") // the answer was lost
		if err != nil || again.Number != made.Number || again.Digest != made.Digest {
			t.Errorf("a second commit = %s, %v, want %s", again.Number, err, made.Number)
		}
		w.restart(t)
		if again, err = w.vault.Commit(w.push(t), u.ID, ""); err != nil || again.Number != made.Number {
			t.Errorf("a commit after a restart = %s, %v, want %s", again.Number, err, made.Number)
		}
		w.wantModel(t, "acme/fraud", files)
		if left, _ := w.vault.dir.list(); len(left) != 0 {
			t.Errorf("uploads left: %v", left)
		}
	}
}

// lacking returns a file that is not complete. An empty one needs no bytes.
func lacking(u Upload, files map[string][]byte) (Progress, bool) {
	for _, f := range u.Files {
		if f.Have < int64(len(files[f.Path])) {
			return f, true
		}
	}
	return Progress{}, false
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

// spoilStages does to unfinished files what a loss of power does. The process
// does not survive it.
func (w *world) spoilStages(t testing.TB) {
	t.Helper()
	w.stopUploads()
	stages, err := filepath.Glob(filepath.Join(w.data, "blobs", "stages", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stages {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		keep := mrand.IntN(len(raw) + 1)
		tail := make([]byte, mrand.IntN(len(raw)-keep+1))
		if mrand.IntN(2) == 0 {
			_, _ = rand.Read(tail)
		}
		if err := os.WriteFile(path, append(raw[:keep], tail...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.restart(t)
}

// TestResumeSealsTheSame: what is sealed again after an interruption is the same
// under the same nonce, byte for byte.
func TestResumeSealsTheSame(t *testing.T) {
	w := newWorld(t)
	b := weights(t, 11<<20)
	files := map[string][]byte{"model.safetensors": b}
	u, err := w.vault.Begin(w.push(t), specs(files), Made{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.vault.Append(w.push(t), u.ID, "model.safetensors", 0, bytes.NewReader(b[:2*BlockSize])); err != nil {
		t.Fatal(err)
	}
	w.stopUploads()
	stage := filepath.Join(w.data, "blobs", "stages", u.ID+"-0.part")
	first, err := os.ReadFile(stage)
	if err != nil {
		t.Fatal(err)
	}
	w.restart(t)
	// Other bytes at this place are refused before they are sealed.
	wrong := bytes.Clone(b)
	wrong[BlockSize+5] ^= 1
	have, err := w.vault.Append(w.push(t), u.ID, "model.safetensors", BlockSize, bytes.NewReader(wrong[BlockSize:]))
	wantKind(t, "a block with another digest", err, sallyport.Invalid)
	if sallyport.ReasonOf(err) != "block.digest" || have != BlockSize {
		t.Errorf("Append = %d, %v", have, err)
	}
	w.stopUploads()
	if now, err := os.ReadFile(stage); err != nil || !bytes.HasPrefix(first, now) {
		t.Errorf("a refused block left %d bytes, %v, which are not those before", len(now), err)
	}
	w.restart(t)
	if u, err = w.vault.Uploaded(w.push(t), u.ID); err != nil {
		t.Fatal(err)
	}
	made, err := w.send(t, u, files, "main")
	if err != nil {
		t.Fatal(err)
	}
	name := made.Files[0].Blob
	whole, err := os.ReadFile(filepath.Join(w.data, "blobs", "blobs", name[:2], name))
	if err != nil || !bytes.HasPrefix(whole, first) {
		t.Errorf("the sealed file of %d bytes does not begin as before the interruption, %v", len(whole), err)
	}
	w.wantModel(t, "acme/fraud", files)
}

// stopUploads lets go of open files, as a process that ends does.
func (w *world) stopUploads() {
	for _, u := range w.vault.uploads {
		for _, f := range u.files {
			f.close()
		}
	}
}

// TestRefusedAtPush: what is declared wrong, sent wrong, or not admitted, and that
// a refused file can be sent again.
func TestRefusedAtPush(t *testing.T) {
	w := newWorld(t)
	digest := strings.Repeat("0", 64)
	many := make([]FileSpec, MaxFiles+1)
	for i := range many {
		many[i] = FileSpec{Path: fmt.Sprint(i, ".md"), SHA256: digest}
	}
	for what, s := range map[string][]FileSpec{
		"nothing":              nil,
		"too many files":       many,
		"a name with dots":     {{Path: "../x.md", SHA256: digest}},
		"an absolute name":     {{Path: "/x.md", SHA256: digest}},
		"a backslash":          {{Path: `a\x.md`, SHA256: digest}},
		"a name not in ASCII":  {{Path: "é.md", SHA256: digest}},
		"one name twice":       {{Path: "x.md", SHA256: digest}, {Path: "X.md", SHA256: digest}},
		"a file and directory": {{Path: "x.md", SHA256: digest}, {Path: "x.md/y.md", SHA256: digest}},
		"a negative size":      {{Path: "x.md", Size: -1, SHA256: digest}},
		"too few blocks":       {{Path: "x.md", Size: BlockSize + 1, SHA256: digest, Blocks: []string{digest}}},
		"too many blocks":      {{Path: "x.md", Size: 0, SHA256: digest, Blocks: []string{digest}}},
		"a bad digest":         {{Path: "x.md", SHA256: "abc"}},
		"a bad block digest":   {{Path: "x.md", Size: 1, SHA256: digest, Blocks: []string{"abc"}}},
		"another block digest": {{Path: "x.md", Size: 1, SHA256: digest, Blocks: []string{strings.Repeat("1", 64)}}},
		"a size of no disk":    {{Path: "x.md", Size: 1 << 62, SHA256: digest}},
	} {
		_, err := w.vault.Begin(w.push(t), s, Made{})
		wantKind(t, what, err, sallyport.Invalid)
	}
	_, err := w.vault.Begin(w.push(t), specs(map[string][]byte{"a.md": nil}), Made{From: make([]catalog.Origin, catalog.MaxLineage+1)})
	wantKind(t, "too many origins", err, sallyport.Invalid)

	files := map[string][]byte{"model.safetensors": append([]byte("\x80\x02cos\nsystem\n"), make([]byte, 100)...), "config.json": []byte(`{"a":1,"a":2}`),
		"x.bin": []byte("x"), "README.md": []byte(card)}
	u, err := w.vault.Begin(w.push(t), specs(files), Made{})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"model.safetensors", "config.json", "x.bin"} {
		have, err := w.vault.Append(w.push(t), u.ID, path, 0, bytes.NewReader(files[path]))
		if have != 0 || sallyport.ReasonOf(err) != "format.refused" || sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%s: %d, %v, want it refused by its content", path, have, err)
		}
	}
	append := func(what, path string, offset int64, body string, want sallyport.Kind) {
		_, err := w.vault.Append(w.push(t), u.ID, path, offset, strings.NewReader(body))
		wantKind(t, what, err, want)
	}
	append("a file that was not declared", "other.md", 0, "x", sallyport.NotFound)
	append("another offset", "README.md", 5, "x", sallyport.Conflict)
	append("less than a block", "README.md", 0, card[:10], sallyport.Invalid)
	append("more than was declared", "README.md", 0, card+"x", sallyport.TooLarge)
	_, err = w.vault.Commit(w.push(t), u.ID, "main")
	wantKind(t, "a commit before its time", err, sallyport.Conflict)
	if n, err := w.vault.Append(w.push(t), u.ID, "README.md", int64(len(card)), strings.NewReader("")); err != nil || n != int64(len(card)) {
		t.Errorf("the end after one byte too many: %d, %v", n, err)
	}
	append("more of what is complete", "README.md", int64(len(card)), "x", sallyport.TooLarge)
	// A file that is right block by block and wrong as a whole.
	b := weights(t, 5<<20)
	s := specs(map[string][]byte{"model.safetensors": b})
	s[0].SHA256 = digest
	if u, err = w.vault.Begin(w.push(t), s, Made{}); err != nil {
		t.Fatal(err)
	}
	_, err = w.vault.Append(w.push(t), u.ID, "model.safetensors", 0, bytes.NewReader(b))
	if sallyport.ReasonOf(err) != "file.digest" {
		t.Errorf("a wrong digest of the whole: %v", err)
	}
	if d, err := w.catalog.Dump(t.Context()); err != nil || len(d.Versions) != 0 {
		t.Errorf("refused pushes made %v, %v", d.Versions, err)
	}
}

// TestUploadsBelongToSomebody: another person, another model, no such id.
func TestUploadsBelongToSomebody(t *testing.T) {
	w := newWorld(t)
	files := model(t, 1<<10)
	u, err := w.vault.Begin(w.push(t), specs(files), Made{})
	if err != nil {
		t.Fatal(err)
	}
	for what, p := range map[string]*guard.Permit{
		"another person": w.permit(t, "eve", sallyport.ModelPush, "acme/fraud", ""),
		"another model":  w.permit(t, "ana", sallyport.ModelPush, "acme/chat", ""),
	} {
		_, err := w.vault.Append(p, u.ID, "README.md", 0, strings.NewReader(card))
		wantKind(t, "Append for "+what, err, sallyport.NotFound)
		_, err = w.vault.Uploaded(p, u.ID)
		wantKind(t, "Uploaded for "+what, err, sallyport.NotFound)
		_, err = w.vault.Commit(p, u.ID, "")
		wantKind(t, "Commit for "+what, err, sallyport.NotFound)
		wantKind(t, "Abort for "+what, w.vault.Abort(p, u.ID), sallyport.NotFound)
		other, err := w.vault.Begin(p, specs(files), Made{})
		if err != nil || other.ID == u.ID {
			t.Errorf("Begin for %s = %s, %v, want an upload of its own", what, other.ID, err)
		}
	}
	for _, id := range []string{"", "x", "../" + u.ID, strings.Repeat("a", 26), strings.ToUpper(u.ID)} {
		_, err := w.vault.Uploaded(w.push(t), id)
		wantKind(t, "the upload "+id, err, sallyport.NotFound)
	}
	made, err := w.send(t, u, files, "main")
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.vault.Commit(w.permit(t, "eve", sallyport.ModelPush, "acme/fraud", ""), u.ID, "")
	wantKind(t, "the answer for somebody else's "+made.Number, err, sallyport.NotFound)
}

// TestAbortAndExpiry: what came of an upload goes, with its key; what others need stays.
func TestAbortAndExpiry(t *testing.T) {
	w := newWorld(t)
	kept := model(t, 1<<20)
	w.pushed(t, kept)
	count := func() (n int) {
		w.eachBlob(t, func(string) { n++ })
		return n
	}
	had := count()
	for _, end := range []string{"abort", "expiry"} {
		files := model(t, 9<<20)
		u, err := w.vault.Begin(w.push(t), specs(files), Made{})
		if err != nil {
			t.Fatal(err)
		}
		for path, n := range map[string]int{"README.md": len(card), "model.safetensors": BlockSize} {
			if _, err := w.vault.Append(w.push(t), u.ID, path, 0, bytes.NewReader(files[path][:n])); err != nil {
				t.Fatal(err)
			}
		}
		if count() != had+1 {
			t.Errorf("%d blobs under way, want %d", count(), had+1)
		}
		if err := w.vault.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if end == "abort" {
			err = w.vault.Abort(w.push(t), u.ID)
		} else {
			w.later(t, Expiry-time.Hour)
			if err := w.vault.Sweep(t.Context()); err != nil || count() != had+1 {
				t.Errorf("a sweep before its time: %d blobs, %v", count(), err)
			}
			w.later(t, 3*Expiry)
			err = w.vault.Sweep(t.Context())
		}
		if err != nil || count() != had {
			t.Errorf("%s leaves %d blobs of %d, %v", end, count(), had, err)
		}
		if _, err := w.keys.Key(t.Context(), u.ID); err == nil {
			t.Errorf("%s leaves the key", end)
		}
		if parts, _ := filepath.Glob(filepath.Join(w.data, "blobs", "stages", "*")); len(parts) != 0 {
			t.Errorf("%s leaves %v", end, parts)
		}
		_, err = w.vault.Uploaded(w.push(t), u.ID)
		wantKind(t, "the upload after its "+end, err, sallyport.NotFound)
	}
	w.wantModel(t, "acme/fraud", kept)
}

// TestExpiryOfWhatBecameAVersion: a process that died between adding a version and
// forgetting its upload must not cost the version its key.
func TestExpiryOfWhatBecameAVersion(t *testing.T) {
	w := newWorld(t)
	files := model(t, 1<<20)
	u, err := w.vault.Begin(w.push(t), specs(files), Made{})
	if err != nil {
		t.Fatal(err)
	}
	// The upload's directory as it was before the commit.
	from, saved := filepath.Join(w.data, "uploads", u.ID), filepath.Join(t.TempDir(), "saved")
	if err := os.CopyFS(saved, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	made, err := w.send(t, u, files, "main")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(from, os.DirFS(saved)); err != nil {
		t.Fatal(err)
	}
	w.later(t, 3*Expiry)
	if err := w.vault.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, _ := w.vault.dir.list(); len(left) != 0 {
		t.Errorf("uploads left: %v", left)
	}
	w.wantModel(t, "acme/fraud@"+made.Number, files)
}

// TestSweepOfAnEmptyCatalog deletes nothing: it is the wrong catalog.
func TestSweepOfAnEmptyCatalog(t *testing.T) {
	w := newWorld(t)
	w.pushed(t, model(t, 1<<10))
	w.later(t, 3*Expiry)
	w.vault.Catalog = &catalog.Service{Store: forgetful{w.db.Catalog()}, Clock: w.clock}
	if err := w.vault.Sweep(t.Context()); err == nil {
		t.Error("a sweep by an empty catalog succeeds")
	}
	n := 0
	w.eachBlob(t, func(string) { n++ })
	if n != 6 {
		t.Errorf("%d blobs are left, want 6", n)
	}
}

type forgetful struct{ catalog.Store }

func (forgetful) Dump(ctx context.Context) (catalog.Dump, error) { return catalog.Dump{}, nil }

func (forgetful) Blobs(ctx context.Context) ([]string, error) { return nil, nil }

// TestNthStepFails injects a failure at the n-th step on the file system of the
// blobs, for every n: a push fails cleanly, goes on with the same files, and ends
// in the right bytes; nothing else is hurt.
func TestNthStepFails(t *testing.T) {
	broken := errors.New("input/output error")
	var count, at atomic.Int64
	w := newWorld(t)
	w.hooks = blob.Hooks{Before: func(op blob.Op, name string) error {
		if count.Add(1) == at.Load() {
			return broken
		}
		return nil
	}}
	w.restart(t)
	files := map[string][]byte{"model.safetensors": weights(t, 300<<10), "README.md": []byte(card)}
	for n := int64(1); ; n++ {
		count.Store(0)
		at.Store(n)
		u, err := w.vault.Begin(w.push(t), specs(files), Made{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.send(t, u, files, "main")
		if count.Load() < n { // every step has had its turn
			if err != nil || n < 15 {
				t.Fatalf("the last push of %d: %v", n, err)
			}
			return
		}
		if err == nil {
			continue // a step whose failure does not matter
		}
		wantKind(t, fmt.Sprintf("a push whose step %d fails", n), err, sallyport.Unavailable)
		at.Store(0)
		if n%2 == 0 {
			w.restart(t)
		}
		if u, err = w.vault.Begin(w.push(t), specs(files), Made{}); err != nil {
			t.Fatal(err)
		}
		if _, err = w.send(t, u, files, "main"); err != nil {
			t.Fatalf("after a failure at step %d: %v", n, err)
		}
		w.wantModel(t, "acme/fraud", files)
	}
}

// TestManyAtOnce: twice as many files at once as may be open, and two senders of
// each.
func TestManyAtOnce(t *testing.T) {
	w := newWorld(t)
	w.vault.maxOpen = 8
	files := map[string][]byte{}
	for i := range 2 * w.vault.maxOpen {
		files[fmt.Sprintf("d/%03d.txt", i)] = bytes.Repeat([]byte{'a' + byte(i%26)}, BlockSize/16+i)
	}
	files["big.safetensors"] = weights(t, 9<<20)
	u, err := w.vault.Begin(w.push(t), specs(files), Made{})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for _, f := range append(u.Files, u.Files...) {
		p := w.push(t)
		all.Go(func() {
			for range 200 {
				have, err := w.vault.Append(p, u.ID, f.Path, 0, bytes.NewReader(files[f.Path]))
				if sallyport.KindOf(err) == sallyport.Busy {
					time.Sleep(5 * time.Millisecond) // as a client does
					continue
				}
				if err != nil && sallyport.KindOf(err) != sallyport.Conflict || have != int64(len(files[f.Path])) {
					t.Errorf("%s: %d, %v", f.Path, have, err)
				}
				return
			}
			t.Errorf("%s is busy for ever", f.Path)
		})
	}
	all.Wait()
	if _, err := w.vault.Commit(w.push(t), u.ID, "main"); err != nil {
		t.Fatal(err)
	}
	w.wantModel(t, "acme/fraud", files)
	if len(w.vault.open) != 0 || len(w.vault.uploads) != 0 {
		t.Errorf("%d files and %d uploads are left open", len(w.vault.open), len(w.vault.uploads))
	}
}

// TestIdleFilesGiveWay: more files begun than may be open; what is closed for room
// goes on later.
func TestIdleFilesGiveWay(t *testing.T) {
	w := newWorld(t)
	w.vault.maxOpen = 4
	files := map[string][]byte{}
	for i := range 6 {
		files[fmt.Sprintf("%d.safetensors", i)] = weights(t, BlockSize)
	}
	u, err := w.vault.Begin(w.push(t), specs(files), Made{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range u.Files {
		if _, err := w.vault.Append(w.push(t), u.ID, f.Path, 0, bytes.NewReader(files[f.Path][:BlockSize])); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.vault.open); n != w.vault.maxOpen {
		t.Errorf("%d files are open, want %d", n, w.vault.maxOpen)
	}
	if u, err = w.vault.Uploaded(w.push(t), u.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.send(t, u, files, "main"); err != nil {
		t.Fatal(err)
	}
	w.wantModel(t, "acme/fraud", files)
}

// TestTamperedUpload: the sealed record and the list of what is complete.
func TestTamperedUpload(t *testing.T) {
	w := newWorld(t)
	files := model(t, 1<<10)
	u, err := w.vault.Begin(w.push(t), specs(files), Made{})
	if err != nil {
		t.Fatal(err)
	}
	record := filepath.Join(w.data, "uploads", u.ID, recordName)
	raw, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(raw); i += 37 {
		bad := bytes.Clone(raw)
		bad[i] ^= 1
		if err := os.WriteFile(record, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		w.vault.uploads = map[string]*upload{}
		_, err := w.vault.Uploaded(w.push(t), u.ID)
		if err == nil || !errors.Is(err, seal.ErrKey) && !errors.Is(err, seal.ErrCorrupt) {
			t.Fatalf("a record with byte %d changed: %v", i, err)
		}
	}
}

// FuzzSpecs: what is accepted is within the limits.
func FuzzSpecs(f *testing.F) {
	f.Add("model.safetensors", int64(BlockSize+1), 2, "README.md")
	f.Add("../x", int64(-1), 0, "é")
	f.Add("a.md", int64(1)<<41, 1<<19, "A.md")
	f.Fuzz(func(t *testing.T, one string, size int64, blocks int, two string) {
		digest := strings.Repeat("0", 64)
		s := []FileSpec{{Path: one, Size: size, SHA256: digest}, {Path: two, SHA256: digest}}
		for range min(max(blocks, 0), 1<<12) {
			s[0].Blocks = append(s[0].Blocks, digest)
		}
		if checkSpecs(s) != nil {
			return
		}
		if size < 0 || size > MaxTotal || int64(len(s[0].Blocks)) != (size+BlockSize-1)/BlockSize ||
			strings.EqualFold(one, two) || slices.Contains(strings.Split(one+"/"+two, "/"), "..") || strings.ContainsAny(one+two, "\\%:;\x00") || one[0] == '/' || two[0] == '/' {
			t.Errorf("accepted %q, %d bytes, %d blocks, and %q", one, size, len(s[0].Blocks), two)
		}
	})
}
