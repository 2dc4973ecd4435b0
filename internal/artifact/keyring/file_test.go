package keyring

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/internal/plumbing/secret"
)

func TestKeyFile(t *testing.T) {
	cfg := place(t)
	create(t, cfg)
	info, err := os.Stat(cfg.Path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	raw, _ := os.ReadFile(cfg.Path)
	if _, err := CreateLocal(cfg); !errors.Is(err, os.ErrExist) {
		t.Errorf("second CreateLocal = %v, want ErrExist", err)
	}
	if again, _ := os.ReadFile(cfg.Path); !bytes.Equal(raw, again) {
		t.Error("a key file was overwritten")
	}
	if left, _ := os.ReadDir(filepath.Dir(cfg.Path)); len(left) != 1 {
		t.Errorf("%d files left", len(left))
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o777} {
		if err := os.Chmod(cfg.Path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenLocal(cfg); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %04o: %v, want a refusal", mode, err)
		}
	}
	if err := os.Chmod(cfg.Path, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLocal(cfg); err != nil {
		t.Errorf("mode 0400: %v", err)
	}
	cfg.Path += ".none"
	if _, err := OpenLocal(cfg); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("OpenLocal of nothing = %v", err)
	}
}

func TestKeyFileOutsideTheData(t *testing.T) {
	cfg := place(t)
	inside := filepath.Join(cfg.DataDir, "sub")
	link := filepath.Join(filepath.Dir(cfg.Path), "link")
	fileLink := filepath.Join(filepath.Dir(cfg.Path), "file")
	dataLink := filepath.Join(filepath.Dir(cfg.Path), "data")
	err := errors.Join(os.Mkdir(inside, 0o700), os.Symlink(inside, link), os.Symlink(filepath.Join(inside, "kek"), fileLink), os.Symlink(filepath.Dir(cfg.Path), dataLink))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, data string }{
		{filepath.Join(cfg.DataDir, "kek"), cfg.DataDir},
		{filepath.Join(inside, "kek"), cfg.DataDir},
		{filepath.Join(cfg.DataDir, "..", "data", "kek"), cfg.DataDir},
		{filepath.Join(link, "kek"), cfg.DataDir},
		{fileLink, cfg.DataDir},
		{cfg.Path, dataLink},
		{filepath.Join(cfg.DataDir, "missing", "kek"), cfg.DataDir},
		{cfg.DataDir, cfg.DataDir},
		{"", cfg.DataDir},
		{cfg.Path, ""},
	} {
		bad := cfg
		bad.Path, bad.DataDir = c.path, c.data
		if _, err := CreateLocal(bad); err == nil || errors.Is(err, os.ErrNotExist) {
			t.Errorf("key file %q beside data %q: %v, want a refusal", c.path, c.data, err)
		}
	}
	sibling := cfg
	sibling.Path = cfg.DataDir + "-keys" // a common prefix is no containment
	if _, err := CreateLocal(sibling); err != nil {
		t.Error(err)
	}
	sibling.Path = filepath.Join(filepath.Dir(cfg.DataDir), "..kek")
	if _, err := CreateLocal(sibling); err != nil {
		t.Error(err)
	}
}

func TestPassphrase(t *testing.T) {
	cfg := place(t)
	cfg.Passphrase = secret.NewText("correct horse")
	l := create(t, cfg)
	if _, err := l.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	raw, _ := os.ReadFile(cfg.Path)
	for _, v := range l.keys {
		if bytes.Contains(raw, []byte(base64.StdEncoding.EncodeToString(v.key.Reveal()))) || bytes.Contains(raw, []byte(v.id)) {
			t.Error("the sealed file shows a key or its id")
		}
	}
	if again := reopen(t, cfg); len(again.keys) != 2 || !again.keys[1].key.Equal(l.keys[1].key) {
		t.Error("other keys after opening again")
	}
	for _, pass := range []string{"", "wrong"} {
		bad := cfg
		bad.Passphrase = secret.NewText(pass)
		if _, err := OpenLocal(bad); err == nil {
			t.Errorf("opened with passphrase %q", pass)
		}
	}
	clear := place(t)
	create(t, clear)
	clear.Passphrase = cfg.Passphrase
	if _, err := OpenLocal(clear); err == nil {
		t.Error("a file in the clear was accepted where a passphrase is configured")
	}
	strict := cfg
	strict.scryptLog2 = 0
	if _, err := OpenLocal(strict); err == nil || !strings.Contains(err.Error(), "scrypt cost") {
		t.Errorf("a cheap scrypt was accepted: %v", err)
	}
}

