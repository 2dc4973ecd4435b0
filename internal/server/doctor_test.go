package server_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/internal/server"
)

// DV-4: what is encrypted is shown, what is not is a finding or a waiver with its reason.
func TestDV4EveryConnectionIsChecked(t *testing.T) {
	stranger := httptest.NewTLSServer(http.NotFoundHandler())
	defer stranger.Close()
	dir := t.TempDir()
	config := server.Config{Listen: "127.0.0.1:0", Data: filepath.Join(dir, "data"), KeyFile: filepath.Join(dir, "keys", "kek.json"), Admin: "adam",
		Upstreams: []server.Upstream{
			{Name: "here", URL: "http://127.0.0.1:9/v1"},
			{Name: "old", URL: "http://192.0.2.1:8000/v1", PlaintextBecause: "the appliance knows no TLS until March"},
			{Name: "stranger", URL: stranger.URL + "/v1"},
			{Name: "gone", URL: "https://127.0.0.1:9/v1"},
		}}
	var log bytes.Buffer
	s, err := server.Start(t.Context(), config, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !strings.Contains(log.String(), "the appliance knows no TLS until March") {
		t.Error("the waiver is not in the log of the start")
	}
	config.Listen, config.External = s.Addr(), s.External()
	found, err := server.CheckTLS(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		good bool
		text string
	}{{true, "TLS 1.3"}, {true, "within this machine"}, {true, "waived: the appliance"}, {false, "not trusted"}, {false, "nobody answers"}} {
		if f := found[i]; f.Good != want.good || !strings.Contains(f.Found, want.text) {
			t.Errorf("%s: %v %q, want %v %q", f.Link, f.Good, f.Found, want.good, want.text)
		}
	}
	plain := config
	plain.Plaintext, plain.External = true, ""
	if found, err := server.CheckTLS(t.Context(), plain); err != nil || found[0].Good {
		t.Errorf("a plaintext listener: %+v, %v", found, err)
	}
	for name, spoil := range map[string]func(*server.Upstream){
		"no reason":             func(u *server.Upstream) { u.PlaintextBecause = "" },
		"a reason without need": func(u *server.Upstream) { u.URL = "https://192.0.2.1:8000/v1" },
	} {
		bad := config
		bad.Upstreams = []server.Upstream{config.Upstreams[1]}
		spoil(&bad.Upstreams[0])
		if _, err := server.CheckTLS(t.Context(), bad); err == nil {
			t.Errorf("%s: the configuration is taken", name)
		}
	}
}

// TestDV4TheListener is looked at while it is there.
func TestDV4TheListener(t *testing.T) {
	dir := t.TempDir()
	s, err := server.Start(t.Context(), server.Config{Listen: "127.0.0.1:0", Data: filepath.Join(dir, "data"), KeyFile: filepath.Join(dir, "keys", "kek.json"), Admin: "adam"},
		slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c := server.Config{Listen: s.Addr(), External: s.External(), Data: filepath.Join(dir, "data"), KeyFile: filepath.Join(dir, "keys", "kek.json")}
	if found, err := server.CheckTLS(t.Context(), c); err != nil || !found[0].Good {
		t.Errorf("%+v, %v", found, err)
	}
	s.Close()
	if found, err := server.CheckTLS(t.Context(), c); err != nil || found[0].Good {
		t.Errorf("a server that is gone: %+v, %v", found, err)
	}
}
