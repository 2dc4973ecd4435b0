package server_test

import (
	"log/slog"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"sallyport/internal/server"
)

// TestExtAuthzConfig: what would answer strangers does not start.
func TestExtAuthzConfig(t *testing.T) {
	for name, x := range map[string]struct{ config, want string }{
		"not on loopback":         {`{grpc: "0.0.0.0:9191"}`, "loopback only"},
		"no address":              {`{http: "9192"}`, "HOST:PORT"},
		"nowhere":                 {`{proxies: [{name: edge, token_file: t, upstreams: [hub]}]}`, "listens nowhere"},
		"a san without authority": {`{grpc: "127.0.0.1:0", proxies: [{name: edge, san: [a.test], upstreams: [hub]}]}`, "client_ca"},
		"an environment":          {`{grpc: "127.0.0.1:0", upstreams: [{name: hub, environment: moon}]}`, "environment"},
		"an unknown dialect":      {`{grpc: "127.0.0.1:0", upstreams: [{name: hub, speaks: gopher, external: "https://h.test"}]}`, "dialect"},
		"an unknown key":          {`{grcp: "127.0.0.1:0"}`, "grcp"},
	} {
		dir := t.TempDir()
		config, err := server.ParseConfig([]byte("listen: 127.0.0.1:0\ndata: " + dir + "/data\nkey_file: " + dir + "/kek.json\nplaintext: true\nextauthz: " + x.config + "\n"))
		if err == nil {
			var s *server.Server
			if s, err = server.Start(t.Context(), config, slog.New(slog.DiscardHandler)); err == nil {
				_ = s.Close()
			}
		}
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := server.LoadConfig("../../examples/envoy/sallyport.yaml"); err != nil {
		t.Error(err)
	}
}

// TestUpstreamTLSConfig: certificates without https, or half of a pair, are a mistake.
func TestUpstreamTLSConfig(t *testing.T) {
	for up, want := range map[string]string{
		`{name: up, url: "http://127.0.0.1:1/v1", mutual_tls: true}`:                                              "not reached by https",
		`{name: up, url: "https://127.0.0.1:1/v1", cert_file: c, cert_key_file: k}`:                               "go together",
		`{name: up, url: "https://127.0.0.1:1/v1", mutual_tls: true, cert_file: c}`:                               "go together",
		`{name: up, url: "https://127.0.0.1:1/v1", ca_file: /none/there.pem}`:                                     "cannot be read",
		`{name: up, url: "https://127.0.0.1:1/v1", mutual_tls: true, cert_file: /none/c, cert_key_file: /none/k}`: "cannot be used",
	} {
		dir := t.TempDir()
		config, err := server.ParseConfig([]byte("listen: 127.0.0.1:0\ndata: " + dir + "/data\nkey_file: " + dir + "/kek.json\nplaintext: true\nupstreams: [" + up + "]\n"))
		if err != nil {
			t.Fatal(err)
		}
		s, err := server.Start(t.Context(), config, slog.New(slog.DiscardHandler))
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", up, err)
		}
	}
}

// TestEnvoyExample holds the example to what the page about it promises.
func TestEnvoyExample(t *testing.T) {
	raw, err := os.ReadFile("../../examples/envoy/envoy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"failure_mode_allow: false", "pack_as_bytes: true", "encode_raw_headers: true", "max_request_bytes: 1048576", "normalize_path: false",
		"forward_client_cert_details: SANITIZE", "path_with_escaped_slashes_action: REJECT_REQUEST", "upstream: hub", "upstream: chat"} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("the example lacks %q", want)
		}
	}
}
