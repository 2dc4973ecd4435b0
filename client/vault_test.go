package client_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

func write(t *testing.T, dir, name string, b []byte) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func wantFile(t *testing.T, dir, name string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes, %v, want %d", name, len(got), err, len(want))
	}
	if _, err := os.Stat(filepath.Join(dir, name+".part")); err == nil {
		t.Errorf("%s.part was left", name)
	}
}

func TestPushSendsEveryByteOnce(t *testing.T) {
	f := newFake(t)
	c, _ := f.signedIn(t)
	c.SetPause(atOnce)
	dir := t.TempDir()
	big := content(9<<20 + 5)
	write(t, dir, "model.safetensors", big)
	write(t, dir, "sub/config.json", []byte("{}"))
	write(t, dir, "empty.txt", nil)
	write(t, dir, ".cache/secret", []byte("no"))
	f.breakAt = 1 << 20 // the answer to the first large piece is lost
	var last client.Progress
	done, err := c.Push(t.Context(), dir, "acme/fraud", client.PushOptions{Alias: "main", Progress: func(p client.Progress) { last = p }})
	if err != nil || done.Version != "v1" {
		t.Fatalf("Push = %+v, %v", done, err)
	}
	if !bytes.Equal(f.uploads["model.safetensors"], big) || string(f.uploads["sub/config.json"]) != "{}" || len(f.manifest.Files) != 3 {
		t.Errorf("arrived: %d files, %d bytes", len(f.manifest.Files), len(f.uploads["model.safetensors"]))
	}
	if x := f.manifest.Files[1]; x.Path != "model.safetensors" || strings.Join(x.Blocks, " ") != strings.Join(blocksOf(big), " ") {
		t.Errorf("declared %s with the blocks %v", x.Path, x.Blocks)
	}
	if f.served != int64(len(big)+2) {
		t.Errorf("%d bytes were sent for %d", f.served, len(big)+2)
	}
	if last.Phase != "push" || last.Done != last.Total {
		t.Errorf("last progress %+v", last)
	}
}

func TestPushGoesOnWhereAnEarlierOneStopped(t *testing.T) {
	f := newFake(t)
	c, _ := f.signedIn(t)
	dir := t.TempDir()
	big := content(3 << 20)
	write(t, dir, "model.safetensors", big)
	f.uploads["model.safetensors"] = bytes.Clone(big[:2<<20])
	if _, err := c.Push(t.Context(), dir, "acme/fraud", client.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	if f.served != 1<<20 {
		t.Errorf("%d bytes were sent, want the missing %d", f.served, 1<<20)
	}
}

func TestPushRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a", []byte("x"))
	if err := os.Symlink("/etc/hosts", filepath.Join(dir, "link")); err != nil {
		t.Skip("this system has no symbolic links")
	}
	if _, err := client.Files(dir); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("Files = %v", err)
	}
	if _, err := client.Files(filepath.Join(dir, "none")); sallyport.KindOf(err) != sallyport.Invalid {
		t.Errorf("Files of nothing = %v", err)
	}
}

func TestPullVerifiesResumesAndKeeps(t *testing.T) {
	f := newFake(t)
	c, _ := f.signedIn(t)
	c.SetPause(atOnce)
	dir := filepath.Join(t.TempDir(), "new")
	big, small := content(10<<20+3), []byte(`{"a":1}`)
	f.put("model.safetensors", big)
	f.put("sub/config.json", small)
	f.breakAt = 5 << 20 // every download breaks after 5 MiB
	m, err := c.Pull(t.Context(), "acme/fraud@main", dir, client.PullOptions{})
	if err != nil || m.Ref() != "acme/fraud@v1" {
		t.Fatalf("Pull = %v, %v", m.Ref(), err)
	}
	wantFile(t, dir, "model.safetensors", big)
	wantFile(t, dir, "sub/config.json", small)
	f.served = 0
	if _, err := c.Pull(t.Context(), "acme/fraud", dir, client.PullOptions{}); err != nil || f.served != 0 {
		t.Errorf("a second pull: %v, %d bytes came again", err, f.served)
	}
}

func TestPullTakesOverOnlyWhatIsRight(t *testing.T) {
	big := content(9 << 20)
	bad := bytes.Clone(big[:9<<20-1])
	bad[5<<20] ^= 1
	for _, test := range []struct {
		name string
		part []byte
		most int64 // bytes that may come
	}{
		{"two blocks and a bit", big[:8<<20+77], 1 << 20},
		{"a wrong second block", bad, 5 << 20},
		{"longer than the file", append(bytes.Clone(big), 1, 2, 3), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t)
			c, _ := f.signedIn(t)
			f.put("m.bin", big)
			dir := t.TempDir()
			write(t, dir, "m.bin.part", test.part)
			if _, err := c.Pull(t.Context(), "acme/fraud", dir, client.PullOptions{}); err != nil {
				t.Fatal(err)
			}
			wantFile(t, dir, "m.bin", big)
			if f.served > test.most {
				t.Errorf("%d bytes came, want at most %d", f.served, test.most)
			}
		})
	}
}

