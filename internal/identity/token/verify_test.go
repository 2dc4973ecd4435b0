package token_test

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/access"
	"sallyport/internal/plumbing/secret"
)

func TestVerifyTellsThePrincipal(t *testing.T) {
	w := newWorld(t)
	issued := w.login()
	for _, prefix := range []string{"", access.HubPrefix} {
		for range 2 { // by signature, then from memory
			p, err := w.verifier.Verify(t.Context(), secret.NewText(prefix+issued.Access.Reveal()), api, w.now())
			if err != nil {
				t.Fatal(err)
			}
			if p.ID != "user:ana" || p.Person != "user:ana" || p.Session != "S-1" || p.Family != issued.Family.ID || p.Token != issued.ID ||
				p.Audience != api || p.Scope.String() != "model.infer model.read" || p.Assurance != sallyport.MultiFactor ||
				!p.AuthTime.Equal(w.now()) || !p.Expires.Equal(w.now().Add(token.AccessLifetime)) || fmt.Sprint(p.Methods) != "[pwd otp]" {
				t.Errorf("Verify = %+v", p)
			}
		}
	}
	if got := w.verify(secret.NewText("hf_hf_"+issued.Access.Reveal()), api); got == "" {
		t.Error("two prefixes are accepted")
	}
}

// TestServiceKeepsItsPerson has a service's token name who answers for it.
func TestServiceKeepsItsPerson(t *testing.T) {
	w := newWorld(t)
	c := w.claims()
	c["sub"], c["person"] = "service:trainer", "user:bo"
	p, err := w.verifier.Verify(t.Context(), w.forge(w.header(), c), api, w.now())
	if err != nil || p.ID != "service:trainer" || p.Person != "user:bo" {
		t.Errorf("Verify = %+v, %v", p, err)
	}
}

// spoil checks that a good token becomes bad by one change, for the reason expected.
func spoil(t *testing.T, cases map[string]func(map[string]any), reason func(name string) string) {
	t.Helper()
	w := newWorld(t)
	if got := w.verify(w.forge(w.header(), w.claims()), api); got != "" {
		t.Fatalf("the good token is refused: %s", got)
	}
	for name, change := range cases {
		c := w.claims()
		change(c)
		if got := w.verify(w.forge(w.header(), c), api); got != reason(name) {
			t.Errorf("%s: reason %q, want %q", name, got, reason(name))
		}
	}
}

func set(name string, value any) func(map[string]any) {
	return func(c map[string]any) { c[name] = value }
}

func unset(name string) func(map[string]any) { return func(c map[string]any) { delete(c, name) } }

// TestJOSE1 refuses every other type of token in place of an access token.
func TestJOSE1(t *testing.T) {
	w := newWorld(t)
	for _, typ := range []string{"JWT", "dpop+jwt", "logout+jwt", "at+jwt2", "application/jwt", "secevent+jwt"} {
		raw := w.forge(strings.Replace(w.header(), "at+jwt", typ, 1), w.claims())
		if got := w.verify(raw, api); got != "token.type" {
			t.Errorf("typ %q: reason %q", typ, got)
		}
	}
	untyped := fmt.Sprintf(`{"alg":"ES256","kid":%q}`, w.kid())
	if got := w.verify(w.forge(untyped, w.claims()), api); got != "token.type" {
		t.Errorf("no typ: reason %q", got)
	}
}

