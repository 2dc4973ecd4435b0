package vault

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"sallyport"
	"sallyport/internal/artifact/blob"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/artifact/format"
	"sallyport/internal/artifact/keyring"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/plumbing/secret"
)

const (
	maxUploads = 256 // under way at one time
	maxOpen    = 64  // files with an open stage
)

// An Upload is one push under way.
type Upload struct {
	ID    string     `json:"id"`
	Files []Progress `json:"files"` // sorted by path
}

// Progress is how much of a file has arrived and was found right.
type Progress struct {
	Path string `json:"path"`
	Have int64  `json:"have"` // bytes; go on from here
}

// upload is an Upload in memory. Its record never changes.
type upload struct {
	record
	key         secret.Bytes
	files       []*incoming // as in the record
	fingerprint [sha256.Size]byte

	// mu is held for reading while files come in, for writing to end the upload.
	mu    sync.RWMutex
	ended bool
}

// Begin begins an upload of a new version of the permit's model (model.push), or
// finds the one that the same person began with the same files. It belongs to
// that person and the model, and is kept for a day after bytes last came in,
// through restarts.
func (v *Vault) Begin(p *guard.Permit, specs []FileSpec, lineage []catalog.Origin) (Upload, error) {
	const op = "begin upload"
	if err := allows(p, sallyport.ModelPush); err != nil {
		return Upload{}, err
	}
	if err := checkSpecs(specs); err != nil {
		return Upload{}, err
	}
	if len(lineage) > catalog.MaxLineage {
		return Upload{}, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%d origins", len(lineage)), fmt.Sprintf("name at most %d", catalog.MaxLineage))
	}
	x, who := p.Resource(), p.Who()
	r := record{Org: x.Org, Model: x.Name, By: who.ID, Person: who.Person, Lineage: lineage, Files: sortSpecs(specs)}
	under, err := v.find(p.Context(), r)
	if err != nil {
		return Upload{}, err
	}
	if under != "" {
		return v.Uploaded(p, under)
	}
	var random [32]byte
	if _, err := io.ReadFull(v.Random, random[:]); err != nil {
		return Upload{}, sallyport.Wrap(op, sallyport.Unavailable, "no randomness", err)
	}
	r.ID, r.Salt = idText(random[:16]), hex.EncodeToString(random[16:])
	key, err := v.Keys.Create(p.Context(), r.ID)
	if err != nil {
		return Upload{}, sallyport.Wrap(op, sallyport.Unavailable, "no key can be made", err)
	}
	if err := v.dir.begin(r, v.Random, key); err != nil {
		err = errors.Join(err, v.Keys.Shred(context.WithoutCancel(p.Context()), r.ID))
		return Upload{}, sallyport.Wrap(op, sallyport.Unavailable, "the upload cannot be stored", err)
	}
	u := newUpload(r, key, nil)
	v.mu.Lock()
	v.uploads[r.ID] = u
	v.mu.Unlock()
	return u.progress(), nil
}

