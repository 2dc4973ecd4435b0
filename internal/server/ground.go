package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"sallyport"
	"sallyport/internal/artifact/blob"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/artifact/keyring"
	"sallyport/internal/artifact/vault"
	"sallyport/internal/audit/history"
	"sallyport/internal/audit/tlog"
	"sallyport/internal/audit/trail"
	"sallyport/internal/audit/trail/tiles"
	"sallyport/internal/store/sqldb"
)

func (s *Server) openData(context.Context) error {
	for _, dir := range []string{s.config.Data, s.path("secrets"), s.path("blobs"), filepath.Dir(s.config.KeyFile)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) openStore(ctx context.Context) error {
	dsn := s.config.Store
	if dsn == "" {
		dsn = "sqlite:" + s.path("sallyport.db")
	}
	var err error
	if s.db, err = sqldb.Open(ctx, dsn); err != nil {
		return err
	}
	s.closers = append(s.closers, s.db.Close)
	if s.steady, err = s.db.Clock(ctx, s.clock); err != nil {
		return err
	}
	s.clock = s.steady.Now // one clock for everything that ends by itself, and it never runs backward
	return nil
}

func (s *Server) openKeys(ctx context.Context) error {
	passphrase, err := readSecret(s.config.PassphraseFile)
	if err != nil {
		return err
	}
	local := keyring.LocalConfig{Path: s.config.KeyFile, DataDir: s.config.Data, Passphrase: passphrase, Random: rand.Reader, Now: s.clock}
	_, err = os.Stat(s.config.KeyFile)
	switch {
	case err == nil:
		s.wrapper, err = keyring.OpenLocal(local)
	case errors.Is(err, os.ErrNotExist) && s.fresh():
		s.wrapper, err = keyring.CreateLocal(local)
	case errors.Is(err, os.ErrNotExist):
		return sallyport.E("open keys", sallyport.Unavailable, "the key file "+s.config.KeyFile+" is gone, and without it nothing in the data directory can be read", "put it back from its backup")
	}
	if err != nil {
		return err
	}
	s.ring = &keyring.Ring{Store: s.db.Keyring(), Wrapper: s.wrapper, Random: rand.Reader}
	s.box, err = openBox(ctx, s.ring)
	return err
}

// fresh reports whether the data directory has never held a system: only then is
// a missing key file made.
func (s *Server) fresh() bool {
	_, err := os.Stat(s.path("secrets", "log-key.sealed"))
	return errors.Is(err, os.ErrNotExist)
}

func (s *Server) openTrail(ctx context.Context) error {
	key, err := s.box.file(s.path("secrets"), "log-key", func() ([]byte, error) {
		private, _, err := note.GenerateKey(rand.Reader, s.config.Log)
		return []byte(private), err
	})
	if err != nil {
		return err
	}
	signer, err := note.NewSigner(string(key.Reveal()))
	if err != nil {
		return fmt.Errorf("the log's key: %w", err)
	}
	s.signText = func(text string) ([]byte, error) { return note.Sign(&note.Note{Text: text}, signer) }
	if s.trust, err = verifierKey(string(key.Reveal())); err != nil {
		return err
	}
	trusted, err := tlog.ParsePolicy(s.trust)
	if err != nil {
		return err
	}
	if s.tree, err = tiles.Open(ctx, s.path("log"), signer, tiles.Options{Logger: s.logger}); err != nil {
		return err
	}
	known, err := s.known(ctx)
	if err == nil {
		s.trail, err = trail.Open(ctx, s.tree, trail.Options{Dir: s.path("trail"), Origin: signer.Name(), Policy: trusted, Known: known, Logger: s.logger, Files: s.files})
	}
	if err != nil {
		return errors.Join(err, s.tree.Close())
	}
	s.closers = append(s.closers, s.trail.Close, func() error { return s.keepCheckpoint(context.Background()) })
	return writeIfChanged(s.path("log.vkey"), []byte(s.trust+"\n"))
}

func writeIfChanged(path string, data []byte) error {
	if old, err := os.ReadFile(path); err == nil && string(old) == string(data) {
		return nil
	}
	return writeNew(path, data)
}

func (s *Server) openHistory(ctx context.Context) error {
	var err error
	s.index, err = history.Open(ctx, s.db.History(), s.leaves, s.logger)
	return err
}

func (s *Server) openVault(ctx context.Context) error {
	blobs, err := blob.NewDir(s.path("blobs"), blob.Hooks{})
	if err != nil {
		return err
	}
	s.vault, err = vault.New(vault.Config{Catalog: s.rooms.catalog, Index: func() *catalog.Index { return s.facts.Snapshot().Catalog() },
		Blobs: blobs, Keys: s.ring, Uploads: s.path("uploads"), Random: rand.Reader, Now: s.clock, Sync: s.facts.Sync})
	return err
}

// verifierKey derives the public key of a note signing key.
func verifierKey(private string) (string, error) {
	f := strings.SplitN(private, "+", 5)
	if len(f) != 5 {
		return "", errors.New("the log's key is no note key")
	}
	return noteVerifier(f[2], f[4])
}
