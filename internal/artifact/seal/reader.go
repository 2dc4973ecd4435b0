package seal

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"sync"

	"sallyport/internal/plumbing/secret"
)

// Reader gives random access to the plaintext of a sealed file. It is safe for concurrent use when its source is.
// It returns authenticated bytes or an error, never anything between.
type Reader struct {
	src    io.ReaderAt
	keys   *keys
	sealed int64
	plain  int64
	memory *Memory
}

// A Memory is working memory that readers lend each other: many short reads, each by a reader of its own, then
// allocate nothing. The zero value is ready; it is safe for concurrent use.
type Memory struct {
	pool sync.Pool // of *scratch
}

// scratch is the working memory of one read. The nonce lives here because a slice of a local array would escape
// through the AEAD interface, an allocation for every chunk.
type scratch struct {
	nonce  [nonceSize]byte
	cipher []byte
}

// Open returns a reader of the sealed file of size bytes in src. It checks the commitment to key and context before
// it decrypts anything, and decrypts the last chunk: only that proves the size which the reader announces.
// Errors are [ErrKey], [ErrCorrupt] or those of src.
func Open(src io.ReaderAt, size int64, key secret.Bytes, context []byte) (*Reader, error) {
	return new(Memory).Open(src, size, key, context)
}

// Open is [Open] for a reader that shares its working memory.
func (m *Memory) Open(src io.ReaderAt, size int64, key secret.Bytes, context []byte) (*Reader, error) {
	plain, err := PlainSize(size)
	if err != nil {
		return nil, err
	}
	var header [HeaderSize]byte
	if err := readFull(src, header[:], 0); err != nil {
		return nil, fmt.Errorf("seal: open: %w", err)
	}
	k, err := derive(key, (*[SaltSize]byte)(header[:SaltSize]), context)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(k.commitment[:], header[SaltSize:]) != 1 {
		return nil, fmt.Errorf("seal: open: %w", ErrKey)
	}
	r := &Reader{src: src, keys: k, sealed: size, plain: plain, memory: m}
	last := plain / ChunkSize
	s := m.borrow(1)
	defer m.pool.Put(s)
	ct, err := r.load(s, last, last)
	if err != nil {
		return nil, err
	}
	if _, err := r.open(ct[:0], s, ct, last); err != nil {
		return nil, err
	}
	clear(ct)
	return r, nil
}

// Size returns the size of the plaintext in bytes.
func (r *Reader) Size() int64 { return r.plain }

// ReadAt implements [io.ReaderAt] on the plaintext. When a chunk is damaged it returns the bytes before it and an
// error that is [ErrCorrupt].
func (r *Reader) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("seal: read at %d: negative offset", off)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if off >= r.plain {
		return 0, io.EOF
	}
	var eof error
	if int64(len(p)) > r.plain-off {
		p, eof = p[:r.plain-off], io.EOF
	}
	first, last := off/ChunkSize, (off+int64(len(p))-1)/ChunkSize
	s := r.memory.borrow(last - first + 1)
	defer r.memory.pool.Put(s)
	for first <= last {
		until := min(last, first+batch-1)
		ct, err := r.load(s, first, until)
		if err != nil {
			return n, err
		}
		for ; first <= until; first++ {
			one := ct[:min(sealedChunk, len(ct))]
			ct = ct[len(one):]
			m, err := r.deliver(p[n:], s, one, off+int64(n), first)
			if err != nil {
				return n, err
			}
			n += m
		}
	}
	return n, eof
}

// deliver decrypts a chunk and puts what lies from off on into p: directly when all of it fits, which is the rule
// in a long read, else by way of the scratch memory.
func (r *Reader) deliver(p []byte, s *scratch, ct []byte, off, chunk int64) (int, error) {
	skip, size := int(off-chunk*ChunkSize), len(ct)-tagSize
	if skip == 0 && len(p) >= size {
		_, err := r.open(p[:0:size], s, ct, chunk)
		return size, err
	}
	plain, err := r.open(ct[:0], s, ct, chunk)
	if err != nil {
		return 0, err
	}
	n := copy(p, plain[skip:])
	clear(plain)
	return n, nil
}

