package keyring

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sallyport/internal/artifact/seal"
	"sallyport/internal/plumbing/secret"
)

const (
	nonceSize   = 12
	tagSize     = 16
	wrapVersion = 1 // first byte of what Wrap returns
	maxVersions = 1000
)

// LocalConfig says where the key-encryption keys are.
type LocalConfig struct {
	Path       string           // the key file; its directory must exist and lie outside DataDir
	DataDir    string           // where sealed bytes and rows lie: whoever steals it must not get the keys with it
	Passphrase secret.Text      // seals the file (scrypt, RFC 7914); empty: the file's mode is its only protection
	Random     io.Reader        // crypto/rand.Reader
	Now        func() time.Time // time.Now

	scryptLog2 int                     // cost in tests; 0 is 17
	before     func(step string) error // lets a test fail the steps of writing the file
}

// Local is a [Wrapper] whose versions lie in one file. It is safe for concurrent use. Several processes may read the
// file; one at a time may rotate.
type Local struct {
	cfg LocalConfig

	mu   sync.RWMutex
	raw  []byte // the file as read or written last
	keys []version
}

var _ Wrapper = (*Local)(nil)

// version is one key-encryption key.
type version struct {
	id      string
	created time.Time
	key     secret.Bytes
}

// CreateLocal writes a new key file with one version. It returns an error that is [os.ErrExist] when there is a file.
func CreateLocal(cfg LocalConfig) (*Local, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	l := &Local{cfg: cfg}
	first, err := l.newVersion(1)
	if err != nil {
		return nil, err
	}
	if err := l.write([]version{first}, true); err != nil {
		return nil, fmt.Errorf("keyring: create %s: %w", cfg.Path, err)
	}
	return l, nil
}

// OpenLocal reads an existing key file. It refuses one that other users may read, that lies inside the data
// directory, or whose passphrase is not the one given. It returns an error that is [os.ErrNotExist] when there is none.
func OpenLocal(cfg LocalConfig) (*Local, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	l := &Local{cfg: cfg}
	if err := l.reload(); err != nil {
		return nil, err
	}
	return l, nil
}

func (c LocalConfig) check() error {
	if c.Path == "" || c.DataDir == "" || c.Random == nil || c.Now == nil {
		return errors.New("keyring: key file: want Path, DataDir, Random and Now")
	}
	// Symbolic links are resolved before the comparison, of the file too when it is one.
	file, err := resolve(c.Path)
	if err != nil {
		return fmt.Errorf("keyring: key file %s: %w", c.Path, err)
	}
	data, err := resolve(c.DataDir)
	if err != nil {
		return fmt.Errorf("keyring: data directory %s: %w", c.DataDir, err)
	}
	rel, err := filepath.Rel(data, file)
	if err != nil || rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return fmt.Errorf("keyring: key file %s lies inside the data directory %s; keep it elsewhere, so that a copy of the data does not hold its key", c.Path, c.DataDir)
	}
	return nil
}

// resolve returns the real absolute path of a file of which the last elements may not exist yet.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, os.ErrNotExist) {
		return real, err
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSymlink != 0 {
		return "", errors.New("a symbolic link that leads nowhere")
	}
	dir := filepath.Dir(path)
	if dir == path {
		return path, nil
	}
	dir, err = resolve(dir)
	return filepath.Join(dir, filepath.Base(path)), err
}

func (l *Local) newVersion(n int) (version, error) {
	raw := make([]byte, KeySize+4)
	if _, err := io.ReadFull(l.cfg.Random, raw); err != nil {
		return version{}, fmt.Errorf("keyring: new key-encryption key: random source: %w", err)
	}
	// The random part tells apart files that were made for the same purpose twice.
	id := fmt.Sprintf("local-%d-%s", n, hex.EncodeToString(raw[KeySize:]))
	return version{id: id, created: l.cfg.Now().UTC(), key: secret.NewBytes(raw[:KeySize:KeySize])}, nil
}

