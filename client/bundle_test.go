package client_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"sallyport/client"
)

func TestBundleAddsToWhatTheSystemTrusts(t *testing.T) {
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	own := []byte("-----BEGIN CERTIFICATE-----\nb3du\n-----END CERTIFICATE-----\n")
	if err := os.WriteFile(ca, own, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // made, and found as it is
		path, err := client.Bundle(dir, ca)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.HasSuffix(got, own) {
			t.Errorf("the bundle ends in %q, %v", got[max(0, len(got)-40):], err)
		}
		if roots, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt"); err == nil && !bytes.HasPrefix(got, roots) {
			t.Error("what the system trusts is not in the bundle")
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 2 {
		t.Errorf("left over: %v", left)
	}
	if _, err := client.Bundle(dir, filepath.Join(dir, "none")); err == nil {
		t.Error("a bundle without an authority")
	}
}
