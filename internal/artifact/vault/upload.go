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
	"sallyport/internal/artifact/catalog"
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

// Made says how the files of an upload came to be.
type Made struct {
	From      []catalog.Origin
	TrainedBy sallyport.PrincipalID // "" where it is not said
}

// Begin begins an upload of a new version of the permit's model (model.push), or
// finds the one that the same person began with the same files. It belongs to
// that person and the model, and is kept for a day after bytes last came in,
// through restarts.
func (v *Vault) Begin(p *guard.Permit, specs []FileSpec, made Made) (Upload, error) {
	const op = "begin upload"
	if err := allows(p, sallyport.ModelPush); err != nil {
		return Upload{}, err
	}
	if p.Scoped() {
		return Upload{}, sallyport.E(op, sallyport.Invalid, "the permission "+p.ID()+" is for a part of a version, and a version is pushed as a whole", "ask for a grant without a scope")
	}
	if err := checkSpecs(specs); err != nil {
		return Upload{}, err
	}
	if len(made.From) > catalog.MaxLineage {
		return Upload{}, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%d origins", len(made.From)), fmt.Sprintf("name at most %d", catalog.MaxLineage))
	}
	if id, err := sallyport.ParsePrincipalID(string(made.TrainedBy)); made.TrainedBy != "" && (err != nil || id != made.TrainedBy) {
		return Upload{}, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%.80q is nobody who could have trained it", made.TrainedBy), "write user:NAME or service:NAME")
	}
	x, who := p.Resource(), p.Who()
	r := record{Org: x.Org, Model: x.Name, By: who.ID, Person: who.Person, Lineage: made.From, Files: sortSpecs(specs), TrainedBy: made.TrainedBy, Makers: who.Actors}
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
		panic(err) // cannot happen: a record is strings and numbers
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
	return catalog.Version{ID: u.ID, Org: u.Org, Model: u.Model, PushedBy: u.By, Lineage: u.Lineage, TrainedBy: u.TrainedBy, Makers: slices.Clone(u.Makers)}
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
	if len(v.open) <= v.maxOpen {
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
