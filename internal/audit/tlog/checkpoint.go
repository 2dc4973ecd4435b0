package tlog

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
)

// MaxCheckpointSize is the greatest length in bytes of a signed checkpoint that Open reads.
const MaxCheckpointSize = 64 << 10

// Checkpoint is the head of a log's tree as a C2SP tlog-checkpoint states it.
type Checkpoint struct {
	Origin string // which log
	Size   uint64 // how many entries
	Root   Hash   // of the tree over all of them
}

// Text returns the note text of c, which is what gets signed.
func (c Checkpoint) Text() string {
	return string(log.Checkpoint{Origin: c.Origin, Size: c.Size, Hash: c.Root[:]}.Marshal())
}

// Open verifies a signed checkpoint under p and returns what it states. It fails unless one of p's logs signed it with a
// key named like the checkpoint's origin and p's quorum cosigned it. A signature by a known key that does not verify
// fails the whole; unknown signatures are ignored, as C2SP signed-note says.
func (p *Policy) Open(signed []byte) (Checkpoint, error) {
	if p == nil || len(p.logs) == 0 {
		return Checkpoint{}, errors.New("open checkpoint: no log key is trusted; configure the log's verifier key")
	}
	if len(signed) > MaxCheckpointSize {
		return Checkpoint{}, fmt.Errorf("open checkpoint: %d bytes, at most %d allowed", len(signed), MaxCheckpointSize)
	}
	n, err := note.Open(signed, note.VerifierList(slices.Concat(p.logs, p.witnesses)...))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("open checkpoint: %w", err)
	}
	c, err := parseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("open checkpoint: %w", err)
	}
	signer := func(v note.Verifier) bool { return v.Name() == c.Origin && signedBy(n.Sigs, v) }
	if !slices.ContainsFunc(p.logs, signer) {
		return Checkpoint{}, fmt.Errorf("open checkpoint: not signed by a trusted key of log %q", c.Origin)
	}
	if p.quorum != nil && !p.quorum.vouched(n.Sigs) {
		return Checkpoint{}, fmt.Errorf("open checkpoint of log %q at size %d: too few witnesses cosigned it", c.Origin, c.Size)
	}
	return c, nil
}

// parseCheckpoint reads the text of a checkpoint in its one canonical spelling; extension lines are not ours and refused
// only when empty.
func parseCheckpoint(text string) (Checkpoint, error) {
	var raw log.Checkpoint
	rest, err := raw.Unmarshal([]byte(text))
	if err != nil {
		return Checkpoint{}, err
	}
	if len(raw.Hash) != HashSize {
		return Checkpoint{}, fmt.Errorf("root hash of %d bytes, want %d", len(raw.Hash), HashSize)
	}
	c := Checkpoint{Origin: raw.Origin, Size: raw.Size, Root: Hash(raw.Hash)}
	if !bytes.HasPrefix([]byte(text), []byte(c.Text())) {
		return Checkpoint{}, errors.New("size or root hash is not in its canonical form")
	}
	if bytes.HasPrefix(rest, []byte("\n")) || bytes.Contains(rest, []byte("\n\n")) {
		return Checkpoint{}, errors.New("an extension line is empty")
	}
	if c.Size == 0 && c.Root != EmptyRoot() {
		return Checkpoint{}, errors.New("an empty tree has another root hash")
	}
	return c, nil
}
