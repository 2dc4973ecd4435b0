package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"sallyport"
)

// partSuffix ends the name of a file that is not whole yet.
const partSuffix = ".part"

// stall is how long a download may give nothing before it is begun again.
const stall = time.Minute

// PullOptions say more about a pull.
type PullOptions struct {
	Only     func(File) bool // which files; nil: all
	Progress func(Progress)  // called often, by one goroutine; may be nil
}

// A pull is one under way.
type pull struct {
	client *Client
	root   *os.Root
	ref    sallyport.Ref // pinned
	o      PullOptions
	at     Progress
	buffer []byte
}

// Pull writes the files of a version into a directory, which is made where it is missing. What is there already and
// right is kept, what was interrupted goes on where it stopped; every file is verified before it gets its name. Files
// that do not belong to the version stay as they are.
func (c *Client) Pull(ctx context.Context, ref, dir string, o PullOptions) (Manifest, error) {
	const op = "pull"
	m, err := c.Manifest(ctx, ref)
	if err != nil {
		return m, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return m, sallyport.E(op, sallyport.Invalid, err.Error(), "name a directory that you may write to")
	}
	root, err := os.OpenRoot(dir) // nothing is written outside of it, whatever links lie in it
	if err != nil {
		return m, sallyport.E(op, sallyport.Invalid, err.Error(), "name a directory that you may write to")
	}
	defer root.Close()
	p := pull{client: c, root: root, ref: sallyport.Ref{Kind: sallyport.ModelKind, Org: m.Org, Name: m.Model, Revision: m.Number}, o: o, at: Progress{Phase: "pull"}}
	var files []File
	for _, f := range m.Files {
		if o.Only == nil || o.Only(f) {
			files = append(files, f)
			p.at.Total += f.Size
		}
	}
	p.buffer = make([]byte, blockSize)
	for _, f := range files {
		if err := p.file(ctx, f); err != nil {
			return m, err
		}
	}
	m.Files = files
	return m, nil
}

func (p *pull) tell(file string, n int64) {
	p.at.File, p.at.Done = file, p.at.Done+n
	if p.o.Progress != nil {
		p.o.Progress(p.at)
	}
}

// file brings one file.
func (p *pull) file(ctx context.Context, f File) error {
	const op = "pull"
	if d := path.Dir(f.Path); d != "." {
		if err := p.root.MkdirAll(d, 0o755); err != nil {
			return sallyport.E(op, sallyport.Invalid, err.Error(), "name a directory where nothing is in the way")
		}
	}
	if there, err := p.isThere(ctx, f); err != nil || there {
		return err
	}
	part, err := p.root.OpenFile(f.Path+partSuffix, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return sallyport.E(op, sallyport.Invalid, err.Error(), "remove what is in the way")
	}
	defer part.Close()
	if info, err := part.Stat(); err != nil || !info.Mode().IsRegular() {
		return sallyport.E(op, sallyport.Invalid, f.Path+partSuffix+" is not a regular file", "remove it")
	}
	d := download{pull: p, file: f, part: part, sum: sha256.New()}
	if err := d.run(ctx); err != nil {
		return err
	}
	return p.finish(part, f)
}

// finish gives a verified file its name.
func (p *pull) finish(part *os.File, f File) error {
	err := part.Sync()
	if err == nil {
		err = p.root.Rename(f.Path+partSuffix, f.Path)
	}
	if err == nil && !windows() {
		var d *os.File
		if d, err = p.root.Open(path.Dir(f.Path)); err == nil {
			err = d.Sync()
			d.Close()
		}
	}
	if err != nil {
		return sallyport.E("pull", sallyport.Unavailable, err.Error(), "see whether the disk is full")
	}
	return nil
}

