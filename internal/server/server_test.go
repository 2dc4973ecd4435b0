package server_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/server"
)

// config is a system in directories of the test's own.
func config(t *testing.T) server.Config {
	dir := t.TempDir()
	return server.Config{Listen: "127.0.0.1:0", Data: filepath.Join(dir, "data"), KeyFile: filepath.Join(dir, "keys", "kek.json"), Admin: "root"}
}

func start(t *testing.T, c server.Config) *server.Server {
	t.Helper()
	s, err := server.Start(t.Context(), c, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// trusting makes a client that trusts the server's own CA and nothing else.
func trusting(t *testing.T, s *server.Server) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(s.CA())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in the CA file")
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func get(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	r, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

func TestStartServesOverItsOwnCA(t *testing.T) {
	s := start(t, config(t))
	c := trusting(t, s)
	for path, want := range map[string]int{
		"/healthz": 200, "/readyz": 200, "/jwks": 200, "/.well-known/openid-configuration": 200, "/login": 200, "/log/checkpoint": 200,
		"/": 303, "/nothing": 404, "/log/tile/entries/000": 401, "/api/v1/whoami": 401, "/api/v1/nothing": 404,
		"/hf/api/whoami-v2": 401, "/openai/v1/models": 401, "/openai/invocations": 403, "/vault/v1/acme/m/versions/main": 401, "/log/../secrets": 400,
	} {
		if got, body := get(t, c, s.External()+path); got != want {
			t.Errorf("GET %s: %d, want %d: %.200s", path, got, want, body)
		}
	}
	if !strings.HasPrefix(s.FirstLink, s.External()+"/enrol/") {
		t.Errorf("the first start printed the link %q", s.FirstLink)
	}
}

func TestDefaultPasswordDoesNotExist(t *testing.T) {
	s := start(t, config(t))
	c := trusting(t, s)
	for _, password := range []string{"", "root", "admin", "password", "changeme", "sallyport"} {
		r, err := c.PostForm(s.External()+"/login", map[string][]string{"username": {"root"}, "password": {password}, "return": {""}})
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode == http.StatusSeeOther || len(r.Cookies()) > 0 && strings.HasSuffix(r.Cookies()[0].Name, "sallyport") {
			t.Errorf("the password %q opened something: %d", password, r.StatusCode)
		}
	}
}

func TestRestartFindsEverything(t *testing.T) {
	c := config(t)
	s := start(t, c)
	key := s.LogKey()
	ca, err := os.ReadFile(s.CA())
	if err != nil {
		t.Fatal(err)
	}
	address := s.Addr()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c.Listen = address
	s = start(t, c)
	if again, _ := os.ReadFile(s.CA()); s.LogKey() != key || string(again) != string(ca) {
		t.Error("after a restart the log's key or the CA is another")
	}
	if code, body := get(t, trusting(t, s), s.External()+"/readyz"); code != 200 {
		t.Errorf("not ready after a restart: %s", body)
	}
}

func TestAGoneKeyFileIsNeverMadeAnew(t *testing.T) {
	c := config(t)
	s := start(t, c)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(c.KeyFile); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Start(t.Context(), c, slog.New(slog.DiscardHandler)); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("start without the key file: %v", err)
	}
	if _, err := os.Stat(c.KeyFile); !errors.Is(err, os.ErrNotExist) {
		t.Error("a new key file was made over sealed data")
	}
}

func TestTwoServersOnOneDirectory(t *testing.T) {
	c := config(t)
	start(t, c)
	if s, err := server.Start(t.Context(), c, slog.New(slog.DiscardHandler)); err == nil {
		_ = s.Close()
		t.Error("a second server opened the same data directory")
	}
}

func TestConfigIsStrict(t *testing.T) {
	for name, text := range map[string]string{
		"unknown key":   "listen: 127.0.0.1:1\ncolour: red\n",
		"doubled key":   "data: a\ndata: b\n",
		"two documents": "data: a\n---\ndata: b\n",
		"wrong type":    "plaintext: [1]\n",
		"no YAML":       "\x00",
	} {
		if _, err := server.ParseConfig([]byte(text)); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := server.Config{Listen: "127.0.0.1:0", Data: "d", KeyFile: "k"}
	for name, edit := range map[string]func(*server.Config){
		"no data":              func(c *server.Config) { c.Data = "" },
		"no key file":          func(c *server.Config) { c.KeyFile = "" },
		"plaintext elsewhere":  func(c *server.Config) { c.Plaintext, c.Listen = true, "0.0.0.0:80" },
		"half a certificate":   func(c *server.Config) { c.CertFile = "x" },
		"external with a path": func(c *server.Config) { c.External = "https://example.test/x" },
		"external plaintext":   func(c *server.Config) { c.External = "http://example.test" },
		"model without upstream": func(c *server.Config) {
			c.Models = []server.ModelBinding{{Model: "acme/m", Upstream: "u", Name: "m"}}
		},
		"upstream with a password in its URL": func(c *server.Config) {
			c.Upstreams = []server.Upstream{{Name: "u", URL: "https://user:pass@example.test/v1"}}
		},
	} {
		c := good
		edit(&c)
		if s, err := server.Start(t.Context(), c, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: started", name)
			_ = s.Close()
		} else if strings.Contains(err.Error(), "pass") {
			t.Errorf("%s: the error tells the password: %v", name, err)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte("listen: 127.0.0.1:7443\ndata: d\nkey_file: k\nmodels:\n  - {model: acme/m, upstream: u, name: m}\n"))
	f.Add([]byte("&a [*a]"))
	f.Fuzz(func(_ *testing.T, raw []byte) { _, _ = server.ParseConfig(raw) })
}
