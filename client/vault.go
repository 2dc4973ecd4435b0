package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"sallyport"
)

// The limits of the vault's door.
const (
	pieceSize = 8 << 20  // bytes of one piece of an upload, at most
	blockSize = 4 << 20  // bytes of one verified block of a download
	maxFiles  = 10_000   // of one version
	maxSize   = 16 << 40 // bytes of one file
	maxPath   = 500      // bytes of the path of a file
	attempts  = 5        // in a row without a byte of progress
)

// A Manifest is one version of a model: its files with their digests.
type Manifest struct {
	Org         string                `json:"org"`
	Model       string                `json:"model"`
	Number      string                `json:"number"` // "v3"
	Digest      string                `json:"digest"` // of the version, 64 hex digits
	Class       sallyport.Class       `json:"class"`
	Environment sallyport.Environment `json:"environment"`
	Lineage     []Origin              `json:"lineage,omitempty"` // what it was made from
	Salt        string                `json:"salt"`
	Files       []File                `json:"files"`
}

// digest is the SHA-256 of salt and files in their canonical form: JSON without spaces, members in the order of the
// structs. It is what the version is called by.
func (m Manifest) digest() (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(struct {
		Salt  string `json:"salt"`
		Files []File `json:"files"`
	}{m.Salt, m.Files})
	return digestOf(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), err
}

// Ref is the pinned name of the version.
func (m Manifest) Ref() string { return m.Org + "/" + m.Model + "@" + m.Number }

// Size is how many bytes all files have.
func (m Manifest) Size() int64 {
	var n int64
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// A File is one file of a version.
type File struct {
	Path   string   `json:"path"` // slash-separated, below the version
	Size   int64    `json:"size"`
	SHA256 string   `json:"sha256"` // of the whole, 64 hex digits
	Kind   string   `json:"kind"`   // "weights", "tokenizer", "config", "card", "data"
	Blocks []string `json:"blocks"` // SHA-256 of every 4 MiB; the last may be shorter
}

// An Origin is something that a version was made from.
type Origin struct {
	Kind   string `json:"kind"` // "base", "dataset", "adapter"
	Ref    string `json:"ref"`
	Digest string `json:"digest,omitempty"`
}

// Progress is how far a push or a pull is.
type Progress struct {
	Phase string // "hash", "push", "pull", "check"
	File  string // at hand
	Done  int64  // bytes of all files in this phase
	Total int64
}

// Manifest reads the manifest of a version. ref is a model with or without a revision ("acme/fraud@v3"); without one it
// is the version that the alias main stands for.
func (c *Client) Manifest(ctx context.Context, ref string) (Manifest, error) {
	r, err := modelRef("read manifest", ref)
	if err != nil {
		return Manifest{}, err
	}
	var m Manifest
	err = c.call(ctx, request{op: "read manifest", door: Vault, method: http.MethodGet, path: versionPath(r)}, nil, &m)
	if err != nil {
		return m, err
	}
	return m, m.check(r)
}

func modelRef(op, ref string) (sallyport.Ref, error) {
	r, err := sallyport.ParseRef(ref)
	if err == nil && r.Kind != sallyport.ModelKind {
		err = sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%q is not a model", ref), "write ORG/MODEL or ORG/MODEL@VERSION")
	}
	return r, err
}

func versionPath(r sallyport.Ref) string {
	return "/vault/v1/" + r.Org + "/" + r.Name + "/versions/" + url.PathEscape(cmp.Or(r.Revision, "main"))
}

// check refuses a manifest that is not of what was asked for, or whose files cannot be written safely.
func (m Manifest) check(r sallyport.Ref) error {
	const op = "read manifest"
	bad := func(what string) error {
		return sallyport.E(op, sallyport.Unavailable, "the server's manifest "+what, "ask its operator; nothing was written")
	}
	digest, pinned := strings.CutPrefix(r.Revision, "sha256:")
	switch {
	case m.Org != r.Org || m.Model != r.Name:
		return bad("is of another model")
	case pinned && m.Digest != digest:
		return bad("has another digest than asked for")
	case m.broken():
		return bad("does not have the digest that it states")
	case sallyport.CheckName(op, m.Number) != nil:
		return bad("names no version")
	case len(m.Files) == 0 || len(m.Files) > maxFiles:
		return bad(fmt.Sprintf("lists %d files", len(m.Files)))
	}
	seen := map[string]bool{}
	for _, f := range m.Files {
		if err := CheckPath(f.Path); err != nil {
			return bad("lists a file outside of its version: " + sallyport.OneLine(f.Path))
		}
		if name := strings.ToLower(f.Path); seen[name] {
			return bad("lists a file twice: " + sallyport.OneLine(f.Path))
		} else {
			seen[name] = true
		}
		if problem := f.problem(); problem != "" {
			return bad(problem + ": " + sallyport.OneLine(f.Path))
		}
	}
	return nil
}

// broken reports whether salt and files are not those of the digest.
func (m Manifest) broken() bool {
	digest, err := m.digest()
	return err != nil || digest != m.Digest
}

func (f File) problem() string {
	if f.Size < 0 || f.Size > maxSize {
		return "lists a file of an impossible size"
	}
	if n := (f.Size + blockSize - 1) / blockSize; int64(len(f.Blocks)) != n {
		return "lists another number of blocks than the file has"
	}
	for _, d := range append([]string{f.SHA256}, f.Blocks...) {
		if _, err := sallyport.ParseDigest("manifest", d); err != nil {
			return "lists something that is not a digest"
		}
	}
	return ""
}

// CheckPath refuses a path that is not plainly below the directory it belongs to, on any system: absolute ones, "..",
// empty and "." segments, backslashes, colons, control characters, names that only one system knows, and what a pull
// uses for itself.
func CheckPath(path string) error {
	ok := path != "" && len(path) <= maxPath && filepath.IsLocal(filepath.FromSlash(path)) && !strings.HasSuffix(path, partSuffix)
	for segment := range strings.SplitSeq(path, "/") {
		ok = ok && segment != "" && segment != "." && segment != ".." && !strings.HasSuffix(segment, ".") && !strings.HasSuffix(segment, " ") && !device(segment)
	}
	for i := 0; ok && i < len(path); i++ {
		ok = path[i] >= 0x20 && path[i] < 0x7f && !strings.ContainsRune(`\:*?"<>|`, rune(path[i]))
	}
	if !ok {
		return sallyport.E("path", sallyport.Invalid, fmt.Sprintf("%q is not the path of a file", sallyport.OneLine(path)),
			"use plain names separated by '/', below the directory")
	}
	return nil
}

// device reports whether Windows takes a name for one of its devices.
func device(name string) bool {
	name, _, _ = strings.Cut(strings.ToLower(name), ".")
	switch name {
	case "con", "prn", "aux", "nul":
		return true
	}
	return len(name) == 4 && (strings.HasPrefix(name, "com") || strings.HasPrefix(name, "lpt")) && name[3] >= '0' && name[3] <= '9'
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// backoff is how long to wait before the next attempt.
func backoff(attempt int) time.Duration { return 250 * time.Millisecond << min(attempt, 5) }
