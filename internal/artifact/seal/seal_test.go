package seal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"sallyport/internal/plumbing/secret"
)

var sizes = []int{0, 1, 15, 16, 16383, 16384, 16385, 32767, 32768, 32769, 16*16384 - 1, 16 * 16384, 16*16384 + 1, 40*16384 + 77}

func testKey(b byte) secret.Bytes { return secret.NewBytes(bytes.Repeat([]byte{b}, KeySize)) }

// pattern is the plaintext of the vectors too: testdata/oracle.py computes the same.
func pattern(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i*31 + (i>>8)*7)
	}
	return b
}

func sealed(t testing.TB, key secret.Bytes, salt [SaltSize]byte, context, plain []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, key, salt, context)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func open(t testing.TB, file []byte, key secret.Bytes, context []byte) *Reader {
	t.Helper()
	r, err := Open(bytes.NewReader(file), int64(len(file)), key, context)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// readAll opens and reads a file, through both ways of reading, which must agree.
func readAll(file []byte, key secret.Bytes, context []byte) ([]byte, error) {
	r, err := Open(bytes.NewReader(file), int64(len(file)), key, context)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	_, err = r.Stream(0, r.Size()).WriteTo(&out)
	at := make([]byte, r.Size())
	n, errAt := r.ReadAt(at, 0)
	if (err == nil) != (errAt == nil) || !bytes.Equal(at[:n], out.Bytes()) {
		return nil, fmt.Errorf("Stream gives %d bytes, %v; ReadAt gives %d bytes, %v", out.Len(), err, n, errAt)
	}
	return out.Bytes(), err
}

func TestSizes(t *testing.T) {
	key, context := testKey(1), []byte("context")
	for _, size := range sizes {
		plain := pattern(size)
		file := sealed(t, key, [SaltSize]byte{1}, context, plain)
		want, err := SealedSize(int64(size))
		if err != nil || want != int64(len(file)) {
			t.Errorf("SealedSize(%d) = %d, %v, want %d", size, want, err, len(file))
		}
		if back, err := PlainSize(int64(len(file))); err != nil || back != int64(size) {
			t.Errorf("PlainSize(%d) = %d, %v, want %d", len(file), back, err, size)
		}
		if got, err := readAll(file, key, context); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("size %d: read %d bytes, %v", size, len(got), err)
		}
		if err := iotest.TestReader(open(t, file, key, context).Stream(0, int64(size)), plain); err != nil && size < 40000 {
			t.Errorf("size %d: %v", size, err)
		}
	}
}

func TestWritesOfAnyLengthGiveTheSameFile(t *testing.T) {
	key, plain := testKey(1), pattern(40*ChunkSize+77)
	want := sealed(t, key, [SaltSize]byte{1}, nil, plain)
	for _, step := range []int{1, 7, 4096, 16383, 16384, 16385, 100_000, len(plain)} {
		var out bytes.Buffer
		w, _ := NewWriter(&out, key, [SaltSize]byte{1}, nil)
		for part := range slices.Chunk(plain, step) {
			if n, err := w.Write(part); n != len(part) || err != nil {
				t.Fatalf("Write = %d, %v", n, err)
			}
		}
		if err := w.Close(); err != nil || !bytes.Equal(out.Bytes(), want) {
			t.Errorf("in steps of %d: another file, or %v", step, err)
		}
	}
}

func TestResume(t *testing.T) {
	key, salt, plain := testKey(1), [SaltSize]byte{3}, pattern(5*ChunkSize+77)
	want := sealed(t, key, salt, []byte("c"), plain)
	for _, kept := range []int{HeaderSize, HeaderSize + 1, HeaderSize + sealedChunk - 1, HeaderSize + sealedChunk, 40_000, len(want) - 1} {
		from, cut := ResumePoint(int64(kept))
		out := bytes.NewBuffer(slices.Clone(want[:cut]))
		w, err := Resume(out, key, salt, []byte("c"), from)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(plain[from:]); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil || !bytes.Equal(out.Bytes(), want) {
			t.Errorf("resumed after %d of %d bytes: another file, or %v", kept, len(want), err)
		}
	}
	if from, cut := ResumePoint(HeaderSize - 1); from != 0 || cut != 0 {
		t.Errorf("ResumePoint inside the header = %d, %d, want 0, 0", from, cut)
	}
	for _, at := range []int64{-ChunkSize, 1, ChunkSize - 1, MaxPlain + 1} {
		if _, err := Resume(io.Discard, key, salt, nil, at); err == nil {
			t.Errorf("Resume at %d: no error", at)
		}
	}
}

