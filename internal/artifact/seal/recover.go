package seal

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"

	"sallyport/internal/plumbing/secret"
)

// Recovered describes the intact beginning of an unfinished file.
type Recovered struct {
	Salt  [SaltSize]byte // for Resume
	Plain int64          // bytes of plaintext in whole, authenticated chunks
	Cut   int64          // sealed bytes that hold them: cut the file here before Resume
}

// Recover finds out how much of an unfinished file of size bytes in src is intact, and writes that plaintext to dst,
// for example into the hash of the file. After a loss of power a tail of zeroes or old blocks is common; it is left
// out. It returns [ErrKey] when there is no whole header for this key and context: begin anew, under a fresh salt.
// Other errors are those of src and dst.
func Recover(dst io.Writer, src io.ReaderAt, size int64, key secret.Bytes, context []byte) (Recovered, error) {
	if size < HeaderSize {
		return Recovered{}, fmt.Errorf("seal: recover: %d bytes are no header: %w", size, ErrKey)
	}
	var header [HeaderSize]byte
	if err := readFull(src, header[:], 0); err != nil {
		return Recovered{}, fmt.Errorf("seal: recover: %w", err)
	}
	rec := Recovered{Salt: [SaltSize]byte(header[:SaltSize]), Cut: HeaderSize}
	k, err := derive(key, &rec.Salt, context)
	if err != nil {
		return Recovered{}, err
	}
	if subtle.ConstantTimeCompare(k.commitment[:], header[SaltSize:]) != 1 {
		return Recovered{}, fmt.Errorf("seal: recover: %w", ErrKey)
	}
	most, _ := ResumePoint(size)
	r := &Reader{src: src, memory: new(Memory), keys: k, sealed: size, plain: most}
	buf := make([]byte, min(most, batch*ChunkSize))
	for rec.Plain < most {
		n, err := r.ReadAt(buf, rec.Plain)
		if _, err := dst.Write(buf[:n]); err != nil {
			return Recovered{}, fmt.Errorf("seal: recover: %w", err)
		}
		rec.Plain += int64(n)
		if errors.Is(err, ErrCorrupt) {
			break
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return Recovered{}, err
		}
	}
	rec.Cut = HeaderSize + rec.Plain/ChunkSize*sealedChunk
	return rec, nil
}
