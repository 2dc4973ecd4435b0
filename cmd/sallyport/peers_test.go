//go:build e2e

package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestPeers runs the scripts in which programs of others act, which .ci/run installs: those beside SALLYPORT_E2E_PYTHON.
func TestPeers(t *testing.T) {
	p := params("testdata/script/peers")
	programs := filepath.Dir(os.Getenv("SALLYPORT_E2E_PYTHON"))
	if programs == "." {
		var err error
		if programs, err = filepath.Abs("../../.ci/cache/venv/bin"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(programs, "hf")); err != nil {
		t.Skipf("%v: the comment of package e2e says how to install the clients", err)
	}
	p.Setup = func(e *testscript.Env) error {
		e.Setenv("PATH", programs+string(os.PathListSeparator)+e.Getenv("PATH"))
		return errors.Join(setUp(e), startServer(e))
	}
	testscript.Run(t, p)
}
