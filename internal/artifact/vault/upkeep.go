package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sallyport"
	"sallyport/internal/artifact/blob"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/artifact/keyring"
	"sallyport/internal/enforce/guard"
)

// Expiry is how long an upload is kept after its last complete file, and a blob
// that nothing refers to.
const Expiry = 24 * time.Hour

// Retire destroys the key of the version that the permit was given for
// (model.retire or model.delete) and marks it retired: its bytes are unreadable
// from then on, for ever, wherever copies of them are. A later sweep removes
// them. Repeating it after an error is safe.
func (v *Vault) Retire(p *guard.Permit) error {
	const op = "retire version"
	if err := allows(p, sallyport.ModelRetire, sallyport.ModelDelete); err != nil {
		return err
	}
	x := p.Resource()
	found, ok := v.Index().Version(x)
	if !ok {
		return sallyport.E(op, sallyport.NotFound, x.String()+" is no version", "name one, as in ORG/MODEL@v3")
	}
	ctx := context.WithoutCancel(p.Context())
	if err := v.Keys.Shred(ctx, found.ID); err != nil && !errors.Is(err, keyring.ErrNotFound) {
		return sallyport.Wrap(op, sallyport.Unavailable, "the key cannot be destroyed", err)
	}
	v.cache.drop(found.ID)
	if _, err := v.Catalog.UpdateVersion(ctx, x.Org, x.Name, x.Version, catalog.VersionChange{Retired: true}); err != nil {
		return err
	}
	if v.Sync != nil {
		return v.Sync(ctx)
	}
	return nil
}

// RotateKeys makes a new key-encryption key and wraps the data keys of all
// versions and uploads under it (system.configure). Blobs and what is being read
// stay as they are. It returns the new key's id and how many data keys it wraps.
func (v *Vault) RotateKeys(p *guard.Permit) (keyID string, rewrapped int, err error) {
	if err := allows(p, sallyport.SystemConfigure); err != nil {
		return "", 0, err
	}
	keyID, rewrapped, err = v.Keys.Rotate(context.WithoutCancel(p.Context()))
	if err != nil {
		err = sallyport.Wrap("rotate keys", sallyport.Unavailable, fmt.Sprintf("%d data keys were wrapped anew; repeat it", rewrapped), err)
	}
	return keyID, rewrapped, err
}

// Sweep destroys uploads that nobody has gone on with for a day, and blobs that
// have belonged to nothing for a day. One process at a time may do it.
func (v *Vault) Sweep(ctx context.Context) error {
	before := v.Now().Add(-Expiry)
	ids, err := v.dir.list()
	if err != nil {
		return fmt.Errorf("sweep uploads: %w", err)
	}
	var errs []error
	for _, id := range ids {
		touched, err := v.dir.touched(id)
		if err == nil && touched.Before(before) {
			err = v.expire(ctx, id, before)
		}
		errs = append(errs, err)
	}
	if _, err := v.Blobs.Sweep(ctx, before.Add(-Expiry)); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(append(errs, v.sweepBlobs(ctx, before))...)
}

// lastUsed returns an upload in memory and when a file of it came in last.
func (v *Vault) lastUsed(id string) (u *upload, used time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if u = v.uploads[id]; u == nil {
		return nil, used
	}
	for _, f := range u.files {
		if f.used.After(used) {
			used = f.used
		}
	}
	return u, used
}

func (v *Vault) expire(ctx context.Context, id string, before time.Time) error {
	u, used := v.lastUsed(id)
	if u == nil {
		return v.destroy(ctx, id, nil)
	}
	if !used.Before(before) || !u.mu.TryLock() {
		return nil // in use after all
	}
	defer u.mu.Unlock()
	if u.ended {
		return nil
	}
	return v.destroy(ctx, id, u)
}

// sweepBlobs deletes old blobs that neither a version in force nor an upload
// refers to.
func (v *Vault) sweepBlobs(ctx context.Context, before time.Time) error {
	orphans, err := v.orphans(ctx, before)
	if err != nil {
		return fmt.Errorf("sweep blobs: %w", err)
	}
	for _, g := range orphans {
		if err := v.Blobs.Delete(ctx, g); err != nil && !errors.Is(err, blob.ErrNotFound) {
			return fmt.Errorf("sweep blobs: %w", err)
		}
	}
	return nil
}

// orphans lists the blobs to delete. While it looks no blob waits for being
// referred to, so that one that is not never will be.
func (v *Vault) orphans(ctx context.Context, before time.Time) ([]blob.Digest, error) {
	v.gc.Lock()
	defer v.gc.Unlock()
	var old []blob.Digest
	err := v.Blobs.List(ctx, func(i blob.Info) error {
		if i.Modified.Before(before) {
			old = append(old, i.Digest)
		}
		return nil
	})
	if err != nil || len(old) == 0 {
		return nil, err
	}
	used, err := v.used(ctx)
	if err != nil {
		return nil, err
	}
	orphans := old[:0]
	for _, g := range old {
		if !used[g.String()] {
			orphans = append(orphans, g)
		}
	}
	return orphans, nil
}

// used returns the names of the blobs that are referred to.
func (v *Vault) used(ctx context.Context) (map[string]bool, error) {
	names, err := v.Catalog.Blobs(ctx)
	if err != nil {
		return nil, err
	}
	d, err := v.Catalog.Dump(ctx)
	if err != nil {
		return nil, err
	}
	if len(d.Versions) == 0 {
		return nil, errors.New("the catalog knows no version at all; is it the right one? nothing was deleted")
	}
	used := make(map[string]bool, len(names))
	for _, name := range names {
		used[name] = true
	}
	ids, err := v.dir.list()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		done, err := v.dir.completed(id)
		if err != nil {
			return nil, err
		}
		for _, name := range done {
			used[name] = true
		}
	}
	return used, nil
}
