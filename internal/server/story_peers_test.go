//go:build e2e

package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/audit/trail"
	"sallyport/internal/identity/jose"
	"sallyport/internal/web/api"
)

// A keyed client proves itself by a key that its own side has as a JWK.
func keyed(t *testing.T) (*ecdsa.PrivateKey, json.RawMessage, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := jose.NewKey("k1", jose.ES256, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	set, err := jose.NewSet(public)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := public.JWK()
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(jwk, &members); err != nil {
		t.Fatal(err)
	}
	members["d"] = base64.RawURLEncoding.EncodeToString(raw)
	delete(members, "use")
	private, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return key, set.Document(), string(private)
}

// TestPeers drives the authorization server with clients that others wrote: openid-client (npm) and authlib (PyPI),
// unchanged. Each suite stands in e2e/, with its packages pinned there.
func TestPeers(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	env := r.peers()
	python, node := program(t, "SALLYPORT_E2E_PYTHON", "../../.ci/cache/venv/bin/python"), program(t, "SALLYPORT_E2E_NODE", "node")
	for _, suite := range []struct {
		name, dir string
		command   []string
	}{
		{"openid-client", "../../e2e/node", []string{node, "--test", "--test-reporter=tap", "oauth.test.js"}},
		{"authlib", "../../e2e/python", []string{python, "-m", "unittest", "-v", "test_oauth"}},
	} {
		t.Run(suite.name, func(t *testing.T) {
			command := exec.CommandContext(t.Context(), suite.command[0], suite.command[1:]...)
			command.Dir, command.Env = suite.dir, append(env, "HOME="+t.TempDir())
			out, err := command.CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Error(err)
			}
			if !regexp.MustCompile(`(?m)^(Ran [1-9]\d* tests|# tests [1-9])`).Match(out) || regexp.MustCompile(`skipped=[1-9]|# skipped [1-9]`).Match(out) {
				t.Error("no test ran, or one was skipped")
			}
		})
	}
}

// peers registers the clients of the suites, and returns the environment that they read.
func (r *story) peers() []string {
	r.t.Helper()
	adam, ana, at := r.As("adam").who.client, r.As("ana").who, r.server.External()
	now := r.clock.Now()
	if _, err := adam.AddPerson(r.t.Context(), api.Member{ID: "service:peer", Person: "user:ana", Org: "acme", Purpose: "plays a peer", Ends: now.Add(24 * time.Hour)}); err != nil {
		r.t.Fatal(err)
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1", "NODE_EXTRA_CA_CERTS=" + r.server.CA(), "REQUESTS_CA_BUNDLE=" + r.server.CA(),
		"PEER_ISSUER=" + at, "PEER_COOKIE=__Host-sallyport=" + ana.cookie(), "PEER_MODEL=" + base}
	const mlflow = "https://mlflow.example/api"
	for _, p := range []struct {
		variable string
		program  api.Program
	}{
		{"PEER_WEB_KEY", api.Program{ID: "peer-web", Grants: []string{"authorization_code", "refresh_token"}, Scopes: []string{"model.*", "server.read"}, Audiences: []string{at + "/api"},
			RedirectURIs: []string{"https://peer.example/callback"}, Push: true, Bind: true}},
		{"PEER_JOB_KEY", api.Program{ID: "peer-job", Grants: []string{"client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"}, Scopes: []string{"model.*"}, Default: []string{"model.read"},
			Audiences: []string{at + "/api", at + "/hf", mlflow}, Principal: "service:peer"}},
		{"PEER_OLD_KEY", api.Program{ID: "peer-old-job", Grants: []string{"client_credentials"}, Scopes: []string{"model.*"}, Default: []string{"model.read"}, Audiences: []string{at + "/api"},
			Principal: "service:peer", TokenEndpointAudience: true}},
		{"PEER_RS_KEY", api.Program{ID: "peer-rs", Grants: []string{"urn:ietf:params:oauth:grant-type:token-exchange"}, Audiences: []string{mlflow}, Serves: []string{mlflow}}},
		{"", api.Program{ID: "peer-public", Grants: []string{"authorization_code", "refresh_token"}, Scopes: []string{"model.read"}, Audiences: []string{at + "/api"}, RedirectURIs: []string{"https://peer.example/callback"}}},
	} {
		p.program.Name = "Peer " + p.program.ID
		if p.variable != "" {
			_, document, private := keyed(r.t)
			p.program.Method, p.program.Keys = "private_key_jwt", document
			env = append(env, p.variable+"="+private)
		}
		if _, err := adam.AddProgram(r.t.Context(), p.program); err != nil {
			r.t.Fatal(err)
		}
	}
	return append(env, "PEER_PROOF="+r.proofOf("peer-job"))
}

