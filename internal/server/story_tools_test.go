//go:build e2e

package server_test

import (
	"bytes"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/client"
	"sallyport/client/sidecar"
	"sallyport/internal/audit/trail"
)

// TestPeersHubBehindASidecar has the stock hub client download through a bound login, byte for byte, also when the nonce that the
// sidecar has is an old one.
func TestPeersHubBehindASidecar(t *testing.T) {
	hf := filepath.Join(filepath.Dir(program(t, "SALLYPORT_E2E_PYTHON", "../../.ci/cache/venv/bin/python")), "hf")
	r := tellAnew(t, trail.Files{})
	r.Join("theo", "model-developer", "project:acme/risk")
	theo := r.As("theo").who
	key, err := client.NewKey(r.bind(theo))
	if err != nil {
		t.Fatal(err)
	}
	wire, err := r.system.wire()
	if err != nil {
		t.Fatal(err)
	}
	old := newStale(wire.Transport)
	wire.Transport = old
	c, err := client.New(client.Config{Server: r.server.External(), HTTP: wire, Store: theo.store, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	s, err := sidecar.Start(t.Context(), c, "127.0.0.1:0", slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(after(t))
	download := func() {
		t.Helper()
		to := t.TempDir()
		command := exec.CommandContext(t.Context(), hf, "download", base, "--local-dir", to)
		command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "HF_HUB_DISABLE_TELEMETRY=1", "HF_HUB_DISABLE_UPDATE_CHECK=1", "HF_HUB_DISABLE_PROGRESS_BARS=1"}
		for _, v := range s.Environment() {
			command.Env = append(command.Env, v.Name+"="+v.Value)
		}
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for name, want := range modelFiles(base, 256<<10) {
			if got, err := os.ReadFile(filepath.Join(to, name)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %d bytes that differ, %v", name, len(got), err)
			}
		}
	}
	download()
	before := old.refused.Load()
	old.age(1)
	download() // what it learns of is old by its end
	old.age(1)
	if _, err := c.Who(t.Context()); err != nil {
		t.Fatal(err)
	}
	download()
	if old.refused.Load() == before {
		t.Error("no nonce was refused, so nothing is shown")
	}
}

// TestPeersMLflowByCertificate has MLflow's own HTTP path show the certificate of an enrolled computer.
func TestPeersMLflowByCertificate(t *testing.T) {
	python := program(t, "SALLYPORT_E2E_PYTHON", "../../.ci/cache/venv/bin/python")
	r := tellAnew(t, trail.Files{})
	ana := r.As("ana")
	l := ana.Laptop("mlflow", "")
	token, err := ana.who.token(t.Context(), client.API)
	if err != nil {
		t.Fatal(err)
	}
	text, err := l.PEM()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "device.pem")
	if err := os.WriteFile(file, text.Reveal(), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(more ...string) string {
		t.Helper()
		command := exec.CommandContext(t.Context(), python, "-c", `
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
import os
a = http_request(get_default_host_creds(os.environ["MLFLOW_TRACKING_URI"]), "/api/v1/whoami", "GET", max_retries=0)
print(a.status_code, a.text)`)
		command.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "MLFLOW_TRACKING_URI=" + r.server.External(), "MLFLOW_TRACKING_SERVER_CERT_PATH=" + r.server.CA()}, more...)
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	shown, bearer := "MLFLOW_TRACKING_CLIENT_CERT_PATH="+file, "MLFLOW_TRACKING_TOKEN="+token
	if said := ask(shown, bearer); !strings.HasPrefix(said, "200 ") || !strings.Contains(said, `"user:ana"`) || !strings.Contains(said, l.ID()) {
		t.Errorf("token and certificate: %s", said)
	}
	if said := ask(bearer); !strings.HasPrefix(said, "200 ") || strings.Contains(said, l.ID()) {
		t.Errorf("the token alone: %s", said)
	}
	if said := ask(shown); !strings.HasPrefix(said, "401 ") {
		t.Errorf("the certificate alone: %s", said)
	}
}
