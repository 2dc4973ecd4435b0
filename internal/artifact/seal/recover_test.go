package seal

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
)

// TestRecover cuts or damages an unfinished file anywhere, recovers, resumes, and wants the file that was never
// interrupted.
func TestRecover(t *testing.T) {
	key, salt, context := testKey(1), [SaltSize]byte{3}, []byte("c")
	plain := pattern(20*ChunkSize + 77)
	want := sealed(t, key, salt, context, plain)
	check := func(partial []byte, intact int) {
		t.Helper()
		var head bytes.Buffer
		rec, err := Recover(&head, bytes.NewReader(partial), int64(len(partial)), key, context)
		if err != nil || rec.Plain != int64(intact)*ChunkSize || rec.Salt != salt || !bytes.Equal(head.Bytes(), plain[:rec.Plain]) {
			t.Fatalf("%d bytes: recovered %d of plaintext, want %d chunks, %v", len(partial), rec.Plain, intact, err)
		}
		out := bytes.NewBuffer(slices.Clone(partial[:rec.Cut]))
		w, err := Resume(out, key, rec.Salt, context, rec.Plain)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(plain[rec.Plain:]); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil || !bytes.Equal(out.Bytes(), want) {
			t.Fatalf("resumed after %d bytes: another file, or %v", len(partial), err)
		}
	}
	for _, n := range []int{HeaderSize, HeaderSize + 1, HeaderSize + sealedChunk - 1, HeaderSize + sealedChunk, HeaderSize + 17*sealedChunk + 9, len(want) - 1, len(want)} {
		check(want[:n], min(20, (n-HeaderSize)/sealedChunk))
		zeroes := append(slices.Clone(want[:n]), make([]byte, 3*sealedChunk)...) // a tail that never reached the disk
		check(zeroes, min(20, (n-HeaderSize)/sealedChunk))
	}
	for chunk := range 20 {
		bad := slices.Clone(want)
		bad[HeaderSize+chunk*sealedChunk+5] ^= 1
		check(bad, chunk)
	}
	for n := range HeaderSize {
		if _, err := Recover(io.Discard, bytes.NewReader(want[:n]), int64(n), key, context); !errors.Is(err, ErrKey) {
			t.Errorf("%d bytes: %v, want ErrKey", n, err)
		}
	}
	for _, other := range [][]byte{nil, []byte("d")} {
		if _, err := Recover(io.Discard, bytes.NewReader(want), int64(len(want)), key, other); !errors.Is(err, ErrKey) {
			t.Errorf("another context: %v, want ErrKey", err)
		}
	}
	broken := errors.New("disk on fire")
	if _, err := Recover(&failing{10, broken}, bytes.NewReader(want), int64(len(want)), key, context); !errors.Is(err, broken) {
		t.Errorf("a broken writer: %v", err)
	}
	if _, err := Recover(io.Discard, &failing{0, broken}, int64(len(want)), key, context); !errors.Is(err, broken) {
		t.Errorf("a broken source: %v", err)
	}
}
