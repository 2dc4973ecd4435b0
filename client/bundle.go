package client

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// bundleName is the file that Bundle writes.
const bundleName = "ca-bundle.pem"

// rootFiles are where systems keep the certificates that they trust, as one file.
func rootFiles() []string {
	return []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"}
}

// Bundle writes a file of what this system trusts and, beside it, of caFile, and
// returns its path. SSL_CERT_FILE and REQUESTS_CA_BUNDLE replace what a program
// trusts: with the server's own authority alone, the program could call nobody
// else any more. Where the system's file is not found, the bundle is caFile's.
func Bundle(dir, caFile string) (string, error) {
	own, err := os.ReadFile(caFile)
	if err != nil {
		return "", fmt.Errorf("make certificate bundle: %w", err)
	}
	var all bytes.Buffer
	for _, path := range rootFiles() {
		roots, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("make certificate bundle: %w", err)
		}
		all.Write(roots)
		all.WriteByte('\n')
		break
	}
	all.Write(own)
	path := filepath.Join(dir, bundleName)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, all.Bytes()) {
		return path, nil
	}
	if err := replace(dir, path, all.Bytes()); err != nil {
		return "", fmt.Errorf("make certificate bundle: %w", err)
	}
	return path, nil
}
