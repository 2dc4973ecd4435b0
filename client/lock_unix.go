//go:build unix

package client

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the lock of an open file, and reports whether it could. It ends with the file or the process.
func tryLock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		return false, nil
	}
	return err == nil, err
}

func unlock(*os.File) {} // closing does it
