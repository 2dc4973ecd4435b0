package server

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"sallyport/internal/artifact/keyring"
	"sallyport/internal/artifact/seal"
	"sallyport/internal/plumbing/secret"
)

// A box seals the server's own small secrets (AES-256-GCM, NIST SP 800-38D) under
// a data key of the keyring: with the key-encryption key elsewhere, a stolen data
// directory opens none of them.
type box struct{ aead cipher.AEAD }

// boxKey is the keyring's name for the box's data key.
const boxKey = "server secrets"

func openBox(ctx context.Context, ring *keyring.Ring) (*box, error) {
	key, err := ring.Key(ctx, boxKey)
	if errors.Is(err, keyring.ErrNotFound) {
		key, err = ring.Create(ctx, boxKey)
		if errors.Is(err, keyring.ErrExists) { // another node was quicker
			key, err = ring.Key(ctx, boxKey)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open the server's secrets: %w", err)
	}
	defer key.Zero()
	block, err := aes.NewCipher(key.Reveal())
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &box{aead: aead}, err
}

func (b *box) seal(plain, associated []byte) []byte { return b.aead.Seal(nil, nil, plain, associated) }

func (b *box) open(sealed, associated []byte) ([]byte, error) {
	return b.aead.Open(nil, nil, sealed, associated)
}

func label(context string) []byte { return seal.Context("sallyport server secret v1", context) }

// file returns the secret of a name, which make makes at the first start. It lies
// sealed in dir.
func (b *box) file(dir, name string, make func() ([]byte, error)) (secret.Bytes, error) {
	path := filepath.Join(dir, name+".sealed")
	sealed, err := os.ReadFile(path)
	if err == nil {
		plain, err := b.open(sealed, label(name))
		if err != nil {
			return secret.Bytes{}, fmt.Errorf("the secret %s does not open: it belongs to another installation, or its key is gone: %w", name, err)
		}
		return secret.NewBytes(plain), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return secret.Bytes{}, err
	}
	plain, err := make()
	if err != nil {
		return secret.Bytes{}, err
	}
	return secret.NewBytes(plain), writeNew(path, b.seal(plain, label(name)))
}

// writeNew writes a file that is whole or not there after a crash.
func writeNew(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already after the rename
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// random returns n random bytes, as a maker of secrets.
func random(n int) func() ([]byte, error) {
	return func() ([]byte, error) {
		b := make([]byte, n)
		_, err := rand.Read(b)
		return b, err
	}
}
