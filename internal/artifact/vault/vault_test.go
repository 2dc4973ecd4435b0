package vault

import (
	"bytes"
	"io"
	"testing"
)

func TestPushAndPull(t *testing.T) {
	w := newWorld(t)
	files := model(t, 9<<20)
	made := w.pushed(t, files)
	if made.Number != "v1" || len(made.Files) != len(files) {
		t.Errorf("pushed %s with %d files", made.Number, len(made.Files))
	}
	for _, restarted := range []bool{false, true} {
		if restarted {
			w.restart(t)
		}
		p := w.pull(t, "acme/fraud")
		for path, want := range files {
			f, err := w.vault.Open(p, path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(f)
			if err != nil || !bytes.Equal(got, want) || f.Size() != int64(len(want)) || f.SHA256() != sum(want) {
				t.Errorf("%s: %d bytes, %v", path, len(got), err)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