func TestRandomAccess(t *testing.T) {
	key, plain := testKey(1), pattern(40*ChunkSize+77)
	file := sealed(t, key, [SaltSize]byte{1}, nil, plain)
	r := open(t, file, key, nil)
	check := func(off, n int) {
		t.Helper()
		want := plain[min(off, len(plain)):min(off+n, len(plain))]
		got := make([]byte, n)
		m, err := r.ReadAt(got, int64(off))
		if !bytes.Equal(got[:m], want) || (err == nil) != (m == n) || (err != nil && !errors.Is(err, io.EOF)) {
			t.Fatalf("ReadAt(%d, %d) = %d, %v, want %d bytes", off, n, m, err, len(want))
		}
		var out bytes.Buffer
		if _, err := r.Stream(int64(off), int64(n)).WriteTo(&out); err != nil || !bytes.Equal(out.Bytes(), want) {
			t.Fatalf("Stream(%d, %d) = %d bytes, %v, want %d", off, n, out.Len(), err, len(want))
		}
		slow, err := io.ReadAll(iotest.HalfReader(r.Stream(int64(off), int64(n))))
		if err != nil || !bytes.Equal(slow, want) {
			t.Fatalf("reading Stream(%d, %d) = %d bytes, %v, want %d", off, n, len(slow), err, len(want))
		}
	}
	edges := []int{0, 1, ChunkSize - 1, ChunkSize, ChunkSize + 1, 16 * ChunkSize, 17*ChunkSize - 1, 40 * ChunkSize, len(plain) - 1, len(plain), len(plain) + 1}
	for _, off := range edges {
		for _, n := range edges {
			check(off, n)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		check(rng.IntN(len(plain)), rng.IntN(5*ChunkSize))
	}
	if _, err := r.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("a negative offset was accepted")
	}
	if n, err := r.Stream(-5, -5).Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("an empty stream gives %d, %v", n, err)
	}
}

func TestConcurrentReads(t *testing.T) {
	key, plain := testKey(1), pattern(20*ChunkSize+5)
	r := open(t, sealed(t, key, [SaltSize]byte{1}, nil, plain), key, nil)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 0))
			for range 50 {
				off := rng.IntN(len(plain))
				p := make([]byte, min(rng.IntN(70_000), len(plain)-off))
				if n, err := r.ReadAt(p, int64(off)); n != len(p) || err != nil || !bytes.Equal(p, plain[off:off+n]) {
					t.Errorf("ReadAt(%d, %d) = %d, %v", off, len(p), n, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestSealedRange reads each range from a file of which everything else is destroyed.
func TestSealedRange(t *testing.T) {
	key, plain := testKey(1), pattern(3*ChunkSize+77)
	file := sealed(t, key, [SaltSize]byte{1}, nil, plain)
	total := int64(len(plain))
	for _, off := range []int64{0, 1, ChunkSize - 1, ChunkSize, 2 * ChunkSize, 3 * ChunkSize, total - 1} {
		for _, n := range []int64{1, 2, ChunkSize, ChunkSize + 1, total} {
			start, length := SealedRange(off, n, total)
			if start < HeaderSize || start+length > int64(len(file)) {
				t.Fatalf("SealedRange(%d, %d) = %d, %d, outside a file of %d", off, n, start, length, len(file))
			}
			r := open(t, file, key, nil)
			holes := make([]byte, len(file))
			copy(holes[start:start+length], file[start:])
			r.src = bytes.NewReader(holes)
			want := plain[off:min(off+n, total)]
			got := make([]byte, len(want))
			if _, err := r.ReadAt(got, off); err != nil || !bytes.Equal(got, want) {
				t.Errorf("SealedRange(%d, %d) = %d, %d does not suffice: %v", off, n, start, length, err)
			}
			if length > (int64(len(want))/ChunkSize+2)*sealedChunk {
				t.Errorf("SealedRange(%d, %d) asks for %d bytes", off, n, length)
			}
		}
	}
	for _, c := range [][3]int64{{-1, 5, 10}, {0, 0, 10}, {0, -1, 10}, {10, 1, 10}, {0, 1, 0}} {
		if _, length := SealedRange(c[0], c[1], c[2]); length != 0 {
			t.Errorf("SealedRange%v has length %d, want 0", c, length)
		}
	}
}

func TestEveryBitFlippedIsRefused(t *testing.T) {
	key, context := testKey(1), []byte("context")
	for _, size := range []int{0, 1, 100} {
		file := sealed(t, key, [SaltSize]byte{1}, context, pattern(size))
		for bit := range len(file) * 8 {
			file[bit/8] ^= 1 << (bit % 8)
			if _, err := readAll(file, key, context); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrKey) {
				t.Fatalf("size %d, bit %d flipped: error %v, want refusal", size, bit, err)
			}
			file[bit/8] ^= 1 << (bit % 8)
		}
	}
}

func TestEveryByteChangedInManyChunks(t *testing.T) {
	key, plain := testKey(1), pattern(3*ChunkSize+77)
	file := sealed(t, key, [SaltSize]byte{1}, nil, plain)
	for at := 0; at < len(file); at += 97 {
		file[at] ^= 0x40
		got, err := readAll(file, key, nil)
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrKey) {
			t.Fatalf("byte %d changed: error %v, want refusal", at, err)
		}
		if !bytes.HasPrefix(plain, got) || len(got)%ChunkSize != 0 {
			t.Fatalf("byte %d changed: %d bytes were given out that are not whole true chunks", at, len(got))
		}
		file[at] ^= 0x40
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	key := testKey(1)
	for _, size := range []int{0, 100, ChunkSize + 3} {
		file := sealed(t, key, [SaltSize]byte{1}, nil, pattern(size))
		for n := range file {
			if _, err := Open(bytes.NewReader(file[:n]), int64(n), key, nil); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("size %d cut to %d of %d: error %v, want ErrCorrupt", size, n, len(file), err)
			}
			if _, err := Open(bytes.NewReader(file[:n]), int64(len(file)), key, nil); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("size %d, source ends at %d of %d: error %v, want ErrCorrupt", size, n, len(file), err)
			}
		}
		if _, err := readAll(append(file, 0), key, nil); err == nil {
			t.Errorf("size %d: a byte appended was accepted", size)
		}
	}
}

