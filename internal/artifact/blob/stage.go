package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
)

// dirStage is a file that is appended to, and the hash of all of it.
type dirStage struct {
	dir  *Dir
	id   string
	name string
	f    *os.File // nil when the stage has ended
	size int64
	hash hash.Hash
}

var errEnded = errors.New("blob: the stage has ended")

// rehash reads the first n bytes again: after an interruption or a cut.
func (s *dirStage) rehash(n int64) error {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(s.f, 0, n)); err != nil {
		return err
	}
	s.hash, s.size = h, n
	return nil
}

func (s *dirStage) Size() int64 { return s.size }

func (s *dirStage) ReadAt(p []byte, off int64) (int, error) {
	if s.f == nil {
		return 0, errEnded
	}
	return s.f.ReadAt(p, off)
}

func (s *dirStage) Write(p []byte) (int, error) {
	if s.f == nil {
		return 0, errEnded
	}
	fault := s.dir.hooks.before(OpWrite, s.name)
	if fault != nil {
		p = p[:len(p)/2]
	}
	n, err := s.f.WriteAt(p, s.size)
	s.hash.Write(p[:n])
	s.size += int64(n)
	if err = errors.Join(fault, err); err != nil {
		return n, fmt.Errorf("blob: write stage %s: %w", s.id, err)
	}
	return n, nil
}

func (s *dirStage) Truncate(n int64) error {
	if s.f == nil {
		return errEnded
	}
	if n < 0 || n > s.size {
		return fmt.Errorf("blob: truncate stage %s to %d: it has %d bytes", s.id, n, s.size)
	}
	if n == s.size {
		return nil
	}
	err := s.dir.hooks.before(OpTruncate, s.name)
	if err == nil {
		err = s.f.Truncate(n)
	}
	if err == nil {
		err = s.rehash(n)
	}
	if err != nil {
		return fmt.Errorf("blob: truncate stage %s: %w", s.id, err)
	}
	return nil
}

// Commit syncs the file before it gets its name, and the name before it returns. A file whose sync failed once is
// thrown away: the system may have dropped the pages that it could not write and call the next sync a success.
func (s *dirStage) Commit(ctx context.Context) (Digest, error) {
	if s.f == nil {
		return Digest{}, errEnded
	}
	g := Digest(s.hash.Sum(nil))
	if err := s.commit(ctx, g); err != nil {
		return Digest{}, errors.Join(fmt.Errorf("blob: commit stage %s: %w", s.id, err), s.Discard())
	}
	return g, s.Close()
}

func (s *dirStage) commit(ctx context.Context, g Digest) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.dir.hooks.before(OpSync, s.name); err != nil {
		return err
	}
	if err := s.f.Sync(); err != nil {
		return err
	}
	name := blobPath(g)
	shard := path.Dir(name)
	if err := s.dir.mkdir(shard); err != nil {
		return err
	}
	if err := s.dir.hooks.before(OpRename, name); err != nil {
		return err
	}
	// An existing blob of this name has the same bytes; replacing it is harmless, also for those who read it.
	if err := s.dir.root.Rename(s.name, name); err != nil {
		return err
	}
	if err := s.f.Chmod(0o400); err != nil { // a reminder only: nothing depends on it
		return err
	}
	return s.dir.syncDir(shard)
}

func (s *dirStage) Discard() error {
	if s.f == nil {
		return nil
	}
	err := s.dir.remove(s.name)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, s.Close())
}

func (s *dirStage) Close() error {
	if s.f == nil {
		return nil
	}
	err := s.f.Close()
	s.f = nil
	s.dir.mu.Lock()
	delete(s.dir.open, s.id)
	s.dir.mu.Unlock()
	return err
}
