package keyring

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/scrypt"

	"sallyport/internal/plumbing/secret"
)

// The key file is JSON of one of two shapes: with "keys" in the clear, or with "scrypt" and "sealed", which is
// AES-256-GCM of what would be the keys, under a key stretched from the passphrase.
const (
	fileFormat  = "sallyport key-encryption keys v1"
	maxFile     = 1 << 20
	scryptLog2  = 17 // 128 MiB and about 0.4 s: RFC 7914 parameters r 8, p 1
	scryptMost  = 20 // a file must not make us allocate more than 1 GiB
	scryptR     = 8
	scryptSalt  = 16
	filePerm    = 0o600
	othersPerms = 0o077
)

type keyFile struct {
	Format string      `json:"format"`
	Keys   []fileKey   `json:"keys,omitempty"`
	Scrypt *fileScrypt `json:"scrypt,omitempty"`
	Sealed []byte      `json:"sealed,omitempty"` // nonce and ciphertext
}

type fileKey struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	Key     []byte    `json:"key"`
}

type fileScrypt struct {
	Log2N int    `json:"log2n"`
	Salt  []byte `json:"salt"`
}

// read returns the bytes of the file when only its owner can see them.
func (l *Local) read() ([]byte, error) {
	f, err := os.Open(l.cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("keyring: open: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("keyring: open: %w", err)
	case !info.Mode().IsRegular() || info.Size() > maxFile:
		return nil, fmt.Errorf("keyring: %s is not a file of at most %d bytes", l.cfg.Path, maxFile)
	case info.Mode().Perm()&othersPerms != 0:
		return nil, fmt.Errorf("keyring: %s has mode %04o, others can read it; run chmod 600 on it", l.cfg.Path, info.Mode().Perm())
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("keyring: read %s: %w", l.cfg.Path, err)
	}
	return raw, nil
}

// reload takes over what the file holds now.
func (l *Local) reload() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	raw, err := l.read()
	if err != nil || l.raw != nil && bytes.Equal(raw, l.raw) {
		return err
	}
	keys, err := l.decode(raw)
	if err != nil {
		return fmt.Errorf("keyring: %s: %w", l.cfg.Path, err)
	}
	l.raw, l.keys = raw, keys
	return nil
}

func strictJSON(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return errors.New("damaged, or not a key file: " + err.Error())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("damaged: something follows the keys")
	}
	return nil
}

func (l *Local) decode(raw []byte) ([]version, error) {
	var file keyFile
	if err := strictJSON(raw, &file); err != nil {
		return nil, err
	}
	sealed := file.Scrypt != nil
	switch {
	case file.Format != fileFormat:
		return nil, fmt.Errorf("format %.80q, want %q", file.Format, fileFormat)
	case sealed && l.cfg.Passphrase.IsZero():
		return nil, errors.New("sealed with a passphrase; give it")
	case !sealed && !l.cfg.Passphrase.IsZero():
		return nil, errors.New("not sealed, though a passphrase is configured; somebody may have replaced the file")
	case sealed && file.Keys != nil || !sealed && file.Sealed != nil:
		return nil, errors.New("both sealed and in the clear")
	}
	if sealed {
		plain, err := l.openSealed(file)
		if err != nil {
			return nil, err
		}
		defer clear(plain)
		if err := strictJSON(plain, &file.Keys); err != nil {
			return nil, err
		}
	}
	if len(file.Keys) == 0 || len(file.Keys) > maxVersions {
		return nil, fmt.Errorf("%d keys, want 1 to %d", len(file.Keys), maxVersions)
	}
	keys, seen := make([]version, 0, len(file.Keys)), map[string]bool{}
	for _, k := range file.Keys {
		if len(k.Key) != KeySize || k.ID == "" || seen[k.ID] {
			return nil, fmt.Errorf("key %.80q has %d bytes, no id, or another one's", k.ID, len(k.Key))
		}
		seen[k.ID] = true
		keys = append(keys, version{k.ID, k.Created, secret.NewBytes(k.Key)})
	}
	return keys, nil
}