func TestMovedChunksAreRefused(t *testing.T) {
	key, plain := testKey(1), pattern(4*ChunkSize+77)
	file := sealed(t, key, [SaltSize]byte{1}, nil, plain)
	other := sealed(t, key, [SaltSize]byte{2}, nil, plain)
	chunk := func(f []byte, i int) []byte { return f[HeaderSize+i*sealedChunk:][:sealedChunk] }
	for i := range 4 {
		for j := range 4 {
			moved := slices.Clone(file)
			copy(chunk(moved, i), chunk(file, j))
			if _, err := readAll(moved, key, nil); (err == nil) != (i == j) {
				t.Errorf("chunk %d replaced by chunk %d: error %v", i, j, err)
			}
		}
		spliced := slices.Clone(file)
		copy(chunk(spliced, i), chunk(other, i))
		if _, err := readAll(spliced, key, nil); !errors.Is(err, ErrCorrupt) {
			t.Errorf("chunk %d from another file: error %v", i, err)
		}
	}
	dropped := slices.Concat(file[:HeaderSize+sealedChunk], file[HeaderSize+2*sealedChunk:])
	if _, err := readAll(dropped, key, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a chunk dropped: error %v", err)
	}
}

func TestContext(t *testing.T) {
	fields := []string{"acme", "fraud-scorer", "sha256:00", "v1"}
	file := sealed(t, testKey(1), [SaltSize]byte{1}, Context(fields...), []byte("weights"))
	if _, err := readAll(file, testKey(1), Context(fields...)); err != nil {
		t.Fatal(err)
	}
	others := [][]string{nil, fields[:3], {"acme", "fraud-scorer", "sha256:00", "v1", ""}, {"acmefraud-scorer", "", "sha256:00", "v1"}}
	for i := range fields {
		changed := slices.Clone(fields)
		changed[i] += "x"
		others = append(others, changed)
		for j := range i {
			swapped := slices.Clone(fields)
			swapped[i], swapped[j] = swapped[j], swapped[i]
			others = append(others, swapped)
		}
	}
	for _, o := range others {
		if _, err := readAll(file, testKey(1), Context(o...)); !errors.Is(err, ErrKey) {
			t.Errorf("opened for %q: error %v, want ErrKey", o, err)
		}
	}
	if _, err := readAll(file, testKey(2), Context(fields...)); !errors.Is(err, ErrKey) {
		t.Errorf("opened with another key: error %v, want ErrKey", err)
	}
}

