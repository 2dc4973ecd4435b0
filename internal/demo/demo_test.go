package demo_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/demo"
	"sallyport/internal/demo/tinylm"
)

// wide is a model that trains in no time and whose weights still take seconds at the rate at which they may leave.
func wide() tinylm.Config {
	c := tinylm.Small()
	c.Rows, c.Steps = 98_304, 10
	return c
}

// A told line is one of those that --json prints.
type told struct {
	Step     int
	Who      string
	What     string
	Want     string
	Outcome  string
	Reason   string
	Decision string
	Problem  string
	OK       bool

	Steps    int
	Expected int
	Env      map[string]string
}

// TestStory plays the whole story, stays, is used as stock clients would use it, and ends when it is told to.
func TestStory(t *testing.T) {
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()
	dir := t.TempDir()
	read, write := io.Pipe()
	result := make(chan error, 1)
	go func() {
		err := demo.Run(ctx, demo.Options{Keep: true, JSON: true, Out: write, Dir: dir, Model: wide()})
		write.CloseWithError(err)
		result <- err
	}()
	var env map[string]string
	steps, ids := 0, map[string]bool{}
	lines := bufio.NewScanner(read)
	for env == nil && lines.Scan() {
		var l told
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		switch {
		case l.Step > 0:
			if steps++; l.Step != steps || !l.OK {
				t.Errorf("step %d: %s", steps, lines.Text())
			}
			ids[l.Decision] = true
		case l.Steps > 0:
			if l.Steps != steps || l.Expected != steps {
				t.Errorf("%d steps, and it says %s", steps, lines.Text())
			}
		default:
			env = l.Env
		}
	}
	if steps < 90 || len(ids) < 55 {
		t.Errorf("%d steps with %d decisions: the story is shorter than it was", steps, len(ids))
	}
	checkEnvironment(t, env, dir)
	stop()
	if err := <-result; err != nil {
		t.Errorf("the demo ends with %v", err)
	}
}

// checkEnvironment calls both doors with what the demo says that stock clients need.
func checkEnvironment(t *testing.T, env map[string]string, dir string) {
	t.Helper()
	client, err := trusting(env["SALLYPORT_CA"])
	if err != nil {
		t.Fatal(err)
	}
	get := func(url, token string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		return answer.StatusCode
	}
	hub := func(model, file string) int {
		return get(env["HF_ENDPOINT"]+"/"+env[model]+"/resolve/main/"+file, env["HF_TOKEN"])
	}
	for _, test := range []struct {
		what string
		got  int
		want int
	}{
		{"models", get(env["OPENAI_BASE_URL"]+"/models", env["OPENAI_API_KEY"]), http.StatusOK},
		{"open weights", hub("SALLYPORT_MODEL_OPEN", "model.safetensors"), http.StatusOK},
		{"guarded tokenizer", hub("SALLYPORT_MODEL_GUARDED", "tokenizer.json"), http.StatusOK},
		{"guarded weights", hub("SALLYPORT_MODEL_GUARDED", "model.safetensors"), http.StatusForbidden},
		{"closed card", hub("SALLYPORT_MODEL_CLOSED", "README.md"), http.StatusOK},
		{"closed model", get(env["OPENAI_BASE_URL"]+"/models/"+env["SALLYPORT_MODEL_CLOSED"], env["OPENAI_API_KEY"]), http.StatusOK},
	} {
		if test.got != test.want {
			t.Errorf("%s: %d, want %d", test.what, test.got, test.want)
		}
	}
	for _, name := range []string{"env.sh", "people.txt"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "env.sh")); err != nil || !strings.Contains(string(text), fmt.Sprintf("export HF_TOKEN='%s'\n", env["HF_TOKEN"])) {
		t.Errorf("env.sh: %s, %v", text, err)
	}
}

// TestRunEndsEarly is told to stop while the model is being trained.
func TestRunEndsEarly(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	dir := filepath.Join(t.TempDir(), "demo")
	if err := demo.Run(ctx, demo.Options{Out: io.Discard, Dir: dir, Model: wide()}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", info, err)
	}
}

// TestRunTouchesNothingOfOthers is given a directory that holds something.
func TestRunTouchesNothingOfOthers(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := demo.Run(t.Context(), demo.Options{Out: io.Discard, Dir: dir, Model: wide()})
	if there, _ := os.ReadDir(dir); sallyport.KindOf(err) != sallyport.Conflict || len(there) != 1 {
		t.Errorf("error %v; there is %v", err, there)
	}
}

// trusting makes a client that trusts one authority.
func trusting(file string) (*http.Client, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate")
	}
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}, nil
}