// stretch derives the key that seals the file.
func (l *Local) stretch(p *fileScrypt) (secret.Bytes, error) {
	least := scryptLog2
	if l.cfg.scryptLog2 != 0 {
		least = l.cfg.scryptLog2
	}
	if p.Log2N < least || p.Log2N > scryptMost || len(p.Salt) != scryptSalt {
		return secret.Bytes{}, fmt.Errorf("scrypt cost 2^%d with %d bytes of salt, want 2^%d to 2^%d with %d", p.Log2N, len(p.Salt), least, scryptMost, scryptSalt)
	}
	key, err := scrypt.Key([]byte(l.cfg.Passphrase.Reveal()), p.Salt, 1<<p.Log2N, scryptR, 1, KeySize)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("scrypt: %w", err)
	}
	return secret.NewBytes(key), nil
}

func sealAAD(p *fileScrypt) []byte {
	return fmt.Appendf(nil, "%s|scrypt|%d|%s", fileFormat, p.Log2N, hex.EncodeToString(p.Salt))
}

func (l *Local) openSealed(file keyFile) ([]byte, error) {
	key, err := l.stretch(file.Scrypt)
	if err != nil {
		return nil, err
	}
	defer key.Zero()
	gcm, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	if len(file.Sealed) < nonceSize {
		return nil, errors.New("damaged: the sealed part is too short")
	}
	plain, err := gcm.Open(nil, file.Sealed[:nonceSize], file.Sealed[nonceSize:], sealAAD(file.Scrypt))
	if err != nil {
		return nil, errors.New("wrong passphrase, or the file is damaged")
	}
	return plain, nil
}

func (l *Local) encode(keys []version) ([]byte, error) {
	list := make([]fileKey, 0, len(keys))
	for _, v := range keys {
		list = append(list, fileKey{v.id, v.created, v.key.Reveal()})
	}
	if l.cfg.Passphrase.IsZero() {
		return json.MarshalIndent(keyFile{Format: fileFormat, Keys: list}, "", " ")
	}
	plain, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	fresh := make([]byte, scryptSalt+nonceSize)
	if _, err := io.ReadFull(l.cfg.Random, fresh); err != nil {
		return nil, fmt.Errorf("random source: %w", err)
	}
	p := &fileScrypt{Log2N: scryptLog2, Salt: fresh[:scryptSalt]}
	if l.cfg.scryptLog2 != 0 {
		p.Log2N = l.cfg.scryptLog2
	}
	key, err := l.stretch(p)
	if err != nil {
		return nil, err
	}
	defer key.Zero()
	gcm, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	nonce := fresh[scryptSalt:]
	return json.MarshalIndent(keyFile{Format: fileFormat, Scrypt: p, Sealed: gcm.Seal(nonce[:nonceSize:nonceSize], nonce, plain, sealAAD(p))}, "", " ")
}

// write replaces the file in one step that survives a loss of power, and takes the keys over. The caller holds mu
// for writing. A fresh file never replaces one that is there, a later one only the one that was read.
func (l *Local) write(keys []version, fresh bool) error {
	if !fresh {
		raw, err := l.read()
		if err != nil {
			return err
		}
		if !bytes.Equal(raw, l.raw) {
			return fmt.Errorf("%s was changed by another process; try again after a restart", l.cfg.Path)
		}
	}
	raw, err := l.encode(keys)
	if err != nil {
		return err
	}
	target, err := resolve(l.cfg.Path) // through a symbolic link, not over it
	if err != nil {
		return err
	}
	if err := l.replace(target, raw, fresh); err != nil {
		return err
	}
	l.raw, l.keys = raw, keys
	return nil
}

func (l *Local) replace(target string, raw []byte, fresh bool) error {
	step := func(name string, do func() error) error {
		if l.cfg.before != nil {
			if err := l.cfg.before(name); err != nil {
				return err
			}
		}
		return do()
	}
	temp := target + ".new"
	// Left by a process that died while it wrote. Nobody ever reads it.
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	err = step("write", func() error { _, err := f.Write(raw); return err })
	if err == nil {
		err = step("sync", f.Sync)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	// A link fails where the name exists; a rename replaces.
	publish := os.Rename
	if fresh {
		publish = os.Link
	}
	if err := step("publish", func() error { return publish(temp, target) }); err != nil {
		return err
	}
	return step("syncdir", func() error {
		dir, err := os.Open(filepath.Dir(target))
		if err != nil {
			return err
		}
		return errors.Join(dir.Sync(), dir.Close())
	})
}
