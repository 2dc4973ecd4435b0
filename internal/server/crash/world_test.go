// Package crash_test owns the crash tests of the whole system: a real process on a real directory, under mixed load over
// HTTPS, that is killed, or whose writes fail, or whose disk is full. What it had acknowledged must be there afterwards.
//
// It leaves the crash tests of one room to that room: the journal's to audit/trail, the store's to store/sqldb.
package crash_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/authz/role"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/token"
	"sallyport/internal/server"
	"sallyport/internal/store/sqldb"
)

// childVariable names the configuration file of the server that the test binary is to become.
const childVariable = "SALLYPORT_CRASH_CONFIG"

// TestMain turns the test binary into the server that gets killed.
func TestMain(m *testing.M) {
	path := os.Getenv(childVariable)
	if path == "" {
		os.Exit(m.Run())
	}
	fmt.Println("process", os.Getpid())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if err := server.Main(ctx, path, os.Stdout, logger); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// The models of the world. Grants are asked for on secret ones, locks placed on an idle one.
const (
	openModel   = "acme/open"
	lockedModel = "acme/locked"
	secrets     = 16
)

func secretModel(i int) string { return fmt.Sprintf("acme/secret-%d", i%secrets) }

// A world is one installation, the model server behind it, and what its clients were told.
type world struct {
	dir, data, configFile string
	config                server.Config
	upstream              *upstream
	http                  *http.Client

	mu      sync.Mutex
	refresh map[string]string // the standing login of each person
	access  map[string]string // access token by "person door"
	fresh   time.Time         // when access was filled

	spare []string // refresh tokens of ana's families that nothing has used
	first *pushing // the version that everybody reads
	told  told
	book  book
	kept  [][]byte // every checkpoint that was served
}

// newWorld makes an installation with people, roles, models and logins. data is where its data directory shall lie.
func newWorld(t *testing.T, data string, spare int) *world {
	t.Helper()
	dir := t.TempDir()
	if data == "" {
		data = filepath.Join(dir, "data")
	}
	w := &world{dir: dir, data: data, configFile: filepath.Join(dir, "sallyport.yaml"), upstream: newUpstream(t),
		refresh: map[string]string{}, access: map[string]string{}, told: newTold(), book: newBook()}
	w.config = server.Config{Listen: freeAddress(t), Data: data, KeyFile: filepath.Join(dir, "keys", "kek.json"), Admin: "root",
		Upstreams: []server.Upstream{{Name: "local", URL: w.upstream.server.URL + "/v1"}},
		Models:    []server.ModelBinding{{Model: openModel, Upstream: "local", Name: "small"}}}
	text, err := yaml.Marshal(w.config)
	must(t, err)
	must(t, os.WriteFile(w.configFile, text, 0o600))
	s, err := server.Start(t.Context(), w.config, slog.New(slog.DiscardHandler))
	must(t, err)
	must(t, s.Close())
	w.furnish(t, spare)
	pem, err := os.ReadFile(filepath.Join(data, server.CAFile))
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}, MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	w.http = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	return w
}

// freeAddress finds a port below those that the system hands out, so that nobody takes it between a kill and a restart.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20_000+mathrand.IntN(10_000)))
		if err == nil {
			must(t, l.Close())
			return l.Addr().String()
		}
	}
	t.Fatal("no free port")
	return ""
}

func (w *world) url() string { return "https://" + w.config.Listen }