// load reads the sealed chunks first to last into the scratch memory.
func (r *Reader) load(s *scratch, first, last int64) ([]byte, error) {
	off := HeaderSize + first*sealedChunk
	ct := s.cipher[:min((last-first+1)*sealedChunk, r.sealed-off)]
	if err := readFull(r.src, ct, off); err != nil {
		return nil, fmt.Errorf("seal: read: %w", err)
	}
	return ct, nil
}

func (r *Reader) open(dst []byte, s *scratch, ct []byte, chunk int64) ([]byte, error) {
	plain, err := r.keys.aead.Open(dst, r.keys.nonce(&s.nonce, chunk), ct, nil)
	if err != nil {
		return nil, fmt.Errorf("seal: chunk %d of %d: %w", chunk, r.plain/ChunkSize+1, ErrCorrupt)
	}
	return plain, nil
}

// borrow returns scratch memory for that many chunks, at most a batch.
func (m *Memory) borrow(chunks int64) *scratch {
	need := int(min(chunks, batch)) * sealedChunk
	s, _ := m.pool.Get().(*scratch)
	if s == nil {
		s = new(scratch)
	}
	if len(s.cipher) < need {
		s.cipher = make([]byte, need)
	}
	return s
}

// readFull fills p. A source that ends early contradicts the size that was given for it.
func readFull(src io.ReaderAt, p []byte, off int64) error {
	n, err := src.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("the source ends at %d, inside the sealed file: %w", off+int64(n), ErrCorrupt)
	}
	return err
}

// Stream reads a range of the plaintext from front to back, several chunks at a time. It is not safe for concurrent
// use; many streams of one reader are.
type Stream struct {
	r    *Reader
	off  int64
	end  int64
	buf  []byte // allocated at first need
	have []byte // what is left of buf
}

// Stream returns a reader of the n bytes of plaintext from off on, cut at the end of the file.
// Negative arguments give an empty stream.
func (r *Reader) Stream(off, n int64) *Stream {
	off = min(max(off, 0), r.plain)
	return &Stream{r: r, off: off, end: off + min(max(n, 0), r.plain-off)}
}

// Read implements [io.Reader].
func (s *Stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(s.have) == 0 && int64(len(p)) >= s.next() && s.off < s.end {
		n, err := s.r.ReadAt(p[:s.next()], s.off)
		s.off += int64(n)
		return n, err
	}
	if err := s.fill(); err != nil {
		return 0, err
	}
	n := copy(p, s.have)
	s.have = s.have[n:]
	return n, nil
}

// WriteTo implements [io.WriterTo]: the fast way for a whole file or a long range.
func (s *Stream) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		err := s.fill()
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		n, err := w.Write(s.have)
		total += int64(n)
		s.have = s.have[n:]
		if err == nil && len(s.have) > 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return total, err
		}
	}
}

// next is how much to read at once: up to a batch, ending where a chunk ends, so that no chunk is decrypted twice.
func (s *Stream) next() int64 {
	return min(batch*ChunkSize-s.off%ChunkSize, s.end-s.off)
}

// fill makes at least one byte available, or returns io.EOF at the end.
func (s *Stream) fill() error {
	if len(s.have) > 0 {
		return nil
	}
	if s.off >= s.end {
		return io.EOF
	}
	if s.buf == nil {
		s.buf = make([]byte, min(s.end-s.off, batch*ChunkSize))
	}
	n, err := s.r.ReadAt(s.buf[:s.next()], s.off)
	s.off += int64(n)
	s.have = s.buf[:n]
	if n > 0 {
		return nil // a damaged chunk behind these bytes is met again by the next read
	}
	return err
}
