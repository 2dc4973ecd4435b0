// Package blob owns immutable sealed bytes under the SHA-256 (FIPS 180-4) of those sealed bytes, and the unfinished
// uploads on their way there.
//
// The name is the digest of what lies on the disk, never of the plaintext: clients know the SHA-256 of a model's
// files, and a thief of the disk must not be able to confirm with it which models are here. Every file is sealed
// under its own key and salt, so that equal contents have unrelated names. The same name lets a backup be checked
// without any key.
//
// It leaves to others what the bytes mean (seal, keyring), which of them are in use (catalog), and who may read them
// (vault).
package blob

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"
)

// Digest is the SHA-256 of a blob's sealed bytes.
type Digest [32]byte

// String returns 64 lower-case hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// ParseDigest reads what [Digest.String] writes, and nothing else.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	if len(s) != 2*len(d) {
		return d, fmt.Errorf("blob: digest %.80q has %d characters, want %d", s, len(s), 2*len(d))
	}
	if _, err := hex.Decode(d[:], []byte(s)); err != nil || d.String() != s {
		return Digest{}, fmt.Errorf("blob: digest %q is not lower-case hexadecimal", s)
	}
	return d, nil
}

// Errors to branch on with [errors.Is].
var (
	// ErrNotFound says that there is no such blob.
	ErrNotFound = errors.New("no such blob")
	// ErrBusy says that somebody else is writing to the stage.
	ErrBusy = errors.New("the upload is already being written to; wait for it or use another id")
)

// Info describes a stored blob.
type Info struct {
	Digest   Digest
	Size     int64 // sealed bytes
	Modified time.Time
}

// Blob is an open blob. ReadAt is safe for concurrent use. The bytes stay readable after a Delete until Close.
type Blob interface {
	io.ReaderAt
	io.Closer
	// Size returns the number of sealed bytes.
	Size() int64
}

// Stage is an unfinished blob that survives its process: bytes are appended, after an interruption from Size on.
// It is not safe for concurrent use.
//
// After a loss of power its tail may hold anything, zeroes included. Whoever resumes must prove what is there
// (seal.Recover does) and cut the rest off.
type Stage interface {
	// Write appends. After an error the stage may hold a part of p.
	io.Writer
	// ReadAt reads what was appended.
	io.ReaderAt
	// Size returns how many bytes are there.
	Size() int64
	// Truncate cuts the stage to n bytes, at most its size.
	Truncate(n int64) error
	// Commit makes the blob durable under the digest of all bytes written, and ends the stage. When it returns an
	// error the stage is gone, and the blob is either absent or whole.
	Commit(ctx context.Context) (Digest, error)
	// Discard ends the stage and removes its bytes.
	Discard() error
	// Close lets go of the stage and keeps its bytes for a later Stage of the same id. After Commit or Discard it
	// does nothing.
	Close() error
}

// Store keeps blobs. It is safe for concurrent use. A blob is visible whole or not at all, and once Put or Commit
// has returned it survives a loss of power. A blob that nobody refers to may remain after a failure: the owner of
// the references lists and deletes such blobs.
type Store interface {
	// Put stores what r gives until io.EOF. Storing the same bytes twice is no error.
	Put(ctx context.Context, r io.Reader) (Digest, error)
	// Stage begins or continues the upload of that id: 1 to 64 of a-z, 0-9 and -. [ErrBusy] while another one is open.
	Stage(ctx context.Context, id string) (Stage, error)
	// Open returns the blob, or [ErrNotFound].
	Open(ctx context.Context, d Digest) (Blob, error)
	// Stat describes the blob, or returns [ErrNotFound].
	Stat(ctx context.Context, d Digest) (Info, error)
	// Delete removes the blob durably, or returns [ErrNotFound].
	Delete(ctx context.Context, d Digest) error
	// List visits all blobs in order of their digests and stops at the first error of visit, which it returns.
	List(ctx context.Context, visit func(Info) error) error
	// Sweep removes what unfinished uploads left that nobody has written to since before, and returns how many.
	Sweep(ctx context.Context, before time.Time) (int, error)
}
