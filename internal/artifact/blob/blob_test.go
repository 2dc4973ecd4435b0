package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"
)

func newDir(t testing.TB, path string, hooks Hooks) *Dir {
	t.Helper()
	d, err := NewDir(path, hooks)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func content(seed uint64, size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

func get(t testing.TB, s Store, g Digest) []byte {
	t.Helper()
	b, err := s.Open(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	out, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func list(t testing.TB, s Store) []Info {
	t.Helper()
	var all []Info
	if err := s.List(t.Context(), func(i Info) error { all = append(all, i); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestPutAndGet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	d := newDir(t, path, Hooks{})
	want := map[Digest][]byte{}
	for i, size := range []int{0, 1, 1000, copySize, copySize + 1, 3 * copySize} {
		b := content(uint64(i), size)
		g, err := d.Put(t.Context(), bytes.NewReader(b))
		if err != nil || g != sha256.Sum256(b) {
			t.Fatalf("Put of %d bytes = %s, %v", size, g, err)
		}
		if again, err := d.Put(t.Context(), iotest.OneByteReader(bytes.NewReader(b))); size < 2000 && (again != g || err != nil) {
			t.Errorf("second Put = %s, %v", again, err)
		}
		want[g] = b
	}
	d = newDir(t, path, Hooks{}) // another process
	for g, b := range want {
		if !bytes.Equal(get(t, d, g), b) {
			t.Errorf("%s: other bytes", g)
		}
		if info, err := d.Stat(t.Context(), g); err != nil || info.Size != int64(len(b)) || info.Digest != g || info.Modified.IsZero() {
			t.Errorf("Stat = %+v, %v", info, err)
		}
	}
	all := list(t, d)
	if len(all) != len(want) || !slices.IsSortedFunc(all, func(a, b Info) int { return bytes.Compare(a.Digest[:], b.Digest[:]) }) {
		t.Errorf("List gives %d blobs, want %d in order", len(all), len(want))
	}
	stop := errors.New("stop")
	if err := d.List(t.Context(), func(Info) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("List = %v, want the error of visit", err)
	}
	if left, _ := os.ReadDir(filepath.Join(path, stagesDir)); len(left) != 0 {
		t.Errorf("%d temporary files left", len(left))
	}
}

func TestDelete(t *testing.T) {
	d := newDir(t, t.TempDir(), Hooks{})
	g, _ := d.Put(t.Context(), strings.NewReader("x"))
	b, err := d.Open(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := d.Delete(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if n, err := b.ReadAt(make([]byte, 1), 0); n != 1 || err != nil {
		t.Errorf("an open blob is unreadable after Delete: %v", err)
	}
	for what, err := range map[string]error{
		"Delete": d.Delete(t.Context(), g),
		"Open":   func() error { _, err := d.Open(t.Context(), g); return err }(),
		"Stat":   func() error { _, err := d.Stat(t.Context(), g); return err }(),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s after Delete = %v, want ErrNotFound", what, err)
		}
	}
	if n := len(list(t, d)); n != 0 {
		t.Errorf("%d blobs listed", n)
	}
}

func TestDigest(t *testing.T) {
	g := Digest(sha256.Sum256(nil))
	if back, err := ParseDigest(g.String()); err != nil || back != g {
		t.Errorf("ParseDigest(%s) = %s, %v", g, back, err)
	}
	for _, s := range []string{"", "ab", strings.ToUpper(g.String()), g.String() + "0", "../" + g.String()[3:], strings.Repeat("g", 64)} {
		if _, err := ParseDigest(s); err == nil {
			t.Errorf("ParseDigest(%q): no error", s)
		}
	}
}

func TestStageResumes(t *testing.T) {
	path := t.TempDir()
	b := content(1, 100_000)
	for at := 0; at < len(b); {
		d := newDir(t, path, Hooks{})
		s, err := d.Stage(t.Context(), "upload-1")
		if err != nil {
			t.Fatal(err)
		}
		if s.Size() != int64(at) {
			t.Fatalf("Size = %d after %d bytes", s.Size(), at)
		}
		n := min(30_000, len(b)-at)
		if _, err := s.Write(b[at : at+n]); err != nil {
			t.Fatal(err)
		}
		if at += n; at == 60_000 {
			if err := s.Truncate(45_000); err != nil || s.Size() != 45_000 {
				t.Fatalf("Truncate: %v, %d bytes", err, s.Size())
			}
			at = 45_000
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	d := newDir(t, path, Hooks{})
	s, err := d.Stage(t.Context(), "upload-1")
	if err != nil {
		t.Fatal(err)
	}
	back := make([]byte, len(b))
	if _, err := s.ReadAt(back, 0); err != nil || !bytes.Equal(back, b) {
		t.Errorf("ReadAt: %v", err)
	}
	g, err := s.Commit(t.Context())
	if err != nil || g != sha256.Sum256(b) || !bytes.Equal(get(t, d, g), b) {
		t.Fatalf("Commit = %s, %v", g, err)
	}
	if _, err := s.Write([]byte("x")); err == nil {
		t.Error("Write after Commit: no error")
	}
	if _, err := s.Commit(t.Context()); err == nil {
		t.Error("second Commit: no error")
	}
	if err := errors.Join(s.Close(), s.Discard()); err != nil {
		t.Errorf("Close or Discard after Commit: %v", err)
	}
	if s, err := d.Stage(t.Context(), "upload-1"); err != nil || s.Size() != 0 {
		t.Errorf("the id begins anew with %d bytes, %v", s.Size(), err)
	}
}

func TestStageRules(t *testing.T) {
	d := newDir(t, t.TempDir(), Hooks{})
	for _, id := range []string{"", "A", "a/b", "..", "a.b", "put.1", "ä", "a\x00", strings.Repeat("a", 65)} {
		if _, err := d.Stage(t.Context(), id); err == nil {
			t.Errorf("stage %q: no error", id)
		}
	}
	s, err := d.Stage(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Stage(t.Context(), "a"); !errors.Is(err, ErrBusy) {
		t.Errorf("second Stage = %v, want ErrBusy", err)
	}
	for _, n := range []int64{-1, 1} {
		if err := s.Truncate(n); err == nil {
			t.Errorf("Truncate(%d) of nothing: no error", n)
		}
	}
	_, _ = s.Write([]byte("x"))
	if err := s.Discard(); err != nil {
		t.Fatal(err)
	}
	if s, err = d.Stage(t.Context(), "a"); err != nil || s.Size() != 0 {
		t.Errorf("after Discard: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Put(ctx, strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("Put after cancel = %v", err)
	}
	if _, err := d.Put(t.Context(), iotest.ErrReader(io.ErrClosedPipe)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Put of a broken reader = %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(d.root.Name(), stagesDir, putPrefix+"*")); len(left) != 0 {
		t.Errorf("failed puts left %q", left)
	}
}

func TestSweep(t *testing.T) {
	path := t.TempDir()
	d := newDir(t, path, Hooks{})
	for _, id := range []string{"old", "new", "busy"} {
		s, _ := d.Stage(t.Context(), id)
		_, _ = s.Write([]byte(id))
		if id != "busy" {
			_ = s.Close()
		}
	}
	old := time.Now().Add(-48 * time.Hour)
	for _, id := range []string{"old", "busy"} {
		if err := os.Chtimes(filepath.Join(path, stagesDir, id+partExt), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := d.Sweep(t.Context(), old.Add(time.Hour)); n != 1 || err != nil {
		t.Errorf("Sweep = %d, %v, want 1", n, err)
	}
	for id, want := range map[string]int64{"old": 0, "new": 3} {
		if s, err := d.Stage(t.Context(), id); err != nil || s.Size() != want {
			t.Errorf("stage %s after Sweep: %v", id, err)
		}
	}
}

// TestNothingOutside plants symbolic links where an intruder on the machine could.
func TestNothingOutside(t *testing.T) {
	path, outside := t.TempDir(), t.TempDir()
	d := newDir(t, path, Hooks{})
	g, _ := d.Put(t.Context(), strings.NewReader("x"))
	victim := filepath.Join(outside, "victim")
	if err := os.WriteFile(victim, []byte("private"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(path, stagesDir, "link"+partExt)
	if err := errors.Join(os.Symlink(victim, link), os.Remove(filepath.Join(path, blobPath(g))), os.Symlink(victim, filepath.Join(path, blobPath(g)))); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Stage(t.Context(), "link"); err == nil {
		t.Error("a stage follows a symbolic link out of the store")
	}
	if _, err := d.Open(t.Context(), g); err == nil {
		t.Error("a blob follows a symbolic link out of the store")
	}
	if _, err := d.Stat(t.Context(), g); err == nil {
		t.Error("Stat describes a symbolic link")
	}
	if b, _ := os.ReadFile(victim); string(b) != "private" {
		t.Error("the file outside changed")
	}
	info, err := os.Stat(filepath.Join(path, blobsDir))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("blobs directory has mode %v", info.Mode())
	}
}

func TestConcurrentPuts(t *testing.T) {
	d := newDir(t, t.TempDir(), Hooks{})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 10 {
				b := content(uint64(i%5+g%2), 10_000)
				digest, err := d.Put(t.Context(), bytes.NewReader(b))
				if err != nil || digest != sha256.Sum256(b) {
					t.Errorf("Put = %s, %v", digest, err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(list(t, d)); n != 6 {
		t.Errorf("%d blobs, want 6", n)
	}
}

// checkWhole proves what must hold after any failure: what was acknowledged is there, and whatever is there is whole.
func checkWhole(t *testing.T, path string, acknowledged map[Digest]bool) {
	t.Helper()
	d := newDir(t, path, Hooks{})
	seen := map[Digest]bool{}
	for _, info := range list(t, d) {
		if b := get(t, d, info.Digest); Digest(sha256.Sum256(b)) != info.Digest {
			t.Errorf("blob %s holds other bytes", info.Digest)
		}
		seen[info.Digest] = true
	}
	for g := range acknowledged {
		if !seen[g] {
			t.Errorf("acknowledged blob %s is gone", g)
		}
	}
}

var errDisk = errors.New("no space left on device")

// story puts, stages, resumes and deletes; it notes what was acknowledged and stops at the first failure.
func story(ctx context.Context, d *Dir, acknowledged map[Digest]bool) error {
	for i := range 2 {
		g, err := d.Put(ctx, bytes.NewReader(content(uint64(i), copySize+1)))
		if err != nil {
			return err
		}
		acknowledged[g] = true
		s, err := d.Stage(ctx, "s"+strconv.Itoa(i))
		if err != nil {
			return err
		}
		if _, err := s.Write(content(uint64(100+i), 5000)); err != nil {
			return errors.Join(err, s.Close())
		}
		if err := s.Truncate(4000); err != nil {
			return errors.Join(err, s.Close())
		}
		if g, err = s.Commit(ctx); err != nil {
			return err
		}
		acknowledged[g] = true
		if i%2 == 1 {
			delete(acknowledged, g)
			if err := d.Delete(ctx, g); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestEveryStepFails fails the n-th step: once alone, and once with everything after it, which is what a kill looks
// like from the disk. Each kind of step fails at some n.
func TestEveryStepFails(t *testing.T) {
	for _, dies := range []bool{false, true} {
		failed := map[Op]bool{}
		for n := 1; ; n++ {
			path, step := t.TempDir(), 0
			acknowledged := map[Digest]bool{}
			hooks := Hooks{Before: func(op Op, _ string) error {
				if step++; step == n || dies && step > n {
					failed[op] = true
					return errDisk
				}
				return nil
			}}
			d, err := NewDir(path, hooks)
			if err == nil {
				err = story(t.Context(), d, acknowledged)
				_ = d.Close()
			}
			checkWhole(t, path, acknowledged)
			if step < n {
				if err != nil {
					t.Fatalf("nothing failed, but %v", err)
				}
				break
			}
			if !errors.Is(err, errDisk) {
				t.Fatalf("step %d failed, the caller sees %v", n, err)
			}
			if n > 1000 {
				t.Fatal("no end")
			}
		}
		for _, op := range []Op{OpWrite, OpTruncate, OpSync, OpSyncDir, OpRename, OpRemove, OpMkdir} {
			if !failed[op] {
				t.Errorf("no %s ever failed: the test proves nothing about it", op)
			}
		}
	}
}

func TestFailedSyncThrowsTheStageAway(t *testing.T) {
	path := t.TempDir()
	d := newDir(t, path, Hooks{Before: func(op Op, _ string) error {
		if op == OpSync {
			return errDisk
		}
		return nil
	}})
	s, _ := d.Stage(t.Context(), "a")
	_, _ = s.Write([]byte("x"))
	if _, err := s.Commit(t.Context()); !errors.Is(err, errDisk) {
		t.Fatalf("Commit = %v", err)
	}
	if s, err := d.Stage(t.Context(), "a"); err != nil || s.Size() != 0 {
		t.Errorf("pages that may be lost are still offered for resuming: %v", err)
	}
}

// TestKilled kills a process that writes, again and again, and looks at what it acknowledged.
// SALLYPORT_KILLS sets the number of kills.
func TestKilled(t *testing.T) {
	if path := os.Getenv("SALLYPORT_BLOB_VICTIM"); path != "" {
		victim(t, path)
		return
	}
	kills := 8
	if s := os.Getenv("SALLYPORT_KILLS"); s != "" {
		kills, _ = strconv.Atoi(s)
	}
	path := t.TempDir()
	acknowledged := map[Digest]bool{}
	for i := range kills {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$", "-test.v")
		cmd.Env = append(os.Environ(), "SALLYPORT_BLOB_VICTIM="+path, "SALLYPORT_BLOB_SEED="+strconv.Itoa(i))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		until := 1 + rand.IntN(20)
		buf, seen := make([]byte, 4096), ""
		for strings.Count(seen, "stored ") < until {
			n, err := out.Read(buf)
			seen += string(buf[:n])
			if err != nil {
				t.Fatalf("the process ended by itself: %v: %s", err, seen)
			}
		}
		_ = cmd.Process.Kill()
		rest, _ := io.ReadAll(out)
		_ = cmd.Wait()
		for line := range strings.Lines(seen + string(rest)) {
			if hex, ok := strings.CutPrefix(line, "stored "); ok && strings.HasSuffix(line, "\n") {
				g, err := ParseDigest(strings.TrimSpace(hex))
				if err != nil {
					t.Fatal(err)
				}
				acknowledged[g] = true
			}
		}
	}
	if len(acknowledged) < kills {
		t.Fatalf("only %d blobs were stored", len(acknowledged))
	}
	checkWhole(t, path, acknowledged)
}

// victim stores until it is killed. It continues the one stage that its predecessor left.
func victim(t *testing.T, path string) {
	d := newDir(t, path, Hooks{})
	seed, _ := strconv.Atoi(os.Getenv("SALLYPORT_BLOB_SEED"))
	for i := 0; ; i++ {
		g, err := d.Put(t.Context(), bytes.NewReader(content(uint64(seed*200+i), 50_000)))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("stored %s\n", g)
		s, err := d.Stage(t.Context(), "one")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(content(uint64(i), 10_000)); err != nil {
			t.Fatal(err)
		}
		if g, err = s.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("stored %s\n", g)
	}
}