// furnish writes people, roles, models and logins through the rooms that own them. spare is how many logins ana gets that
// are there to be rotated.
func (w *world) furnish(t *testing.T, spare int) {
	t.Helper()
	ctx := t.Context()
	db, err := sqldb.Open(ctx, "sqlite:"+filepath.Join(w.data, "sallyport.db"))
	must(t, err)
	people := &directory.Service{Store: db.Directory(), Now: time.Now}
	things := &catalog.Service{Store: db.Catalog(), Clock: time.Now}
	must(t, things.Put(ctx, catalog.Item{Org: &catalog.Org{Name: "acme"}}))
	must(t, things.Put(ctx, catalog.Item{Project: &catalog.Project{Org: "acme", Name: "risk"}}))
	models := map[string]sallyport.Class{"open": sallyport.Internal, "locked": sallyport.Internal}
	for i := range secrets {
		models[fmt.Sprintf("secret-%d", i)] = sallyport.Restricted
	}
	for name, class := range models {
		must(t, things.Put(ctx, catalog.Item{Model: &catalog.Model{Org: "acme", Name: name, Project: "risk", Class: class, Owners: []sallyport.PrincipalID{"user:ana"}}}))
	}
	roles := &role.Service{Store: db.Role(), Clock: time.Now, Rand: rand.Reader, Administrator: server.Administrator,
		People: func(_ context.Context, subject string) ([]sallyport.PrincipalID, error) {
			return []sallyport.PrincipalID{sallyport.PrincipalID(subject)}, nil
		}}
	for _, r := range []role.Role{{Name: "reader"}, {Name: "model-developer", Inherits: []string{"reader"}}, {Name: "auditor"},
		{Name: "security-reviewer", Inherits: []string{"auditor"}}} {
		r.Description = "of the crash tests"
		must(t, roles.Define(ctx, r))
	}
	org, system := sallyport.Ref{Kind: sallyport.OrganisationKind, Org: "acme"}, sallyport.Ref{Kind: sallyport.SystemKind}
	give := map[string][]role.Assignment{"ana": {{Role: "model-developer", Scope: org}}, "alba": {{Role: "auditor", Scope: system}},
		"rita": {{Role: "security-reviewer", Scope: org}, {Role: "security-reviewer", Scope: system}},
		"ravi": {{Role: "security-reviewer", Scope: org}, {Role: "security-reviewer", Scope: system}}}
	for name, assignments := range give {
		id := sallyport.PrincipalID("user:" + name)
		_, err := people.Create(ctx, directory.Member{ID: id, Display: name, Org: "acme"})
		must(t, err)
		for _, a := range assignments {
			a.Subject, a.By = string(id), "user:root"
			_, err := roles.Assign(ctx, a)
			must(t, err)
		}
		w.refresh[name] = w.login(t, db, name)
	}
	for range spare {
		w.spare = append(w.spare, w.login(t, db, "ana"))
	}
	must(t, db.Close())
}

// login starts a family of refresh tokens, as an approval in the browser does, and returns its first token.
func (w *world) login(t *testing.T, db *sqldb.DB, name string) string {
	t.Helper()
	var b [32]byte
	_, _ = rand.Read(b[:])
	raw, id, now := base64.RawURLEncoding.EncodeToString(b[:]), strings.ToLower(rand.Text()), time.Now().UTC().Truncate(time.Microsecond)
	who := sallyport.PrincipalID("user:" + name)
	must(t, db.Token().StartFamily(t.Context(), token.Family{ID: id, Principal: who, Person: who, Client: "sallyport-cli", Session: "S-" + name,
		Scope: sallyport.Scope{"*"}, Audiences: token.Audiences(w.url()), Assurance: sallyport.MultiFactor, Methods: []string{"pwd", "otp"},
		AuthTime: now.Truncate(time.Second), Created: now, Expires: now.Add(token.FamilyLifetime)}))
	must(t, db.Token().AddRefresh(t.Context(), token.Refresh{Hash: token.HashOf(raw), Family: id, Created: now, Expires: now.Add(token.RefreshIdle)}))
	return raw
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A child is one run of the server.
type child struct {
	cmd   *exec.Cmd
	pid   chan int      // of the server itself, once it runs
	ready chan struct{} // closed when it says that it serves
	ended chan struct{}
	err   error // how it ended; to be read after ended
	log   lockedBuffer
}

// lockedBuffer keeps what a process says.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// spawn starts the server; under is the command that it runs under, for example strace.
func (w *world) spawn(t *testing.T, under ...string) *child {
	t.Helper()
	args := append(under, os.Args[0])
	c := &child{cmd: exec.CommandContext(t.Context(), args[0], args[1:]...), pid: make(chan int, 1), ready: make(chan struct{}), ended: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), childVariable+"="+w.configFile)
	c.cmd.Stderr = &c.log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.cmd.Cancel = func() error { return c.signal(syscall.SIGKILL) }
	out, err := c.cmd.StdoutPipe()
	must(t, err)
	must(t, c.cmd.Start())
	go func() {
		defer close(c.ended)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if pid, err := strconv.Atoi(strings.TrimPrefix(lines.Text(), "process ")); err == nil {
				c.pid <- pid
			}
			if strings.HasPrefix(lines.Text(), "sallyport serves at ") {
				close(c.ready)
			}
		}
		c.err = c.cmd.Wait()
	}()
	return c
}

