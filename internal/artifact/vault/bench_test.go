package vault

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
)

func benchFile(b *testing.B, size int) *File {
	b.Helper()
	w := newWorld(b)
	w.pushed(b, map[string][]byte{"model.safetensors": weights(b, size)})
	f, err := w.vault.Open(w.pull(b, "acme/fraud"), "model.safetensors")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return f
}

// BenchmarkSequential reads a sealed file from front to back, under its permit.
func BenchmarkSequential(b *testing.B) {
	f := benchFile(b, 128<<20)
	b.SetBytes(f.Size())
	for b.Loop() {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			b.Fatal(err)
		}
		if n, err := f.WriteTo(io.Discard); err != nil || n != f.Size() {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkRanges reads 64 KiB at random places.
func BenchmarkRanges(b *testing.B) {
	f := benchFile(b, 128<<20)
	p := make([]byte, 64<<10)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		if _, err := f.ReadAt(p, rand.Int64N(f.Size()-int64(len(p)))); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen is what a request costs before its first byte, without the guard.
func BenchmarkOpen(b *testing.B) {
	w := newWorld(b)
	w.pushed(b, map[string][]byte{"config.json": []byte("{}")})
	p := w.pull(b, "acme/fraud")
	b.ReportAllocs()
	for b.Loop() {
		f, err := w.vault.Open(p, "config.json")
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

// BenchmarkPush takes in a file of 64 MiB: verified, sealed, read back, durable.
func BenchmarkPush(b *testing.B) {
	w := newWorld(b)
	files := map[string][]byte{"model.safetensors": weights(b, 64<<20)}
	s := specs(files)
	b.SetBytes(s[0].Size)
	for b.Loop() {
		u, err := w.vault.Begin(w.push(b), s, Made{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := w.vault.Append(w.push(b), u.ID, "model.safetensors", 0, bytes.NewReader(files["model.safetensors"])); err != nil {
			b.Fatal(err)
		}
		if _, err := w.vault.Commit(w.push(b), u.ID, ""); err != nil {
			b.Fatal(err)
		}
	}
}
