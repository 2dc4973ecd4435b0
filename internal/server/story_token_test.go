package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

// own is what each door answers its own token with 200.
func own() map[client.Door]string {
	return map[client.Door]string{client.API: api.Version + "/whoami", client.Hub: "/hf/api/whoami-v2", client.OpenAI: "/openai/v1/models",
		client.Vault: "/vault/v1/" + base + "/versions/main"}
}

// A-05, TK-3: a token for one door opens no other, in any pair; nor does one in
// the address.
func TestA05AudiencesByDoors(t *testing.T) {
	r := tell(t)
	for _, has := range client.Doors() {
		token, err := r.As("ana").who.token(t.Context(), has)
		if err != nil {
			t.Fatal(err)
		}
		for at, path := range own() {
			r.Nobody().Send(request{path: path, bearer: token})
			want := http.StatusUnauthorized
			if at == has {
				want = http.StatusOK
			}
			r.WantStatus(want)
			r.Nobody().Send(request{path: path + "?access_token=" + url.QueryEscape(token)})
			r.WantStatus(http.StatusUnauthorized)
		}
		r.Nobody().Send(request{path: "/log/tile/entries/000.p/1", bearer: token})
		if r.last.status == http.StatusOK {
			t.Errorf("the token for %s reads the log", has)
		}
	}
	if hub, err := r.As("ana").who.token(t.Context(), client.Hub); err != nil || !strings.HasPrefix(hub, "hf_") {
		t.Errorf("a token for the hub begins %.3q, which stock clients refuse to send, error %v", hub, err)
	}
}

// part encodes a part of a JWT.
func part(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // cannot happen: maps of strings
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// forged tokens are refused at every door, and no key is fetched or opened
// because a token says where.
func TestA06ForgedTokens(t *testing.T) {
	r := tell(t)
	var fetched atomic.Int64
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { fetched.Add(1) }))
	defer trap.Close()
	r.Nobody().Send(request{path: "/jwks"})
	r.WantStatus(200)
	public := string(r.last.body)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwk := map[string]string{"kty": "EC", "crv": "P-256", "x": base64.RawURLEncoding.EncodeToString(key.X.FillBytes(make([]byte, 32))),
		"y": base64.RawURLEncoding.EncodeToString(key.Y.FillBytes(make([]byte, 32)))}
	for door, path := range own() {
		real, err := r.As("ana").who.token(t.Context(), door)
		if err != nil {
			t.Fatal(err)
		}
		f := strings.Split(strings.TrimPrefix(real, "hf_"), ".")
		raw, err := base64.RawURLEncoding.DecodeString(f[0])
		if err != nil {
			t.Fatal(err)
		}
		header := func(edit map[string]any) string {
			h := map[string]any{}
			if err := json.Unmarshal(raw, &h); err != nil {
				t.Fatal(err)
			}
			for k, v := range edit {
				h[k] = v
			}
			return part(h)
		}
		signed := func(head string) string {
			sum := sha256.Sum256([]byte(head + "." + f[1]))
			a, b, err := ecdsa.Sign(rand.Reader, key, sum[:])
			if err != nil {
				t.Fatal(err)
			}
			return head + "." + f[1] + "." + base64.RawURLEncoding.EncodeToString(append(a.FillBytes(make([]byte, 32)), b.FillBytes(make([]byte, 32))...))
		}
		hs := header(map[string]any{"alg": "HS256"})
		mac := hmac.New(sha256.New, []byte(public))
		mac.Write([]byte(hs + "." + f[1]))
		payload, err := base64.RawURLEncoding.DecodeString(f[1])
		if err != nil {
			t.Fatal(err)
		}
		for name, forged := range map[string]string{
			"alg none":           header(map[string]any{"alg": "none"}) + "." + f[1] + ".",
			"HS256 by our key":   hs + "." + f[1] + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
			"embedded jwk":       signed(header(map[string]any{"jwk": jwk})),
			"jku":                signed(header(map[string]any{"jku": trap.URL})),
			"x5u":                signed(header(map[string]any{"x5u": trap.URL})),
			"kid is a path":      signed(header(map[string]any{"kid": "../../dev/null"})),
			"kid is SQL":         signed(header(map[string]any{"kid": "x' OR '1'='1"})),
			"crit":               header(map[string]any{"crit": []string{"x"}}) + "." + f[1] + "." + f[2],
			"another type":       header(map[string]any{"typ": "JWT"}) + "." + f[1] + "." + f[2],
			"another signer":     signed(f[0]),
			"another principal":  f[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.ReplaceAll(string(payload), "user:ana", "user:rita"))) + "." + f[2],
			"no signature":       f[0] + "." + f[1] + ".",
			"two parts":          f[0] + "." + f[1],
			"many dots":          strings.Repeat(".", 5000),
			"a longer signature": real + "AA",
			"empty":              ".",
		} {
			r.Nobody().Send(request{path: path, bearer: forged})
			if r.last.status != http.StatusUnauthorized {
				t.Errorf("%s at %s: %d %.200s", name, door, r.last.status, r.last.body)
			}
		}
		r.Nobody().Send(request{path: path, bearer: real})
		r.WantStatus(http.StatusOK)
	}
	if fetched.Load() != 0 {
		t.Errorf("%d requests followed what a token said", fetched.Load())
	}
}