// isThere reports whether the file is there already, with its bytes. Anything but a file in its place is refused.
func (p *pull) isThere(ctx context.Context, f File) (bool, error) {
	info, err := p.root.Lstat(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || !info.Mode().IsRegular() {
		return false, sallyport.E("pull", sallyport.Invalid, f.Path+" is there and is not a regular file", "remove it, or pull into another directory")
	}
	if info.Size() != f.Size {
		return false, nil
	}
	file, err := p.root.Open(f.Path)
	if err != nil {
		return false, sallyport.E("pull", sallyport.Invalid, err.Error(), "")
	}
	defer file.Close()
	h := sha256.New()
	if _, err := io.Copy(h, &counting{ctx: ctx, r: file, tell: func(int64) {}}); err != nil {
		return false, err
	}
	if hex.EncodeToString(h.Sum(nil)) != f.SHA256 {
		return false, nil
	}
	p.tell(f.Path, f.Size)
	return true, nil
}

// A download is one file on its way. All of part up to size is verified.
type download struct {
	*pull
	file File
	part *os.File
	sum  hash.Hash
	size int64
}

// run takes over what is there, and fetches the rest in as many attempts as it takes, while each brings something.
func (d *download) run(ctx context.Context) error {
	if err := d.resume(ctx); err != nil {
		return err
	}
	for failed := 0; d.size < d.file.Size; {
		before := d.size
		err := d.fetch(ctx)
		if d.size > before {
			failed = 0
		}
		if err == nil {
			continue
		}
		if failed++; failed >= attempts || !mayPass(err) {
			return err
		}
		if err := d.client.pause(ctx, backoff(failed)); err != nil {
			return err
		}
	}
	if hex.EncodeToString(d.sum.Sum(nil)) != d.file.SHA256 {
		return d.wrong("the file")
	}
	return nil
}

func (d *download) wrong(what string) error {
	return sallyport.E("pull", sallyport.Unavailable, what+" "+d.file.Path+" does not have the digest of its manifest",
		"pull again; if it happens again, tell your operator")
}

// resume verifies what an earlier pull left, block by block, and cuts off what is not right.
func (d *download) resume(ctx context.Context) error {
	r := &counting{ctx: ctx, r: d.part, tell: func(int64) {}}
	for d.size < d.file.Size {
		block := d.buffer[:min(blockSize, d.file.Size-d.size)]
		n, err := io.ReadFull(r, block)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return sallyport.Wrap("pull", sallyport.Unavailable, "read "+d.file.Path+partSuffix, err)
		}
		if n < len(block) || !d.right(block) { // a block that is not whole cannot be verified
			break
		}
		d.accept(block)
	}
	if err := d.part.Truncate(d.size); err != nil {
		return sallyport.Wrap("pull", sallyport.Unavailable, "cut "+d.file.Path+partSuffix, err)
	}
	_, err := d.part.Seek(d.size, io.SeekStart)
	return err
}

// right compares the block at the end with the manifest.
func (d *download) right(block []byte) bool {
	return digestOf(block) == d.file.Blocks[d.size/blockSize]
}

func (d *download) accept(block []byte) {
	d.sum.Write(block)
	d.size += int64(len(block))
	d.tell(d.file.Path, int64(len(block)))
}

// fetch asks for the rest and writes whole blocks, each verified before it is written. What broke off goes on in the
// next attempt at the last whole block.
func (d *download) fetch(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(stall, func() { cancel(errStalled) })
	defer idle.Stop()
	r := request{op: "pull", door: Vault, method: http.MethodGet, path: versionPath(d.ref) + "/files/" + escapePath(d.file.Path)}
	if d.size > 0 {
		r.header = http.Header{"Range": {fmt.Sprintf("bytes=%d-", d.size)}}
	}
	answer, err := d.client.send(ctx, r)
	if err != nil {
		return stalled(ctx, err)
	}
	defer answer.Body.Close()
	if err := d.agrees(answer); err != nil {
		return err
	}
	body := &counting{ctx: ctx, r: answer.Body, tell: func(int64) { idle.Reset(stall) }}
	for d.size < d.file.Size {
		block := d.buffer[:min(blockSize, d.file.Size-d.size)]
		if _, err := io.ReadFull(body, block); err != nil {
			return stalled(ctx, unreachable("pull", d.client.server, fmt.Errorf("the download of %s broke off: %w", d.file.Path, err)))
		}
		if !d.right(block) {
			return d.wrong("a block of")
		}
		if _, err := d.part.Write(block); err != nil {
			return sallyport.E("pull", sallyport.Unavailable, err.Error(), "see whether the disk is full")
		}
		d.accept(block)
	}
	return nil
}

// agrees checks that the answer begins where the question did.
func (d *download) agrees(answer *http.Response) error {
	want := ""
	if d.size > 0 {
		want = fmt.Sprintf("bytes %d-%d/%d", d.size, d.file.Size-1, d.file.Size)
	}
	if got := answer.Header.Get("Content-Range"); got != want || (want != "") != (answer.StatusCode == http.StatusPartialContent) {
		return sallyport.E("pull", sallyport.Unavailable, "the server answered with another range than asked for", "ask its operator")
	}
	return nil
}

var errStalled = errors.New("nothing came for " + stall.String())

// stalled tells a download that we gave up from one that the caller ended.
func stalled(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStalled) {
		return &Error{Op: "pull", API: unreachableMessage("nothing came for " + stall.String()), Err: errStalled}
	}
	if cause := ctx.Err(); cause != nil {
		return cause
	}
	return err
}

func escapePath(p string) string {
	segments := strings.Split(p, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return strings.Join(segments, "/")
}

// decode reads a short JSON answer.
func decode(r io.Reader, v any) error {
	text, err := readAll(r, maxRefuse)
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		return &Error{Op: "read answer", API: unreachableMessage("the answer broke off or is not understood"), Err: err}
	}
	return nil
}
