package jose_test

import (
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
	"sallyport/internal/plumbing/secret"
)

const tokenEndpoint = "https://sally.example/oauth/token"

func request() jose.Request {
	return jose.Request{Method: "POST", URL: tokenEndpoint, NoToken: true, Now: now}
}

func proof(t *testing.T, r jose.ProofFor) string {
	t.Helper()
	if r.Now.IsZero() {
		r.Now = now
	}
	text, err := signer(jose.ES256).SignProof(r)
	if err != nil {
		t.Fatal(err)
	}
	return text.Reveal()
}

// The proofs of RFC 9449, sections 4.1, 7.1 and the access token of 7.1.
const (
	rfcProof    = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
	rfcResource = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
	rfcToken    = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
	rfcJKT      = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
)

func TestRFC9449Examples(t *testing.T) {
	p, err := jose.VerifyProof([]string{rfcProof}, jose.Request{Method: "POST", URL: "https://server.example.com/token", NoToken: true, Now: time.Unix(1562262616, 0)})
	if err != nil || p.Thumbprint != rfcJKT || p.ID != "-BwC3ESc6acc2lTc" || p.Issued.Unix() != 1562262616 || p.Nonce != "" {
		t.Errorf("%+v, %v", p, err)
	}
	r := jose.Request{Method: "GET", URL: "https://resource.example.org/protectedresource", Token: secret.NewText(rfcToken), Now: time.Unix(1562262620, 0)}
	if p, err = jose.VerifyProof([]string{rfcResource}, r); err != nil || p.Thumbprint != rfcJKT {
		t.Errorf("%+v, %v", p, err)
	}
	r.Token = secret.NewText(rfcToken + "x")
	_, err = jose.VerifyProof([]string{rfcResource}, r)
	wantReason(t, err, "token")
}

func TestProofRoundTrip(t *testing.T) {
	token := secret.NewText("an access token")
	for _, a := range jose.ProofAlgorithms() {
		s := signer(a)
		text, err := s.SignProof(jose.ProofFor{Method: "GET", URL: "HTTPS://Hub.Example:443/a%2fb?x=1#y", Token: token, Nonce: "n1", Now: now})
		if err != nil {
			t.Fatal(err)
		}
		p, err := jose.VerifyProof([]string{text.Reveal()}, jose.Request{Method: "GET", URL: "https://hub.example/a%2Fb", Token: token, Now: now})
		if err != nil || p.Nonce != "n1" || p.Thumbprint != jose.Thumbprint(s.Key.Public()) || len(p.ID) != 22 {
			t.Errorf("%s: %+v, %v", a, p, err)
		}
	}
	one, other := proof(t, jose.ProofFor{Method: "GET", URL: "https://a.example"}), proof(t, jose.ProofFor{Method: "GET", URL: "https://a.example"})
	if one == other {
		t.Error("two proofs have one jti")
	}
}

func TestDPOP1Form(t *testing.T) {
	good := proof(t, jose.ProofFor{Method: "POST", URL: tokenEndpoint})
	for _, headers := range [][]string{nil, {}, {good, good}, {good, ""}} {
		_, err := jose.VerifyProof(headers, request())
		wantReason(t, err, "count")
	}
	_, err := jose.VerifyProof([]string{good + "," + good}, request())
	wantReason(t, err, "form")
	jwk, err := setOf(t, jose.ES256).Keys()[0].JWK()
	if err != nil {
		t.Fatal(err)
	}
	const payload = `{"jti":"1","htm":"POST","htu":"` + tokenEndpoint + `","iat":1795165200}`
	if now.Unix() != 1795165200 {
		t.Fatal(now.Unix())
	}
	header := func(alg, typ, key string) string {
		return `{"alg":"` + alg + `","typ":"` + typ + `","jwk":` + key + `}`
	}
	if _, err := jose.VerifyProof([]string{rough(t, header("ES256", "dpop+jwt", string(jwk)), payload)}, request()); err != nil {
		t.Fatal(err)
	}
	other, err := setOf(t, jose.ES384).Keys()[0].JWK()
	if err != nil {
		t.Fatal(err)
	}
	private := strings.Replace(string(jwk), `"use":"sig"`, `"d":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"`, 1)
	for reason, all := range map[string][]string{
		"type":      {`{"alg":"ES256"}`, `{"alg":"ES256","typ":"at+jwt"}`},
		"header":    {header("ES256", "jwt", "1"), header("ES256", "at+jwt", string(jwk)), header("ES256", "DPoP+JWT", string(jwk)), header("ES256", "dpop+jwt", `{"kty":"EC","kty":"EC"}`)},
		"algorithm": {header("none", "dpop+jwt", string(jwk)), header("HS256", "dpop+jwt", string(jwk)), header("RS256", "dpop+jwt", string(jwk))},
		"key": {header("ES256", "dpop+jwt", private), header("ES256", "dpop+jwt", `{"kty":"oct","k":"AAAA"}`), header("ES256", "dpop+jwt", "null"),
			header("ES256", "dpop+jwt", `"x"`), `{"alg":"ES256","typ":"dpop+jwt"}`, header("ES256", "dpop+jwt", string(other)), header("ES384", "dpop+jwt", string(jwk))},
		"signature": {header("ES384", "dpop+jwt", string(other))},
	} {
		for _, h := range all {
			_, err := jose.VerifyProof([]string{rough(t, h, payload)}, request())
			wantReason(t, err, reason)
		}
	}
}