// proofOf makes an issuer of workload proofs that a client may exchange, and one proof.
func (r *story) proofOf(client string) string {
	r.t.Helper()
	key, document, _ := keyed(r.t)
	now, hub := r.clock.Now(), r.server.External()+"/hf"
	rule := api.TrustRule{Name: "peer", Kind: "github", Issuer: "https://token.actions.githubusercontent.com", Audience: hub, Keys: document,
		Match:     map[string]string{"repository_id": "42", "repository_owner_id": "7", "environment": "prod"},
		Principal: sallyport.PrincipalID("service:peer"), Scope: "model.read model.list", Life: "10m", Clients: []string{client, "huggingface-hub"}}
	if _, err := r.As("adam").who.client.AddTrustRule(r.t.Context(), rule); err != nil {
		r.t.Fatal(err)
	}
	raw, err := jose.Signer{Key: key, Algorithm: jose.ES256, KeyID: "k1", Rand: rand.Reader}.Sign("JWT", map[string]any{
		"iss": rule.Issuer, "aud": hub, "sub": "repo:acme/x:environment:prod", "jti": "peer", "iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
		"repository_id": "42", "repository_owner_id": "7", "environment": "prod"})
	if err != nil {
		r.t.Fatal(err)
	}
	return raw.Reveal()
}

// program finds a program that a variable names, or the usual one.
func program(t *testing.T, variable, usual string) string {
	t.Helper()
	name := os.Getenv(variable)
	if name == "" {
		name = usual
	}
	found, err := exec.LookPath(name)
	if err == nil {
		found, err = filepath.Abs(found)
	}
	if err != nil {
		t.Skipf("%s: %v; the comment of package e2e says how to install the clients", name, err)
	}
	return found
}

// TestHubPrograms signs the stock Hugging Face program in by device code, and runs it in a job without a stored token.
func TestHubPrograms(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ana := r.As("ana").who
	env := r.peers()
	hf := filepath.Join(filepath.Dir(program(t, "SALLYPORT_E2E_PYTHON", "../../.ci/cache/venv/bin/python")), "hf")
	env = append(env, "HF_ENDPOINT="+r.server.External()+"/hf", "SSL_CERT_FILE="+r.server.CA(), "HF_HUB_DISABLE_XET=1", "HF_HUB_DISABLE_TELEMETRY=1", "HF_HUB_DISABLE_UPDATE_CHECK=1", "HF_HUB_DISABLE_PROGRESS_BARS=1")
	t.Run("device login", func(t *testing.T) {
		home := t.TempDir()
		login := exec.CommandContext(t.Context(), hf, "auth", "login", "--force")
		login.Env = append(env, "HOME="+home)
		out, err := login.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		login.Stderr = login.Stdout
		if err := login.Start(); err != nil {
			t.Fatal(err)
		}
		said := r.approveAs(t, ana, out)
		if err := login.Wait(); err != nil {
			t.Fatalf("%v\n%s", err, said())
		}
		run := func(args ...string) string {
			t.Helper()
			command := exec.CommandContext(t.Context(), hf, args...)
			command.Env = append(env, "HOME="+home)
			out, err := command.CombinedOutput()
			if err != nil {
				t.Errorf("hf %s: %v\n%s", strings.Join(args, " "), err, out)
			}
			return string(out)
		}
		if who := run("auth", "whoami"); !strings.Contains(who, "ana") {
			t.Errorf("whoami: %s", who)
		}
		run("download", base, "config.json", "--local-dir", t.TempDir())
	})
	t.Run("keyless job", func(t *testing.T) {
		var proof string
		for _, v := range env {
			if text, ok := strings.CutPrefix(v, "PEER_PROOF="); ok {
				proof = text
			}
		}
		if _, err := r.As("adam").who.client.Assign(t.Context(), api.Assignment{Subject: "service:peer", Role: "model-developer", Scope: "project:acme/risk"}); err != nil {
			t.Fatal(err)
		}
		command := exec.CommandContext(t.Context(), program(t, "SALLYPORT_E2E_PYTHON", "../../.ci/cache/venv/bin/python"), "-c",
			"import huggingface_hub as h; print(h.model_info('"+base+"').id)")
		command.Env = append(env, "HOME="+t.TempDir(), "HF_OIDC_RESOURCE="+base, "HF_OIDC_ID_TOKEN="+proof)
		out, err := command.CombinedOutput()
		if err != nil || !strings.Contains(string(out), base) {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

var userCode = regexp.MustCompile(`[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}`)

// approveAs waits until a program says a user code, and approves it in the person's browser. It returns what was said.
func (r *story) approveAs(t *testing.T, p *person, out interface{ Read([]byte) (int, error) }) func() string {
	t.Helper()
	var said strings.Builder
	buffer := make([]byte, 4096)
	for !userCode.MatchString(said.String()) {
		n, err := out.Read(buffer)
		said.Write(buffer[:n])
		if err != nil {
			t.Fatalf("no user code: %v\n%s", err, said.String())
		}
	}
	ctx := t.Context()
	at, err := p.open(ctx, r.server.External()+"/activate")
	if err == nil {
		at, err = p.send(ctx, at, "/activate", map[string]string{"user_code": userCode.FindString(said.String())})
	}
	if err == nil {
		at, err = p.send(ctx, at, "/activate/decide", map[string]string{"decision": "approve"})
	}
	if err != nil {
		t.Fatal(fmt.Errorf("approve: %w on %s", err, at.path))
	}
	rest := make(chan struct{})
	go func() {
		defer close(rest)
		for {
			n, err := out.Read(buffer)
			said.Write(buffer[:n])
			if err != nil {
				return
			}
		}
	}()
	return func() string { <-rest; return said.String() }
}
