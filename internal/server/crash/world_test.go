// Package crash_test owns the crash tests of the whole system: a real process on a real directory, under mixed load over
// HTTPS, that is killed, or whose writes fail, or whose disk is full. What it had acknowledged must be there afterwards.
//
// It leaves the crash tests of one room to that room: the journal's to audit/trail, the store's to store/sqldb.
package crash_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
	w.refresh["root"] = w.login(t, db, "root") // whom the first start has made
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
	for who, doors := range map[string][]string{"ana": {"api", "hf", "openai", "vault"}, "rita": {"api"}, "ravi": {"api"}, "alba": {"api"}, "root": {"api"}} {
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