// signal reaches the server; as long as that has not come to run, what it runs under. Nothing to reach is no error.
func (c *child) signal(s syscall.Signal) error {
	to := -c.cmd.Process.Pid
	select {
	case to = <-c.pid:
		c.pid <- to
	default:
	}
	if err := syscall.Kill(to, s); !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// kill is SIGKILL; it returns when the process is gone.
func (c *child) kill(t *testing.T) {
	t.Helper()
	select {
	case <-c.ended: // its number may be somebody else's by now
	default:
		must(t, c.signal(syscall.SIGKILL))
		<-c.ended
	}
}

// stop ends the server as an operator does.
func (c *child) stop(t *testing.T) {
	t.Helper()
	must(t, c.signal(syscall.SIGINT))
	<-c.ended
	if c.err != nil {
		t.Errorf("the server ended with %v:\n%s", c.err, c.log.String())
	}
}

// startLimit is how long a start may take: nobody stands by (I-02).
const startLimit = 5 * time.Second

// start starts the server unattended, and returns when it is ready, and how long that took.
func (w *world) start(t *testing.T) (*child, time.Duration) {
	t.Helper()
	began := time.Now()
	c := w.spawn(t)
	select {
	case <-c.ready:
	case <-c.ended:
		t.Fatalf("the server does not start: %v\n%s", c.err, c.log.String())
	case <-time.After(10 * startLimit):
		c.kill(t)
		t.Fatalf("the server is not up after %s\n%s", 10*startLimit, c.log.String())
	}
	took := time.Since(began)
	if took > startLimit {
		t.Errorf("the server took %s to start, and has %s", took, startLimit)
	}
	w.http.CloseIdleConnections()
	if r, err := w.send(t.Context(), ask{path: "/readyz"}); err != nil || r.status != http.StatusOK {
		t.Fatalf("not ready: %v %+v\n%s", err, r, c.log.String())
	}
	return c, took
}

// An ask is one request; an empty who shows no token.
type ask struct {
	who, door    string
	method, path string
	body         []byte
	kind         string // Content-Type, JSON when empty
	ranged       string
}

// A reply is an answer that came whole.
type reply struct {
	status   int
	decision string
	body     []byte
}

// send makes a request. An answer that breaks off is an error.
func (w *world) send(ctx context.Context, a ask) (reply, error) {
	method := a.method
	if method == "" {
		method = http.MethodGet
	}
	r, err := http.NewRequestWithContext(ctx, method, w.url()+a.path, bytes.NewReader(a.body))
	if err != nil {
		return reply{}, err
	}
	if a.body != nil {
		r.Header.Set("Content-Type", "application/json")
		if a.kind != "" {
			r.Header.Set("Content-Type", a.kind)
		}
	}
	if a.ranged != "" {
		r.Header.Set("Range", a.ranged)
	}
	r.Header.Set("Accept-Encoding", "identity")
	if a.who != "" {
		w.mu.Lock()
		r.Header.Set("Authorization", "Bearer "+w.access[a.who+" "+a.door])
		w.mu.Unlock()
	}
	before := w.told.isBlocked()
	answer, err := w.http.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if bytes.Contains(body, []byte(blockedText)) {
		w.told.block()
	}
	if before && answer.StatusCode < 400 && (a.who != "" || method == http.MethodPost) {
		w.told.problem("%s %s was served although the log is blocked: %d", method, a.path, answer.StatusCode)
	}
	return reply{answer.StatusCode, answer.Header.Get("Sallyport-Decision"), body}, err
}

// blockedText is what everybody is told when the log cannot be written.
const blockedText = "the audit log cannot be written"

// api is send for JSON at the management API: in becomes the body, a whole 200 is read into out.
func (w *world) api(ctx context.Context, who, method, path string, in, out any) (reply, error) {
	a := ask{who: who, door: "api", method: method, path: "/api/v1" + path}
	if in != nil {
		var err error
		if a.body, err = json.Marshal(in); err != nil {
			return reply{}, err
		}
	}
	r, err := w.send(ctx, a)
	if err == nil && r.status == http.StatusOK && out != nil {
		err = json.Unmarshal(r.body, out)
	}
	return r, err
}

// rotate trades a refresh token for an access token of a door and the next refresh token.
func (w *world) rotate(ctx context.Context, refresh, door string) (access, next string, r reply, err error) {
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {"sallyport-cli"}, "refresh_token": {refresh}, "resource": {w.url() + "/" + door}}
	r, err = w.send(ctx, ask{method: http.MethodPost, path: "/oauth/token", body: []byte(form.Encode()), kind: "application/x-www-form-urlencoded"})
	if err != nil || r.status != http.StatusOK {
		return "", "", r, err
	}
	var t struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	err = json.Unmarshal(r.body, &t)
	return t.Access, t.Refresh, r, err
}