// TestPassphraseCost runs scrypt once at the cost that is really used.
func TestPassphraseCost(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 128 MiB and a second; -short is set")
	}
	cfg := place(t)
	cfg.scryptLog2, cfg.Passphrase = 0, secret.NewText("correct horse")
	create(t, cfg)
	var file keyFile
	raw, _ := os.ReadFile(cfg.Path)
	if err := json.Unmarshal(raw, &file); err != nil || file.Scrypt.Log2N != 17 {
		t.Errorf("cost 2^%d, %v, want 2^17", file.Scrypt.Log2N, err)
	}
}

func TestDamagedKeyFile(t *testing.T) {
	for _, pass := range []string{"", "correct horse"} {
		cfg := place(t)
		cfg.Passphrase = secret.NewText(pass)
		l := create(t, cfg)
		raw, _ := os.ReadFile(cfg.Path)
		for n := range raw {
			if err := os.WriteFile(cfg.Path, raw[:n], 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenLocal(cfg); err == nil {
				t.Fatalf("opened when cut to %d of %d bytes", n, len(raw))
			}
		}
		if err := l.Health(t.Context()); err == nil {
			t.Error("Health does not see that the file changed")
		}
		if _, err := l.Rotate(t.Context()); err == nil {
			t.Error("Rotate wrote over a file that somebody else changed")
		}
	}
	cfg := place(t)
	key := `{"id":"a","created":"2026-01-01T00:00:00Z","key":"` + base64.StdEncoding.EncodeToString(make([]byte, 32)) + `"}`
	for what, text := range map[string]string{
		"good":          `{"format":"` + fileFormat + `","keys":[` + key + `]}`,
		"another form":  `{"format":"x","keys":[` + key + `]}`,
		"no keys":       `{"format":"` + fileFormat + `","keys":[]}`,
		"twice":         `{"format":"` + fileFormat + `","keys":[` + key + `,` + key + `]}`,
		"short key":     `{"format":"` + fileFormat + `","keys":[{"id":"a","created":"2026-01-01T00:00:00Z","key":"AAAA"}]}`,
		"unknown field": `{"format":"` + fileFormat + `","keys":[` + key + `],"x":1}`,
		"trailing":      `{"format":"` + fileFormat + `","keys":[` + key + `]}{}`,
		"both":          `{"format":"` + fileFormat + `","keys":[` + key + `],"sealed":"AAAA"}`,
		"costly scrypt": `{"format":"` + fileFormat + `","scrypt":{"log2n":40,"salt":"AAAAAAAAAAAAAAAAAAAAAA=="},"sealed":"AAAA"}`,
	} {
		if err := os.WriteFile(cfg.Path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		sealed := cfg
		if what == "costly scrypt" {
			sealed.Passphrase = secret.NewText("x")
		}
		if _, err := OpenLocal(sealed); (err == nil) != (what == "good") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestSecondProcess rotates in one process and unwraps in another that has read the file before.
func TestSecondProcess(t *testing.T) {
	cfg := place(t)
	first := create(t, cfg)
	second := reopen(t, cfg)
	dek := secret.NewBytes(bytes.Repeat([]byte{7}, KeySize))
	if _, err := first.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	wrapped, id, err := first.Wrap(t.Context(), dek, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Rotate(t.Context()); err == nil {
		t.Error("the second process rotated away what the first one has added")
	}
	if got, err := second.Unwrap(t.Context(), wrapped, id, nil); err != nil || !got.Equal(dek) {
		t.Errorf("the second process does not find the new version: %v", err)
	}
	if _, err := second.Rotate(t.Context()); err != nil {
		t.Errorf("Rotate after reading again: %v", err)
	}
}
