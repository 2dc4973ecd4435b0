package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"sallyport"
	"sallyport/internal/artifact/blob"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/artifact/format"
	"sallyport/internal/artifact/keyring"
	"sallyport/internal/enforce/guard"
)

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
	for _, id := range append(p.Who().Actors, p.Who().ID) { // whoever finishes it had a hand in it too
		if id != made.PushedBy && !slices.Contains(made.Makers, id) {
			made.Makers = append(made.Makers, id)
		}
	}
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
	g, err := v.Blobs.Put(ctx, bytes.NewReader(sealed))
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