// tokenAge is how old access tokens may be at the start of a round; they live ten minutes.
const tokenAge = 5 * time.Minute

// tokens gets everybody the access tokens they use, where those they have are old.
func (w *world) tokens(t *testing.T) {
	t.Helper()
	if time.Since(w.fresh) < tokenAge {
		return
	}
	for who, doors := range map[string][]string{"ana": {"api", "hf", "openai", "vault"}, "rita": {"api"}, "ravi": {"api"}, "alba": {"api"}} {
		for _, door := range doors {
			access, next, r, err := w.rotate(t.Context(), w.refresh[who], door)
			if err != nil || next == "" {
				t.Fatalf("a token for %s at %s: %v %d %s", who, door, err, r.status, r.body)
			}
			w.access[who+" "+door], w.refresh[who] = access, next
		}
	}
	w.fresh = time.Now()
}

// An upstream is a model server that notes whom it served.
type upstream struct {
	server *httptest.Server
	mu     sync.Mutex
	asked  []string // the request ids, which are decision ids
}

func newUpstream(t *testing.T) *upstream {
	u := &upstream{}
	u.server = httptest.NewServer(u)
	t.Cleanup(u.server.Close)
	return u
}

const (
	whole = `{"id":"c","object":"chat.completion","created":1,"model":"small","choices":[{"index":0,"message":{"role":"assistant","content":"a quay at night"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}`
	piece = `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"small","choices":[{"index":0,"delta":{"content":"quay "},"finish_reason":null}]}` + "\n\n"
	tail  = "data: [DONE]\n\n"
)

// ServeHTTP notes the id before anything else, and answers at once or as a stream.
func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	u.asked = append(u.asked, r.Header.Get("X-Request-Id"))
	u.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil || !bytes.Contains(body, []byte(`"stream":true`)) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, whole)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for range 5 {
		_, _ = io.WriteString(w, piece)
		_ = http.NewResponseController(w).Flush()
		time.Sleep(time.Millisecond)
	}
	_, _ = io.WriteString(w, tail)
}

func (u *upstream) all() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string{}, u.asked...)
}

// safetensors makes a valid file of so many bytes of weights that no other file has.
func safetensors(weights int) []byte {
	header := fmt.Sprintf(`{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}`, weights, weights)
	header += strings.Repeat(" ", (8-len(header)%8)%8)
	b := make([]byte, 8+len(header)+weights)
	b[0], b[1] = byte(len(header)), byte(len(header)>>8)
	copy(b[8:], header)
	_, _ = rand.Read(b[8+len(header):])
	return b
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}