func TestLimits(t *testing.T) {
	for _, n := range []int64{-1, MaxPlain + 1, 1 << 62} {
		if _, err := SealedSize(n); err == nil {
			t.Errorf("SealedSize(%d): no error", n)
		}
	}
	most, err := SealedSize(MaxPlain)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := PlainSize(most); err != nil || back != MaxPlain {
		t.Errorf("PlainSize(SealedSize(MaxPlain)) = %d, %v", back, err)
	}
	for _, n := range []int64{-1, 0, HeaderSize, HeaderSize + tagSize - 1, HeaderSize + sealedChunk, HeaderSize + sealedChunk + tagSize - 1, most + tagSize + 1, 1<<63 - 1} {
		if _, err := PlainSize(n); !errors.Is(err, ErrCorrupt) {
			t.Errorf("PlainSize(%d): error %v, want ErrCorrupt", n, err)
		}
	}
	for _, size := range []int{0, 16, KeySize - 1, KeySize + 1} {
		if _, err := NewWriter(io.Discard, secret.NewBytes(make([]byte, size)), [SaltSize]byte{}, nil); err == nil {
			t.Errorf("a key of %d bytes was accepted", size)
		}
	}
	w, _ := NewWriter(io.Discard, testKey(1), [SaltSize]byte{}, nil)
	w.chunk = maxChunks
	if _, err := w.Write(make([]byte, ChunkSize)); err == nil {
		t.Error("more chunks than the nonce can count were accepted")
	}
}

// failing writes or reads fail after a number of bytes.
type failing struct {
	left int
	err  error
}

func (f *failing) Write(p []byte) (int, error) {
	if f.left < len(p) {
		n := f.left
		f.left = 0
		return n, f.err
	}
	f.left -= len(p)
	return len(p), nil
}

func (f *failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

func TestFailures(t *testing.T) {
	broken := errors.New("disk on fire")
	plain := pattern(40 * ChunkSize)
	for _, left := range []int{0, HeaderSize, 300_000, 600_000} {
		for want, err := range map[error]error{broken: broken, io.ErrShortWrite: nil} {
			w, _ := NewWriter(&failing{left, err}, testKey(1), [SaltSize]byte{}, nil)
			_, _ = w.Write(plain)
			if err := w.Close(); !errors.Is(err, want) {
				t.Errorf("after %d bytes: Close = %v, want %v", left, err, want)
			}
			if _, err := w.Write(plain); !errors.Is(err, want) {
				t.Errorf("after %d bytes: a later Write = %v, want %v", left, err, want)
			}
		}
	}
	file := sealed(t, testKey(1), [SaltSize]byte{}, nil, plain)
	r := open(t, file, testKey(1), nil)
	if _, err := r.Stream(0, r.Size()).WriteTo(&failing{300_000, broken}); !errors.Is(err, broken) {
		t.Errorf("WriteTo a broken writer = %v", err)
	}
	r.src = &failing{0, broken}
	if _, err := r.ReadAt(make([]byte, 10), 0); !errors.Is(err, broken) || errors.Is(err, ErrCorrupt) {
		t.Errorf("ReadAt a broken source = %v", err)
	}
	if _, err := Open(&failing{0, broken}, int64(len(file)), testKey(1), nil); !errors.Is(err, broken) {
		t.Errorf("Open a broken source = %v", err)
	}
	w, _ := NewWriter(io.Discard, testKey(1), [SaltSize]byte{}, nil)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte{1}); err == nil {
		t.Error("Write after Close: no error")
	}
	if err := w.Close(); err == nil {
		t.Error("second Close wrote a second last chunk, or says that it did")
	}
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	plain := pattern(64 * ChunkSize)
	file := sealed(t, testKey(1), [SaltSize]byte{}, nil, plain)
	r := open(t, file, testKey(1), nil)
	p := make([]byte, 64<<10)
	if n := testing.AllocsPerRun(50, func() { _, _ = r.ReadAt(p, 12345) }); n >= 1 && !raceEnabled {
		t.Errorf("ReadAt allocates %v times", n)
	}
	w, _ := NewWriter(io.Discard, testKey(1), [SaltSize]byte{}, nil)
	if n := testing.AllocsPerRun(50, func() { _, _ = w.Write(p) }); n >= 1 {
		t.Errorf("Write allocates %v times", n)
	}
}

