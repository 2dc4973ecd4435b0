package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"sallyport"
)

// PushOptions say more about a push.
type PushOptions struct {
	Alias   string   // that shall stand for the new version; "" = none is moved
	Lineage []Origin // what the version was made from
	// TrainedBy is who trained it, where that is not whoever pushes: they do not release it either.
	TrainedBy sallyport.PrincipalID
	Progress  func(Progress) // called often, by one goroutine; may be nil
}

// Pushed is what a push made.
type Pushed struct {
	Version string `json:"version"` // "v3"
	Digest  string `json:"digest"`
}

// Files lists what Push would send of a directory: every regular file, except those below names that begin with a dot,
// without digests. A symbolic link is refused, because what it points to may lie anywhere.
func Files(dir string) ([]File, error) {
	const op = "push"
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, sallyport.E(op, sallyport.Invalid, err.Error(), "name the directory that holds the model's files")
	}
	defer root.Close()
	var files []File
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path == ".":
			return nil
		case strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			return nil
		case d.Type()&fs.ModeSymlink != 0:
			return sallyport.E(op, sallyport.Invalid, path+" is a symbolic link", "copy what it points to, for example with 'cp -rL'")
		case !d.Type().IsRegular():
			return sallyport.E(op, sallyport.Invalid, path+" is not a regular file", "leave it out")
		case len(files) == maxFiles:
			return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("more than %d files", maxFiles), "push less")
		}
		info, err := d.Info()
		if err == nil {
			err = CheckPath(path)
		}
		files = append(files, File{Path: path, Size: 0})
		if err == nil {
			files[len(files)-1].Size = info.Size()
		}
		return err
	})
	if err == nil && len(files) == 0 {
		err = sallyport.E(op, sallyport.Invalid, dir+" holds no file", "name the directory that holds the model's files")
	}
	return files, err
}

// A push is one under way.
type push struct {
	client *Client
	root   *os.Root
	ref    sallyport.Ref
	o      PushOptions
	files  []File
	have   map[string]int64 // bytes of each file that the server has
	id     string           // of the upload
	at     Progress
}

// Push sends the files of a directory as a new version of a model. An interrupted push goes on where it stopped when it
// is begun again with the same files.
func (c *Client) Push(ctx context.Context, dir, model string, o PushOptions) (Pushed, error) {
	const op = "push"
	ref, err := modelRef(op, model)
	if err == nil && ref.Revision != "" {
		err = sallyport.E(op, sallyport.Invalid, "a push makes a new version: "+model+" names one", "write ORG/MODEL")
	}
	if err != nil {
		return Pushed{}, err
	}
	p := push{client: c, ref: ref, o: o}
	if p.files, err = Files(dir); err != nil {
		return Pushed{}, err
	}
	if p.root, err = os.OpenRoot(dir); err != nil {
		return Pushed{}, sallyport.E(op, sallyport.Invalid, err.Error(), "")
	}
	defer p.root.Close()
	return p.run(ctx)
}

func (p *push) run(ctx context.Context) (Pushed, error) {
	if err := p.hash(ctx); err != nil {
		return Pushed{}, err
	}
	if err := p.begin(ctx); err != nil {
		return Pushed{}, err
	}
	p.phase("push")
	for _, f := range p.files {
		if err := p.send(ctx, f); err != nil {
			return Pushed{}, err
		}
	}
	var done Pushed
	body := struct {
		Alias string `json:"alias,omitempty"`
	}{p.o.Alias}
	err := p.client.call(ctx, p.request(http.MethodPost, "/"+url.PathEscape(p.id)+"/commit"), body, &done)
	return done, err
}

func (p *push) phase(name string) {
	p.at = Progress{Phase: name}
	for _, f := range p.files {
		p.at.Total += f.Size
	}
}

func (p *push) tell(file string, n int64) {
	p.at.File, p.at.Done = file, p.at.Done+n
	if p.o.Progress != nil {
		p.o.Progress(p.at)
	}
}

// arrived tells what the server has: after a broken attempt that may be more than what was answered.
func (p *push) arrived(file string) {
	var n int64
	for _, have := range p.have {
		n += have
	}
	p.tell(file, n-p.at.Done)
}

func (p *push) request(method, path string) request {
	return request{op: "push", door: Vault, method: method, path: "/vault/v1/" + p.ref.Org + "/" + p.ref.Name + "/uploads" + path}
}

