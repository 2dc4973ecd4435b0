package client_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/client"
	"sallyport/internal/web/api"
)

// fake is a server that speaks the protocols by the book and keeps everything in memory: an authorization server with
// rotation and detection of reuse, and the vault's door.
type fake struct {
	*httptest.Server
	mux *http.ServeMux
	ca  string

	mu        sync.Mutex
	codes     map[string]url.Values // code -> the authorization request
	refresh   string                // the one refresh token that is good
	used      map[string]bool
	dead      bool // the family was killed
	refreshes int
	polls     int
	access    map[string]string // token -> audience
	issuer    string            // said in answers; "" = the truth
	uploads   map[string][]byte // path -> staged bytes
	manifest  client.Manifest
	files     map[string][]byte
	served    int64 // bytes of files
	breakAt   int64 // breaks every download after this many bytes; 0 = never
	refuse    *api.Error
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{mux: http.NewServeMux(), codes: map[string]url.Values{}, used: map[string]bool{}, access: map[string]string{}, uploads: map[string][]byte{}, files: map[string][]byte{}}
	f.Server = httptest.NewTLSServer(f.mux)
	t.Cleanup(f.Close)
	f.ca = filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw})
	if err := os.WriteFile(f.ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	f.mux.HandleFunc("GET /.well-known/oauth-authorization-server", f.discovery)
	f.mux.HandleFunc("GET /oauth/authorize", f.authorize)
	f.mux.HandleFunc("POST /oauth/token", f.token)
	f.mux.HandleFunc("POST /oauth/device", f.device)
	f.mux.HandleFunc("POST /oauth/revoke", f.revoke)
	f.mux.HandleFunc("GET /api/v1/whoami", f.guarded("api", func(w http.ResponseWriter, r *http.Request) {
		reply(w, 200, api.Who{ID: "user:ana"})
	}))
	f.mux.HandleFunc("POST /vault/v1/acme/fraud/uploads", f.guarded("vault", f.begin))
	f.mux.HandleFunc("PUT /vault/v1/acme/fraud/uploads/U-1/files", f.guarded("vault", f.piece))
	f.mux.HandleFunc("POST /vault/v1/acme/fraud/uploads/U-1/commit", f.guarded("vault", f.commit))
	f.mux.HandleFunc("GET /vault/v1/acme/fraud/versions/{rev}", f.guarded("vault", func(w http.ResponseWriter, r *http.Request) {
		m := f.manifest
		if m.Digest == "" {
			m.Digest = canonical(m)
		}
		reply(w, 200, m)
	}))
	f.mux.HandleFunc("GET /vault/v1/acme/fraud/versions/{rev}/files/{path...}", f.guarded("vault", f.file))
	return f
}

func (f *fake) config(t *testing.T) client.Config {
	return client.Config{Server: f.URL, CAFile: f.ca, Store: &client.Store{Dir: filepath.Join(t.TempDir(), "sallyport")}}
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (f *fake) discovery(w http.ResponseWriter, _ *http.Request) {
	issuer := f.URL
	if f.issuer != "" {
		issuer = f.issuer
	}
	reply(w, 200, map[string]string{"issuer": issuer, "authorization_endpoint": f.URL + "/oauth/authorize", "token_endpoint": f.URL + "/oauth/token",
		"device_authorization_endpoint": f.URL + "/oauth/device", "revocation_endpoint": f.URL + "/oauth/revoke"})
}

func (f *fake) authorize(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := r.URL.Query()
	code := fmt.Sprintf("code-%d", len(f.codes))
	f.codes[code] = q
	answer := url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {f.URL}}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+answer.Encode(), http.StatusSeeOther)
}

func oauthFail(w http.ResponseWriter, code string) {
	reply(w, 400, map[string]string{"error": code, "error_description": "this is " + code})
}

func (f *fake) token(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = r.ParseForm()
	form := r.PostForm
	if form.Get("client_id") != "sallyport-cli" || !strings.HasPrefix(form.Get("resource"), f.URL+"/") {
		oauthFail(w, "invalid_request")
		return
	}
	switch form.Get("grant_type") {
	case "authorization_code":
		asked, ok := f.codes[form.Get("code")]
		delete(f.codes, form.Get("code"))
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		if !ok || asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) || asked.Get("redirect_uri") != form.Get("redirect_uri") {
			oauthFail(w, "invalid_grant")
			return
		}
	case "refresh_token":
		got := form.Get("refresh_token")
		if f.used[got] {
			f.dead = true // reuse kills the family
		}
		if f.dead || got != f.refresh {
			oauthFail(w, "invalid_grant")
			return
		}
		f.used[got] = true
		f.refreshes++
	default:
		f.polls++
		if f.polls == 1 {
			oauthFail(w, "authorization_pending")
			return
		}
		if f.polls == 2 {
			oauthFail(w, "slow_down")
			return
		}
	}
	f.refresh = fmt.Sprintf("refresh-%d", f.refreshes)
	access := fmt.Sprintf("access-%d-%s", f.refreshes, strings.TrimPrefix(form.Get("resource"), f.URL+"/"))
	f.access[access] = form.Get("resource")
	reply(w, 200, map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": 600, "refresh_token": f.refresh, "scope": form.Get("scope")})
}

