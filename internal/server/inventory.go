package server

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sallyport/internal/web/api"
)

// inventory lists every key that this server has, without the keys: those that are listed nowhere are forgotten.
func (s *Server) inventory(ctx context.Context) ([]api.KeyEntry, error) {
	var all []api.KeyEntry
	for _, k := range s.rooms.keys.List() {
		state := "kept for what it signed"
		if k.Signing {
			state = "in use"
		} else if k.From.After(s.clock()) {
			state = "next"
		}
		all = append(all, api.KeyEntry{Kind: "signing", ID: k.ID, Algorithm: k.Algorithm, Use: "signs access, ID and logout tokens", State: state, From: k.From, Next: k.Until})
	}
	versions, err := s.wrapper.Versions(ctx)
	if err != nil {
		return nil, err
	}
	for i, id := range versions {
		state := "kept for what it wrapped"
		if i == len(versions)-1 {
			state = "in use"
		}
		all = append(all, api.KeyEntry{Kind: "kek", ID: id, Algorithm: "AES-256-GCM", Use: "wraps the data keys of models and of the server's secrets", State: state})
	}
	authority, err := s.rooms.devices.CA.Keys(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range authority {
		one := api.KeyEntry{Kind: "ca", ID: k.ID, Algorithm: "ECDSA P-256", Use: "issues device certificates", State: "in use", From: k.Made, Next: k.Ends}
		if k.Root {
			one.Use = "root of the device authority"
		}
		if !k.Retired.IsZero() {
			one.State = "kept for what it issued"
		}
		all = append(all, one)
	}
	all = append(all, api.KeyEntry{Kind: "log", ID: s.logName(), Algorithm: "Ed25519", Use: "signs the heads of the audit log", State: "in use",
		Note: "the log's key cannot be rotated: witnesses know the log by its name and this key together"})
	secrets, err := s.secrets()
	return append(all, secrets...), err
}

// logName is the name and hash by which checkpoints name the log's key.
func (s *Server) logName() string {
	f := strings.SplitN(s.trust, "+", 3)
	if len(f) < 2 {
		return s.config.Log
	}
	return f[0] + "+" + f[1]
}

// secrets lists the sealed files of the data directory.
func (s *Server) secrets() ([]api.KeyEntry, error) {
	uses := map[string]string{
		"pepper": "goes into the hashes of passwords", "forms": "ties forms to what they show", "dpop": "makes the nonces of proofs of possession",
		"ca-key": "issues this server's own certificate",
	}
	var all []api.KeyEntry
	for _, pattern := range []string{s.path("secrets", "*.sealed"), s.path("*.sealed")} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("list secrets: %w", err)
		}
		for _, path := range files {
			name := strings.TrimSuffix(filepath.Base(path), ".sealed")
			info, err := os.Stat(path)
			if err != nil {
				return nil, fmt.Errorf("list secrets: %w", err)
			}
			if name == "log-key" {
				continue // listed as what it is
			}
			one := api.KeyEntry{Kind: "secret", ID: name, Algorithm: "256 random bits", Use: uses[name], State: "in use", From: info.ModTime()}
			if name == "ca-key" {
				one.Kind, one.Algorithm = "tls", "ECDSA P-256"
			}
			all = append(all, one)
		}
	}
	return all, nil
}