// TestJOSE2 refuses tokens that leave out what is expected, and finds code that checks claims in another place.
func TestJOSE2(t *testing.T) {
	reasons := map[string]string{"exp": "token.time", "aud": "token.audience", "iss": "token.issuer", "iat": "token.time", "jti": "token.claims",
		"client_id": "token.claims", "fam": "token.claims", "sub": "token.claims", "acr": "token.claims"}
	cases := map[string]func(map[string]any){}
	for name := range reasons {
		cases[name] = unset(name)
	}
	spoil(t, cases, func(name string) string { return reasons[name] })

	root := filepath.Join("..", "..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), "jwt.Expected{") || strings.Contains(string(text), ".ValidateWithLeeway(") {
			t.Errorf("%s checks claims by the library, which passes over what is empty: use claims.check", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestJOSE3 tries every token at every door.
func TestJOSE3(t *testing.T) {
	w := newWorld(t)
	for _, for_ := range token.Audiences(external) {
		c := w.claims()
		c["aud"] = for_
		raw := w.forge(w.header(), c)
		for _, at := range token.Audiences(external) {
			for range 2 {
				if got := w.verify(raw, at); (got == "") != (for_ == at) || for_ != at && got != "token.audience" {
					t.Errorf("token for %s at %s: reason %q", for_, at, got)
				}
			}
		}
	}
}

// TestJOSE4 reads a key set with keys that nobody here knows.
func TestJOSE4(t *testing.T) {
	w := newWorld(t)
	var own struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(w.keys.Current().Document(), &own); err != nil {
		t.Fatal(err)
	}
	document := fmt.Sprintf(`{"keys":[{"kty":"AKP","alg":"ML-DSA-44","kid":"pq","pub":"AAAA"},{"kty":"EC","crv":"P-999","kid":"c","x":"AA","y":"AA"},
		{"kty":"oct","k":"c2VjcmV0","kid":"s"},7,%s]}`, own.Keys[0])
	set, err := jose.ParseSet([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	w.verifier, _ = access.NewVerifier(access.VerifierConfig{Issuer: external, Keys: func() *jose.Set { return set }})
	if got := w.verify(w.login().Access, api); got != "" {
		t.Errorf("beside unknown keys: reason %q", got)
	}
	for name, bad := range map[string]string{"no JSON": "{", "too long": strings.Repeat(" ", 1<<17), "many": `{"keys":[` + strings.Repeat("1,", 70) + `1]}`,
		"one name twice": fmt.Sprintf(`{"keys":[%s,%s]}`, own.Keys[0], own.Keys[0])} {
		if _, err := jose.ParseSet([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestJOSE5 verifies Ed25519 under both of its names, and under no other.
func TestJOSE5(t *testing.T) {
	w := newWorld(t)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := jose.ParseSet(fmt.Appendf(nil, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"e","x":%q}]}`, encode(public)))
	if err != nil {
		t.Fatal(err)
	}
	w.verifier, _ = access.NewVerifier(access.VerifierConfig{Issuer: external, Keys: func() *jose.Set { return set }})
	body, _ := json.Marshal(w.claims())
	for alg, want := range map[string]string{"Ed25519": "", "EdDSA": "", "ES256": "token.key", "ed25519": "token.algorithm"} {
		input := encode(fmt.Appendf(nil, `{"alg":%q,"kid":"e","typ":"at+jwt"}`, alg)) + "." + encode(body)
		raw := secret.NewText(input + "." + encode(ed25519.Sign(private, []byte(input))))
		if got := w.verify(raw, api); got != want {
			t.Errorf("alg %s: reason %q, want %q", alg, got, want)
		}
	}
	input := encode([]byte(`{"alg":"EdDSA","kid":"e","typ":"at+jwt"}`)) + "." + encode(body)
	if got := w.verify(secret.NewText(input+"."+encode(make([]byte, 64))), api); got != "token.signature" {
		t.Errorf("no signature: reason %q", got)
	}
}

// TestJOSE6 refuses headers that bring a key, name what must be understood, or say something twice, and claims that do.
func TestJOSE6(t *testing.T) {
	w := newWorld(t)
	certificate := encode([]byte("not one"))
	for _, more := range []string{`"crit":["exp"],"exp":1`, `"crit":[]`, `"crit":["b64"],"b64":false`, `"jwk":{"kty":"EC"}`, `"jku":"https://evil.example/jwks"`, `"x5u":"https://evil.example/c"`,
		`"x5c":["` + certificate + `"]`, `"alg":"none"`, `"zip":"DEF"`} {
		header := strings.TrimSuffix(w.header(), "}") + "," + more + "}"
		if got := w.verify(w.forge(header, w.claims()), api); got != "token.header" {
			t.Errorf("with %s: reason %q", more, got)
		}
	}
	body, _ := json.Marshal(w.claims())
	twice := strings.TrimSuffix(string(body), "}") + `,"sub":"user:root"}`
	if got := w.verify(w.forgeBytes(w.header(), []byte(twice)), api); got != "token.claims" {
		t.Errorf("sub twice: reason %q", got)
	}
	other := strings.Replace(string(body), `"sub"`, `"SUB"`, 1)
	if got := w.verify(w.forgeBytes(w.header(), []byte(other)), api); got != "token.claims" {
		t.Errorf("SUB for sub: reason %q", got)
	}
}

// TestJOSE7 refuses what is no JWS before any library reads it.
func TestJOSE7(t *testing.T) {
	w := newWorld(t)
	good := w.login().Access.Reveal()
	parts := strings.Split(good, ".")
	for name, test := range map[string]struct{ raw, want string }{
		"empty":              {"", "token.size"},
		"JWE":                {encode([]byte(`{"alg":"RSA-OAEP","enc":"A256GCM"}`)) + ".a.b.c.d", "token.form"},
		"dots":               {strings.Repeat(".", 8000), "token.form"},
		"more dots":          {strings.Repeat(".", 1<<20), "token.size"},
		"giant header":       {strings.Repeat("A", 600) + "." + parts[1] + "." + parts[2], "token.size"},
		"giant token":        {parts[0] + "." + strings.Repeat("A", 9000) + "." + parts[2], "token.size"},
		"JSON serialisation": {`{"payload":"` + parts[1] + `"}`, "token.form"},
		"spaces":             {" " + good, "token.form"},
		"other alphabet":     {parts[0] + "=." + parts[1] + "." + parts[2], "token.form"},
		"loose last bits":    {parts[0] + "." + parts[1] + "." + parts[2][:85] + next(parts[2][85]), "token.form"},
		"two parts":          {parts[0] + "." + parts[1], "token.form"},
	} {
		if got := w.verify(secret.NewText(test.raw), api); got != test.want {
			t.Errorf("%s: reason %q, want %q", name, got, test.want)
		}
	}
}

// next is the letter that differs from c only in the last bit, which 64 bytes leave unused.
func next(c byte) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(letters[strings.IndexByte(letters, c)^1])
}

// TestJOSE9 has a remembered token die with its family, at once and not after a minute; others live on.
func TestJOSE9(t *testing.T) {
	w := newWorld(t)
	mine, other := w.login(), w.login()
	if w.verify(mine.Access, api) != "" || w.verify(other.Access, api) != "" {
		t.Fatal("good tokens are refused")
	}
	w.verifier.Forget(token.Revoked{Family: mine.Family.ID, At: w.now()})
	if got := w.verify(mine.Access, api); got != "token.revoked" {
		t.Errorf("after the event: reason %q", got)
	}
	if got := w.verify(other.Access, api); got != "" {
		t.Errorf("another family: reason %q", got)
	}
	w.verifier.Prune(w.now().Add(token.AccessLifetime))
	if got := w.verify(mine.Access, api); got != "token.revoked" {
		t.Errorf("while a token can be alive: reason %q", got)
	}
	w.wait(2*token.AccessLifetime + time.Second)
	w.verifier.Prune(w.now())
	if got := w.verify(mine.Access, api); got != "token.expired" {
		t.Errorf("when all have expired: reason %q", got)
	}
}

// TestA05 refuses audiences that are missing, several, or only nearly right.
func TestA05(t *testing.T) {
	cases := map[string]func(map[string]any){
		"token.audience missing": unset("aud"), "token.claims empty": set("aud", ""), "token.audience prefix": set("aud", api[:len(api)-1]),
		"token.audience longer": set("aud", api+"/"), "token.audience case": set("aud", strings.ToUpper(api)), "token.audience other": set("aud", hub),
		"token.claims array": set("aud", []string{api}), "token.audience arrays": set("aud", []string{hub, api}), "token.claims number": set("aud", 7),
	}
	spoil(t, cases, func(name string) string { reason, _, _ := strings.Cut(name, " "); return reason })
	w := newWorld(t)
	if got := w.verify(w.login().Access, ""); got != "token.audience" {
		t.Errorf("a door without a name: reason %q", got)
	}
}

// TestA06 refuses algorithms and keys that are not ours. Nothing is fetched and no file is opened: a key set is a map.
func TestA06(t *testing.T) {
	w := newWorld(t)
	body, _ := json.Marshal(w.claims())
	public, err := x509.MarshalPKIXPublicKey(w.private.Public())
	if err != nil {
		t.Fatal(err)
	}
	hs := func(header string, key []byte) secret.Text {
		input := encode([]byte(header)) + "." + encode(body)
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(input))
		return secret.NewText(input + "." + encode(mac.Sum(nil)))
	}
	header := func(alg string) string { return strings.Replace(w.header(), "ES256", alg, 1) }
	for _, alg := range []string{"none", "None", "", "HS256", "RS256", "PS256", "ES384", "ES512", "ES256K"} {
		for name, raw := range map[string]secret.Text{"our key": w.forge(header(alg), w.claims()), "our public key as a secret": hs(header(alg), public),
			"no signature": secret.NewText(encode([]byte(header(alg))) + "." + encode(body) + ".")} {
			if got := w.verify(raw, api); got != "token.algorithm" && got != "token.form" && got != "token.header" {
				t.Errorf("alg %q, %s: reason %q", alg, name, got)
			}
		}
	}
	for _, kid := range []string{"", "../../dev/null", "' OR 1=1 --", "https://evil.example/jwks", w.kid() + " ", strings.ToLower(w.kid())} {
		raw := w.forge(fmt.Sprintf(`{"alg":"ES256","kid":%q,"typ":"at+jwt"}`, kid), w.claims())
		if got := w.verify(raw, api); got != "token.key" && got != "token.header" {
			t.Errorf("kid %q: reason %q", kid, got)
		}
	}
	stranger := newWorld(t)
	if got := w.verify(stranger.forge(w.header(), w.claims()), api); got != "token.signature" {
		t.Errorf("another key under our name: reason %q", got)
	}
}

// TestTimes holds a token against the clock, with the ten seconds of leeway of this verifier.
func TestTimes(t *testing.T) {
	w := newWorld(t)
	now := w.now().Unix()
	for name, test := range map[string]struct {
		exp, iat, nbf int64
		want          string
	}{
		"good": {now + 1, now, 0, ""}, "just over": {now - 9, now - 20, 0, ""}, "over": {now - 10, now - 20, 0, "token.expired"},
		"from tomorrow": {now + 600, now + 11, 0, "token.early"}, "not yet": {now + 600, now, now + 11, "token.early"}, "clocks differ": {now + 600, now + 10, now + 10, ""},
		"ends before it begins": {now + 5, now + 6, 0, "token.time"}, "for a day": {now + 86400, now, 0, "token.time"}, "without an end": {0, now, 0, "token.claims"},
		"before the epoch": {-5, -9, 0, "token.claims"},
	} {
		c := w.claims()
		c["exp"], c["iat"] = test.exp, test.iat
		if test.nbf != 0 {
			c["nbf"] = test.nbf
		}
		if got := w.verify(w.forge(w.header(), c), api); got != test.want {
			t.Errorf("%s: reason %q, want %q", name, got, test.want)
		}
	}
	spoil(t, map[string]func(map[string]any){"text": set("exp", "tomorrow"), "subject without a kind": set("sub", "ana"), "another kind": set("sub", "root:ana"),
		"scope": set("scope", "everything"), "level": set("acr", "aal9"), "long id": set("jti", strings.Repeat("j", 300))}, func(string) string { return "token.claims" })
	raw := w.forge(w.header(), w.claims())
	for range 2 {
		if got := w.verify(raw, api); got != "" {
			t.Errorf("fresh: reason %q", got)
		}
	}
	w.wait(token.AccessLifetime + 10*time.Second)
	if got := w.verify(raw, api); got != "token.expired" {
		t.Errorf("remembered but over: reason %q", got)
	}
}

func TestNewVerifierRefuses(t *testing.T) {
	keys := func() *jose.Set { return nil }
	for _, cfg := range []access.VerifierConfig{{Keys: keys}, {Issuer: external}, {Issuer: external, Keys: keys, Leeway: -1}, {Issuer: external, Keys: keys, Leeway: time.Minute}} {
		if _, err := access.NewVerifier(cfg); err == nil {
			t.Errorf("NewVerifier(%+v) accepts", cfg)
		}
	}
	v, err := access.NewVerifier(access.VerifierConfig{Issuer: external, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(t.Context(), newWorld(t).login().Access, api, time.Now())
	wantReason(t, "without keys", err, "token.key")
}

// TestMemoryIsBounded fills a small memory from many sides; everything stays right.
func TestMemoryIsBounded(t *testing.T) {
	w := newWorld(t)
	v, err := access.NewVerifier(access.VerifierConfig{Issuer: external, Keys: w.keys.Current, Bytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 25 {
				c := w.claims()
				c["jti"] = fmt.Sprint(worker, i)
				raw := w.forge(w.header(), c)
				for range 3 {
					if p, err := v.Verify(t.Context(), raw, api, w.now()); err != nil || p.Token != c["jti"] {
						t.Errorf("Verify = %v, %v", p.Token, err)
					}
				}
			}
		})
	}
	wg.Wait()
}

func FuzzVerify(f *testing.F) {
	w := newWorld(f)
	good := w.login().Access.Reveal()
	for _, seed := range []string{good, access.HubPrefix + good, "", "..", "a.b.c", good[:len(good)-1], encode([]byte(w.header())) + ".e30.AAAA"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := w.verifier.Verify(t.Context(), secret.NewText(raw), api, w.now())
		if err == nil && (p.ID != "user:ana" || strings.TrimPrefix(raw, access.HubPrefix) != good) {
			t.Errorf("%q proves %v", raw, p.ID)
		}
		if err != nil && (sallyport.KindOf(err) != sallyport.Unknown || !strings.HasPrefix(sallyport.ReasonOf(err), "token.")) {
			t.Errorf("%q: %v, reason %q", raw, err, sallyport.ReasonOf(err))
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	w := newWorld(b)
	raw, now := w.login().Access, w.now()
	b.Run("remembered", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := w.verifier.Verify(b.Context(), raw, api, now); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("signature", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			v, err := access.NewVerifier(access.VerifierConfig{Issuer: external, Keys: w.keys.Current})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := v.Verify(b.Context(), raw, api, now); err != nil {
				b.Fatal(err)
			}
		}
	})
}