type vector struct {
	Size                       int
	Key, Context, Salt, SHA256 string
	Sealed                     string
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestVectors compares with files that Python's cryptography sealed (testdata/oracle.py).
func TestVectors(t *testing.T) {
	raw, err := os.ReadFile("testdata/cobblestone256.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(raw, &vectors); err != nil || len(vectors) < 15 {
		t.Fatalf("%d vectors, %v", len(vectors), err)
	}
	for _, v := range vectors {
		key, context := secret.NewBytes(unhex(t, v.Key)), unhex(t, v.Context)
		file := sealed(t, key, [SaltSize]byte(unhex(t, v.Salt)), context, pattern(v.Size))
		if sum := sha256.Sum256(file); hex.EncodeToString(sum[:]) != v.SHA256 {
			t.Errorf("size %d: our file is not the one of the vector", v.Size)
		}
		if v.Sealed == "" {
			continue
		}
		if got, err := readAll(unhex(t, v.Sealed), key, context); err != nil || !bytes.Equal(got, pattern(v.Size)) {
			t.Errorf("size %d: opened to %x, %v", v.Size, got, err)
		}
	}
}

// TestOracle exchanges files with Python's cryptography in both directions.
func TestOracle(t *testing.T) {
	python := os.Getenv("PYTHON")
	if python == "" {
		python = "python3"
	}
	if out, err := exec.Command(python, "-c", "import cryptography.cobblestone").CombinedOutput(); err != nil {
		t.Skipf("needs Python with cryptography 50 or later (set PYTHON): %v: %s", err, out[max(0, len(out)-200):])
	}
	run := func(what string, key, context, in []byte) ([]byte, error) {
		cmd := exec.Command(python, "testdata/oracle.py", what, hex.EncodeToString(key), hex.EncodeToString(context))
		cmd.Stdin = bytes.NewReader(in)
		return cmd.Output()
	}
	raw := bytes.Repeat([]byte{7}, KeySize)
	context := Context("acme", "fraud-scorer")
	for _, size := range []int{0, 1, 16383, 16384, 16385, 300_001} {
		key, plain := secret.NewBytes(bytes.Clone(raw)), pattern(size)
		file := sealed(t, key, [SaltSize]byte{9}, context, plain)
		if got, err := run("open", raw, context, file); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("size %d: Python opens our file to %d bytes, %v", size, len(got), err)
		}
		theirs, err := run("seal", raw, context, plain)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := readAll(theirs, key, context); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("size %d: we open Python's file to %d bytes, %v", size, len(got), err)
		}
		file[len(file)-1] ^= 1
		if _, err := run("open", raw, context, file); err == nil {
			t.Errorf("size %d: Python opens a damaged file: the oracle proves nothing", size)
		}
	}
}

func FuzzOpen(f *testing.F) {
	for _, size := range []int{0, 1, ChunkSize, ChunkSize + 1} {
		f.Add(sealed(f, testKey(1), [SaltSize]byte{1}, nil, pattern(size)))
	}
	f.Add([]byte{})
	f.Add([]byte(strings.Repeat("\x00", HeaderSize+tagSize)))
	f.Fuzz(func(t *testing.T, file []byte) {
		plain, err := readAll(file, testKey(1), nil)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrKey) {
				t.Fatalf("unexpected error %v", err)
			}
			return
		}
		// Whatever opens must be what we would have written.
		if again := sealed(t, testKey(1), [SaltSize]byte(file[:SaltSize]), nil, plain); !bytes.Equal(again, file) {
			t.Fatalf("%d bytes open to %d bytes of plaintext, and seal to something else", len(file), len(plain))
		}
	})
}

func FuzzRange(f *testing.F) {
	plain := pattern(3*ChunkSize + 77)
	file := sealed(f, testKey(1), [SaltSize]byte{1}, nil, plain)
	f.Add(int64(0), int64(len(plain)))
	f.Add(int64(ChunkSize), int64(1))
	f.Fuzz(func(t *testing.T, off, n int64) {
		r := open(t, file, testKey(1), nil)
		var want []byte
		if start := max(off, 0); n > 0 && start < r.Size() {
			want = plain[start : start+min(n, r.Size()-start)]
		}
		got, err := io.ReadAll(r.Stream(off, n))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("Stream(%d, %d) = %d bytes, %v, want %d", off, n, len(got), err, len(want))
		}
	})
}