// find returns the id of the upload that r would begin again, "" when there is
// none and another one may begin.
func (v *Vault) find(ctx context.Context, r record) (string, error) {
	const op = "begin upload"
	ids, err := v.dir.list()
	if err != nil {
		return "", sallyport.Wrap(op, sallyport.Unavailable, "the upload cannot be stored", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, id := range ids { // after a restart those on the disk are not in memory yet
		if v.uploads[id] != nil {
			continue
		}
		if u, err := v.reload(ctx, id); err == nil {
			v.uploads[id] = u
		}
	}
	wanted := r.print()
	for id, u := range v.uploads {
		if u.fingerprint == wanted {
			return id, nil
		}
	}
	if len(ids) >= maxUploads {
		return "", sallyport.E(op, sallyport.Busy, "too many uploads are under way", "finish or abort one")
	}
	return "", nil
}

// print tells uploads apart by who pushes what where.
func (r record) print() [sha256.Size]byte {
	r.ID, r.Salt, r.By = "", "", ""
	raw, err := json.Marshal(r)
	if err != nil {
		panic("cannot happen: a record is strings and numbers")
	}
	return sha256.Sum256(raw)
}

func idText(random []byte) string {
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(random))
}

func newUpload(r record, key secret.Bytes, done map[int]string) *upload {
	u := &upload{record: r, key: key, files: make([]*incoming, len(r.Files)), fingerprint: r.print()}
	for i, spec := range r.Files {
		f := &incoming{spec: spec, stageID: fmt.Sprintf("%s-%d", r.ID, i), number: i, key: key, done: done[i], seen: done == nil,
			context: fileContext(u.version(), catalog.File{Path: spec.Path, Size: spec.Size, SHA256: spec.SHA256})}
		if f.done != "" {
			f.seen = true
			f.have.Store(spec.Size)
		}
		u.files[i] = f
	}
	return u
}

func (u *upload) version() catalog.Version {
	return catalog.Version{ID: u.ID, Org: u.Org, Model: u.Model, PushedBy: u.By, Lineage: u.Lineage}
}

func (u *upload) progress() Upload {
	a := Upload{ID: u.ID, Files: make([]Progress, len(u.files))}
	for i, f := range u.files {
		a.Files[i] = Progress{Path: f.spec.Path, Have: f.have.Load()}
	}
	return a
}

// upload finds an upload that belongs to the permit's model and person, in memory
// or on the disk.
func (v *Vault) upload(p *guard.Permit, id string) (*upload, error) {
	if err := allows(p, sallyport.ModelPush); err != nil {
		return nil, err
	}
	none := sallyport.E("upload", sallyport.NotFound, "there is no such upload of yours", "begin a new one")
	if !validID(id) {
		return nil, none
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	u := v.uploads[id]
	if u == nil {
		var err error
		if u, err = v.reload(p.Context(), id); errors.Is(err, fs.ErrNotExist) || errors.Is(err, keyring.ErrNotFound) {
			return nil, none
		} else if err != nil {
			return nil, sallyport.Wrap("upload", sallyport.Unavailable, "the upload cannot be read back", err)
		}
		v.uploads[id] = u
	}
	if x := p.Resource(); u.Org != x.Org || u.Model != x.Name || u.Person != p.Who().Person {
		return nil, none
	}
	return u, nil
}

func (v *Vault) reload(ctx context.Context, id string) (*upload, error) {
	if !v.dir.has(id) {
		return nil, fs.ErrNotExist
	}
	key, err := v.Keys.Key(ctx, id)
	if err != nil {
		return nil, err
	}
	r, err := v.dir.load(id, key)
	if err != nil {
		return nil, err
	}
	done, err := v.dir.completed(id)
	if err != nil {
		return nil, err
	}
	return newUpload(r, key, done), nil
}

// Uploaded returns how far an upload is (model.push), to go on after an
// interruption.
func (v *Vault) Uploaded(p *guard.Permit, id string) (Upload, error) {
	u, err := v.upload(p, id)
	if err != nil {
		return Upload{}, err
	}
	if err := u.enter(); err != nil {
		return Upload{}, err
	}
	defer u.mu.RUnlock()
	for _, f := range u.files {
		if !f.mu.TryLock() { // it is coming in just now
			continue
		}
		err := v.look(p.Context(), f)
		f.mu.Unlock()
		if err != nil {
			return Upload{}, err
		}
	}
	return u.progress(), nil
}

// look finds out how much of a file is there, and leaves nothing open or behind
// of a file that has not begun.
func (v *Vault) look(ctx context.Context, f *incoming) error {
	if f.seen {
		return nil
	}
	if err := v.openStage(ctx, f); err != nil {
		return err
	}
	if f.have.Load() == 0 {
		v.closed(f)
		return f.discard()
	}
	return nil
}

// enter begins work on an upload; the caller ends it with mu.RUnlock.
func (u *upload) enter() error {
	if !u.mu.TryRLock() {
		return sallyport.E("upload", sallyport.Conflict, "the upload is being finished", "")
	}
	if u.ended {
		u.mu.RUnlock()
		return sallyport.E("upload", sallyport.NotFound, "there is no such upload of yours", "begin a new one")
	}
	return nil
}

// openStage opens the stage of a file, and closes another one where too many are
// open. The caller holds f.mu.
func (v *Vault) openStage(ctx context.Context, f *incoming) error {
	if err := f.resume(ctx, v.Blobs, v.Random); err != nil || f.done != "" {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	f.used = v.Now()
	v.open[f] = struct{}{}
	if len(v.open) <= maxOpen {
		return nil
	}
	var idle *incoming
	for o := range v.open {
		if o != f && (idle == nil || o.used.Before(idle.used)) && o.mu.TryLock() {
			if idle != nil {
				idle.mu.Unlock()
			}
			idle = o
		}
	}
	if idle == nil {
		return sallyport.E("upload", sallyport.Busy, "too many files at once", "try again in a moment")
	}
	idle.close()
	idle.mu.Unlock()
	delete(v.open, idle)
	return nil
}

// closed notes that the stage of a file is open no more.
func (v *Vault) closed(f *incoming) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.open, f)
}

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

// Commit makes the upload a version of its model (model.push), when all files are
// complete, and points alias at it, unless that is "" (see catalog.AddVersion).
// Doing it again after a lost answer returns the same version.
func (v *Vault) Commit(p *guard.Permit, id, alias string) (catalog.Version, error) {
	const op = "commit upload"
	u, err := v.upload(p, id)
	if err != nil {
		if made, ok := v.committed(p, id); ok {
			return made, nil
		}
		return catalog.Version{}, err
	}
	if !u.mu.TryLock() {
		return catalog.Version{}, sallyport.E(op, sallyport.Conflict, "files are still coming in", "commit when all were answered")
	}
	defer u.mu.Unlock()
	if u.ended {
		return catalog.Version{}, sallyport.E(op, sallyport.NotFound, "there is no such upload of yours", "begin a new one")
	}
	for _, f := range u.files {
		if err := v.ready(p, u, f); err != nil {
			return catalog.Version{}, err
		}
	}
	made, err := v.add(p, u, alias)
	if err != nil {
		return catalog.Version{}, err
	}
	v.forget(u)
	if err := v.dir.remove(u.ID); err != nil {
		return catalog.Version{}, sallyport.Wrap(op, sallyport.Unavailable, "the version was added, and its upload cannot be removed; commit again", err)
	}
	if v.Sync != nil {
		_ = v.Sync(context.WithoutCancel(p.Context())) // the version is there; the index follows by itself
	}
	return made, nil
}

// committed finds the version that an upload has become.
func (v *Vault) committed(p *guard.Permit, id string) (catalog.Version, bool) {
	if allows(p, sallyport.ModelPush) != nil {
		return catalog.Version{}, false
	}
	x := p.Resource()
	made, ok := v.Index().VersionByID(x.Org, x.Name, id)
	return made, ok && made.PushedBy == p.Who().ID
}

// ready completes a file of which all is there: an empty one, or one that an
// interruption left just before its end.
func (v *Vault) ready(p *guard.Permit, u *upload, f *incoming) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done != "" {
		return nil
	}
	if err := v.openStage(p.Context(), f); err != nil {
		return err
	}
	if have := f.have.Load(); have != f.spec.Size {
		return sallyport.E("commit upload", sallyport.Conflict, fmt.Sprintf("%s has %d of %d bytes", f.spec.Path, have, f.spec.Size), "send the rest")
	}
	err := v.complete(p, u, f)
	v.closed(f)
	return err
}

