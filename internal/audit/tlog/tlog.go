// Package tlog owns the formats and proofs of a transparency log: RFC 6962 Merkle trees in C2SP tlog-tiles files,
// C2SP tlog-checkpoint signed notes under a C2SP tlog-policy, C2SP tlog-proof receipts, and the leaves the trail writes.
//
// It takes bytes and fetch functions and does no I/O, reads no clock and starts no goroutine. Writing a log is left to
// audit/trail, walking a whole log to the public package verify. Every function is safe for concurrent use.
package tlog

import (
	"context"
	"encoding/base64"
	"fmt"

	"github.com/transparency-dev/merkle/rfc6962"
)

// HashSize is the length of a Merkle tree hash in bytes (SHA-256).
const HashSize = 32

// Hash is a Merkle tree hash as RFC 6962 section 2.1 defines it: of a leaf, of an inner node, or of a whole tree.
type Hash [HashSize]byte

// String returns h in standard base64 (RFC 4648 section 4), the form checkpoints and receipts use.
func (h Hash) String() string { return base64.StdEncoding.EncodeToString(h[:]) }

// Fetch reads one file of a log, named by its slash-separated C2SP tlog-tiles path such as "checkpoint" or
// "tile/0/x001/067". A file that does not exist is an error that errors.Is reports as fs.ErrNotExist.
// An implementation bounds what it reads; see MaxFileSize.
type Fetch func(ctx context.Context, path string) ([]byte, error)

// LeafHash returns the RFC 6962 hash of one log entry: SHA-256(0x00 || entry).
func LeafHash(entry []byte) Hash { return Hash(rfc6962.DefaultHasher.HashLeaf(entry)) }

// NodeHash returns the RFC 6962 hash of an inner node: SHA-256(0x01 || left || right).
func NodeHash(left, right Hash) Hash {
	return Hash(rfc6962.DefaultHasher.HashChildren(left[:], right[:]))
}

// EmptyRoot returns the root hash of a tree without entries.
func EmptyRoot() Hash { return Hash(rfc6962.DefaultHasher.EmptyRoot()) }

// parseHash reads one hash in standard base64. Only the canonical spelling is accepted, so that a proof has one form.
func parseHash(s string) (Hash, error) {
	if len(s) != base64.StdEncoding.EncodedLen(HashSize) {
		return Hash{}, fmt.Errorf("hash %.60q is not %d bytes of base64", s, HashSize)
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != HashSize {
		return Hash{}, fmt.Errorf("hash %.60q is not %d bytes of base64", s, HashSize)
	}
	return Hash(b), nil
}
