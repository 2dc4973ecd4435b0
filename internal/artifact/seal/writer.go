package seal

import (
	"errors"
	"fmt"
	"io"

	"sallyport/internal/plumbing/secret"
)

// Writer seals what is written to it. It is not safe for concurrent use. Without [Writer.Close] the file has no
// end and will be refused as truncated.
type Writer struct {
	dst   io.Writer
	keys  *keys
	chunk int64  // index of the next chunk
	plain []byte // what does not fill a chunk yet
	out   []byte // header and sealed chunks on their way to dst
	nonce [nonceSize]byte
	err   error // first failure; everything after it fails with the same
}

var errClosed = errors.New("seal: write: the file is already closed")

// NewWriter returns a writer that seals into dst under key for context. The salt must be fresh and random for every
// file under one key. The header goes out with the first chunks.
func NewWriter(dst io.Writer, key secret.Bytes, salt [SaltSize]byte, context []byte) (*Writer, error) {
	w, err := Resume(dst, key, salt, context, 0)
	if err != nil {
		return nil, err
	}
	w.out = append(append(w.out, salt[:]...), w.keys.commitment[:]...)
	return w, nil
}

// Resume continues a file of which dst already holds the header and the sealed form of the first plain bytes, as
// [ResumePoint] computes them.
//
// The caller must give the very bytes from there on that any earlier writer with this key, salt and context was
// given, for example by checking a digest of every block before sealing it. Other bytes would be encrypted under a
// nonce that was used, which breaks AES-GCM for this file.
func Resume(dst io.Writer, key secret.Bytes, salt [SaltSize]byte, context []byte, plain int64) (*Writer, error) {
	if plain < 0 || plain%ChunkSize != 0 || plain > MaxPlain {
		return nil, fmt.Errorf("seal: resume at %d: want a multiple of %d up to %d", plain, ChunkSize, int64(MaxPlain))
	}
	k, err := derive(key, &salt, context)
	if err != nil {
		return nil, err
	}
	return &Writer{
		dst: dst, keys: k, chunk: plain / ChunkSize,
		plain: make([]byte, 0, ChunkSize),
		out:   make([]byte, 0, HeaderSize+batch*sealedChunk),
	}, nil
}

// ResumePoint returns, for the first sealed bytes of an unfinished file, how many bytes of plaintext are safely in
// it and at how many sealed bytes to cut it before [Resume]. Below a whole header both are 0: begin anew, under a
// fresh salt.
func ResumePoint(sealed int64) (plain, cut int64) {
	if sealed < HeaderSize {
		return 0, 0
	}
	chunks := (sealed - HeaderSize) / sealedChunk
	return chunks * ChunkSize, HeaderSize + chunks*sealedChunk
}

// Write implements [io.Writer]. It returns how many bytes of p it has taken over.
func (w *Writer) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 && w.err == nil {
		if len(w.plain) == 0 && len(p) >= ChunkSize {
			w.seal(p[:ChunkSize])
			p = p[ChunkSize:]
			continue
		}
		n := min(len(p), ChunkSize-len(w.plain))
		w.plain = append(w.plain, p[:n]...)
		p = p[n:]
		if len(w.plain) == ChunkSize {
			w.seal(w.plain)
			w.plain = w.plain[:0]
		}
	}
	return total - len(p), w.err
}

// Close seals the last chunk and writes it. It does not close dst.
func (w *Writer) Close() error {
	if w.err == nil {
		w.seal(w.plain)
	}
	if w.err == nil {
		w.flush()
	}
	clear(w.plain[:cap(w.plain)])
	if w.err != nil {
		return w.err
	}
	w.err = errClosed
	return nil
}

func (w *Writer) seal(plain []byte) {
	if w.chunk >= maxChunks {
		w.err = fmt.Errorf("seal: write: more than %d bytes in one file; split it", int64(MaxPlain))
		return
	}
	if len(w.out)+sealedChunk > cap(w.out) {
		if w.flush(); w.err != nil {
			return
		}
	}
	w.out = w.keys.aead.Seal(w.out, w.keys.nonce(&w.nonce, w.chunk), plain, nil)
	w.chunk++
}

func (w *Writer) flush() {
	n, err := w.dst.Write(w.out)
	if err == nil && n < len(w.out) {
		err = io.ErrShortWrite
	}
	if err != nil {
		w.err = fmt.Errorf("seal: write: %w", err)
	}
	w.out = w.out[:0]
}