// add writes the manifest and adds the version.
func (v *Vault) add(p *guard.Permit, u *upload, alias string) (catalog.Version, error) {
	const op = "commit upload"
	made := u.version()
	m := Manifest{Salt: u.Salt, Files: make([]ManifestFile, len(u.files))}
	for i, f := range u.files {
		kind := string(format.KindOf(f.spec.Path)) // as format.Admit held it to
		m.Files[i] = ManifestFile{Path: f.spec.Path, Size: f.spec.Size, SHA256: f.spec.SHA256, Kind: kind, Blocks: append([]string{}, f.spec.Blocks...)}
		made.Files = append(made.Files, catalog.File{Path: f.spec.Path, Size: f.spec.Size, SHA256: f.spec.SHA256, Kind: kind, Blob: f.done})
	}
	raw, digest, err := m.Encode()
	if err != nil {
		return catalog.Version{}, err
	}
	sealed, err := sealAll(raw, v.Random, u.key, manifestContext(made))
	if err != nil {
		return catalog.Version{}, err
	}
	if err := over(p); err != nil {
		return catalog.Version{}, err
	}
	ctx := context.WithoutCancel(p.Context())
	v.gc.RLock()
	defer v.gc.RUnlock()
	g, err := v.Blobs.Put(ctx, strings.NewReader(string(sealed)))
	if err != nil {
		return catalog.Version{}, sallyport.Wrap(op, sallyport.Unavailable, "the manifest cannot be stored", err)
	}
	made.Digest, made.Manifest = digest, g.String()
	return v.Catalog.AddVersion(ctx, made, alias)
}

