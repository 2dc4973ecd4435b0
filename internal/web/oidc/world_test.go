package oidc_test

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/credential"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/access"
	"sallyport/internal/identity/token/clients"
	"sallyport/internal/identity/token/codes"
	"sallyport/internal/identity/token/dpop"
	"sallyport/internal/identity/token/exchange"
	"sallyport/internal/identity/token/keys"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/store/sqldb"
	"sallyport/internal/store/sqldb/sqldbtest"
	"sallyport/internal/web/oauth"
	"sallyport/internal/web/oidc"
)

const (
	external = "https://sallyport.example"
	api      = external + "/api"
	hub      = external + "/hf"
	redirect = "http://127.0.0.1:4242/callback"
	verifier = "a-code-verifier-that-is-long-enough-for-rfc-7636"
)

// A world is the server behind HTTP, on a real store. The external URL is not the address of the test's listener: what
// the server tells must come from its configuration alone. Who is signed in is what the test says.
type world struct {
	t        testing.TB
	server   *httptest.Server
	client   *http.Client
	mux      *http.ServeMux
	issuer   *token.Issuer
	codes    *codes.Service
	exchange *exchange.Service
	proofs   *token.Proofs
	store    sqldb.Tokens
	verifier *token.Verifier

	mu     sync.Mutex
	at     time.Time
	who    sallyport.Principal
	whoErr error
	events []sallyport.Event
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, at: time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)}
	path := filepath.Join(t.TempDir(), "store.db")
	template, err := migrated()
	if err == nil {
		err = os.WriteFile(path, template, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	db, err := sqldbtest.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	same := func(_ context.Context, b, _ []byte) ([]byte, error) { return append([]byte(nil), b...), nil }
	signing, err := keys.Open(t.Context(), keys.Config{Store: db.Token(), Seal: same, Open: same, Rand: rand.Reader, Now: w.now, Life: access.Lifetime + access.MaxLeeway})
	if err != nil {
		t.Fatal(err)
	}
	if w.verifier, err = access.NewVerifier(access.VerifierConfig{Issuer: external, Keys: signing.Current}); err != nil {
		t.Fatal(err)
	}
	w.issuer = &token.Issuer{
		URL: external, Clients: registered(t, db, w.now), Keys: signing, Families: db.Token(), Now: w.now, Rand: rand.Reader,
		Record: w.record, Forget: w.verifier.Forget,
	}
	w.exchange = &exchange.Service{Issuer: w.issuer, Verifier: w.verifier, Standing: standing, Workload: w.workload}
	w.store = db.Token()
	w.codes = &codes.Service{Issuer: w.issuer, Store: w.store, Flows: w.store}
	if w.proofs, err = dpop.New(secret.NewBytes([]byte(rand.Text()+rand.Text())), w.now); err != nil {
		t.Fatal(err)
	}
	throttle := &credential.Throttle{Store: db.Throttle(), Now: w.now, Limits: credential.DefaultLimits()}
	s, err := oidc.New(oidc.Config{
		Config: oauth.Config{URL: external, Issuer: w.issuer, Codes: w.codes, Exchange: w.exchange, Verifier: w.verifier, Proofs: w.proofs, Record: w.record,
			Now: w.now, Log: slog.New(slog.NewTextHandler(t.Output(), nil))},
		Current: w.current, SignOut: w.signOut, Guess: throttle.Try, Forgive: throttle.Forgive, Key: secret.NewBytes([]byte(rand.Text() + rand.Text())),
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	if err := s.Register(mux); err != nil {
		t.Fatal(err)
	}
	w.mux = mux
	w.server = httptest.NewServer(mux)
	t.Cleanup(w.server.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.client = &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return w
}

// registered makes the clients of the tests: those below are built in, tests register more in the store.
func registered(t testing.TB, db *sqldb.DB, now func() time.Time) *clients.Registry {
	t.Helper()
	other := token.CommandLine(external)
	other.ID = "other"
	web := clients.Client{
		ID: "web", Name: "A web program", RedirectURIs: []string{"https://client.example/callback?x=1"}, Grants: []clients.Grant{clients.Code, clients.Refresh},
		Scopes: sallyport.Scope{"model.infer"}, Default: sallyport.Scope{"model.infer"}, Audiences: []string{hub},
	}
	device := clients.Client{ID: "device", Name: "A device", Grants: []clients.Grant{clients.Device}, Scopes: sallyport.Scope{"model.infer"}, Audiences: []string{api}}
	registry, err := clients.New(db.Token(), now, token.CommandLine(external), token.Hub(external), other, web, device)
	if err != nil {
		t.Fatal(err)
	}
	return registry
}

// migrated is an empty database with all tables, made once: most of a test's time would go into making it.
var migrated = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "store.db")
	db, err := sqldbtest.Open(context.Background(), path)
	if err != nil {
		return nil, err
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *world) wait(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.at.Add(d)
}

func (w *world) record(_ context.Context, e sallyport.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
	return nil
}

func (w *world) count(t sallyport.EventType) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, e := range w.events {
		if e.Type == t {
			n++
		}
	}
	return n
}

func (w *world) current(*http.Request) (sallyport.Principal, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.whoErr == nil && w.who.ID == "" {
		return sallyport.Principal{}, sallyport.E("session", sallyport.Unknown, "nobody is signed in", "")
	}
	return w.who, w.whoErr
}

// signOut ends the session.
func (w *world) signOut(http.ResponseWriter, *http.Request) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.who = sallyport.Principal{}
	return nil
}

// standing knows every service and agent but one, and ana answers for them.
func standing(_ context.Context, id sallyport.PrincipalID) (sallyport.PrincipalID, error) {
	if id.Name() == "gone" {
		return "", sallyport.E("directory", sallyport.NotFound, "suspended", "")
	}
	return "user:ana", nil
}

// workload trusts proofs of the form "PRINCIPAL LIFE SCOPE…".
func (w *world) workload(_ context.Context, _ string, proof secret.Text) (exchange.Workload, error) {
	words := strings.Fields(proof.Reveal())
	if len(words) < 3 {
		return exchange.Workload{}, sallyport.E("workload", sallyport.Unknown, "no rule", "").Because("workload.rule")
	}
	life, err := time.ParseDuration(words[1])
	return exchange.Workload{Principal: sallyport.PrincipalID(words[0]), Scope: words[2:], Expires: w.now().Add(life), Rule: "test"}, err
}

// signIn has name sign in now.
func (w *world) signIn(name string, level sallyport.Assurance) {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := sallyport.PrincipalID("user:" + name)
	w.who = sallyport.Principal{ID: id, Person: id, Session: "S-" + name + w.at.Format("150405"), Assurance: level, Methods: []string{"pwd"}, AuthTime: w.at}
}

// An answer is a response, read.
type answer struct {
	status int
	header http.Header
	body   string
	json   map[string]any
}

func (w *world) do(r *http.Request) answer {
	w.t.Helper()
	response, err := w.client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	a := answer{status: response.StatusCode, header: response.Header, body: string(body)}
	_ = json.Unmarshal(body, &a.json) // pages are no JSON
	if a.status == http.StatusTemporaryRedirect || a.status == http.StatusPermanentRedirect || a.status == http.StatusFound {
		w.t.Errorf("%s %s answers %d: redirects are 303 (OA8)", r.Method, r.URL.Path, a.status)
	}
	if a.header.Get("Access-Control-Allow-Origin") != "" {
		w.t.Errorf("%s %s has a CORS header (OA10)", r.Method, r.URL.Path)
	}
	return a
}

func (w *world) request(method, path, body string) *http.Request {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r
}

func (w *world) get(path string) answer { w.t.Helper(); return w.do(w.request("GET", path, "")) }

func (w *world) post(path string, form url.Values) answer {
	w.t.Helper()
	return w.do(w.request("POST", path, form.Encode()))
}

// query is a good authorization request with changes: pairs of name and value, where "" removes.
func query(changes ...string) url.Values {
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"client_id": {"sallyport-cli"}, "redirect_uri": {redirect}, "response_type": {"code"}, "scope": {"model.infer model.read"}, "state": {"s t&a=te"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(changes); i += 2 {
		q.Set(changes[i], changes[i+1])
		if changes[i+1] == "" {
			q.Del(changes[i])
		}
	}
	return q
}

func (w *world) authorize(q url.Values) answer {
	w.t.Helper()
	return w.get("/oauth/authorize?" + q.Encode())
}

var hidden = regexp.MustCompile(`name="(request|mark)" value="([^"]*)"`)

// press presses a button of a page with a decision.
func (w *world) press(page answer, path, decision string) answer {
	w.t.Helper()
	form := url.Values{"decision": {decision}}
	for _, m := range hidden.FindAllStringSubmatch(page.body, -1) {
		form.Set(m[1], strings.NewReplacer("&amp;", "&", "&#43;", "+", "&#34;", `"`).Replace(m[2]))
	}
	if page.status != http.StatusOK || len(form) != 3 {
		w.t.Fatalf("no page with a decision: %d %s", page.status, page.body)
	}
	return w.post(path, form)
}

// back reads what a redirect brings to the client, or fails.
func (w *world) back(a answer) url.Values {
	w.t.Helper()
	to, err := url.Parse(a.header.Get("Location"))
	if err != nil || a.status != http.StatusSeeOther || !strings.HasPrefix(a.header.Get("Location"), redirect+"?") {
		w.t.Fatalf("no redirect to the client: %d %q %s", a.status, a.header.Get("Location"), a.body)
	}
	return to.Query()
}

// code goes as far as an authorization code.
func (w *world) code(q url.Values) string {
	w.t.Helper()
	got := w.back(w.press(w.authorize(q), "/oauth/consent", "approve"))
	if got.Get("code") == "" || got.Get("state") != q.Get("state") || got.Get("iss") != external {
		w.t.Fatalf("redirect with %v", got)
	}
	return got.Get("code")
}

func codeForm(code string) url.Values {
	return url.Values{"grant_type": {"authorization_code"}, "client_id": {"sallyport-cli"}, "code": {code}, "redirect_uri": {redirect}, "code_verifier": {verifier}}
}

func refreshForm(refresh any) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "client_id": {"sallyport-cli"}, "refresh_token": {refresh.(string)}}
}

