package vault

import (
	"errors"
	"fmt"
	"io"

	"sallyport"
	"sallyport/internal/artifact/blob"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/artifact/seal"
	"sallyport/internal/enforce/guard"
)

// pieceSize is how many bytes are read between two looks at the permit.
const pieceSize = 256 << 10

// A File is an open file of a version. Reads fail with the cut when the permit is
// withdrawn, and once it is done. ReadAt is safe for concurrent use, the other
// methods are for one goroutine. No read returns bytes other than those pushed.
type File struct {
	permit *guard.Permit
	file   catalog.File
	sealed blob.Blob
	plain  *seal.Reader
	off    int64
}

var _ interface {
	io.ReadSeekCloser
	io.ReaderAt
	io.WriterTo
} = (*File)(nil)

// Size is the number of bytes.
func (f *File) Size() int64 { return f.file.Size }

// SHA256 is the digest of all bytes, 64 hexadecimal digits.
func (f *File) SHA256() string { return f.file.SHA256 }

// Read implements io.Reader; it returns at most 256 KiB at once.
func (f *File) Read(b []byte) (int, error) {
	if err := over(f.permit); err != nil {
		return 0, err
	}
	n, err := f.reach(f.off, int64(min(len(b), pieceSize)))
	if err != nil {
		return 0, err
	}
	if end := (f.off + n) / seal.ChunkSize * seal.ChunkSize; end > f.off {
		n = end - f.off // up to where a chunk ends, so that none is opened twice
	}
	read, err := f.plain.ReadAt(b[:n], f.off)
	f.off += int64(read)
	return read, readError(err)
}

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(b []byte, off int64) (int, error) {
	total := 0
	for {
		if err := over(f.permit); err != nil {
			return total, err
		}
		most, err := f.reach(off+int64(total), int64(min(len(b), pieceSize)))
		if err != nil {
			return total, err
		}
		n, err := f.plain.ReadAt(b[:most], off+int64(total))
		total, b = total+n, b[n:]
		if err != nil || len(b) == 0 {
			return total, readError(err)
		}
	}
}

// reach cuts n bytes from an offset on to those that the permit reaches. Where it
// reaches none although the file goes on, that is an error.
func (f *File) reach(off, n int64) (int64, error) {
	first, last := f.permit.Span()
	if n == 0 || off >= f.file.Size || off >= first && off <= last && n <= last-off {
		return n, nil
	}
	if off < first || off > last {
		return 0, sallyport.E("read file", sallyport.NotFound, fmt.Sprintf("the permission %s does not reach byte %d", f.permit.ID(), off), "ask for a range within")
	}
	return last - off + 1, nil
}

// Seek implements io.Seeker.
func (f *File) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.off
	case io.SeekEnd:
		offset += f.file.Size
	}
	if offset < 0 {
		return f.off, sallyport.E("seek", sallyport.Invalid, "before the beginning of the file", "")
	}
	f.off = offset
	return offset, nil
}

// WriteTo implements io.WriterTo: the rest of the file, in pieces.
func (f *File) WriteTo(w io.Writer) (int64, error) {
	size := max(min(f.file.Size-f.off, pieceSize), 1)
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{f}, make([]byte, size))
}

// Close lets go of the file.
func (f *File) Close() error { return f.sealed.Close() }

func readError(err error) error {
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return err
	case errors.Is(err, seal.ErrCorrupt):
		return damaged("read file", err)
	}
	return sallyport.Wrap("read file", sallyport.Unavailable, "the stored bytes cannot be read", err)
}
