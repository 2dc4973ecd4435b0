package vault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"sallyport"
	"sallyport/internal/artifact/blob"
	"sallyport/internal/artifact/format"
	"sallyport/internal/artifact/seal"
	"sallyport/internal/plumbing/secret"
)

// incoming is one file of an upload on its way in: first a stage that grows by
// verified blocks, then a blob. Blocks are sealed as they come, and never before
// their digest was found right: whatever is sealed a second time after an
// interruption, under the same nonces, is therefore the same.
type incoming struct {
	spec    FileSpec
	stageID string
	number  int
	key     secret.Bytes
	context []byte

	have  atomic.Int64 // bytes taken over; written under mu
	mu    sync.Mutex   // held while the file is worked on
	done  string       // its blob, once complete
	seen  bool         // have is known
	stage blob.Stage   // nil unless open
	w     *seal.Writer
	used  time.Time // when the stage was used last, under Vault.mu
}

// resume opens the stage and finds out how much of the file is there: whole
// blocks only. The caller holds f.mu.
func (f *incoming) resume(ctx context.Context, blobs blob.Store, random io.Reader) error {
	if f.stage != nil || f.done != "" {
		return nil
	}
	stage, err := blobs.Stage(ctx, f.stageID)
	if err != nil {
		if errors.Is(err, blob.ErrBusy) {
			return sallyport.Wrap("upload", sallyport.Busy, "the file is being written by somebody else", err)
		}
		return sallyport.Wrap("upload", sallyport.Unavailable, "the upload cannot be stored", err)
	}
	have, w, err := f.writer(stage, random)
	if err != nil {
		return errors.Join(sallyport.Wrap("upload", sallyport.Unavailable, "the upload cannot be read back", err), stage.Close())
	}
	f.stage, f.w, f.seen = stage, w, true
	f.have.Store(have)
	return nil
}

// writer returns one that goes on behind the whole blocks in the stage.
func (f *incoming) writer(stage blob.Stage, random io.Reader) (int64, *seal.Writer, error) {
	found, err := seal.Recover(io.Discard, stage, stage.Size(), f.key, f.context)
	if errors.Is(err, seal.ErrKey) { // nothing of ours is there
		var salt [seal.SaltSize]byte
		if _, err := io.ReadFull(random, salt[:]); err != nil {
			return 0, nil, err
		}
		if err := stage.Truncate(0); err != nil {
			return 0, nil, err
		}
		w, err := seal.NewWriter(stage, f.key, salt, f.context)
		return 0, w, err
	}
	if err != nil {
		return 0, nil, err
	}
	have := found.Plain / BlockSize * BlockSize
	_, chunks := seal.SealedRange(0, have, seal.MaxPlain)
	if err := stage.Truncate(seal.HeaderSize + chunks); err != nil {
		return 0, nil, err
	}
	w, err := seal.Resume(stage, f.key, found.Salt, f.context, have)
	return have, w, err
}

// take seals one block after having found its digest right.
func (f *incoming) take(block []byte) error {
	have := f.have.Load()
	sum := sha256.Sum256(block)
	if n := have / BlockSize; hex.EncodeToString(sum[:]) != f.spec.Blocks[n] {
		return sallyport.E("upload", sallyport.Invalid, fmt.Sprintf("block %d of %s is not what its digest says", n, f.spec.Path),
			"send it again; begin anew when the file has changed").Because("block.digest")
	}
	if _, err := f.w.Write(block); err != nil {
		f.close()
		return sallyport.Wrap("upload", sallyport.Unavailable, "the upload cannot be stored", err)
	}
	f.have.Store(have + int64(len(block)))
	return nil
}

// close lets go of the stage and keeps what is in it.
func (f *incoming) close() {
	if f.stage != nil {
		_ = f.stage.Close() // what is in it is verified when it is opened again
	}
	f.stage, f.w, f.seen = nil, nil, false
}

// discard throws away what came of the file.
func (f *incoming) discard() error {
	if f.stage == nil {
		return nil
	}
	err := f.stage.Discard()
	f.stage, f.w, f.seen = nil, nil, true
	f.have.Store(0)
	return err
}

// verify closes the sealed file and judges it as it lies there: the digest of the
// whole, and whether it is safe to hold. What is refused is thrown away.
func (f *incoming) verify() error {
	if err := f.w.Close(); err != nil {
		f.close()
		return sallyport.Wrap("upload", sallyport.Unavailable, "the upload cannot be stored", err)
	}
	plain, err := seal.Open(f.stage, f.stage.Size(), f.key, f.context)
	if err != nil {
		return errors.Join(sallyport.Wrap("upload", sallyport.Unavailable, "the file cannot be read back", err), f.discard())
	}
	sum := sha256.New()
	if _, err := plain.Stream(0, plain.Size()).WriteTo(sum); err != nil {
		return errors.Join(sallyport.Wrap("upload", sallyport.Unavailable, "the file cannot be read back", err), f.discard())
	}
	want, _ := hex.DecodeString(f.spec.SHA256) // checked when the upload began
	if plain.Size() != f.spec.Size || !bytes.Equal(sum.Sum(nil), want) {
		return errors.Join(sallyport.E("upload", sallyport.Invalid, f.spec.Path+" is not what its SHA-256 says", "begin anew with the right digest").Because("file.digest"), f.discard())
	}
	if _, err := format.Admit(f.spec.Path, plain, plain.Size()); err != nil {
		return errors.Join(refused("upload", err), f.discard())
	}
	return nil
}
