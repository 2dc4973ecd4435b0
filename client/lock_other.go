//go:build !unix

package client

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// staleLock is the age at which a lock is taken for one that a dead process left behind.
const staleLock = time.Minute

// tryLock makes a second file beside an open one, and reports whether it could. unlock removes it; what a process that
// died left behind is removed when it is stale.
func tryLock(f *os.File) (bool, error) {
	name := f.Name() + ".held"
	held, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		if info, err := os.Stat(name); err == nil && time.Since(info.ModTime()) > staleLock {
			_ = os.Remove(name)
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, held.Close()
}

func unlock(f *os.File) { _ = os.Remove(f.Name() + ".held") }
