//go:build e2e

package server_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/server"
	"sallyport/internal/web/api"
)

// A mirror is somebody else's hub behind a proxy: it answers whoever reaches it, and keeps what it was asked.
type mirror struct {
	*httptest.Server
	mu  sync.Mutex
	got []*http.Request
}

func newMirror(t *testing.T) *mirror {
	m := &mirror{}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		m.mu.Lock()
		m.got = append(m.got, q.Clone(q.Context()))
		m.mu.Unlock()
		w.Header().Set("X-Repo-Commit", strings.Repeat("c", 40))
		w.Header().Set("ETag", `"`+strings.Repeat("e", 40)+`"`)
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, q, "", time.Time{}, strings.NewReader(`{"from":"the hub behind the proxy"}`))
	}))
	t.Cleanup(m.Close)
	return m
}

func (m *mirror) asked() []*http.Request {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*http.Request{}, m.got...)
}

// A front is a real proxy between clients and a mirror, on an example's configuration.
type front struct {
	*story
	url    string
	mirror *mirror
	wire   *http.Client
	ca     string // file of its authority
}

// newFront starts a proxy: write puts its configuration, an example with the addresses of this test in it, into a directory,
// and returns the command that runs on it.
func newFront(t *testing.T, example string, write func(dir, config string) *exec.Cmd) *front {
	f := &front{story: tellAnew(t, trail.Files{}), mirror: newMirror(t)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := portOf(l.Addr().String())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f.url = "https://localhost:" + port
	f.restartWith(func() {
		f.config.ExtAuthz = mesh(t)
		f.config.ExtAuthz.Upstreams = []server.MeshUpstream{{Name: "hub", Speaks: "hfhub", External: f.url, Prefix: "/hf"}}
		f.config.ExtAuthz.Proxies[0].Upstreams = []string{"hub"}
	})
	grpc, asks := f.server.ExtAuthz()
	config, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("127.0.0.1:9192", asks, "127.0.0.1:8000", f.mirror.Listener.Addr().String(), "127.0.0.1:8443", "127.0.0.1:"+port,
		"https://models.acme.example:8443", f.url, "models.acme.example:8443", "localhost:"+port, // Envoy tells ports apart from addresses:
		"port_value: 9191", "port_value: "+portOf(grpc), "port_value: 9192", "port_value: "+portOf(asks), "port_value: 8000", "port_value: "+portOf(f.mirror.Listener.Addr().String()), "port_value: 8443", "port_value: "+port).
		Replace(string(config))
	dir := t.TempDir()
	ca := newRoot(t)
	f.ca = filepath.Join(dir, "ca.pem")
	ca.write(t, f.ca)
	ca.writePair(t, filepath.Join(dir, "edge.pem"), filepath.Join(dir, "edge.key"), "localhost")
	f.run(write(dir, text), "127.0.0.1:"+port)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	f.wire = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	t.Cleanup(f.wire.CloseIdleConnections)
	return f
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// run starts the proxy, waits until it listens, and ends it with the test.
func (f *front) run(command *exec.Cmd, address string) {
	f.t.Helper()
	var out bytes.Buffer
	command.Stdout, command.Stderr, command.WaitDelay = &out, &out, 5*time.Second
	if err := command.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		_ = command.Wait() // it was told to end
		if f.t.Failed() {
			f.t.Logf("%s", out.String())
		}
	})
	if !soon(func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	}) {
		f.t.Fatalf("the proxy does not listen: %s", out.String())
	}
}

