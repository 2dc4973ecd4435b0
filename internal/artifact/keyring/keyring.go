// Package keyring owns the data keys of artifacts: one AES-256 key (FIPS 197) per artifact version, kept only in
// wrapped form under versioned key-encryption keys (envelope encryption, NIST SP 800-57 part 1).
//
// Rotation makes a new version of the key-encryption key and wraps the data keys again; sealed bytes never change.
// Deleting the row of an artifact version makes its bytes unreadable for ever, also in backups of the bytes.
//
// It leaves to others what is encrypted under a data key (seal, vault), where rows are stored (store/sqldb, by
// [Store]), and who may have a key (the guard).
package keyring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"sallyport/internal/artifact/seal"
	"sallyport/internal/plumbing/secret"
)

// KeySize is the length of a data key in bytes.
const KeySize = 32

const (
	pageSize   = 100
	maxID      = 255
	maxRetries = 10 // of one row that others keep changing
)

// Errors to branch on with [errors.Is].
var (
	// ErrNotFound says that there is no data key: it was never made, or it was shredded.
	ErrNotFound = errors.New("no such data key")
	// ErrExists says that the artifact version already has a data key.
	ErrExists = errors.New("the data key already exists")
	// ErrConflict says that the row is not at the revision that the caller has read.
	ErrConflict = errors.New("the data key's row was changed meanwhile")
	// ErrUnwrap says that a wrapped key does not open: changed bytes, another artifact's row, or a key-encryption
	// key that is gone.
	ErrUnwrap = errors.New("the data key cannot be unwrapped")
)

// Row is a data key as it is stored.
type Row struct {
	Artifact string // id of the artifact version: 1 to 255 bytes
	KeyID    string // the key-encryption key and its version
	Wrapped  []byte // opaque, at most 4 KiB
	Revision int64  // 1 after the insert, one more after each update
}

// Store keeps rows. It is safe for concurrent use; a change is durable when the method returns, and whole or not
// there after a crash. Rows must not be restored from backups one by one: that would undo a shredding.
type Store interface {
	// Put inserts the row when its Revision is 0, else replaces the row that has this very Revision; it is stored
	// with Revision + 1. Errors: [ErrExists] for an insert, [ErrConflict] for a replacement when the stored
	// revision differs, [ErrNotFound] for a replacement when there is no row.
	Put(ctx context.Context, row Row) error
	// Get returns the row, or [ErrNotFound].
	Get(ctx context.Context, artifact string) (Row, error)
	// Delete removes the row, or returns [ErrNotFound]. The store should overwrite what it freed (SQLite:
	// secure_delete).
	Delete(ctx context.Context, artifact string) error
	// List returns up to limit rows with an id after the given one, in bytewise order of their ids; none at the end.
	// A row that is neither inserted nor deleted while pages are read appears exactly once.
	List(ctx context.Context, after string, limit int) ([]Row, error)
}

// Wrapper holds key-encryption keys: in a local file, or in a KMS. It is safe for concurrent use.
type Wrapper interface {
	// Wrap encrypts dek under the current version and binds it to aad.
	Wrap(ctx context.Context, dek secret.Bytes, aad []byte) (wrapped []byte, keyID string, err error)
	// Unwrap reverses Wrap with the version that keyID names. [ErrUnwrap] when it does not open or the version is gone.
	Unwrap(ctx context.Context, wrapped []byte, keyID string, aad []byte) (secret.Bytes, error)
	// Versions returns the ids of all versions, oldest first; the last one is current.
	Versions(ctx context.Context) ([]string, error)
	// Rotate makes a new current version, durable before it returns, and returns its id.
	Rotate(ctx context.Context) (keyID string, err error)
	// Destroy removes a version that is not current, durably. What it wrapped is lost.
	Destroy(ctx context.Context, keyID string) error
	// Health returns an error when keys could not be wrapped or unwrapped now.
	Health(ctx context.Context) error
}

