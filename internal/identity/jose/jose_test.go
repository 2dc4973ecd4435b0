package jose_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
)

var now = time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// ring is one private key of each type, made once.
var ring = sync.OnceValue(func() map[jose.Algorithm]crypto.Signer {
	all := map[jose.Algorithm]crypto.Signer{}
	for a, curve := range map[jose.Algorithm]elliptic.Curve{jose.ES256: elliptic.P256(), jose.ES384: elliptic.P384(), jose.ES512: elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			panic(err)
		}
		all[a] = key
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	big, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	all[jose.EdDSA], all[jose.Ed25519] = ed, ed
	for _, a := range []jose.Algorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512} {
		all[a] = big
	}
	return all
})

func signer(a jose.Algorithm) jose.Signer {
	return jose.Signer{Key: ring()[a], Algorithm: a, KeyID: "k1", Rand: rand.Reader}
}

// setOf is a set of one key that is bound to its algorithm, called k1.
func setOf(t *testing.T, a jose.Algorithm) *jose.Set {
	t.Helper()
	key, err := jose.NewKey("k1", a, ring()[a].Public())
	if err != nil {
		t.Fatal(err)
	}
	set, err := jose.NewSet(key)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func sign(t *testing.T, s jose.Signer, typ string, claims any) string {
	t.Helper()
	token, err := s.Sign(typ, claims)
	if err != nil {
		t.Fatal(err)
	}
	return token.Reveal()
}

// rough signs any header and payload, also such as no Signer would write.
func rough(t *testing.T, header, payload string) string {
	t.Helper()
	key := ring()[jose.ES256].(*ecdsa.PrivateKey)
	text := b64([]byte(header)) + "." + b64([]byte(payload))
	sum := crypto.SHA256.New()
	sum.Write([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum.Sum(nil))
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + b64(signature)
}

type claims map[string]any

// access are the claims of a good token.
func access() claims {
	return claims{"iss": "https://sally.example", "aud": "hub", "sub": "user:ana", "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "jti": "1"}
}

func (c claims) with(name string, value any) claims {
	d := claims{}
	for k, v := range c {
		d[k] = v
	}
	if d[name] = value; value == nil {
		delete(d, name)
	}
	return d
}

func profile() jose.Profile {
	return jose.Profile{Op: "access token", Types: []string{"at+jwt"}, Algorithms: jose.ForeignAlgorithms()}
}

func rules() jose.Rules {
	return jose.Rules{Op: "access token", Issuer: "https://sally.example", Audience: "hub", Now: now, MaxLife: 10 * time.Minute}
}

// wantReason fails unless the error is of kind Unknown for this reason, and says nothing of it to whoever asked.
func wantReason(t *testing.T, err error, reason string) {
	t.Helper()
	if err == nil || sallyport.KindOf(err) != sallyport.Unknown || sallyport.ReasonOf(err) != "jose."+reason {
		t.Errorf("error %v (%v, %s), want one because of jose.%s", err, sallyport.KindOf(err), sallyport.ReasonOf(err), reason)
	}
	if err != nil && strings.Contains(sallyport.PublicText(err), "jose") {
		t.Errorf("the caller reads %q", sallyport.PublicText(err))
	}
}

// Every algorithm signs what it verifies, under its own key, and nothing else.
func TestSignAndVerify(t *testing.T) {
	for a := range ring() {
		token := sign(t, signer(a), "at+jwt", access())
		got, err := jose.Verify(token, setOf(t, a), profile())
		if err != nil {
			t.Errorf("%s: %v", a, err)
			continue
		}
		if err := got.Claims.Check(rules()); err != nil {
			t.Errorf("%s: %v", a, err)
		}
		if got.Claims.Subject != "user:ana" || got.Header.Algorithm != a || got.Header.KeyID != "k1" || got.Header.Type != "at+jwt" {
			t.Errorf("%s: %+v", a, got)
		}
		for b := range ring() {
			same := a == b || (a == jose.EdDSA || a == jose.Ed25519) && (b == jose.EdDSA || b == jose.Ed25519)
			if _, err := jose.Verify(token, setOf(t, b), profile()); (err == nil) != same {
				t.Errorf("a token by %s with a key for %s: %v", a, b, err)
			}
		}
		short := profile()
		short.Algorithms = []jose.Algorithm{"none"}
		_, err = jose.Verify(token, setOf(t, a), short)
		wantReason(t, err, "algorithm")
	}
	if got := jose.AlgorithmOf(ring()[jose.RS256].Public()); got != jose.PS256 {
		t.Errorf("RSA keys sign with %s", got)
	}
	if got := jose.AlgorithmOf("no key"); got != "" {
		t.Errorf("what is no key signs with %s", got)
	}
}

// Every single changed character of a token makes it worthless: there is one spelling.
func TestEveryCharacterCounts(t *testing.T) {
	token := sign(t, signer(jose.ES256), "at+jwt", access())
	set := setOf(t, jose.ES256)
	for i := range token {
		for _, c := range []string{"A", "-", "=", " ", "\n", ".", ""} {
			changed := token[:i] + c + token[i+1:]
			if changed == token {
				continue
			}
			if _, err := jose.Verify(changed, set, profile()); err == nil {
				t.Fatalf("accepted with %q at %d", c, i)
			}
		}
	}
	for _, around := range []string{" " + token, token + " ", token + "=", token + ".", "." + token, token + "\n", ""} {
		if _, err := jose.Verify(around, set, profile()); err == nil {
			t.Errorf("accepted: %q", around)
		}
	}
}

func TestJOSE1TypeIsChecked(t *testing.T) {
	set := setOf(t, jose.ES256)
	kinds := []string{"at+jwt", "jwt", "logout+jwt", "dpop+jwt", "secevent+jwt", "client-authentication+jwt"}
	for _, have := range kinds {
		token := sign(t, signer(jose.ES256), have, access())
		for _, want := range kinds {
			p := profile()
			p.Types = []string{want}
			if _, err := jose.Verify(token, set, p); (err == nil) != (have == want) {
				t.Errorf("a %s where a %s is expected: %v", have, want, err)
			}
		}
	}
	p := profile()
	p.Types = nil
	_, err := jose.Verify(sign(t, signer(jose.ES256), "at+jwt", access()), set, p)
	wantReason(t, err, "type")
	if _, err := jose.Verify(sign(t, signer(jose.ES256), "application/AT+JWT", access()), set, profile()); err != nil {
		t.Errorf("the long form of a type: %v", err)
	}
	untyped := rough(t, `{"alg":"ES256","kid":"k1"}`, `{}`)
	_, err = jose.Verify(untyped, set, profile())
	wantReason(t, err, "type")
	proof, err := signer(jose.ES256).SignProof(jose.ProofFor{Method: "POST", URL: "https://sally.example/oauth/token", Now: now})
	if err != nil {
		t.Fatal(err)
	}
	_, err = jose.VerifyAssertion(proof.Reveal(), set, assertion())
	wantReason(t, err, "type")
}

func TestJOSE2NothingIsOptional(t *testing.T) {
	set := setOf(t, jose.ES256)
	check := func(c claims, r jose.Rules) error {
		t.Helper()
		token, err := jose.Verify(sign(t, signer(jose.ES256), "at+jwt", c), set, profile())
		if err != nil {
			return err
		}
		return token.Claims.Check(r)
	}
	later := now.Add(10*time.Minute + time.Second).Unix()
	for reason, all := range map[string][]claims{
		"issuer":   {access().with("iss", nil), access().with("iss", "https://sally.example/")},
		"audience": {access().with("aud", nil), access().with("aud", "Hub"), access().with("aud", []string{"a", "b"})},
		"time":     {access().with("exp", nil), access().with("iat", nil), access().with("exp", later), access().with("exp", now.Unix()), access().with("iat", later)},
		"expired":  {access().with("iat", now.Add(-time.Hour).Unix()).with("exp", now.Add(-time.Hour+time.Minute).Unix())},
		"early":    {access().with("iat", now.Add(time.Minute).Unix()), access().with("nbf", now.Add(time.Minute).Unix())},
		"claims": {access().with("iss", ""), access().with("iss", 1), access().with("aud", []any{}), access().with("aud", []any{1}), access().with("exp", "1"),
			access().with("exp", -1), access().with("exp", 1e30), access().with("iat", true), access().with("sub", strings.Repeat("a", 1025)), access().with("jti", nil).with("jti", []string{"x"})},
	} {
		for i, c := range all {
			t.Run(fmt.Sprint(reason, i), func(t *testing.T) { wantReason(t, check(c, rules()), reason) })
		}
	}
	sole, id := rules(), rules()
	sole.Sole, id.NeedID = true, true
	wantReason(t, check(access().with("aud", []string{"hub", "b"}), sole), "audience")
	wantReason(t, check(access().with("jti", nil), id), "id")
	for i, c := range []claims{access().with("aud", []string{"b", "hub"}), access().with("nbf", now.Unix()), access().with("exp", float64(now.Add(time.Minute).Unix())+0.5)} {
		if err := check(c, rules()); err != nil {
			t.Errorf("good claims %d: %v", i, err)
		}
	}
	for name, change := range map[string]func(*jose.Rules){
		"no issuer": func(r *jose.Rules) { r.Issuer = "" }, "no audience": func(r *jose.Rules) { r.Audience = "" },
		"no time": func(r *jose.Rules) { r.Now = time.Time{} }, "no life": func(r *jose.Rules) { r.MaxLife = 0 },
		"a long leeway": func(r *jose.Rules) { r.Leeway = time.Hour }, "a negative leeway": func(r *jose.Rules) { r.Leeway = -1 },
		"nothing": func(r *jose.Rules) { *r = jose.Rules{} },
	} {
		r := rules()
		change(&r)
		if err := check(access(), r); err == nil || sallyport.KindOf(err) != sallyport.Other {
			t.Errorf("rules with %s: %v, want a defect of ours", name, err)
		}
	}
	lenient := rules()
	lenient.Leeway = time.Minute
	if err := check(access().with("iat", now.Add(time.Minute).Unix()), lenient); err != nil {
		t.Errorf("within the leeway: %v", err)
	}
}

func TestJOSE4UnknownKeysArePassedOver(t *testing.T) {
	good := string(setOf(t, jose.ES256).Document())
	one := strings.TrimSuffix(strings.TrimPrefix(good, `{"keys":[`), `]}`)
	strange := []string{
		`{"kty":"LMS","kid":"a"}`, `{"kty":"EC","crv":"P-224","x":"AA","y":"AA"}`, `{"kty":"OKP","crv":"X25519","x":"AA"}`,
		`{"kty":"oct","k":"AAAA","kid":"k1"}`, `{"kid":"k1"}`, `{}`, `[]`, `1`, `null`, `{"kty":"RSA","n":"AQ","e":"AQAB","kid":"k1"}`,
	}
	set, err := jose.ParseSet([]byte(`{"more":1,"keys":[` + strings.Join(strange, ",") + "," + one + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Keys()) != 1 || !set.Has("k1") || set.Has("a") {
		t.Errorf("%d keys", len(set.Keys()))
	}
	if _, err := jose.Verify(sign(t, signer(jose.ES256), "at+jwt", access()), set, profile()); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{
		"", "{}", `{"keys":null}`, `{"keys":{}}`, "[]", `{"keys":[],"keys":[]}`,
		`{"keys":[` + one + "," + one + `]}`, // one kid, two keys
		`{"keys":[` + strings.Repeat("{},", 64) + `{}]}`,
		`{"keys":[` + strings.Repeat(" ", 64<<10) + `]}`,
	} {
		if _, err := jose.ParseSet([]byte(bad)); err == nil {
			t.Errorf("accepted: %.60s", bad)
		}
	}
}

func TestJOSE5BothNames(t *testing.T) {
	for _, a := range []jose.Algorithm{jose.EdDSA, jose.Ed25519} {
		for _, b := range []jose.Algorithm{jose.EdDSA, jose.Ed25519, ""} {
			key, err := jose.NewKey("k1", b, ring()[a].Public())
			if err != nil {
				t.Fatal(err)
			}
			set, err := jose.NewSet(key)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := jose.Verify(sign(t, signer(a), "at+jwt", access()), set, profile()); err != nil {
				t.Errorf("%s by a key for %q: %v", a, b, err)
			}
		}
	}
}

func TestJOSE6Header(t *testing.T) {
	set := setOf(t, jose.ES256)
	const payload = `{"iss":"x"}`
	if _, err := jose.Verify(rough(t, `{"alg":"ES256","kid":"k1","typ":"at+jwt","x5t":"AA","more":{"a":[1]}}`, payload), set, profile()); err != nil {
		t.Fatalf("members that mean nothing here: %v", err)
	}
	jwk, err := set.Keys()[0].JWK()
	if err != nil {
		t.Fatal(err)
	}
	for _, more := range []string{
		`"crit":["exp"]`, `"crit":[]`, `"b64":false`, `"jwk":` + string(jwk), `"jku":"https://evil.example"`, `"x5u":"https://evil.example"`,
		`"x5c":["AA"]`, `"zip":"DEF"`, `"enc":"A128GCM"`, `"alg":"ES256"`, `"kid":"k1"`, `"a":{"b":1,"b":2}`, `"a":` + strings.Repeat("[", 17) + strings.Repeat("]", 17),
	} {
		_, err := jose.Verify(rough(t, `{"alg":"ES256","kid":"k1","typ":"at+jwt",`+more+`}`, payload), set, profile())
		wantReason(t, err, "header")
	}
	for _, header := range []string{`{"alg":["ES256"]}`, `{"alg":null}`, `{"alg":""}`, `{"alg":"ES256","kid":1}`, `[]`, `null`, `"a"`, `{} {}`, "{\"alg\":\"ES256\xff\"}", ``} {
		_, err := jose.Verify(rough(t, header, payload), set, profile())
		wantReason(t, err, "header")
	}
	for _, header := range []string{`{"typ":"at+jwt"}`, `{"ALG":"ES256","typ":"at+jwt"}`, `{"alg":"none","typ":"at+jwt"}`, `{"alg":"HS256","typ":"at+jwt"}`, `{"alg":"es256","typ":"at+jwt"}`} {
		_, err := jose.Verify(rough(t, header, payload), set, profile())
		wantReason(t, err, "algorithm")
	}
	for _, bad := range []string{`{"iss":"x","iss":"x"}`, `{"a":{"b":1,"b":1}}`, `[]`, `null`, ``, `{}{}`, "{\"iss\":\"\xff\"}"} {
		_, err := jose.Verify(rough(t, `{"alg":"ES256","kid":"k1","typ":"at+jwt"}`, bad), set, profile())
		wantReason(t, err, "claims")
	}
	_, err = jose.Verify(rough(t, `{"alg":"ES256","kid":"k2","typ":"at+jwt"}`, payload), set, profile())
	wantReason(t, err, "key")
	if _, err = jose.Verify(rough(t, `{"alg":"ES256","typ":"at+jwt"}`, payload), set, profile()); err != nil {
		t.Errorf("no kid and one key that fits: %v", err)
	}
	_, err = jose.Verify(rough(t, `{"alg":"ES256","typ":"at+jwt"}`, payload), nil, profile())
	wantReason(t, err, "key")
}

// JOSE7: what is too large or of another shape is refused before anything is decoded.
func TestJOSE7RefusedCheaply(t *testing.T) {
	set := setOf(t, jose.ES256)
	token := sign(t, signer(jose.ES256), "at+jwt", access())
	for text, reason := range map[string]string{
		token + strings.Repeat("A", 16<<10):                        "size",
		strings.Repeat(".", 16<<10):                                "form",
		strings.Repeat(".", 100<<20):                               "size",
		strings.Repeat("A", 4097) + ".e30.AA":                      "size",
		"a.b.c.d.e":                                                "form",
		strings.Replace(token, ".", "..", 1):                       "form",
		"e30.e30.":                                                 "form",
		b64([]byte(strings.Repeat(`{"a":`, 300))) + ".e30.AAAA":    "header",
		b64([]byte(`{"alg":"ES256","typ":"at+jwt"}`)) + ".e31.AAA": "form",
	} {
		_, err := jose.Verify(text, set, profile())
		wantReason(t, err, reason)
		allocs := testing.AllocsPerRun(10, func() { _, _ = jose.Verify(text, set, profile()) })
		if allocs > 30 && reason != "header" {
			t.Errorf("%.20q… costs %v allocations", text, allocs)
		}
	}
}

func TestPeekDecidesNothing(t *testing.T) {
	token := sign(t, signer(jose.ES256), "jwt", access())
	u, err := jose.Peek(token[:len(token)-4] + "AAAA")
	if err != nil || u.Issuer != "https://sally.example" || u.Subject != "user:ana" || u.Header.KeyID != "k1" {
		t.Errorf("%+v, %v", u, err)
	}
	_, err = jose.Peek("a.b")
	wantReason(t, err, "form")
}

func TestClaimsByPath(t *testing.T) {
	type place struct {
		Name string `json:"name"`
	}
	token, err := jose.Verify(sign(t, signer(jose.ES256), "at+jwt", access().with("k", claims{"sa": place{"x"}, "list": []string{"a", "b"}, "mixed": []any{"a", 1}})), setOf(t, jose.ES256), profile())
	if err != nil {
		t.Fatal(err)
	}
	c := token.Claims
	if got, ok := c.Text("k", "sa", "name"); got != "x" || !ok {
		t.Errorf("Text = %q, %v", got, ok)
	}
	if _, ok := c.Text("k", "sa"); ok || c.Has("k", "none") || c.Has("iss", "x") || !c.Has("k", "sa") {
		t.Error("paths find what is not there, or not what is")
	}
	if got, ok := c.Texts("k", "list"); len(got) != 2 || !ok {
		t.Errorf("Texts = %q, %v", got, ok)
	}
	if _, ok := c.Texts("k", "mixed"); ok {
		t.Error("a list of texts and numbers is a list of texts")
	}
	var into struct {
		K struct{ SA place }
	}
	if err := c.Decode("x", &into); err != nil || into.K.SA.Name != "" {
		t.Errorf("names in another case are the same: %+v, %v", into, err)
	}
	wantReason(t, c.Decode("x", new(int)), "claims")
}

func TestKeysThatMayNotVerify(t *testing.T) {
	jwk, err := setOf(t, jose.ES256).Keys()[0].JWK()
	if err != nil {
		t.Fatal(err)
	}
	change := func(old, new string) string { return strings.Replace(string(jwk), old, new, 1) }
	for name, bad := range map[string]string{
		"for encryption": change(`"use":"sig"`, `"use":"enc"`), "for nothing": change(`"use":"sig"`, `"use":""`),
		"to sign": change(`"use":"sig"`, `"key_ops":["sign"]`), "to sign and verify": change(`"use":"sig"`, `"key_ops":["sign","verify"]`),
		"for nothing at all": change(`"use":"sig"`, `"key_ops":[]`), "another alg": change("ES256", "ES384"), "an unknown alg": change("ES256", "ES256K"),
		"a private key": change(`"use":"sig"`, `"d":"`+b64(make([]byte, 31))+`AQ"`), "use twice": change(`"use":"sig"`, `"use":"sig","use":"sig"`),
		"too large": change(`"use":"sig"`, `"x":"`+strings.Repeat("A", 17<<10)+`"`), "a long kid": change(`"k1"`, `"`+strings.Repeat("k", 257)+`"`),
	} {
		if _, err := jose.ParseKey([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := jose.ParseKey([]byte(change(`"use":"sig"`, `"key_ops":["verify"]`))); err != nil {
		t.Errorf("to verify: %v", err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err == nil {
		if _, err := jose.NewKey("", "", small.Public()); err == nil {
			t.Error("an RSA key of 1,024 bits is accepted")
		}
	}
	if _, err := jose.NewSet(jose.Key{}); err == nil {
		t.Error("a set of a zero key")
	}
	if (jose.Key{}).Thumbprint() != "" {
		t.Error("a zero key has a thumbprint")
	}
}

// A signer that is not whole signs nothing.
func TestSignerIsWhole(t *testing.T) {
	good := signer(jose.ES256)
	for name, s := range map[string]jose.Signer{
		"no key":            {Algorithm: jose.ES256, Rand: rand.Reader},
		"no randomness":     {Key: good.Key, Algorithm: jose.ES256},
		"no algorithm":      {Key: good.Key, Rand: rand.Reader},
		"another algorithm": {Key: good.Key, Algorithm: jose.RS256, Rand: rand.Reader},
	} {
		if _, err := s.Sign("at+jwt", access()); err == nil {
			t.Errorf("%s: signed", name)
		}
		if _, err := s.SignProof(jose.ProofFor{Method: "GET", URL: "https://a.example/", Now: now}); err == nil {
			t.Errorf("%s: proved", name)
		}
	}
	if _, err := good.Sign("", access()); err == nil {
		t.Error("a token without a type is signed")
	}
	if _, err := good.Sign("at+jwt", func() {}); err == nil {
		t.Error("what is no JSON is signed")
	}
}
