package catalog

import (
	"context"

	"sallyport"
)

// An Item is one thing that Put writes. Exactly one field is set.
type Item struct {
	Org      *Org
	Project  *Project
	Model    *Model // its aliases are not written by Put
	Dataset  *Dataset
	Endpoint *Endpoint
	Charter  *Charter // of what exists
}

// Standing is what the catalog holds about an item at the moment it is written.
type Standing struct {
	Old     Item // the item of the same kind and name, empty when there is none
	Org     bool // the item's organisation exists
	Project bool // the item names no project, or one that exists
	Model   bool // the item names no model, or one that exists
}

// A Store keeps the catalog. Every change is durable when the method returns,
// happens wholly or not at all, and is announced to followers in the same
// transaction. The functions it is given run while nobody else can write; their
// error is returned as it is, and nothing is written. Nothing is ever deleted: a
// name that was used is used for ever. Methods are safe for concurrent use, from
// several nodes on one store.
type Store interface {
	// Dump returns everything as of one moment, without the files of versions;
	// lists are sorted by organisation and name, versions by number.
	Dump(ctx context.Context) (Dump, error)
	// Files returns the files of the version with this digest, sorted by path and
	// without their SHA-256. NotFound where there is no such version.
	Files(ctx context.Context, digest string) ([]File, error)
	// Blobs returns the names of all blobs that versions which are not retired
	// refer to, their manifests too, in any order.
	Blobs(ctx context.Context) ([]string, error)
	// Put writes what decide returns in view of what stands under the kind and name
	// of item: a new item, or the new state of the old one. Its parents are those
	// of item. The time of creation and the aliases of an old one stay.
	Put(ctx context.Context, item Item, decide func(Standing) (Item, error)) error
	// AddVersion gives v the number after the model's highest and writes it with
	// its files, and the alias, unless it is "", with it. check sees the model and
	// the version that the alias means now, nil when it means none. A version of
	// the same ID is returned as it stands and nothing is written: adding it again
	// after a lost answer is safe. NotFound where there is no such model.
	AddVersion(ctx context.Context, v Version, alias string, check func(m Model, aliased *Version) error) (Version, error)
	// UpdateVersion lets change alter class, environment and Retired of a version
	// and writes them. NotFound.
	UpdateVersion(ctx context.Context, org, model, number string, change func(m Model, v *Version) error) (Version, error)
	// SetAlias points the model's alias at a version, and removes the alias when
	// number is "". check sees the model and the version, nil with number "".
	// NotFound where there is no such model or version.
	SetAlias(ctx context.Context, ref sallyport.Ref, number string, check func(m Model, v *Version) error) error
}
