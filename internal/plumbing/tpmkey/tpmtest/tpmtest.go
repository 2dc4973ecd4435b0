// Package tpmtest owns TPMs for tests: a real emulator (swtpm), made by a manufacturer of its own (swtpm_localca), whose
// state ends with the test. It leaves using them to the tests.
package tpmtest

import (
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
	dir, err := os.MkdirTemp("", "tpm") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	in := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range map[string]string{
		"setup.conf":   "create_certs_tool = swtpm_localca\ncreate_certs_tool_config = " + in("ca.conf") + "\ncreate_certs_tool_options = " + in("ca.options") + "\n",
		"ca.conf":      "statedir = " + dir + "\nsigningkey = " + in("sign.pem") + "\nissuercert = " + in("issuer.pem") + "\ncertserial = " + in("serial") + "\n",
		"ca.options":   "--platform-manufacturer Test\n--platform-version 1\n--platform-model Test\n",
		"state/.empty": "",
	} {
		if err := os.MkdirAll(filepath.Dir(in(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(in(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "swtpm_setup", "--tpm2", "--tpmstate", in("state"), "--config", in("setup.conf"), "--create-ek-cert").CombinedOutput(); err != nil {
		t.Fatalf("swtpm_setup: %v\n%s", err, out)
	}
	run(t, dir)
	var roots []byte
	for _, name := range []string{"issuer.pem", "swtpm-localca-rootca-cert.pem"} {
		pem, err := os.ReadFile(in(name))
		if err != nil {
			t.Fatal(err)
		}
		roots = append(roots, pem...)
	}
	e := Emulator{Path: in("sock"), Roots: in("roots.pem")}
	if err := os.WriteFile(e.Roots, roots, 0o600); err != nil {
		t.Fatal(err)
	}
	return e
}

// run runs the emulator in dir until the test ends.
func run(t testing.TB, dir string) {
	t.Helper()
	socket := filepath.Join(dir, "sock")
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+filepath.Join(dir, "state"), "--server", "type=unixio,path="+socket,
		"--flags", "not-need-init,startup-clear")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() // it waits for the next connection for ever
		cmd.Wait()
	})
	for range 500 {
		if _, err := os.Stat(socket); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the TPM emulator did not start")
}
