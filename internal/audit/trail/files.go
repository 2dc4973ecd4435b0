package trail

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Files are the file operations of the journal that a disk can fail. A nil field is the real operation; tests put
// failures and crashes in their place.
type Files struct {
	Write    func(f *os.File, b []byte) (int, error)
	Sync     func(f *os.File) error
	Truncate func(f *os.File, size int64) error
	Remove   func(name string) error
}

func (fs Files) orReal() Files {
	if fs.Write == nil {
		fs.Write = (*os.File).Write
	}
	if fs.Sync == nil {
		fs.Sync = (*os.File).Sync
	}
	if fs.Truncate == nil {
		fs.Truncate = (*os.File).Truncate
	}
	if fs.Remove == nil {
		fs.Remove = os.Remove
	}
	return fs
}

// write writes all of b, or fails.
func (fs Files) write(f *os.File, b []byte) error {
	n, err := fs.Write(f, b)
	if err == nil && n < len(b) {
		err = fmt.Errorf("write %s: %d of %d bytes written", f.Name(), n, len(b))
	}
	return err
}

// create makes a file that did not exist, with this content, and syncs it and its directory. The file stays open.
func (fs Files) create(name string, content []byte) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if err := fs.write(f, content); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := fs.Sync(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := fs.syncDir(filepath.Dir(name)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// makeDir makes a directory and those above it, and syncs their names: a journal is as durable as its directory.
func (fs Files) makeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, os.ErrNotExist) {
		if err := fs.makeDir(filepath.Dir(dir)); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return fs.syncDir(filepath.Dir(dir))
}

func (fs Files) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(fs.Sync(d), d.Close())
}

// truncate cuts a file to size and syncs it.
func (fs Files) truncate(name string, size int64) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if err := fs.Truncate(f, size); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(fs.Sync(f), f.Close())
}

// remove deletes a file and syncs its directory.
func (fs Files) remove(name string) error {
	if err := fs.Remove(name); err != nil {
		return err
	}
	return fs.syncDir(filepath.Dir(name))
}

// lockDir takes the lock of a trail's directory until the file is closed. flock(2) belongs to the open file, so it keeps
// out a second trail of this process as well as of another, and the kernel drops it with the process.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s", ErrLocked, dir), err, f.Close())
	}
	return f, nil
}