// hash fills in the digests: of each file, and of every 4 MiB of it.
func (p *push) hash(ctx context.Context) error {
	p.phase("hash")
	block := make([]byte, blockSize)
	for i := range p.files {
		f := &p.files[i]
		src, err := p.root.Open(f.Path)
		if err != nil {
			return sallyport.E("push", sallyport.Invalid, err.Error(), "")
		}
		err = f.sum(&counting{ctx: ctx, r: src, tell: func(n int64) { p.tell(f.Path, n) }}, block)
		src.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// sum reads the file to its end and notes its size and digests.
func (f *File) sum(r io.Reader, block []byte) error {
	h := sha256.New()
	f.Size, f.Blocks = 0, []string{}
	for {
		n, err := io.ReadFull(r, block)
		if n > 0 {
			h.Write(block[:n])
			f.Size += int64(n)
			f.Blocks = append(f.Blocks, digestOf(block[:n]))
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			f.SHA256 = hex.EncodeToString(h.Sum(nil))
			return nil
		case err != nil:
			return err
		}
	}
}

// counting reads until the context ends and tells what it read.
type counting struct {
	ctx  context.Context
	r    io.Reader
	tell func(int64)
}

func (c *counting) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(b)
	c.tell(int64(n))
	return n, err
}

// begin opens the upload, or finds the one that was interrupted.
func (p *push) begin(ctx context.Context) error {
	type spec struct {
		Path   string   `json:"path"`
		Size   int64    `json:"size"`
		SHA256 string   `json:"sha256"`
		Blocks []string `json:"blocks"`
	}
	body := struct {
		Files   []spec   `json:"files"`
		Lineage []Origin `json:"lineage,omitempty"`

		TrainedBy sallyport.PrincipalID `json:"trainedBy,omitempty"`
	}{Lineage: p.o.Lineage, TrainedBy: p.o.TrainedBy}
	for _, f := range p.files {
		body.Files = append(body.Files, spec{f.Path, f.Size, f.SHA256, f.Blocks})
	}
	var answer struct {
		ID    string `json:"id"`
		Files []struct {
			Path string `json:"path"`
			Have int64  `json:"have"`
		} `json:"files"`
	}
	if err := p.client.call(ctx, p.request(http.MethodPost, ""), body, &answer); err != nil {
		return err
	}
	p.id, p.have = answer.ID, map[string]int64{}
	for _, f := range answer.Files {
		p.have[f.Path] = f.Have
	}
	for _, f := range p.files {
		if have := p.have[f.Path]; have < 0 || have > f.Size {
			return sallyport.E("push", sallyport.Unavailable, "the server says it has more of "+f.Path+" than there is", "ask its operator")
		}
	}
	return nil
}

// send sends what the server does not have of a file, piece by piece.
func (p *push) send(ctx context.Context, f File) error {
	src, err := p.root.Open(f.Path)
	if err != nil {
		return sallyport.E("push", sallyport.Invalid, err.Error(), "")
	}
	defer src.Close()
	buffer := make([]byte, min(pieceSize, f.Size))
	for failed := 0; p.have[f.Path] < f.Size; {
		at := p.have[f.Path]
		piece := buffer[:min(pieceSize, f.Size-at)]
		if _, err := src.ReadAt(piece, at); err != nil && !errors.Is(err, io.EOF) {
			return sallyport.E("push", sallyport.Invalid, err.Error(), "")
		} else if err != nil && at+int64(len(piece)) < f.Size {
			return sallyport.E("push", sallyport.Conflict, f.Path+" became shorter while it was sent", "push again when nothing writes to it")
		}
		err := p.piece(ctx, f, piece, at)
		p.arrived(f.Path)
		if p.have[f.Path] > at {
			failed = 0
		}
		if err == nil {
			continue
		}
		if failed++; failed >= attempts || !mayPass(err) {
			return err
		}
		if err := p.client.pause(ctx, backoff(failed)); err != nil {
			return err
		}
		if err := p.begin(ctx); err != nil && !mayPass(err) { // how much arrived?
			return err
		}
		p.arrived(f.Path)
	}
	return nil
}

func (p *push) piece(ctx context.Context, f File, piece []byte, at int64) error {
	r := p.request(http.MethodPut, "/"+url.PathEscape(p.id)+"/files")
	r.query = url.Values{"path": {f.Path}, "offset": {strconv.FormatInt(at, 10)}}
	r.body = piece
	r.header = http.Header{"Content-Type": {"application/octet-stream"}}
	answer, err := p.client.send(ctx, r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	var said struct {
		Have int64 `json:"have"`
	}
	if err := decode(answer.Body, &said); err != nil {
		return err
	}
	if said.Have <= at || said.Have > f.Size {
		return sallyport.E("push", sallyport.Unavailable, "the server did not take a piece of "+f.Path, "push again")
	}
	p.have[f.Path] = said.Have
	return nil
}

// mayPass reports whether the same may succeed a little later, or from another offset.
func mayPass(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.passing() || e.API.Status == http.StatusConflict && e.API.Outcome == "")
}