// a refresh token that is used twice ends the family, whoever was second.
func TestA03RefreshTokenReuse(t *testing.T) {
	r := tell(t)
	r.Join("theo", "evaluator", "org:acme")
	theo := r.As("theo").who
	r.As("theo").Infer(base)
	r.Want(allowed)
	stolen := theo.refreshToken()
	status, body := r.refresh(stolen)
	if status != 200 {
		t.Fatalf("the thief gets %d: %s", status, body)
	}
	var thief struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if err := json.Unmarshal([]byte(body), &thief); err != nil {
		t.Fatal(err)
	}
	r.canaries.note("refresh token of a thief", thief.Refresh)
	r.Nobody().Send(request{path: own()[client.API], bearer: thief.Access})
	r.WantStatus(200)
	if status, body = r.refresh(stolen); status != 400 || !strings.Contains(body, "invalid_grant") {
		t.Errorf("the second use: %d %s", status, body)
	}
	r.Nobody().Send(request{path: own()[client.API], bearer: thief.Access})
	r.WantStatus(401)
	if status, _ = r.refresh(thief.Refresh); status != 400 {
		t.Errorf("the thief refreshes again: %d", status)
	}
	r.As("theo").Infer(base)
	r.WantStatus(401) // both are out
	found, err := r.As("alba").who.client.Search(t.Context(), client.Search{Types: []string{string(sallyport.EventTokenReused)}, Who: "user:theo"})
	if err != nil || len(found) == 0 {
		t.Errorf("the log tells of %d reuses, error %v", len(found), err)
	}
}

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

const callback = "http://127.0.0.1:53999/callback"

// ask opens an authorization request with changed parameters.
func (r *story) authorize(edit url.Values) page {
	r.t.Helper()
	q := url.Values{"response_type": {"code"}, "client_id": {"sallyport-cli"}, "redirect_uri": {callback}, "state": {"s-1"}, "scope": {"*"},
		"code_challenge": {challenge(strings.Repeat("v", 43))}, "code_challenge_method": {"S256"}}
	for k, v := range edit {
		if q[k] = v; len(v) == 0 {
			q.Del(k)
		}
	}
	at, err := r.who.open(r.t.Context(), r.server.External()+"/oauth/authorize?"+q.Encode())
	if err != nil {
		r.t.Fatal(err)
	}
	return at
}

// code goes through consent to a code.
func (r *story) code(edit url.Values) string {
	r.t.Helper()
	at, err := r.who.send(r.t.Context(), r.authorize(edit), "/oauth/consent", map[string]string{"decision": "approve"})
	if err != nil || at.away == nil {
		r.t.Fatalf("no code: %v, %s", err, at.path)
	}
	q := at.away.Query()
	if q.Get("iss") != r.server.External() || q.Get("state") != "s-1" {
		r.t.Errorf("the answer is %s", at.away)
	}
	r.canaries.note("authorization code", q.Get("code"))
	return q.Get("code")
}

func exchange(code string, edit url.Values) url.Values {
	form := url.Values{"grant_type": {"authorization_code"}, "client_id": {"sallyport-cli"}, "code": {code}, "redirect_uri": {callback},
		"code_verifier": {strings.Repeat("v", 43)}}
	for k, v := range edit {
		if form[k] = v; len(v) == 0 {
			form.Del(k)
		}
	}
	return form
}

