// Package seal owns the encrypted form of a stored file: C2SP chunked-encryption, instantiation Cobblestone-256
// (c2sp.org/chunked-encryption, HKDF-SHA-512 and AES-256-GCM in chunks of 16 KiB), with random access, key
// commitment and binding to a context.
//
// It is pure. Keys come from the keyring, salts from whoever owns randomness, bytes go to and come from blob;
// what a file means, and who may read it, is the vault's.
//
// A sealed file is
//
//	salt (24) | commitment (32) | chunk 0 | chunk 1 | … | last chunk
//
// where a chunk is 16,384 bytes of plaintext and a tag of 16 bytes, and the last one, which is always there, is
// shorter: it holds the remaining 0 to 16,383 bytes.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"

	"sallyport/internal/plumbing/secret"
)

// Sizes of the format, in bytes.
const (
	KeySize   = 32        // the input key, uniformly random
	SaltSize  = 24        // fresh for every file under one key
	ChunkSize = 16 * 1024 // plaintext of every chunk but the last

	// HeaderSize is what precedes the first chunk: salt and commitment.
	HeaderSize = SaltSize + commitmentSize
	// MaxPlain is the largest plaintext of one file: one byte less than 2³⁸ chunks (4 PiB).
	MaxPlain = maxChunks*ChunkSize - 1

	commitmentSize = 32
	nonceSize      = 12
	tagSize        = 16
	sealedChunk    = ChunkSize + tagSize
	maxChunks      = 1 << 38
	// batch is how many chunks one read or write of the underlying storage moves at most: 256 KiB is where
	// system calls stop to matter and the level 2 cache still holds both sides.
	batch = 16
	label = "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"
)

// Errors to branch on with [errors.Is].
var (
	// ErrKey says that the file was sealed under another key or for another context, or that its header changed.
	ErrKey = errors.New("key or context does not belong to this file")
	// ErrCorrupt says that sealed bytes are not the ones that were written: changed, moved, cut or extended.
	ErrCorrupt = errors.New("sealed bytes are damaged or were tampered with")
)

// SealedSize returns how many bytes plain bytes of plaintext take when sealed.
// It returns an error when plain is negative or above [MaxPlain].
func SealedSize(plain int64) (int64, error) {
	if plain < 0 || plain > MaxPlain {
		return 0, fmt.Errorf("seal: size %d is outside 0 to %d", plain, int64(MaxPlain))
	}
	return HeaderSize + plain + tagSize*(plain/ChunkSize+1), nil
}

// PlainSize returns how many bytes of plaintext a sealed file of that many bytes holds.
// No file has a size for which it returns [ErrCorrupt].
func PlainSize(sealed int64) (int64, error) {
	body := sealed - HeaderSize
	if body < tagSize || body%sealedChunk < tagSize || body/sealedChunk >= maxChunks {
		return 0, fmt.Errorf("seal: %d is not the size of a sealed file: %w", sealed, ErrCorrupt)
	}
	return body - tagSize*(body/sealedChunk+1), nil
}

// SealedRange returns where in the sealed file the chunks lie that hold the n bytes of plaintext from off on:
// what a range request to a remote store must ask for. plain is the size of the whole plaintext, and the range is
// cut at it. An empty range has length 0.
func SealedRange(off, n, plain int64) (start, length int64) {
	if off < 0 || n <= 0 || off >= plain {
		return HeaderSize, 0
	}
	n = min(n, plain-off)
	first, last := off/ChunkSize, (off+n-1)/ChunkSize
	end := HeaderSize + (last+1)*sealedChunk
	if last == plain/ChunkSize {
		end = HeaderSize + plain + tagSize*(last+1)
	}
	start = HeaderSize + first*sealedChunk
	return start, end - start
}

// Context encodes fields, each with its length in front, so that no two different lists give the same bytes.
// The context binds a sealed file to its place: opened under another one, it is refused.
func Context(fields ...string) []byte {
	var b []byte
	for _, f := range fields {
		b = binary.BigEndian.AppendUint64(b, uint64(len(f)))
		b = append(b, f...)
	}
	return b
}

// keys is what one file's key, salt and context expand to.
type keys struct {
	aead       cipher.AEAD
	base       [nonceSize]byte
	commitment [commitmentSize]byte
}

func derive(key secret.Bytes, salt *[SaltSize]byte, context []byte) (*keys, error) {
	if key.Len() != KeySize {
		return nil, fmt.Errorf("seal: key has %d bytes, want %d", key.Len(), KeySize)
	}
	out, err := hkdf.Expand(sha512.New, key.Reveal(), label+string(salt[:])+string(context), KeySize+nonceSize+commitmentSize)
	if err != nil {
		return nil, fmt.Errorf("seal: derive: %w", err)
	}
	defer clear(out)
	block, err := aes.NewCipher(out[:KeySize])
	if err != nil {
		return nil, fmt.Errorf("seal: derive: %w", err)
	}
	k := new(keys)
	if k.aead, err = cipher.NewGCM(block); err != nil {
		return nil, fmt.Errorf("seal: derive: %w", err)
	}
	copy(k.base[:], out[KeySize:])
	copy(k.commitment[:], out[KeySize+nonceSize:])
	return k, nil
}

// nonce writes that of a chunk into dst: the base nonce with the index, big-endian, folded into its end.
func (k *keys) nonce(dst *[nonceSize]byte, chunk int64) []byte {
	copy(dst[:], k.base[:])
	tail := dst[nonceSize-8:]
	binary.BigEndian.PutUint64(tail, binary.BigEndian.Uint64(tail)^uint64(chunk))
	return dst[:]
}