// forget ends an upload in memory. The caller holds u.mu for writing.
func (v *Vault) forget(u *upload) {
	u.ended = true
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.uploads, u.ID)
	for _, f := range u.files {
		delete(v.open, f)
	}
	u.key.Zero()
}

// Abort ends an upload and destroys what came of it (model.push).
func (v *Vault) Abort(p *guard.Permit, id string) error {
	u, err := v.upload(p, id)
	if err != nil {
		return err
	}
	if !u.mu.TryLock() {
		return sallyport.E("abort upload", sallyport.Conflict, "files are still coming in", "abort when all were answered")
	}
	defer u.mu.Unlock()
	if u.ended {
		return nil
	}
	return v.destroy(context.WithoutCancel(p.Context()), u.ID, u)
}

// destroy ends an upload that has not become a version: its key first. u is nil
// when it is not in memory; else the caller holds u.mu for writing.
func (v *Vault) destroy(ctx context.Context, id string, u *upload) error {
	d, err := v.Catalog.Dump(ctx)
	if err != nil {
		return err
	}
	became := slices.ContainsFunc(d.Versions, func(x catalog.Version) bool { return x.ID == id })
	if !became {
		if err := v.Keys.Shred(ctx, id); err != nil && !errors.Is(err, keyring.ErrNotFound) {
			return sallyport.Wrap("abort upload", sallyport.Unavailable, "the key cannot be destroyed", err)
		}
	}
	done, err := v.dir.completed(id)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return sallyport.Wrap("abort upload", sallyport.Unavailable, "the upload cannot be read back", err)
	}
	if u != nil {
		for _, f := range u.files {
			f.mu.Lock() // somebody who needs room may be closing its stage
			err = errors.Join(err, f.discard())
			f.mu.Unlock()
		}
		v.forget(u)
	}
	for _, name := range done {
		if g, perr := blob.ParseDigest(name); perr == nil && !became {
			if derr := v.Blobs.Delete(ctx, g); derr != nil && !errors.Is(derr, blob.ErrNotFound) {
				err = errors.Join(err, derr)
			}
		}
	}
	if err = errors.Join(err, v.dir.remove(id)); err != nil {
		return sallyport.Wrap("abort upload", sallyport.Unavailable, "not all of the upload could be removed; a later sweep does", err)
	}
	return nil
}