// login goes all the way.
func (w *world) login() map[string]any {
	w.t.Helper()
	if w.who.ID == "" {
		w.signIn("ana", sallyport.MultiFactor)
	}
	a := w.post("/oauth/token", codeForm(w.code(query())))
	if a.status != http.StatusOK {
		w.t.Fatalf("token: %d %s", a.status, a.body)
	}
	return a.json
}

// accepted tells whether a door accepts an access token.
func (w *world) accepted(access any, audience string) bool {
	w.t.Helper()
	_, err := w.verifier.Verify(w.t.Context(), secret.NewText(access.(string)), audience, w.now())
	return err == nil
}

// wantError checks an error of RFC 6749, section 5.2.
func wantError(t *testing.T, what string, a answer, status int, code string) {
	t.Helper()
	if a.status != status || a.json["error"] != code {
		t.Errorf("%s: %d %s, want %d %s", what, a.status, a.body, status, code)
	}
	if a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: Cache-Control %q", what, a.header.Get("Cache-Control"))
	}
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func decode(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hs256 signs a payload with a MAC under what is public.
func hs256(key, payload string) string {
	input := encode([]byte(`{"alg":"HS256","kid":"k1","typ":"JWT"}`)) + "." + payload
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(input))
	return input + "." + encode(mac.Sum(nil))
}