// Ring makes, opens, re-wraps and shreds data keys. Its fields are set once. It is safe for concurrent use.
type Ring struct {
	Store   Store
	Wrapper Wrapper
	Random  io.Reader // source of data keys: crypto/rand.Reader

	// mu is held for reading from Wrap until its row is stored, and for writing by Prune: a version may only go when
	// nobody holds a key wrapped by it that is in no row yet.
	mu sync.RWMutex
}

// aad binds a wrapped key to its artifact version: a row copied to another one does not open.
func aad(artifact string) []byte { return seal.Context("sallyport data key v1", artifact) }

func checkID(artifact string) error {
	if artifact == "" || len(artifact) > maxID {
		return fmt.Errorf("keyring: artifact id of %d bytes, want 1 to %d", len(artifact), maxID)
	}
	return nil
}

// Create makes the data key of an artifact version and returns it once it is stored. The caller zeroes it after use.
// It returns [ErrExists] when there is one.
func (r *Ring) Create(ctx context.Context, artifact string) (secret.Bytes, error) {
	if err := checkID(artifact); err != nil {
		return secret.Bytes{}, err
	}
	raw := make([]byte, KeySize)
	if _, err := io.ReadFull(r.Random, raw); err != nil {
		return secret.Bytes{}, fmt.Errorf("keyring: create %q: random source: %w", artifact, err)
	}
	dek := secret.NewBytes(raw)
	if err := r.store(ctx, dek, Row{Artifact: artifact}); err != nil {
		dek.Zero()
		return secret.Bytes{}, fmt.Errorf("keyring: create %q: %w", artifact, err)
	}
	return dek, nil
}

// store wraps the key under the current version and puts it into the row.
func (r *Ring) store(ctx context.Context, dek secret.Bytes, row Row) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	wrapped, keyID, err := r.Wrapper.Wrap(ctx, dek, aad(row.Artifact))
	if err != nil {
		return err
	}
	row.Wrapped, row.KeyID = wrapped, keyID
	return r.Store.Put(ctx, row)
}

// Key returns the data key of an artifact version. The caller zeroes it after use. It returns [ErrNotFound] when it
// was shredded and [ErrUnwrap] when it does not open.
func (r *Ring) Key(ctx context.Context, artifact string) (secret.Bytes, error) {
	if err := checkID(artifact); err != nil {
		return secret.Bytes{}, err
	}
	row, err := r.Store.Get(ctx, artifact)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("keyring: key of %q: %w", artifact, err)
	}
	dek, _, err := r.open(ctx, row)
	return dek, err
}

// open unwraps a row. When that fails it looks whether the row has changed since it was read: a rotation may have
// moved it to a new version and destroyed the old one. It returns the row that it has opened.
func (r *Ring) open(ctx context.Context, row Row) (secret.Bytes, Row, error) {
	for range maxRetries {
		dek, err := r.unwrap(ctx, row)
		if !errors.Is(err, ErrUnwrap) {
			return dek, row, err
		}
		now, getErr := r.Store.Get(ctx, row.Artifact)
		if getErr != nil {
			return secret.Bytes{}, row, fmt.Errorf("keyring: key of %q: %w", row.Artifact, getErr)
		}
		if now.Revision == row.Revision {
			return secret.Bytes{}, row, err
		}
		row = now
	}
	return secret.Bytes{}, row, fmt.Errorf("keyring: key of %q: %w", row.Artifact, ErrConflict)
}

func (r *Ring) unwrap(ctx context.Context, row Row) (secret.Bytes, error) {
	dek, err := r.Wrapper.Unwrap(ctx, row.Wrapped, row.KeyID, aad(row.Artifact))
	if err == nil && dek.Len() != KeySize {
		dek.Zero()
		err = ErrUnwrap
	}
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("keyring: key of %q: %w", row.Artifact, err)
	}
	return dek, nil
}

// Shred deletes the data key of an artifact version: its sealed bytes are unreadable from then on. It returns
// [ErrNotFound] when there is none.
func (r *Ring) Shred(ctx context.Context, artifact string) error {
	if err := r.Store.Delete(ctx, artifact); err != nil {
		return fmt.Errorf("keyring: shred %q: %w", artifact, err)
	}
	return nil
}