// Wrap implements [Wrapper] with AES-256-GCM.
func (l *Local) Wrap(_ context.Context, dek secret.Bytes, aad []byte) ([]byte, string, error) {
	if dek.IsZero() {
		return nil, "", errors.New("keyring: wrap: empty key")
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	v := l.keys[len(l.keys)-1]
	gcm, err := newGCM(v.key)
	if err != nil {
		return nil, "", err
	}
	out := make([]byte, 1+nonceSize, 1+nonceSize+dek.Len()+tagSize)
	out[0] = wrapVersion
	if _, err := io.ReadFull(l.cfg.Random, out[1:]); err != nil {
		return nil, "", fmt.Errorf("keyring: wrap: random source: %w", err)
	}
	return gcm.Seal(out, out[1:], dek.Reveal(), bind(v.id, aad)), v.id, nil
}

// Unwrap implements [Wrapper]. An unknown version makes it read the file again: another process may have rotated.
func (l *Local) Unwrap(_ context.Context, wrapped []byte, keyID string, aad []byte) (secret.Bytes, error) {
	key, err := l.find(keyID)
	if err != nil {
		return secret.Bytes{}, err
	}
	if len(wrapped) <= 1+nonceSize+tagSize || wrapped[0] != wrapVersion {
		return secret.Bytes{}, fmt.Errorf("keyring: unwrap: %d bytes of another form: %w", len(wrapped), ErrUnwrap)
	}
	gcm, err := newGCM(key)
	if err != nil {
		return secret.Bytes{}, err
	}
	dek, err := gcm.Open(nil, wrapped[1:1+nonceSize], wrapped[1+nonceSize:], bind(keyID, aad))
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("keyring: unwrap: %w", ErrUnwrap)
	}
	return secret.NewBytes(dek), nil
}

func bind(keyID string, aad []byte) []byte {
	return seal.Context("sallyport wrap v1", keyID, string(aad))
}

func newGCM(key secret.Bytes) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key.Reveal())
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	return gcm, nil
}

func (l *Local) find(keyID string) (secret.Bytes, error) {
	for attempt := range 2 {
		l.mu.RLock()
		i := slices.IndexFunc(l.keys, func(v version) bool { return v.id == keyID })
		var key secret.Bytes
		if i >= 0 {
			key = l.keys[i].key
		}
		l.mu.RUnlock()
		if i >= 0 {
			return key, nil
		}
		if attempt == 0 {
			if err := l.reload(); err != nil {
				return secret.Bytes{}, err
			}
		}
	}
	return secret.Bytes{}, fmt.Errorf("keyring: unwrap: no key-encryption key %.80q in %s: %w", keyID, l.cfg.Path, ErrUnwrap)
}

// Versions implements [Wrapper].
func (l *Local) Versions(context.Context) ([]string, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	ids := make([]string, len(l.keys))
	for i, v := range l.keys {
		ids[i] = v.id
	}
	return ids, nil
}

// Rotate implements [Wrapper].
func (l *Local) Rotate(context.Context) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.keys) >= maxVersions {
		return "", fmt.Errorf("keyring: rotate: %s holds %d versions; rewrap and prune first", l.cfg.Path, len(l.keys))
	}
	v, err := l.newVersion(number(l.keys[len(l.keys)-1].id) + 1)
	if err != nil {
		return "", err
	}
	if err := l.write(append(slices.Clone(l.keys), v), false); err != nil {
		v.key.Zero()
		return "", fmt.Errorf("keyring: rotate: %w", err)
	}
	return v.id, nil
}

func number(id string) (n int) {
	_, _ = fmt.Sscanf(id, "local-%d-", &n)
	return n
}

// Destroy implements [Wrapper]. Memory of the key is left to the collector: an Unwrap may be using it.
func (l *Local) Destroy(_ context.Context, keyID string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.keys, func(v version) bool { return v.id == keyID })
	if i < 0 || i == len(l.keys)-1 {
		return fmt.Errorf("keyring: destroy %.80q: not a version, or the current one", keyID)
	}
	if err := l.write(slices.Delete(slices.Clone(l.keys), i, i+1), false); err != nil {
		return fmt.Errorf("keyring: destroy %s: %w", keyID, err)
	}
	return nil
}

// Health implements [Wrapper]: the file is still the one that was read, as far as a reader can tell.
func (l *Local) Health(context.Context) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	raw, err := l.read()
	if err != nil {
		return err
	}
	if !bytes.Equal(raw, l.raw) {
		return fmt.Errorf("keyring: %s changed on disk; restart, or restore it from your backup", l.cfg.Path)
	}
	return nil
}
