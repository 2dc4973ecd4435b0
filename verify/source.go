package verify

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"

	"sallyport/internal/audit/tlog"
)

// MaxFileSize is the greatest length in bytes of a file of a log; a Source need not read more.
const MaxFileSize = tlog.MaxFileSize

// Source reads one file of a log by its slash-separated path, such as "checkpoint" or "tile/0/x001/067". A file that is
// not there is an error that errors.Is reports as fs.ErrNotExist. A Source that can block obeys ctx. It is called by one
// goroutine at a time.
type Source func(ctx context.Context, path string) ([]byte, error)

// Dir reads a log from a directory.
func Dir(dir string) Source { return FS(os.DirFS(dir)) }

// FS reads a log from a file system. Only regular files of at most MaxFileSize bytes are read, so that a pipe or a device
// in place of a file cannot hold the verification up.
func FS(fsys fs.FS) Source {
	return func(ctx context.Context, path string) ([]byte, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		info, err := fs.Stat(fsys, path)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() || info.Size() > MaxFileSize {
			return nil, fmt.Errorf("read %s: not a regular file of at most %d bytes", path, MaxFileSize)
		}
		f, err := fsys.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, MaxFileSize+1))
	}
}