// Rotate makes a new version of the key-encryption key, wraps all data keys under it and returns its id. After any
// interruption every data key still opens, and [Ring.Rewrap] finishes the work. Old versions remain until
// [Ring.Prune].
func (r *Ring) Rotate(ctx context.Context) (keyID string, rewrapped int, err error) {
	if keyID, err = r.Wrapper.Rotate(ctx); err != nil {
		return "", 0, fmt.Errorf("keyring: rotate: %w", err)
	}
	rewrapped, err = r.Rewrap(ctx)
	return keyID, rewrapped, err
}

// Rewrap wraps every data key that is under an older version again, one row at a time, and returns how many. Each
// row is replaced in one step, so that it opens before and after; running it again continues.
func (r *Ring) Rewrap(ctx context.Context) (rewrapped int, err error) {
	current, err := r.current(ctx)
	if err != nil {
		return 0, fmt.Errorf("keyring: rewrap: %w", err)
	}
	err = r.each(ctx, func(row Row) error {
		if row.KeyID == current {
			return nil
		}
		done, err := r.rewrap(ctx, row, current)
		if done {
			rewrapped++
		}
		return err
	})
	if err != nil {
		return rewrapped, fmt.Errorf("keyring: rewrap: %w", err)
	}
	return rewrapped, nil
}

func (r *Ring) current(ctx context.Context) (string, error) {
	versions, err := r.Wrapper.Versions(ctx)
	if err != nil {
		return "", err
	}
	if len(versions) == 0 {
		return "", errors.New("no key-encryption key")
	}
	return versions[len(versions)-1], nil
}

// rewrap replaces one row. Somebody who changes it meanwhile has wrapped it anew or shredded it: look again.
func (r *Ring) rewrap(ctx context.Context, row Row, current string) (bool, error) {
	for range maxRetries {
		done, err := r.rewrapOnce(ctx, row, current)
		if errors.Is(err, ErrConflict) {
			if row, err = r.Store.Get(ctx, row.Artifact); err == nil {
				continue
			}
		}
		if errors.Is(err, ErrNotFound) { // shredded: must not come back
			return false, nil
		}
		return done, err
	}
	return false, fmt.Errorf("%q: %w", row.Artifact, ErrConflict)
}

func (r *Ring) rewrapOnce(ctx context.Context, row Row, current string) (bool, error) {
	dek, row, err := r.open(ctx, row)
	if err != nil {
		return false, err
	}
	defer dek.Zero()
	if row.KeyID == current {
		return false, nil // somebody else has done it
	}
	if err := r.store(ctx, dek, row); err != nil {
		return false, fmt.Errorf("%q: %w", row.Artifact, err)
	}
	return true, nil
}

// each visits all rows.
func (r *Ring) each(ctx context.Context, visit func(Row) error) error {
	for after := ""; ; {
		rows, err := r.Store.List(ctx, after, pageSize)
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, row := range rows {
			if row.Artifact <= after {
				return fmt.Errorf("the store lists %q after %q", row.Artifact, after)
			}
			after = row.Artifact
			if err := visit(row); err != nil {
				return err
			}
		}
	}
}

// Prune destroys the versions of the key-encryption key under which no data key is any more, and returns their ids.
// The current version stays. Nodes that share the store must not create keys under an older version meanwhile: prune
// on the node that rotated, after the others have seen the new version.
func (r *Ring) Prune(ctx context.Context) (destroyed []string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	versions, err := r.Wrapper.Versions(ctx)
	if err != nil {
		return nil, fmt.Errorf("keyring: prune: %w", err)
	}
	var used []string
	err = r.each(ctx, func(row Row) error {
		if !slices.Contains(used, row.KeyID) {
			used = append(used, row.KeyID)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("keyring: prune: %w", err)
	}
	for i, id := range versions {
		if i == len(versions)-1 || slices.Contains(used, id) {
			continue
		}
		if err := r.Wrapper.Destroy(ctx, id); err != nil {
			return destroyed, fmt.Errorf("keyring: prune: %w", err)
		}
		destroyed = append(destroyed, id)
	}
	return destroyed, nil
}