func TestDPOP2Request(t *testing.T) {
	for method, reason := range map[string]string{"GET": "method", "post": "method", "": "method"} {
		p := `{"jti":"1","htm":"` + method + `","htu":"` + tokenEndpoint + `","iat":1795165200}`
		_, err := jose.VerifyProof([]string{roughProof(t, p)}, request())
		wantReason(t, err, reason)
	}
	for _, address := range []string{
		"https://sally.example/oauth/token?a=b", "https://sally.example/oauth/token#c", "https://SALLY.example:443/oauth/token",
		"HTTPS://sally.example/oauth/%74oken",
	} {
		if _, err := jose.VerifyProof([]string{roughProof(t, `{"jti":"1","htm":"POST","htu":"`+address+`","iat":1795165200}`)}, request()); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{
		"https://evil.example/oauth/token", "http://sally.example/oauth/token", "https://sally.example:8443/oauth/token", "https://sally.example/oauth/token/",
		"https://sally.example/OAuth/token", "https://sally.example/oauth", "/oauth/token", "", "https://ana@sally.example/oauth/token",
		"https://sally.example/x/../oauth/token", "https://sally.example/oauth%2ftoken", "https://sally.example.evil.example/oauth/token", "https://sally.example/oauth/%2e%2e/oauth/token",
	} {
		_, err := jose.VerifyProof([]string{roughProof(t, `{"jti":"1","htm":"POST","htu":"`+address+`","iat":1795165200}`)}, request())
		wantReason(t, err, "url")
	}
}

// roughProof signs any claims as a proof.
func roughProof(t *testing.T, payload string) string {
	t.Helper()
	jwk, err := setOf(t, jose.ES256).Keys()[0].JWK()
	if err != nil {
		t.Fatal(err)
	}
	return rough(t, `{"alg":"ES256","typ":"dpop+jwt","jwk":`+string(jwk)+`}`, payload)
}

// The window of DPOP3, and jti.
func TestDPOP3Window(t *testing.T) {
	for offset, reason := range map[time.Duration]string{
		-60 * time.Second: "", -61 * time.Second: "expired", 10 * time.Second: "", 11 * time.Second: "early", -24 * time.Hour: "expired", 24 * time.Hour: "early",
	} {
		_, err := jose.VerifyProof([]string{proof(t, jose.ProofFor{Method: "POST", URL: tokenEndpoint, Now: now.Add(offset)})}, request())
		if reason == "" && err != nil {
			t.Errorf("%v: %v", offset, err)
		} else if reason != "" {
			wantReason(t, err, reason)
		}
	}
	for members, reason := range map[string]string{
		`"jti":"1"`:                                                 "expired", // no iat
		`"iat":1795165200`:                                          "id",
		`"jti":"1","iat":1795165200,"nonce":1`:                      "id",
		`"jti":"","iat":1795165200`:                                 "claims",
		`"jti":"1","iat":"1795165200"`:                              "claims",
		`"jti":"1","iat":1795165200,"exp":1`:                        "expired",
		`"jti":"1","iat":1795165200,"nbf":1895165200`:               "early",
		`"jti":"` + strings.Repeat("j", 257) + `","iat":1795165200`: "id",
	} {
		_, err := jose.VerifyProof([]string{roughProof(t, `{"htm":"POST","htu":"`+tokenEndpoint+`",`+members+`}`)}, request())
		wantReason(t, err, reason)
	}
}

// DPOP5: where an access token comes with the proof, the proof names it.
func TestDPOP5AccessToken(t *testing.T) {
	token := secret.NewText("an access token")
	r := jose.Request{Method: "POST", URL: tokenEndpoint, Token: token, Now: now}
	_, err := jose.VerifyProof([]string{proof(t, jose.ProofFor{Method: "POST", URL: tokenEndpoint})}, r)
	wantReason(t, err, "token")
	_, err = jose.VerifyProof([]string{proof(t, jose.ProofFor{Method: "POST", URL: tokenEndpoint, Token: secret.NewText("another")})}, r)
	wantReason(t, err, "token")
}

// What the caller must say cannot be forgotten.
func TestRequestIsWhole(t *testing.T) {
	text := proof(t, jose.ProofFor{Method: "POST", URL: tokenEndpoint})
	for name, change := range map[string]func(*jose.Request){
		"no method": func(r *jose.Request) { r.Method = "" }, "no time": func(r *jose.Request) { r.Now = time.Time{} },
		"no word about a token": func(r *jose.Request) { r.NoToken = false }, "both": func(r *jose.Request) { r.Token = secret.NewText("x") },
		"no address": func(r *jose.Request) { r.URL = "" }, "half an address": func(r *jose.Request) { r.URL = "/oauth/token" },
	} {
		r := request()
		change(&r)
		if _, err := jose.VerifyProof([]string{text}, r); err == nil || sallyport.KindOf(err) != sallyport.Other {
			t.Errorf("%s: %v, want a defect of ours", name, err)
		}
	}
}
