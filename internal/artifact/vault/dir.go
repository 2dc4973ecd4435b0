package vault

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/artifact/blob"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/artifact/seal"
	"sallyport/internal/plumbing/secret"
)

// A record is what is kept of an upload while it lasts. It never changes.
type record struct {
	ID      string                `json:"id"` // of the upload, and of the version that it becomes
	Org     string                `json:"org"`
	Model   string                `json:"model"`
	By      sallyport.PrincipalID `json:"by"`
	Person  sallyport.PrincipalID `json:"person"`
	Salt    string                `json:"salt"`
	Lineage []catalog.Origin      `json:"lineage"`
	Files   []FileSpec            `json:"files"` // sorted by path

	TrainedBy sallyport.PrincipalID   `json:"trainedBy,omitempty"`
	Makers    []sallyport.PrincipalID `json:"makers,omitempty"` // who acted for By
}

// An uploadDir keeps uploads under way, each in a directory ID with
//
//	record    the sealed record
//	N         the name of the blob of its N-th file, once that is complete
//
// What is written is durable when a method returns.
type uploadDir struct{ root *os.Root }

const recordName = "record"

func openUploadDir(dir string) (*uploadDir, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open vault: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open vault: %w", err)
	}
	return &uploadDir{root}, nil
}

func recordContext(id string) []byte { return seal.Context("sallyport upload v1", id) }

// begin writes a record.
func (d *uploadDir) begin(r record, random io.Reader, key secret.Bytes) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	sealed, err := sealAll(raw, random, key, recordContext(r.ID))
	if err != nil {
		return err
	}
	if err := d.root.Mkdir(r.ID, 0o700); err != nil {
		return err
	}
	if err := d.write(path.Join(r.ID, recordName), sealed); err != nil {
		return err
	}
	return d.sync(".")
}

// load reads a record; fs.ErrNotExist when there is none.
func (d *uploadDir) load(id string, key secret.Bytes) (record, error) {
	var r record
	sealed, err := d.root.ReadFile(path.Join(id, recordName))
	if err != nil {
		return r, err
	}
	raw, err := unsealAll(bytes.NewReader(sealed), int64(len(sealed)), key, recordContext(id))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(raw, &r)
}

func (d *uploadDir) has(id string) bool {
	_, err := d.root.Lstat(path.Join(id, recordName))
	return err == nil
}

// complete notes the blob of the n-th file.
func (d *uploadDir) complete(id string, n int, g blob.Digest) error {
	return d.write(path.Join(id, strconv.Itoa(n)), []byte(g.String()))
}

// completed returns the blobs of the complete files by their number.
func (d *uploadDir) completed(id string) (map[int]string, error) {
	names, err := d.names(id)
	if err != nil {
		return nil, err
	}
	done := map[int]string{}
	for _, name := range names {
		n, err := strconv.Atoi(name)
		if err != nil {
			continue // the record, or an unfinished file
		}
		text, err := d.root.ReadFile(path.Join(id, name))
		if err != nil {
			return nil, err
		}
		if _, err := blob.ParseDigest(string(text)); err != nil {
			return nil, err
		}
		done[n] = string(text)
	}
	return done, nil
}

// touched returns when something of an upload was completed last.
func (d *uploadDir) touched(id string) (time.Time, error) {
	info, err := d.root.Stat(id) // every completed file changes the directory
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// list returns the ids of all uploads, in no order.
func (d *uploadDir) list() ([]string, error) {
	names, err := d.names(".")
	ids := names[:0]
	for _, name := range names {
		if validID(name) {
			ids = append(ids, name)
		}
	}
	return ids, err
}

// remove forgets an upload: the record first, so that no half of one is left.
func (d *uploadDir) remove(id string) error {
	err := d.root.Remove(path.Join(id, recordName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return d.root.RemoveAll(id)
}

func (d *uploadDir) names(dir string) ([]string, error) {
	f, err := d.root.Open(dir)
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	return names, errors.Join(err, f.Close())
}

// write makes a file appear whole and durable, or not at all.
func (d *uploadDir) write(name string, data []byte) error {
	temporary := name + ".part"
	f, err := d.root.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := d.root.Rename(temporary, name); err != nil {
		return err
	}
	return d.sync(path.Dir(name))
}

func (d *uploadDir) sync(dir string) error {
	f, err := d.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// idLength is that of 16 bytes in base 32.
const idLength = 26

func validID(id string) bool {
	return len(id) == idLength && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz234567") == ""
}