func (f *fake) device(w http.ResponseWriter, _ *http.Request) {
	reply(w, 200, map[string]any{"device_code": "dc", "user_code": "BCDF-GHJK", "verification_uri": f.URL + "/activate",
		"verification_uri_complete": f.URL + "/activate?user_code=BCDF-GHJK", "expires_in": 600, "interval": 5})
}

func (f *fake) revoke(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = r.ParseForm()
	f.dead = f.dead || r.PostForm.Get("token") == f.refresh
}

// guarded lets through who has a token for the door.
func (f *fake) guarded(door string, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if f.access[token] != f.URL+"/"+door {
			reply(w, 401, api.Error{Status: 401, Kind: "unauthenticated", Message: "no valid token"})
			return
		}
		if f.refuse != nil {
			reply(w, f.refuse.Status, f.refuse)
			return
		}
		h(w, r)
	}
}

func (f *fake) begin(w http.ResponseWriter, r *http.Request) {
	var in struct{ Files []client.File }
	_ = json.NewDecoder(r.Body).Decode(&in)
	f.manifest = client.Manifest{Org: "acme", Model: "fraud", Number: "v1", Digest: strings.Repeat("a", 64), Files: in.Files}
	have := []map[string]any{}
	for _, x := range in.Files {
		have = append(have, map[string]any{"path": x.Path, "have": len(f.uploads[x.Path])})
	}
	reply(w, 200, map[string]any{"id": "U-1", "files": have})
}

func (f *fake) piece(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Query().Get("path")
	offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
	body, err := io.ReadAll(r.Body)
	if err != nil || len(body) > 8<<20 || offset != len(f.uploads[path]) {
		reply(w, 409, api.Error{Status: 409, Kind: "conflict", Message: "another offset"})
		return
	}
	f.uploads[path] = append(f.uploads[path], body...)
	f.served += int64(len(body))
	if f.breakAt > 0 && f.served >= f.breakAt {
		f.breakAt = 0
		panic(http.ErrAbortHandler) // the piece is kept, the answer is lost
	}
	reply(w, 200, map[string]any{"have": len(f.uploads[path])})
}

func (f *fake) commit(w http.ResponseWriter, r *http.Request) {
	for _, x := range f.manifest.Files {
		sum := sha256.Sum256(f.uploads[x.Path])
		if hex.EncodeToString(sum[:]) != x.SHA256 {
			reply(w, 409, api.Error{Status: 409, Kind: "conflict", Message: x.Path + " has another digest"})
			return
		}
	}
	reply(w, 200, client.Pushed{Version: "v1", Digest: strings.Repeat("a", 64)})
}

func (f *fake) file(w http.ResponseWriter, r *http.Request) {
	content, ok := f.files[r.PathValue("path")]
	if !ok {
		reply(w, 404, api.Error{Status: 404, Kind: "not found", Message: "no such file"})
		return
	}
	start := 0
	if rg := r.Header.Get("Range"); rg != "" {
		_, _ = fmt.Sscanf(rg, "bytes=%d-", &start)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(content)-1, len(content)))
		w.WriteHeader(http.StatusPartialContent)
	}
	body := content[start:]
	if f.breakAt > 0 && int64(len(body)) > f.breakAt {
		n, _ := w.Write(body[:f.breakAt])
		f.served += int64(n)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	n, _ := w.Write(body)
	f.served += int64(n)
}

// canonical is the digest of a manifest, written down by hand.
func canonical(m client.Manifest) string {
	text := `{"salt":"` + m.Salt + `","files":[`
	for i, x := range m.Files {
		if i > 0 {
			text += ","
		}
		path, _ := json.Marshal(x.Path)
		blocks, _ := json.Marshal(x.Blocks)
		text += fmt.Sprintf(`{"path":%s,"size":%d,"sha256":"%s","kind":"%s","blocks":%s}`, path, x.Size, x.SHA256, x.Kind, blocks)
	}
	return hexSum([]byte(text + "]}"))
}

func blocksOf(content []byte) []string {
	blocks := []string{}
	for rest := content; len(rest) > 0; {
		n := min(len(rest), 4<<20)
		blocks = append(blocks, hexSum(rest[:n]))
		rest = rest[n:]
	}
	return blocks
}

// put adds a file to the version that can be pulled.
func (f *fake) put(path string, content []byte) {
	x := client.File{Path: path, Size: int64(len(content)), SHA256: hexSum(content), Kind: "data", Blocks: blocksOf(content)}
	f.manifest.Org, f.manifest.Model, f.manifest.Number, f.manifest.Salt = "acme", "fraud", "v1", strings.Repeat("0", 32)
	f.manifest.Files = append(f.manifest.Files, x)
	f.files[path] = content
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// browse is the person with a browser: it follows what the server says, and nothing else.
func (f *fake) browse(ctx context.Context, address string) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	h := f.Client()
	h.CheckRedirect = nil
	answer, err := h.Do(q)
	if err == nil {
		answer.Body.Close()
	}
	return err
}

// signedIn returns a client with a login.
func (f *fake) signedIn(t *testing.T) (*client.Client, client.Config) {
	t.Helper()
	cfg := f.config(t)
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Login(t.Context(), client.LoginOptions{Open: f.browse}); err != nil {
		t.Fatal(err)
	}
	return c, cfg
}

func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> (i % 5))
	}
	return b
}

// atOnce replaces the waiting between attempts.
func atOnce(ctx context.Context, _ time.Duration) error { return ctx.Err() }
