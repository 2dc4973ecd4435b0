//go:build e2e

// Package e2e runs the stock clients of others, unchanged, against the real binary: huggingface_hub and openai for Python,
// @huggingface/hub and openai for JavaScript. It leaves what the clients check to python/ and node/, identity providers of others to
// federation/, clients of the authorization server to internal/server's stories, and installing them all to .ci/run:
//
//	python3 -m venv .ci/cache/venv && .ci/cache/venv/bin/pip install -r e2e/python/requirements.txt
//	npm ci --prefix e2e/node
//	go test -count=1 -tags e2e ./e2e
//
// The system under test is `sallyport demo --keep --json`. Of what it prints, the harness reads one line: the JSON object with a key
// "env", the environment that stock clients need (HF_ENDPOINT, HF_TOKEN, OPENAI_BASE_URL, OPENAI_API_KEY, SALLYPORT_CA) and the
// models to use (SALLYPORT_MODEL_OPEN, SALLYPORT_MODEL_GUARDED, SALLYPORT_MODEL_CLOSED). With HF_ENDPOINT set in its own
// environment the harness uses that system instead of starting one; SALLYPORT_COMMAND then names the binary.
package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// required are the variables that every suite needs.
func required() []string {
	return []string{"HF_ENDPOINT", "HF_TOKEN", "OPENAI_BASE_URL", "OPENAI_API_KEY", "SALLYPORT_MODEL_OPEN", "SALLYPORT_MODEL_GUARDED", "SALLYPORT_MODEL_CLOSED",
		"SALLYPORT_SERVER", "SALLYPORT_PEOPLE", "SALLYPORT_COMMAND"}
}

func TestStockClients(t *testing.T) {
	python := executable(t, "SALLYPORT_E2E_PYTHON", "../.ci/cache/venv/bin/python")
	node := executable(t, "SALLYPORT_E2E_NODE", "node")
	told := stage(t)
	env := append(clientEnv(t, told), "XDG_CONFIG_HOME="+filepath.Join(told["SALLYPORT_PEOPLE"], "ana"))
	suites := []struct {
		name, dir string
		command   []string
	}{
		{"huggingface_hub for Python", "python", []string{python, "-m", "unittest", "-v", "test_hub"}},
		{"openai for Python", "python", []string{python, "-m", "unittest", "-v", "test_chat"}},
		{"sallyport for Python, MLflow, Anthropic", "../clients/python/tests", []string{python, "-m", "unittest", "-v", "test_sallyport"}},
		{"huggingface hub for JavaScript", "node", []string{node, "--test", "--test-reporter=tap", "hub.test.js"}},
		{"openai for JavaScript", "node", []string{node, "--test", "--test-reporter=tap", "chat.test.js"}},
	}
	for _, suite := range suites {
		t.Run(suite.name, func(t *testing.T) {
			command := exec.CommandContext(t.Context(), suite.command[0], suite.command[1:]...)
			command.Dir, command.Env = suite.dir, append(env, "HOME="+t.TempDir())
			out, err := command.CombinedOutput()
			t.Logf("%s\n%s", strings.Join(suite.command, " "), out)
			if err != nil {
				t.Error(err)
			}
			if !regexp.MustCompile(`(?m)^(Ran [1-9]\d* tests|# tests [1-9])`).Match(out) {
				t.Error("no test ran")
			}
			if regexp.MustCompile(`skipped=[1-9]|# skipped [1-9]`).Match(out) {
				t.Error("a client's test was skipped: every one of them has what it needs here")
			}
		})
	}
}

// stage brings up the system under test, or finds the one that the environment names, and returns the variables clients need.
func stage(t *testing.T) map[string]string {
	env := map[string]string{}
	if os.Getenv("HF_ENDPOINT") == "" {
		env = startDemo(t)
	} else {
		for _, name := range append(required(), "SALLYPORT_CA") {
			if value := os.Getenv(name); value != "" {
				env[name] = value
			}
		}
	}
	for _, name := range required() {
		if env[name] == "" {
			t.Fatalf("the system under test names no %s", name)
		}
	}
	return env
}

// startDemo builds the binary, starts the demo and keeps it until the test ends.
func startDemo(t *testing.T) map[string]string {
	binary := filepath.Join(t.TempDir(), "sallyport")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../cmd/sallyport").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	var stderr bytes.Buffer
	demo := exec.Command(binary, "demo", "--keep", "--json")
	demo.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir()}
	demo.Stderr, demo.WaitDelay = &stderr, 10*time.Second
	stdout, err := demo.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	env, printed, err := readEnv(stdout)
	if err == nil {
		env["SALLYPORT_COMMAND"] = binary
	}
	t.Cleanup(func() {
		// A demo asked to end does so cleanly; one that is gone already has failed above.
		if demo.Process.Signal(os.Interrupt) == nil {
			if err := demo.Wait(); err != nil && !interrupted(err) {
				t.Errorf("demo: %v\n%s", err, stderr.String())
			}
		}
	})
	if err != nil {
		t.Fatalf("demo: %v\n%s\n%s", err, printed, stderr.String())
	}
	go io.Copy(io.Discard, stdout) // the demo must not wait for a reader
	return env
}

// interrupted tells whether a program ended by the signal that was sent to it.
func interrupted(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && (status.Signaled() && status.Signal() == syscall.SIGINT || status.ExitStatus() == 130)
}

// readEnv reads lines until one tells the environment, and returns what it read on the way.
func readEnv(r io.Reader) (env map[string]string, printed string, err error) {
	lines := bufio.NewReader(r)
	var all strings.Builder
	for {
		line, err := lines.ReadString('\n')
		all.WriteString(line)
		var told struct {
			Env map[string]string `json:"env"`
		}
		if json.Unmarshal([]byte(line), &told) == nil && len(told.Env) > 0 {
			return told.Env, all.String(), nil
		}
		if err != nil {
			return nil, all.String(), errors.Join(errors.New("it ended without telling an environment"), err)
		}
	}
}

// clientEnv is a bare environment: nothing of the machine's own tokens, caches or settings, only what the system told.
func clientEnv(t *testing.T, told map[string]string) []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "TMPDIR=" + t.TempDir(), "PYTHONDONTWRITEBYTECODE=1"}
	if authority := told["SALLYPORT_CA"]; authority != "" {
		env = append(env, "SSL_CERT_FILE="+authority, "REQUESTS_CA_BUNDLE="+authority, "NODE_EXTRA_CA_CERTS="+authority)
	}
	for name, value := range told {
		env = append(env, name+"="+value)
	}
	return env
}

// executable finds a program that a variable names, or the usual one. Where it is missing the test is skipped, which CI does not allow.
func executable(t *testing.T, variable, usual string) string {
	name := os.Getenv(variable)
	if name == "" {
		name = usual
	}
	found, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s: %v; the comment of this package says how to install the clients", name, err)
	}
	if found, err = filepath.Abs(found); err != nil {
		t.Fatal(err)
	}
	return found
}
