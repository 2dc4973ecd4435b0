package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
)

// Version is the content hash of a set, whatever its language: "sha256:" and 64 hex digits, over schema, names and
// texts, each with its length before it.
func (s Source) Version() string {
	text := []byte("sallyport policy set v1\n")
	add := func(s string) {
		text = binary.BigEndian.AppendUint64(text, uint64(len(s)))
		text = append(text, s...)
	}
	add(s.Schema)
	for _, file := range slices.Sorted(maps.Keys(s.Policies)) {
		add(file)
		add(s.Policies[file])
	}
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}