// get asks through the proxy as somebody, with more fields than a stock client sends.
func (f *front) get(who, method, path string, fields ...string) (int, http.Header, string) {
	f.t.Helper()
	q, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	if who != "" {
		q.Header = f.As(who).build(f.t.Context(), request{door: client.Hub, path: path}).Header
	}
	for i := 0; i+1 < len(fields); i += 2 {
		q.Header.Add(fields[i], fields[i+1])
	}
	a, err := f.wire.Do(q)
	if err != nil {
		f.t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return a.StatusCode, a.Header, string(body)
}

// whole is a stock client's way through the proxy, and then the tour, which looks at what the mirror was asked in it.
func (f *front) whole() {
	f.t.Helper()
	before := len(f.mirror.asked())
	f.stock()
	f.mirror.mu.Lock()
	f.mirror.got = f.mirror.got[:before]
	f.mirror.mu.Unlock()
	f.tour()
}

// tour is what must hold behind every proxy.
func (f *front) tour() {
	t := f.t
	// Allowed: the hub hears who calls and for what, and nothing of the client's credentials or claims.
	status, header, body := f.get("ana", "GET", hubFile(base, tokenizer)+"?download=true", "X-Sallyport-User", "user:root", "X-Sallyport-Actor", "agent:root", "X-Forwarded-User", "root",
		"X-Original-URI", hubFile(base, card), "X-Forwarded-Uri", hubFile(base, card), "X-Forwarded-Method", "HEAD", "X-Sallyport-Proxy", "x")
	if status != 200 || !strings.Contains(body, "behind the proxy") || header.Get("Sallyport-Decision") == "" && header.Get("X-Sallyport-Decision") == "" && t.Name() == "TestPeersNginx" {
		t.Fatalf("%d %v %s", status, header, body)
	}
	seen := f.mirror.asked()
	if len(seen) != 1 {
		t.Fatalf("the hub was asked %d times", len(seen))
	}
	h := seen[0].Header
	if h.Get("X-Sallyport-User") != "user:ana" || h.Get("X-Sallyport-Action") != "model.pullAux" || h.Get("X-Sallyport-Resource") != base+"@v1" || h.Get("X-Sallyport-Actor") != "" ||
		seen[0].URL.RequestURI() != hubFile(base, tokenizer)+"?download=true" || len(h["X-Sallyport-User"]) != 1 {
		t.Errorf("the hub hears %s %v", seen[0].URL.RequestURI(), h)
	}
	for _, name := range []string{"Authorization", "Dpop", "X-Forwarded-User", "X-Sallyport-Proxy"} {
		if v := h.Get(name); v != "" {
			t.Errorf("the hub hears %s: %q", name, v)
		}
	}
	if e, _ := f.decided(h.Get("X-Sallyport-Decision")); e.Outcome != allowed || e.Asked.Door != "extauthz:edge/hub" || e.Asked.IP != "127.0.0.1" {
		t.Errorf("recorded %+v, asked %+v", e, e.Asked)
	}

	// Refused, in the words that the dialect has for it at our own door.
	refused := func(name, who, method, path string, want int, text string) {
		status, header, body := f.get(who, method, path)
		if status != want || !strings.Contains(body, text) && method != "HEAD" {
			t.Errorf("%s: %d %v %s, want %d %q", name, status, header, body, want, text)
		}
	}
	status, header, body = f.get("ana", "GET", hubFile(fraud, weights))
	if id := header.Get("Sallyport-Decision"); status != 403 || header.Get("X-Error-Code") != "GatedRepo" || !strings.HasPrefix(body, `{"error":"Sallyport `+id+`: model.pull on acme/fraud`) || header.Get("X-Error-Message") == "" || id == "" {
		t.Errorf("%d %v %s", status, header, body)
	}
	refused("unknown to her", "ana", "GET", hubFile(ghost, card), 404, "that you may know of")
	refused("no route", "ana", "GET", "/hf/api/spaces", 403, "not offered here")
	refused("a filtered list", "ana", "GET", "/hf/api/models", 403, "ask inline")
	switch {
	case strings.HasPrefix(t.Name(), "TestPeersEnvoy"): // it sends bodies on, over HTTP where there is one, and refuses escaped slashes by itself
		status, text := 400, "neither a form nor JSON"
		if strings.Contains(t.Name(), "http") {
			status, text = 403, "ask inline"
		}
		refused("in the body", "ana", "POST", "/hf/api/models/"+base+"/paths-info/main", status, text)
		refused("two readings", "ana", "GET", "/hf/acme%2fbase/resolve/main/"+card, 400, "")
	default:
		refused("in the body", "ana", "POST", "/hf/api/models/"+base+"/paths-info/main", 403, "ask inline")
		refused("two readings", "ana", "GET", "/hf/acme%2fbase/resolve/main/"+card, 400, "more than one reading")
	}
	refused("two slashes", "ana", "GET", "/hf/acme/base//resolve/main/"+card, 400, "more than one reading")
	refused("head", "ana", "HEAD", hubFile(ghost, card), 404, "")
	status, header, _ = f.get("", "GET", hubFile(base, card))
	if status != 401 || !strings.Contains(header.Get("WWW-Authenticate"), "Bearer") {
		t.Errorf("nobody: %d %v", status, header)
	}
	f.stepUp()
	f.As("rita").Lock("model:" + base)
	refused("held", "ana", "GET", hubFile(base, tokenizer), 403, "hold")
	if n := len(f.mirror.asked()); n != 1 {
		t.Errorf("the hub was asked %d times, and once of what was allowed", n)
	}

	// Nobody to ask: closed.
	path := hubFile(base, tokenizer)
	bearer := f.As("ana").build(t.Context(), request{door: client.Hub, path: path}).Header
	f.broken = true
	if err := f.server.Close(); err != nil {
		t.Fatal(err)
	}
	q, err := http.NewRequestWithContext(t.Context(), "GET", f.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header = bearer
	a, err := f.wire.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	if a.StatusCode < 500 || len(f.mirror.asked()) != 1 {
		t.Errorf("without Sallyport: %s, and the hub was asked %d times", a.Status, len(f.mirror.asked()))
	}
}

// stepUp has a policy ask for more proof, which reaches the client.
func (f *front) stepUp() {
	old, err := f.As("adam").who.client.Policy(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	next := api.Proposal{Schema: old.Schema, Policies: cloneMap(old.Policies), Why: "tokenizers need a fresh proof"}
	next.Policies["mesh.cedar"] = `@id("mesh.prove") @owner("security") @requirement("EN-1") @text("Through the mesh this needs a hardware key.") @outcome("step-up") @needs("aal3")
forbid (principal is User, action == Action::"model.pullAux", resource) when { context.door like "extauthz:*" } unless { context.assurance >= 4 };`
	f.InForce(next)
	status, header, body := f.get("ana", "GET", hubFile(base, "config.json"))
	if status != 403 || !strings.Contains(header.Get("WWW-Authenticate"), `acr_values="aal3"`) || !strings.Contains(body, "hardware key") {
		f.t.Errorf("step-up: %d %v %s", status, header, body)
	}
	f.As("ana").Read(base, tokenizer).Want(allowed) // at the door itself
	f.InForce(api.Proposal{Schema: old.Schema, Policies: old.Policies, Why: "and no more"})
}

// stock has the unmodified client of the Hub download through the proxy, and shows what it tells its user.
func (f *front) stock() {
	f.t.Run("huggingface_hub", func(t *testing.T) {
		python := program(t, "SALLYPORT_E2E_PYTHON", "../../.ci/cache/venv/bin/python")
		token := strings.TrimPrefix(f.As("ana").build(t.Context(), request{door: client.Hub}).Header.Get("Authorization"), "Bearer ")
		run := func(model, file string) string {
			command := exec.CommandContext(t.Context(), python, "-c", fmt.Sprintf("import huggingface_hub as h; print(open(h.hf_hub_download(%q, %q)).read())", model, file))
			command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "HF_ENDPOINT=" + f.url + "/hf", "HF_TOKEN=" + token, "SSL_CERT_FILE=" + f.ca,
				"HF_HUB_DISABLE_XET=1", "HF_HUB_DISABLE_TELEMETRY=1", "HF_HUB_DISABLE_PROGRESS_BARS=1"}
			out, _ := command.CombinedOutput() // a refusal is a failure too
			return string(out)
		}
		if out := run(base, tokenizer); !strings.Contains(out, "behind the proxy") {
			t.Errorf("allowed: %s", out)
		}
		if out := run(fraud, weights); !strings.Contains(out, "GatedRepoError") && !strings.Contains(out, "RepositoryNotFound") || !strings.Contains(out, "Sallyport D-") {
			t.Errorf("denied: %s", out)
		}
	})
}

// TestPeersNginx runs examples/nginx on a real nginx.
func TestPeersNginx(t *testing.T) {
	nginx := program(t, "SALLYPORT_E2E_NGINX", "nginx")
	f := newFront(t, "../../examples/nginx/nginx.conf", func(dir, config string) *exec.Cmd {
		if os.Getuid() == 0 {
			config = "user root;\n" + config // its files are in a directory of the test's own
		}
		write(t, filepath.Join(dir, "nginx.conf"), config)
		write(t, filepath.Join(dir, "proxy-token.conf"), `proxy_set_header X-Sallyport-Proxy "`+meshToken+`";`+"\n")
		return exec.Command(nginx, "-e", "stderr", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-g", "daemon off;")
	})
	f.whole()
}

// TestPeersCaddy runs examples/caddy on a real Caddy.
func TestPeersCaddy(t *testing.T) {
	caddy := program(t, "SALLYPORT_E2E_CADDY", "caddy")
	f := newFront(t, "../../examples/caddy/Caddyfile", func(dir, config string) *exec.Cmd {
		write(t, filepath.Join(dir, "Caddyfile"), config)
		c := exec.Command(caddy, "run", "--config", "Caddyfile", "--adapter", "caddyfile")
		c.Dir, c.Env = dir, append(os.Environ(), "SALLYPORT_PROXY_TOKEN="+meshToken, "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
		return c
	})
	f.whole()
}

// TestPeersEnvoy runs examples/envoy on a real Envoy, which asks by gRPC or over HTTP.
func TestPeersEnvoy(t *testing.T) {
	for _, example := range []string{"envoy.yaml", "envoy-http.yaml"} {
		t.Run(example, func(t *testing.T) { envoyTour(t, "../../examples/envoy/"+example) })
	}
}

func envoyTour(t *testing.T, example string) {
	envoy := program(t, "SALLYPORT_E2E_ENVOY", "envoy")
	f := newFront(t, example, func(dir, config string) *exec.Cmd {
		config = strings.NewReplacer("the token of this proxy", meshToken, ", environment: production", "").Replace(config) // the story's hub stands in none
		write(t, filepath.Join(dir, "envoy.yaml"), config)
		c := exec.Command(envoy, "-c", "envoy.yaml", "--use-dynamic-base-id", "--concurrency", "2", "--log-level", "warning")
		c.Dir = dir
		return c
	})
	f.whole()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
