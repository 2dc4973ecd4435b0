// Package tpmtest owns TPMs for tests: a real emulator (swtpm), made by a manufacturer of its own (swtpm_localca), whose
// state ends with the test. It leaves using them to the tests.
package tpmtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// An Emulator is a running TPM.
type Emulator struct {
	Path  string // of its socket
	Roots string // PEM file of its manufacturer's certificates
}

// Start makes and starts a TPM, and skips the test where the emulator is not installed.
func Start(t testing.TB) Emulator {
	t.Helper()
	for _, program := range []string{"swtpm", "swtpm_setup", "swtpm_localca"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("the TPM emulator is not installed (swtpm, swtpm-tools), so no TPM was asked")
		}
	}
	e, stop, err := Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return e
}

// Run makes and starts a TPM that runs until stop is called.
func Run(ctx context.Context) (e Emulator, stop func(), err error) {
	dir, err := os.MkdirTemp("", "tpm") // the path of a socket must be short
	if err != nil {
		return Emulator{}, nil, err
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	e = Emulator{Path: in("sock"), Roots: in("roots.pem")}
	if err := manufacture(ctx, in); err != nil {
		return Emulator{}, nil, errors.Join(err, os.RemoveAll(dir))
	}
	end, err := start(in)
	if err != nil {
		return Emulator{}, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return e, func() { end(); os.RemoveAll(dir) }, nil
}

// manufacture makes a TPM, with a certificate over its endorsement key by a manufacturer of its own.
func manufacture(ctx context.Context, in func(string) string) error {
	for name, text := range map[string]string{
		"setup.conf":   "create_certs_tool = swtpm_localca\ncreate_certs_tool_config = " + in("ca.conf") + "\ncreate_certs_tool_options = " + in("ca.options") + "\n",
		"ca.conf":      "statedir = " + in("") + "\nsigningkey = " + in("sign.pem") + "\nissuercert = " + in("issuer.pem") + "\ncertserial = " + in("serial") + "\n",
		"ca.options":   "--platform-manufacturer Test\n--platform-version 1\n--platform-model Test\n",
		"state/.empty": "",
	} {
		if err := os.MkdirAll(filepath.Dir(in(name)), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(in(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if out, err := exec.CommandContext(ctx, "swtpm_setup", "--tpm2", "--tpmstate", in("state"), "--config", in("setup.conf"), "--create-ek-cert").CombinedOutput(); err != nil {
		return fmt.Errorf("swtpm_setup: %w\n%s", err, out)
	}
	var roots []byte
	for _, name := range []string{"issuer.pem", "swtpm-localca-rootca-cert.pem"} {
		pem, err := os.ReadFile(in(name))
		if err != nil {
			return err
		}
		roots = append(roots, pem...)
	}
	return os.WriteFile(in("roots.pem"), roots, 0o600)
}

// start starts the emulator and returns what ends it.
func start(in func(string) string) (func(), error) {
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+in("state"), "--server", "type=unixio,path="+in("sock"),
		"--flags", "not-need-init,startup-clear")
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	end := func() {
		cmd.Process.Kill() // it waits for the next connection for ever
		cmd.Wait()
	}
	for range 3000 { // a loaded machine takes its time
		if _, err := os.Stat(in("sock")); err == nil {
			return end, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	end()
	return nil, errors.New("the TPM emulator did not start")
}
