package device

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"sallyport"
	"sallyport/internal/web/api"
)

// kept is what a file holds. A key in software stands in it as it is; one in a TPM is wrapped.
type kept struct {
	Server  string    `json:"server"`
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Level   int       `json:"level"`
	Machine string    `json:"machine,omitempty"` // that a key in software is bound to
	Key     string    `json:"key,omitempty"`     // PKCS #8, base64
	Wrapped []byte    `json:"wrapped,omitempty"`
	TPM     string    `json:"tpm,omitempty"`
	Chain   [][]byte  `json:"chain"`
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
}

const maxKept = 64 << 10

// take takes over a certificate.
func (k *kept) take(d api.Device) {
	k.ID, k.Chain, k.Expires = d.ID, d.Chain, d.Expires
	if d.Seen.Before(d.Expires) {
		k.Issued = d.Seen
	}
}

// due reports whether a third of the certificate's life or less is left.
func (k *kept) due(now time.Time) bool {
	return k.Expires.Sub(now) <= k.Expires.Sub(k.Issued)/3
}

// path is the file of a server, whose address may hold what file names do not.
func (k *Keeper) path(server string) string {
	sum := sha256.Sum256([]byte(server))
	return filepath.Join(k.Dir, "device-"+hex.EncodeToString(sum[:8])+".json")
}

func (k *Keeper) read(server string) (kept, error) {
	const op = "read device"
	name := k.path(server)
	f, err := os.Open(name)
	if err != nil {
		return kept{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return kept{}, sallyport.Wrap(op, sallyport.Unavailable, name, err)
	}
	if info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		return kept{}, sallyport.E(op, sallyport.Invalid, name+" may be read by others", "remove the device with 'sallyport device rm' and enrol it anew")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKept))
	if err != nil {
		return kept{}, sallyport.Wrap(op, sallyport.Unavailable, name, err)
	}
	var x kept
	if err := json.Unmarshal(text, &x); err != nil || x.Server != server || x.ID == "" || len(x.Chain) == 0 || (x.Key == "") == (x.Wrapped == nil) {
		return kept{}, sallyport.Wrap(op, sallyport.Invalid, name+" is damaged; remove it and enrol this computer anew", err)
	}
	return x, nil
}

// write replaces the file as a whole.
func (k *Keeper) write(x kept) error {
	const op = "keep device"
	if err := os.MkdirAll(k.Dir, 0o700); err != nil {
		return sallyport.Wrap(op, sallyport.Unavailable, k.Dir, err)
	}
	text, err := json.MarshalIndent(x, "", "  ")
	if err != nil {
		return sallyport.Wrap(op, sallyport.Other, "encode", err)
	}
	f, err := os.CreateTemp(k.Dir, ".device-*") // with mode 0600
	if err == nil {
		defer os.Remove(f.Name()) // gone already after the rename
		_, err = f.Write(append(text, '\n'))
		if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
			err = os.Rename(f.Name(), k.path(x.Server))
		}
	}
	if err != nil {
		return sallyport.Wrap(op, sallyport.Unavailable, k.path(x.Server), err)
	}
	return nil
}

// Forget removes what is kept about a server; that there is nothing is no error.
func (k *Keeper) Forget(server string) error {
	if err := os.Remove(k.path(server)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return sallyport.Wrap("forget device", sallyport.Unavailable, k.path(server), err)
	}
	return nil
}
