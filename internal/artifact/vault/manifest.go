package vault

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/artifact/format"
	"sallyport/internal/artifact/seal"
	"sallyport/internal/plumbing/secret"
)

// Limits on a version.
const (
	BlockSize = 4 << 20 // bytes of a block that has a digest of its own; the last one of a file is shorter
	MaxFiles  = catalog.MaxFiles
	MaxTotal  = 1 << 40 // bytes of all files
)

// A FileSpec is one file as the one who pushes it declares it.
type FileSpec struct {
	Path   string   `json:"path"`
	Size   int64    `json:"size"`
	SHA256 string   `json:"sha256"`
	Blocks []string `json:"blocks"` // SHA-256 of every 4 MiB, the last may be shorter; none for an empty file
}

// A Manifest lists the files of a version. Its canonical form is this struct as
// JSON without spaces, members in this order, files sorted by path, characters
// escaped as in JavaScript's JSON.stringify of ASCII text. The SHA-256 of that is
// the version's digest. The salt makes the digest tell nothing about the files to
// somebody who knows other copies of them.
type Manifest struct {
	Salt  string         `json:"salt"` // 32 hexadecimal digits, random
	Files []ManifestFile `json:"files"`
}

// A ManifestFile is one file of a Manifest.
type ManifestFile struct {
	Path   string   `json:"path"`
	Size   int64    `json:"size"`
	SHA256 string   `json:"sha256"`
	Kind   string   `json:"kind"`
	Blocks []string `json:"blocks"`
}

// Encode returns the canonical form and its digest, 64 hexadecimal digits.
func (m Manifest) Encode() (raw []byte, digest string, err error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m); err != nil {
		return nil, "", fmt.Errorf("encode manifest: %w", err)
	}
	raw = bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	sum := sha256.Sum256(raw)
	return raw, hex.EncodeToString(sum[:]), nil
}

// parseManifest reads the manifest that digest names and no other.
func parseManifest(raw []byte, digest string) (Manifest, error) {
	sum := sha256.Sum256(raw)
	if hex.EncodeToString(sum[:]) != digest {
		return Manifest{}, errors.New("the manifest is not the one that the digest names")
	}
	var m Manifest
	err := json.Unmarshal(raw, &m)
	return m, err
}

// locate joins the manifest with the places of the files.
func (m Manifest) locate(rows []catalog.File) ([]catalog.File, error) {
	files := make([]catalog.File, len(m.Files))
	if len(rows) != len(files) {
		return nil, fmt.Errorf("%d places for %d files", len(rows), len(files))
	}
	at := make(map[string]string, len(rows))
	for _, r := range rows {
		at[r.Path] = r.Blob
	}
	for i, f := range m.Files {
		place, ok := at[f.Path]
		if !ok {
			return nil, fmt.Errorf("no place for the file %q", f.Path)
		}
		files[i] = catalog.File{Path: f.Path, Size: f.Size, SHA256: f.SHA256, Kind: f.Kind, Blob: place}
	}
	return files, nil
}

// checkSpecs refuses a declaration that could not become a version.
func checkSpecs(specs []FileSpec) error {
	const op = "begin upload"
	if len(specs) == 0 || len(specs) > MaxFiles {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%d files", len(specs)), fmt.Sprintf("push 1 to %d", MaxFiles))
	}
	names := make([]string, len(specs))
	var total int64
	for i, s := range specs {
		names[i] = s.Path
		if err := checkSpec(op, s); err != nil {
			return err
		}
		if total += s.Size; total > MaxTotal {
			return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("more than %d bytes in all", int64(MaxTotal)), "split the model")
		}
	}
	if err := format.CheckNames(names); err != nil {
		return refused(op, err)
	}
	return nil
}

func checkSpec(op string, s FileSpec) error {
	if strings.ContainsFunc(s.Path, func(r rune) bool { return r >= 0x7f }) {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the file name %q is not ASCII", sallyport.OneLine(s.Path)),
			"rename it: not every client could ask for it")
	}
	if s.Size < 0 || s.Size > MaxTotal || int64(len(s.Blocks)) != (s.Size+BlockSize-1)/BlockSize {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the file %q has %d bytes and %d blocks", sallyport.OneLine(s.Path), s.Size, len(s.Blocks)),
			"give the SHA-256 of every 4 MiB")
	}
	for _, d := range append([]string{s.SHA256}, s.Blocks...) {
		if _, err := sallyport.ParseDigest(op, d); err != nil {
			return err
		}
	}
	if len(s.Blocks) == 1 && s.Blocks[0] != s.SHA256 {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the file %q is one block with another digest", s.Path), "")
	}
	return nil
}

// refused turns the words of artifact/format into an answer.
func refused(op string, err error) error {
	if r, ok := errors.AsType[*format.Refusal](err); ok {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%s: %s", sallyport.OneLine(r.Name), r.Why), r.Do).Because("format.refused")
	}
	return sallyport.Wrap(op, sallyport.Unavailable, "the file cannot be read back", err)
}

func manifestContext(v catalog.Version) []byte {
	return seal.Context("sallyport manifest v1", v.Org, v.Model, v.ID)
}

// fileContext binds sealed bytes to their place: tenant, model, version, path and
// what they must be.
func fileContext(v catalog.Version, f catalog.File) []byte {
	return seal.Context("sallyport file v1", v.Org, v.Model, v.ID, f.Path, fmt.Sprint(f.Size), f.SHA256)
}

// sealAll seals a small document.
func sealAll(plain []byte, random io.Reader, key secret.Bytes, context []byte) ([]byte, error) {
	var salt [seal.SaltSize]byte
	if _, err := io.ReadFull(random, salt[:]); err != nil {
		return nil, fmt.Errorf("random source: %w", err)
	}
	var b bytes.Buffer
	w, err := seal.NewWriter(&b, key, salt, context)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(plain)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// maxDocument bounds what unsealAll reads: the list of the largest upload.
const maxDocument = 64 << 20

// unsealAll opens what sealAll made.
func unsealAll(src io.ReaderAt, size int64, key secret.Bytes, context []byte) ([]byte, error) {
	r, err := seal.Open(src, size, key, context)
	if err != nil {
		return nil, err
	}
	if r.Size() > maxDocument {
		return nil, fmt.Errorf("a document of %d bytes", r.Size())
	}
	plain := make([]byte, r.Size())
	if len(plain) == 0 {
		return nil, errors.New("an empty document")
	}
	_, err = r.ReadAt(plain, 0)
	return plain, err
}

// sortSpecs brings a declaration into the one form that it is kept in.
func sortSpecs(specs []FileSpec) []FileSpec {
	specs = slices.Clone(specs)
	for i := range specs {
		specs[i].Blocks = append([]string{}, specs[i].Blocks...)
	}
	slices.SortFunc(specs, func(a, b FileSpec) int { return strings.Compare(a.Path, b.Path) })
	return specs
}
