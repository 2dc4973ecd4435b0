// Package vault owns the encrypted registry (encryption at rest with C2SP
// chunked-encryption and envelope keys, NIST SP 800-57 part 1): it opens, takes
// in and retires the files of model versions, for a Permit and nothing weaker.
//
// What lies on the disk tells a thief neither a model's bytes nor their digests:
// files, the manifest that holds the digests, and the list of an upload under way
// are sealed under one data key a version. The SHA-256 of the manifest is the
// version's digest, on which decisions are made; every file is sealed for its
// place in that manifest, so that bytes served are bytes decided on.
//
// It leaves who may do what to the guard, the sealed form to seal, keys to
// keyring, bytes to blob, names to catalog, and judging contents to format. It
// never takes a principal, a role or a token.
package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"sallyport"
	"sallyport/internal/artifact/blob"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/artifact/keyring"
	"sallyport/internal/artifact/seal"
	"sallyport/internal/enforce/guard"
)

// budget: about 1,900 lines, because pushing and opening share one sealed form
// and one set of rules about which bytes may be seen, and apart they would have
// to trust each other.

// Config is what a vault is made of. Every field but Sync is needed.
type Config struct {
	Catalog *catalog.Service
	Index   func() *catalog.Index // the present index, in memory: the request path asks nothing else
	Blobs   blob.Store
	Keys    *keyring.Ring
	Uploads string           // directory of uploads under way, made when missing; one process at a time
	Random  io.Reader        // crypto/rand.Reader
	Now     func() time.Time // time.Now
	// Sync, unless nil, returns when changes of the catalog are in the Index.
	Sync func(context.Context) error
}

// A Vault is the registry of sealed models. It is safe for concurrent use.
type Vault struct {
	Config
	cache *cache
	dir   *uploadDir

	// gc is held for reading while a blob exists that nothing refers to yet, and
	// for writing by the sweep that looks for blobs that nothing refers to.
	gc sync.RWMutex

	mu      sync.Mutex
	uploads map[string]*upload
	open    map[*incoming]struct{} // files with an open stage
	maxOpen int
}

// New returns a vault.
func New(c Config) (*Vault, error) {
	if c.Catalog == nil || c.Index == nil || c.Blobs == nil || c.Keys == nil || c.Uploads == "" || c.Random == nil || c.Now == nil {
		return nil, errors.New("open vault: want Catalog, Index, Blobs, Keys, Uploads, Random and Now")
	}
	dir, err := openUploadDir(c.Uploads)
	if err != nil {
		return nil, err
	}
	return &Vault{Config: c, cache: newCache(), dir: dir, uploads: map[string]*upload{}, open: map[*incoming]struct{}{}, maxOpen: maxOpen}, nil
}

// Models returns the names of all models there are, sorted. They are for a door to
// filter by what its caller may know.
func (v *Vault) Models() []sallyport.Ref { return v.Index().Models() }

// allows refuses a permit that is not for one of actions. A permit that was cut
// or has ended is refused with the cause.
func allows(p *guard.Permit, actions ...sallyport.Action) error {
	if p == nil || p.ID() == "" {
		return sallyport.E("vault", sallyport.Other, "no permit", "")
	}
	if err := over(p); err != nil {
		return err
	}
	if !p.Allows(actions...) {
		return sallyport.E("vault", sallyport.Other, fmt.Sprintf("the permit %s is for %s, which opens nothing here", p.ID(), p.Action()), "")
	}
	return nil
}

// over returns why a permit is at its end, nil while it holds.
func over(p *guard.Permit) error {
	if p.Context().Err() == nil {
		return nil
	}
	if cut, ok := guard.AsCut(p.Context()); ok {
		return cut
	}
	return context.Cause(p.Context())
}

// version finds the version of a permit and what is known of its files.
func (v *Vault) version(p *guard.Permit) (catalog.Version, *entry, error) {
	x := p.Resource()
	if x.Kind != sallyport.VersionKind {
		return catalog.Version{}, nil, sallyport.E("read version", sallyport.NotFound, x.String()+" has no version yet", "push one with 'sallyport push'")
	}
	found, ok := v.Index().Version(x)
	if !ok || found.Retired {
		v.cache.drop(found.ID)
		return catalog.Version{}, nil, sallyport.E("read version", sallyport.NotFound, x.String()+" was retired", "")
	}
	e := v.cache.get(found.ID)
	if e == nil {
		var err error
		if e, err = v.load(p.Context(), found); err != nil {
			return catalog.Version{}, nil, err
		}
		v.cache.put(found.ID, e)
	}
	found.Files = e.files
	return found, e, nil
}