func TestPullRefusesWrongBytes(t *testing.T) {
	f := newFake(t)
	c, _ := f.signedIn(t)
	f.put("m.bin", content(5<<20))
	f.files["m.bin"][5<<20-1] ^= 1 // on the server, or on the way
	dir := t.TempDir()
	_, err := c.Pull(t.Context(), "acme/fraud", dir, client.PullOptions{})
	if err == nil || !strings.Contains(err.Error(), "digest") {
		t.Errorf("Pull = %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "m.bin")); err == nil {
		t.Error("wrong bytes got the file's name")
	}
	if info, err := os.Stat(filepath.Join(dir, "m.bin.part")); err != nil || info.Size() != 4<<20 {
		t.Errorf("the wrong block was written: %v, %v", info.Size(), err)
	}
}

func TestPullWritesNothingOutside(t *testing.T) {
	for _, path := range []string{"../x", "/x", "a/../../x", "a//b", ".", "a\\b", "c:x", "x.part", "nul", "COM1.txt", "a\nb", "dir/", "x.", ""} {
		f := newFake(t)
		c, _ := f.signedIn(t)
		f.put(path, []byte("x"))
		outer := t.TempDir()
		_, err := c.Pull(t.Context(), "acme/fraud", filepath.Join(outer, "in"), client.PullOptions{})
		if err == nil || !strings.Contains(err.Error(), "outside of its version") {
			t.Errorf("Pull of %q = %v", path, err)
		}
		if left, _ := os.ReadDir(outer); len(left) != 0 {
			t.Errorf("Pull of %q wrote %v", path, left)
		}
	}
}

func TestPullFollowsNoLinkOut(t *testing.T) {
	f := newFake(t)
	c, _ := f.signedIn(t)
	f.put("sub/x", []byte("x"))
	out, dir := t.TempDir(), t.TempDir()
	if err := os.Symlink(out, filepath.Join(dir, "sub")); err != nil {
		t.Skip("this system has no symbolic links")
	}
	if _, err := c.Pull(t.Context(), "acme/fraud", dir, client.PullOptions{}); err == nil {
		t.Error("a link out of the directory was followed")
	}
	if left, _ := os.ReadDir(out); len(left) != 0 {
		t.Errorf("outside stands %v", left)
	}
}

func TestManifestsThatLieAreRefused(t *testing.T) {
	tests := []struct {
		name string
		ref  string
		lie  func(m *client.Manifest)
	}{
		{"files that were changed", "acme/fraud", func(m *client.Manifest) { m.Digest = canonical(*m); m.Files[0].Size = 0; m.Files[0].Blocks = nil }},
		{"another model", "acme/fraud", func(m *client.Manifest) { m.Model = "other" }},
		{"another digest", "acme/fraud@sha256:" + strings.Repeat("b", 64), func(*client.Manifest) {}},
		{"no files", "acme/fraud", func(m *client.Manifest) { m.Files = nil }},
		{"a file twice", "acme/fraud", func(m *client.Manifest) { m.Files = append(m.Files, m.Files[0]); m.Files[1].Path = "A" }},
		{"negative", "acme/fraud", func(m *client.Manifest) { m.Files[0].Size = -1 }},
		{"no digest", "acme/fraud", func(m *client.Manifest) { m.Files[0].SHA256 = "" }},
		{"too many blocks", "acme/fraud", func(m *client.Manifest) {
			m.Files[0].Blocks = []string{strings.Repeat("a", 64), strings.Repeat("a", 64)}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t)
			c, _ := f.signedIn(t)
			f.put("a", []byte("x"))
			if _, err := c.Manifest(t.Context(), "acme/fraud"); err != nil {
				t.Fatalf("before the lie: %v", err)
			}
			test.lie(&f.manifest)
			if _, err := c.Manifest(t.Context(), test.ref); err == nil {
				t.Error("the manifest was believed")
			}
		})
	}
}

// TestACutDownloadEndsWithTheServersReason is a hold placed while bytes flow: the connection breaks, and the attempt to
// go on is told why.
func TestACutDownloadEndsWithTheServersReason(t *testing.T) {
	f := newFake(t)
	c, _ := f.signedIn(t)
	f.put("m.bin", content(6<<20))
	f.breakAt = 5 << 20
	c.SetPause(func(context.Context, time.Duration) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.refuse = &api.Error{Status: 403, Message: "held", Outcome: "hold", Decision: "D-9"}
		return nil
	})
	dir := t.TempDir()
	_, err := c.Pull(t.Context(), "acme/fraud", dir, client.PullOptions{})
	wantExit(t, err, client.ExitPending, "D-9")
	if info, err := os.Stat(filepath.Join(dir, "m.bin.part")); err != nil || info.Size() != 4<<20 {
		t.Errorf("what was verified before the cut is gone: %v", err)
	}
}

func TestRefusalsKeepTheirShape(t *testing.T) {
	f := newFake(t)
	c, _ := f.signedIn(t)
	for _, test := range []struct {
		said api.Error
		code int
	}{
		{api.Error{Status: 403, Message: "no", Outcome: "deny", Decision: "D-1"}, client.ExitDenied},
		{api.Error{Status: 401, Message: "prove it", Outcome: "step-up", Needs: "aal2", Decision: "D-2"}, client.ExitStepUp},
		{api.Error{Status: 403, Message: "held", Outcome: "hold", Decision: "D-3"}, client.ExitPending},
		{api.Error{Status: 404, Message: "no such thing", Outcome: "deny", Decision: "D-4"}, client.ExitDenied},
		{api.Error{Status: 404, Message: "none that you may know of", Decision: "D-5"}, client.ExitDenied},
		{api.Error{Status: 404, Message: "no such thing"}, client.ExitError},
		{api.Error{Status: 503, Message: "later"}, client.ExitUnreachable},
	} {
		f.refuse = &test.said
		_, err := c.Who(t.Context())
		wantExit(t, err, test.code, test.said.Message)
		if e, ok := errors.AsType[*client.Error](err); !ok || e.API.Decision != test.said.Decision {
			t.Errorf("%v lost its decision", err)
		}
	}
}
