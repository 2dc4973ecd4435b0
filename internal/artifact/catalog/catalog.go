// Package catalog owns what is protected: organisations, projects, models and
// their versions, datasets and endpoints, with class, environment, owners,
// digests and lineage. It resolves a name to one version and its digest, before
// anything is decided.
//
// It never holds bytes (artifact/vault) or keys (artifact/keyring), and does not
// decide who may see what.
package catalog

import (
	"time"

	"sallyport"
)

// An Org is an organisation: the boundary of a tenant.
type Org struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
}

// A Project groups resources of an organisation.
type Project struct {
	Org     string    `json:"org"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
}

// A Model is a named series of versions.
type Model struct {
	Org     string                  `json:"org"`
	Name    string                  `json:"name"`
	Project string                  `json:"project"` // "" = none
	Class   sallyport.Class         `json:"class"`   // "" counts as restricted
	Owners  []sallyport.PrincipalID `json:"owners"`
	Aliases map[string]string       `json:"aliases"` // "main" -> "v3"
	Created time.Time               `json:"created"`
	// Purposes are what it may be used for; none = nobody has said.
	Purposes []string `json:"purposes,omitempty"`
}

// A Version is one immutable set of files under the digest of its manifest.
type Version struct {
	ID          string                `json:"id"` // random, 26 of a-z and 2-7; names the version's data key
	Org         string                `json:"org"`
	Model       string                `json:"model"`
	Number      string                `json:"number"`      // "v3", given by the store, never reused
	Digest      string                `json:"digest"`      // SHA-256 of the manifest, 64 hex digits
	Class       sallyport.Class       `json:"class"`       // "" = the model's; may only be stricter
	Environment sallyport.Environment `json:"environment"` // development until promoted
	PushedBy    sallyport.PrincipalID `json:"pushedBy"`
	Created     time.Time             `json:"created"`
	Lineage     []Origin              `json:"lineage"`
	Retired     bool                  `json:"retired"` // kept for the record, its key is gone
	Manifest    string                `json:"-"`       // name of the sealed manifest in the blob store
	Files       []File                `json:"files"`   // empty in a Dump
	// TrainedBy is who trained it, as the push says, "" where it does not.
	TrainedBy sallyport.PrincipalID `json:"trainedBy,omitempty"`
	// Makers are who acted for PushedBy when it was pushed.
	Makers []sallyport.PrincipalID `json:"makers,omitempty"`
}

// An Origin is something that a version was made from.
type Origin struct {
	Kind   string `json:"kind"` // "base", "dataset", "adapter"
	Ref    string `json:"ref"`
	Digest string `json:"digest,omitempty"`
}

// A File is one file of a version.
type File struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // of the plain bytes; "" from a store, which must not know it: the sealed manifest does
	Kind   string `json:"kind"`   // as artifact/format names it: weights, tokenizer, config, card, data
	Blob   string `json:"blob"`   // name of the sealed bytes in the blob store
}

// Aux reports whether the file is auxiliary: what helps to use a model and does
// not give possession of it. What is not known to be auxiliary is weights.
func (f File) Aux() bool { return f.Kind == "tokenizer" || f.Kind == "config" || f.Kind == "card" }

// A Dataset is data that models are made from.
type Dataset struct {
	Org     string                  `json:"org"`
	Name    string                  `json:"name"`
	Project string                  `json:"project"`
	Class   sallyport.Class         `json:"class"`
	Owners  []sallyport.PrincipalID `json:"owners"`
	Created time.Time               `json:"created"`
	// Purposes are what it may be used for; none = nobody has said.
	Purposes []string `json:"purposes,omitempty"`
	// Environment is where the data stands, "" in none. It is set once.
	Environment sallyport.Environment `json:"environment,omitempty"`
}

// An Endpoint is a place where a model is used.
type Endpoint struct {
	Org         string                `json:"org"`
	Name        string                `json:"name"`
	Project     string                `json:"project"`
	Model       string                `json:"model"` // name of the model it serves, "" = several
	Class       sallyport.Class       `json:"class"`
	Environment sallyport.Environment `json:"environment"`
	Created     time.Time             `json:"created"`
}

// A Dump is everything in the catalog, without the files of versions.
type Dump struct {
	Orgs      []Org
	Projects  []Project
	Models    []Model
	Versions  []Version
	Datasets  []Dataset
	Endpoints []Endpoint
	Charters  []Charter // sorted by reference
}