// load reads the manifest of a version, which must be the one that its digest
// names, and where its files are.
func (v *Vault) load(ctx context.Context, found catalog.Version) (*entry, error) {
	const op = "read version"
	key, err := v.Keys.Key(ctx, found.ID)
	if err != nil {
		return nil, keyError(op, found, err)
	}
	name, err := blob.ParseDigest(found.Manifest)
	if err != nil {
		return nil, damaged(op, err)
	}
	sealed, err := v.Blobs.Open(ctx, name)
	if err != nil {
		return nil, blobError(op, err)
	}
	defer sealed.Close()
	raw, err := unsealAll(sealed, sealed.Size(), key, manifestContext(found))
	if err != nil {
		return nil, damaged(op, err)
	}
	m, err := parseManifest(raw, found.Digest)
	if err != nil {
		return nil, damaged(op, err)
	}
	rows, err := v.Catalog.Files(ctx, found.Digest)
	if err != nil {
		return nil, err
	}
	files, err := m.locate(rows)
	if err != nil {
		return nil, damaged(op, err)
	}
	return &entry{files: files, manifest: m, key: key}, nil
}

// Version returns the version that the permit was given for, with its files,
// which the caller must not change. The permit is one to read, pull, export or
// sign. NotFound when the resource is a model without versions.
func (v *Vault) Version(p *guard.Permit) (catalog.Version, error) {
	if err := allows(p, readers()...); err != nil {
		return catalog.Version{}, err
	}
	found, _, err := v.version(p)
	return found, err
}

// Manifest returns what the version's digest is the SHA-256 of. The caller must
// not change it. The permit is one for Version.
func (v *Vault) Manifest(p *guard.Permit) (Manifest, error) {
	if err := allows(p, readers()...); err != nil {
		return Manifest{}, err
	}
	_, e, err := v.version(p)
	if err != nil {
		return Manifest{}, err
	}
	return e.manifest, nil
}

func readers() []sallyport.Action {
	return []sallyport.Action{sallyport.ModelRead, sallyport.ModelPull, sallyport.ModelPullAux, sallyport.ModelExport, sallyport.ModelSign}
}

// Open opens a file of the version that the permit was given for: any file with
// model.pull or model.export, auxiliary ones with model.pullAux, cards with
// model.read; the permit's own file only, when it names one. NotFound when there
// is no such file.
func (v *Vault) Open(p *guard.Permit, path string) (*File, error) {
	const op = "open file"
	if err := allows(p, sallyport.ModelRead, sallyport.ModelPull, sallyport.ModelPullAux, sallyport.ModelExport); err != nil {
		return nil, err
	}
	found, e, err := v.version(p)
	if err != nil {
		return nil, err
	}
	i, ok := slices.BinarySearchFunc(found.Files, path, func(f catalog.File, path string) int { return strings.Compare(f.Path, path) })
	if !ok {
		return nil, sallyport.E(op, sallyport.NotFound, "there is no such file in "+p.Resource().String(), "")
	}
	f := found.Files[i]
	if named := p.File(); named != "" && named != path || !covers(p.Action(), f) {
		return nil, sallyport.E(op, sallyport.Other, fmt.Sprintf("the permit %s does not cover the file %s", p.ID(), sallyport.OneLine(path)), "")
	}
	if !p.Opens(path) {
		return nil, sallyport.E(op, sallyport.NotFound, fmt.Sprintf("the permission %s does not reach the file %s", p.ID(), sallyport.OneLine(path)), "ask for a grant that does")
	}
	name, err := blob.ParseDigest(f.Blob)
	if err != nil {
		return nil, damaged(op, err)
	}
	sealed, err := v.Blobs.Open(p.Context(), name)
	if err != nil {
		return nil, blobError(op, err)
	}
	r, err := e.unseal(sealed, fileContext(found, f))
	if err == nil && r.Size() != f.Size {
		err = seal.ErrCorrupt
	}
	if err != nil {
		return nil, errors.Join(damaged(op, err), sealed.Close())
	}
	return &File{permit: p, file: f, sealed: sealed, plain: r}, nil
}

// covers reports whether an action gives the bytes of a file. What is not known
// to be a card or auxiliary takes the right to the weights.
func covers(a sallyport.Action, f catalog.File) bool {
	switch a {
	case sallyport.ModelPull, sallyport.ModelExport:
		return true
	case sallyport.ModelPullAux:
		return f.Aux()
	case sallyport.ModelRead:
		return f.Kind == "card"
	}
	return false
}

func keyError(op string, found catalog.Version, err error) error {
	if errors.Is(err, keyring.ErrNotFound) {
		return sallyport.Wrap(op, sallyport.NotFound, fmt.Sprintf("the key of %s/%s@%s was destroyed", found.Org, found.Model, found.Number), err)
	}
	return sallyport.Wrap(op, sallyport.Unavailable, "the key cannot be had", err)
}

func blobError(op string, err error) error {
	if errors.Is(err, blob.ErrNotFound) {
		return damaged(op, err)
	}
	return sallyport.Wrap(op, sallyport.Unavailable, "the stored bytes cannot be read", err)
}

// damaged is an error that an operator must look into: what is stored is not what
// was written.
func damaged(op string, err error) error {
	return sallyport.Wrap(op, sallyport.Other, "the stored bytes are damaged; restore them from a backup", err)
}