// a code is for one client, one verifier, one redirect address and one use;
// what came of the first use dies with the second.
func TestA07Codes(t *testing.T) {
	r := tell(t)
	ana := r.As("ana")
	for name, edit := range map[string]url.Values{
		"no challenge": {"code_challenge": nil}, "plain": {"code_challenge_method": {"plain"}}, "no method": {"code_challenge_method": nil},
		"short": {"code_challenge": {"abc"}}, "implicit": {"response_type": {"token"}}, "hybrid": {"response_type": {"code token"}},
	} {
		if at := ana.authorize(edit); at.away == nil || at.away.Query().Get("error") == "" || at.away.Query().Get("code") != "" {
			t.Errorf("%s: %s %v", name, at.path, at.away)
		}
	}
	for name, edit := range map[string]url.Values{
		"another client": {"client_id": {"another"}}, "no verifier": {"code_verifier": nil}, "another verifier": {"code_verifier": {strings.Repeat("w", 43)}},
		"another redirect": {"redirect_uri": {"http://127.0.0.1:53998/callback"}}, "a longer code": {"code": {"x"}},
	} {
		if status, body := r.tokenForm(exchange(ana.code(nil), edit)); status != 400 && status != 401 {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	code := ana.code(nil)
	status, body := r.tokenForm(exchange(code, nil))
	if status != 200 {
		t.Fatalf("the code is worth %d %s", status, body)
	}
	var first struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if err := json.Unmarshal([]byte(body), &first); err != nil {
		t.Fatal(err)
	}
	r.Nobody().Send(request{path: own()[client.API], bearer: first.Access})
	r.WantStatus(200)
	if status, body = r.tokenForm(exchange(code, nil)); status != 400 {
		t.Errorf("the code is good twice: %d %s", status, body)
	}
	r.Nobody().Send(request{path: own()[client.API], bearer: first.Access})
	r.WantStatus(401)
	if status, _ = r.refresh(first.Refresh); status != 400 {
		t.Errorf("the refresh token of the first use is alive: %d", status)
	}
	ana.Infer(base)
	r.Want(allowed) // her own login is another family
}

// a redirect address is compared character by character, the port of a
// loopback address apart; a wrong one gets a page and never a redirect.
func TestA08RedirectAddresses(t *testing.T) {
	r := tell(t)
	for _, uri := range []string{"http://127.0.0.1:53999/callback/x", "http://127.0.0.1:53999/callback/", "http://user@127.0.0.1:53999/callback",
		"http://127.0.0.1:53999/%63allback", "http://127.0.0.1:53999/callback#x", "http://127.0.0.1:53999/callback?x=1", "http://127.0.0.1:53999/Callback",
		"http://127.0.0.1.:53999/callback", "http://localhost:53999/callback", "https://127.0.0.1:53999/callback", "http://127.0.0.1.evil.example/callback",
		"http://[::ffff:127.0.0.1]:53999/callback", "http://0x7f000001:53999/callback", "http://127.1:53999/callback", "http://127.0.0.1:0/callback",
		"http://127.0.0.1:99999/callback", "//127.0.0.1:53999/callback", "javascript:alert(1)", "http://127.0.0.1:53999\\@evil.example/callback", ""} {
		at := r.As("ana").authorize(url.Values{"redirect_uri": {uri}})
		if at.away != nil || at.status < 400 {
			t.Errorf("%q: %d, leads to %v", uri, at.status, at.away)
		}
	}
	if at := r.As("ana").authorize(url.Values{"client_id": {"another"}}); at.away != nil || at.status < 400 {
		t.Errorf("an unknown client: %d, leads to %v", at.status, at.away)
	}
	if at := r.As("ana").authorize(url.Values{"redirect_uri": {"http://127.0.0.1:40001/callback"}}); at.path != "/oauth/authorize" || at.status != 200 {
		t.Errorf("another port of the loopback address: %d on %s", at.status, at.path)
	}
}

// cookie is the browser's session.
func (p *person) cookie() string {
	u, err := url.Parse(p.system.server.External())
	if err != nil {
		return ""
	}
	for _, c := range p.web.Jar.Cookies(u) {
		if c.Name == "__Host-sallyport" {
			return c.Value
		}
	}
	return ""
}

// accountWith asks for the account page with a cookie.
func (r *story) accountWith(cookie string) int {
	r.t.Helper()
	r.Nobody().Send(request{path: "/account", header: map[string]string{"Cookie": "__Host-sallyport=" + cookie}})
	return r.last.status
}

// nobody's session has an id from before they proved themselves, nor from
// before a step-up; what was ended opens nothing.
func TestA10SessionsChange(t *testing.T) {
	r := tell(t)
	r.Join("una", "evaluator", "org:acme")
	una := r.As("una").who
	first := una.cookie()
	if r.accountWith(first) != 200 || r.accountWith("fixed") == 200 {
		t.Fatal("the session of the enrolment does not work, or any does")
	}
	at, err := una.open(t.Context(), r.server.External()+"/stepup?return=%2Faccount")
	if err != nil {
		t.Fatal(err)
	}
	code, err := una.code(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if at, err = una.send(t.Context(), at, "/stepup", map[string]string{"code": code}); err != nil || at.path != "/account" {
		t.Fatalf("step-up ended on %s: %v", at.path, err)
	}
	raised := una.cookie()
	if raised == first || r.accountWith(raised) != 200 {
		t.Error("the session id is the same after a step-up, or the new one does not work")
	}
	if got := r.accountWith(first); got == 200 {
		t.Errorf("the id from before the step-up answers %d", got)
	}
	if at, err = una.open(t.Context(), r.server.External()+"/logout"); err == nil {
		_, err = una.send(t.Context(), at, "/logout", nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := r.accountWith(raised); got == 200 {
		t.Errorf("the id answers %d after signing out", got)
	}

	// Somebody plants an id before she signs in.
	u, _ := url.Parse(r.server.External())
	una.web.Jar.SetCookies(u, []*http.Cookie{{Name: "__Host-sallyport", Value: "planted-by-somebody-else", Path: "/", Secure: true}})
	at, err = una.open(t.Context(), r.server.External()+"/login?return=%2Faccount")
	if err == nil {
		at, err = una.signIn(t.Context(), at)
	}
	if err != nil || at.path != "/account" {
		t.Fatalf("sign-in ended on %s: %v", at.path, err)
	}
	if una.cookie() == "planted-by-somebody-else" || r.accountWith("planted-by-somebody-else") == 200 {
		t.Error("the planted id became the session")
	}
}

// one-time codes lock after five wrong ones, however they come: at once,
// under other spellings of the name, in another browser; passwords wait.
func TestA12Throttle(t *testing.T) {
	r := tell(t)
	r.Join("max", "evaluator", "org:acme")
	max := r.As("max").who
	begin := func(name string) (*person, page) {
		other, err := r.newPerson("max")
		if err != nil {
			t.Fatal(err)
		}
		other.password, other.secret, other.step = max.password, max.secret, max.step
		at, err := other.open(t.Context(), r.server.External()+"/login?return=%2Faccount")
		if err == nil {
			at, err = other.send(t.Context(), at, "/login", map[string]string{"username": name, "password": max.password})
		}
		if err != nil {
			t.Fatal(err)
		}
		return other, at
	}
	var guessing sync.WaitGroup
	for i, name := range []string{"max", "MAX", " max", "max ", "max"} {
		other, at := begin(name)
		if at.path != "/login/code" {
			t.Fatalf("the name %q leads to %s", name, at.path)
		}
		for j := range 3 { // at once: at most one of a flow can count for less
			guessing.Go(func() {
				if a, err := other.send(t.Context(), at, "/login/code", map[string]string{"code": fmt.Sprintf("%06d", 3*i+j)}); err == nil && a.path == landing {
					t.Errorf("the code %06d was right", 3*i+j)
				}
			})
		}
		guessing.Wait()
	}
	other, at := begin("max")
	code, err := other.code(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if at, err = other.send(t.Context(), at, "/login/code", map[string]string{"code": code}); err != nil || at.path == landing || other.cookie() != "" {
		t.Errorf("after five wrong codes the right one leads to %s, error %v", at.path, err)
	}
	stranger, err := r.newPerson("stranger")
	if err != nil {
		t.Fatal(err)
	}
	at, err = stranger.open(t.Context(), r.server.External()+"/login?return=%2Faccount")
	if err != nil {
		t.Fatal(err)
	}
	var last page
	for range 7 {
		if last, err = stranger.send(t.Context(), at, "/login", map[string]string{"username": "max", "password": "wrong wrong wrong"}); err != nil {
			t.Fatal(err)
		}
	}
	if last.status != http.StatusTooManyRequests {
		t.Errorf("the seventh wrong password: %d", last.status)
	}
	r.As("max").Infer(base) // nobody else's guesses end a session
	r.Want(allowed)
}
