package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/enforce/guard"
)

// Append takes over bytes of a file from offset on, which is where Uploaded says
// (model.push). It takes whole blocks of 4 MiB, and the rest of the file at its
// end; each is checked against its digest before it is kept. It returns how much
// of the file is there now, with an error too. The last bytes complete the file:
// Append then returns when it was judged and is durable.
func (v *Vault) Append(p *guard.Permit, id, path string, offset int64, r io.Reader) (have int64, err error) {
	u, err := v.upload(p, id)
	if err != nil {
		return 0, err
	}
	if err := u.enter(); err != nil {
		return 0, err
	}
	defer u.mu.RUnlock()
	i, ok := slices.BinarySearchFunc(u.files, path, func(f *incoming, path string) int { return strings.Compare(f.spec.Path, path) })
	if !ok {
		return 0, sallyport.E("upload", sallyport.NotFound, "the upload has no file "+sallyport.OneLine(path), "")
	}
	f := u.files[i]
	if !f.mu.TryLock() {
		return f.have.Load(), sallyport.E("upload", sallyport.Busy, path+" is being sent already", "wait for that to end")
	}
	defer f.mu.Unlock()
	if err := v.openStage(p.Context(), f); err != nil {
		return 0, err
	}
	if offset != f.have.Load() {
		return f.have.Load(), sallyport.E("upload", sallyport.Conflict, fmt.Sprintf("%s goes on at byte %d", path, f.have.Load()), "").Because("upload.offset")
	}
	err = v.receive(p, f, r)
	if err == nil && f.done == "" && f.have.Load() == f.spec.Size {
		err = v.complete(p, u, f)
	}
	if f.stage == nil {
		v.closed(f)
	}
	return f.have.Load(), err
}

// receive takes blocks from r until its end.
func (v *Vault) receive(p *guard.Permit, f *incoming, r io.Reader) error {
	block := make([]byte, min(BlockSize, f.spec.Size-f.have.Load())+1)[:0]
	from := &permitted{p, r}
	for {
		left := f.spec.Size - f.have.Load()
		block = block[:min(BlockSize, max(left, 1))] // a byte behind the end is one too many
		n, err := io.ReadFull(from, block)
		switch {
		case n == 0 && errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
			return err
		case err != nil:
			return sallyport.E("upload", sallyport.Invalid, fmt.Sprintf("%s: %d bytes are no whole block", f.spec.Path, n), "send blocks of 4 MiB")
		case left == 0:
			return sallyport.E("upload", sallyport.TooLarge, fmt.Sprintf("%s has no more than %d bytes", f.spec.Path, f.spec.Size), "")
		}
		if err := over(p); err != nil {
			return err
		}
		if err := f.take(block); err != nil {
			return err
		}
	}
}

// permitted reads only while the permit holds.
type permitted struct {
	p *guard.Permit
	r io.Reader
}

func (r *permitted) Read(b []byte) (int, error) {
	if err := over(r.p); err != nil {
		return 0, err
	}
	return r.r.Read(b[:min(len(b), pieceSize)])
}

// complete judges a file of which all is there and makes it durable. The client
// going away does not throw away what it has sent.
func (v *Vault) complete(p *guard.Permit, u *upload, f *incoming) error {
	if err := f.verify(); err != nil {
		return err
	}
	if err := over(p); err != nil {
		f.close()
		return err
	}
	v.gc.RLock()
	defer v.gc.RUnlock()
	g, err := f.stage.Commit(context.WithoutCancel(p.Context()))
	f.stage, f.w = nil, nil
	if err == nil {
		err = v.dir.complete(u.ID, f.number, g)
	}
	if err != nil {
		f.have.Store(0)
		return sallyport.Wrap("upload", sallyport.Unavailable, f.spec.Path+" cannot be stored; send it again", err)
	}
	f.done = g.String()
	return nil
}
