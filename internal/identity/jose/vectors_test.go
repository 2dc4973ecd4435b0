package jose_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/c2sp/wycheproof"

	"sallyport/internal/identity/jose"
)

// group is a group of JWS vectors: one key or one set of keys, and tokens.
type group struct {
	Comment string          `json:"comment"`
	Public  json.RawMessage `json:"public"`
	Private json.RawMessage `json:"private"`
	Tests   []struct {
		ID      int      `json:"tcId"`
		Comment string   `json:"comment"`
		JWS     text     `json:"jws"`
		JWE     text     `json:"jwe"`
		Result  string   `json:"result"`
		Flags   []string `json:"flags"`
	} `json:"tests"`
}

// text is a token in compact form; vectors in the JSON form are left as their JSON, which is no token here either.
type text string

// UnmarshalJSON implements [json.Unmarshaler].
func (s *text) UnmarshalJSON(b []byte) error {
	if plain := new(string); json.Unmarshal(b, plain) == nil {
		*s = text(*plain)
		return nil
	}
	*s = text(b)
	return nil
}

func vectors(t *testing.T, name string, into any) {
	t.Helper()
	text, err := fs.ReadFile(wycheproof.TestVectors, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

func groups(t *testing.T, name string) []group {
	t.Helper()
	var file struct {
		Groups []group `json:"testGroups"`
	}
	vectors(t, name, &file)
	return file.Groups
}

// keySet is the set of a group's keys, as a JWKS document would publish them: the test's only keys.
func (g group) keySet(t *testing.T) *jose.Set {
	t.Helper()
	key := g.Public
	if len(key) == 0 {
		key = g.Private // symmetric keys
	}
	if !strings.Contains(string(key), `"keys"`) {
		key = json.RawMessage(`{"keys":[` + string(key) + `]}`)
	}
	set, err := jose.ParseSet(key)
	if err != nil {
		set, err = jose.NewSet()
		if err != nil {
			t.Fatal(err)
		}
	}
	return set
}

// TestWycheproofSignatures takes all 401 JWS vectors through the verifier, with only the test's key known. None that
// is invalid gets through. Valid ones do, but for three kinds that are refused on purpose.
func TestWycheproofSignatures(t *testing.T) {
	refused := map[string]int{}
	count, accepted := 0, 0
	for _, g := range groups(t, "json_web_signature_test.json") {
		set := g.keySet(t)
		for _, one := range g.Tests {
			count++
			err := jose.SignatureOf(string(one.JWS), set)
			switch {
			case err == nil && one.Result != "valid":
				t.Errorf("%d %s %s: an invalid token is accepted", one.ID, g.Comment, one.Comment)
			case err == nil:
				accepted++
			case one.Result == "valid":
				refused[whyRefused(t, g, string(one.JWS))]++
			}
		}
	}
	if count != 401 {
		t.Errorf("%d vectors, want 401", count)
	}
	want := map[string]int{
		"a MAC":                         10, // whoever verifies one can make one; two of them are InvalidCharacterInserted*
		"key and token name two algs":   2,  // PS256 and PS384: the binding forbids what these vectors allow
		"the key's alg is not one: 521": 2,
	}
	for why, n := range refused {
		if want[why] != n {
			t.Errorf("refused because of %q: %d valid ones, want %d", why, n, want[why])
		}
	}
	if accepted != 46-14 {
		t.Errorf("%d valid ones accepted, want %d", accepted, 46-14)
	}
}

func whyRefused(t *testing.T, g group, token string) string {
	t.Helper()
	var key struct {
		Type      string `json:"kty"`
		Algorithm string `json:"alg"`
	}
	which := g.Public
	if len(which) == 0 {
		which = g.Private
	}
	if err := json.Unmarshal(which, &key); err != nil {
		t.Fatal(err)
	}
	peeked, _ := jose.HeaderOf(token)
	switch {
	case key.Type == "oct":
		return "a MAC"
	case key.Algorithm == "ES521":
		return "the key's alg is not one: 521"
	case key.Algorithm != string(peeked.Algorithm):
		return "key and token name two algs"
	}
	return "no reason: " + g.Comment
}

// TestWycheproofKeys takes the vectors about keys and sets of keys: ambiguous, weak, mistyped.
func TestWycheproofKeys(t *testing.T) {
	count := 0
	for _, g := range groups(t, "json_web_key_test.json") {
		set := g.keySet(t)
		for _, one := range g.Tests {
			count++
			err := jose.SignatureOf(string(one.JWS), set)
			mac := len(g.Public) == 0
			if good := err == nil; good != (one.Result == "valid" && !mac) {
				t.Errorf("%d %s %s: accepted %v, the vector is %s", one.ID, g.Comment, one.Comment, good, one.Result)
			}
		}
	}
	if count != 26 {
		t.Errorf("%d vectors, want 26", count)
	}
}

// TestJOSE7Encrypted refuses every JWE, valid or not, with whatever key the vector brings.
func TestJOSE7Encrypted(t *testing.T) {
	count := 0
	for _, name := range []string{"json_web_encryption_test.json", "json_web_crypto_test.json"} {
		for _, g := range groups(t, name) {
			for _, one := range g.Tests {
				if one.JWE == "" {
					continue
				}
				count++
				if err := jose.SignatureOf(string(one.JWE), g.keySet(t)); err == nil {
					t.Errorf("%s %d: a JWE is accepted", name, one.ID)
				}
			}
		}
	}
	if count < 139 {
		t.Errorf("only %d vectors", count)
	}
}

// signatureGroup is a group of vectors about bare signatures: the key is a JWK, or in parts.
type signatureGroup struct {
	JWK       json.RawMessage `json:"publicKeyJwk"`
	PublicKey json.RawMessage `json:"publicKey"`
	SHA       string          `json:"sha"`
	Salt      int             `json:"sLen"`
	MGF       string          `json:"mgfSha"`
	Tests     []struct {
		ID        int      `json:"tcId"`
		Message   string   `json:"msg"`
		Signature string   `json:"sig"`
		Result    string   `json:"result"`
		Comment   string   `json:"comment"`
		Flags     []string `json:"flags"`
	} `json:"tests"`
}

// key returns the group's public key, and false where it is one that is refused from the start.
func (g signatureGroup) key(t *testing.T) (jose.Key, bool) {
	t.Helper()
	var p struct {
		Curve    string `json:"curve"`
		Type     string `json:"type"`
		Point    string `json:"uncompressed"`
		Modulus  string `json:"modulus"`
		Exponent string `json:"publicExponent"`
		Raw      string `json:"pk"`
	}
	if err := json.Unmarshal(g.PublicKey, &p); err != nil {
		t.Fatal(err)
	}
	var public any
	switch {
	case p.Point != "":
		curve := map[string]elliptic.Curve{"secp256r1": elliptic.P256(), "secp384r1": elliptic.P384(), "secp521r1": elliptic.P521()}[p.Curve]
		k, err := ecdsa.ParseUncompressedPublicKey(curve, unhex(t, p.Point))
		if err != nil {
			t.Fatal(err)
		}
		public = k
	case p.Modulus != "":
		public = &rsa.PublicKey{N: new(big.Int).SetBytes(unhex(t, p.Modulus)), E: int(new(big.Int).SetBytes(unhex(t, p.Exponent)).Int64())}
	case p.Raw != "":
		public = ed25519.PublicKey(unhex(t, p.Raw))
	}
	k, err := jose.NewKey("", "", public)
	return k, err == nil
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	if len(s)%2 == 1 {
		s = "0" + s
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestWycheproofPrimitives takes the vectors of the signature algorithms themselves, in the form that JWS gives them. Of
// the large curves every tenth is taken, or all with SALLYPORT_VECTORS=all.
func TestWycheproofPrimitives(t *testing.T) {
	for _, file := range []struct {
		name      string
		algorithm jose.Algorithm
		least     int
	}{
		{"ecdsa_secp256r1_sha256_p1363_test.json", jose.ES256, 200},
		{"ecdsa_secp384r1_sha384_p1363_test.json", jose.ES384, 20},
		{"ecdsa_secp521r1_sha512_p1363_test.json", jose.ES512, 20},
		{"ed25519_test.json", jose.EdDSA, 100},
		{"rsa_signature_2048_sha256_test.json", jose.RS256, 200},
		{"rsa_signature_3072_sha384_test.json", jose.RS384, 200},
		{"rsa_signature_4096_sha512_test.json", jose.RS512, 200},
		{"rsa_pss_2048_sha256_mgf1_32_test.json", jose.PS256, 100},
		{"rsa_pss_2048_sha256_mgf1_0_test.json", jose.PS256, 100},
		{"rsa_pss_3072_sha256_mgf1_32_test.json", jose.PS256, 100},
		{"rsa_pss_4096_sha512_mgf1_32_test.json", jose.PS512, 100},
	} {
		t.Run(file.name, func(t *testing.T) {
			var all struct {
				Groups []signatureGroup `json:"testGroups"`
			}
			vectors(t, file.name, &all)
			n := 0
			for _, g := range all.Groups {
				key, ok := g.key(t)
				for _, one := range g.Tests {
					if file.least < 100 && one.ID%10 != 0 && os.Getenv("SALLYPORT_VECTORS") != "all" {
						continue
					}
					n++
					good := ok && jose.VerifyBytes(key, file.algorithm, unhex(t, one.Message), unhex(t, one.Signature))
					want := one.Result == "valid"
					if g.otherSalt(file.algorithm) { // valid PSS, but not as JWS has it
						want = one.Comment == "s_len changed to 32"
					}
					lenient := one.Result == "acceptable" || !ok
					if good && !want && !lenient || !good && want && !lenient {
						t.Errorf("%d %s: accepted %v, the vector is %s %v", one.ID, one.Comment, good, one.Result, one.Flags)
					}
				}
			}
			if n < file.least {
				t.Errorf("%d vectors, want %d", n, file.least)
			}
		})
	}
}

// otherSalt tells whether the group's salt is not as long as the hash.
func (g signatureGroup) otherSalt(a jose.Algorithm) bool {
	size := map[jose.Algorithm]int{jose.PS256: 32, jose.PS384: 48, jose.PS512: 64}[a]
	return size != 0 && g.Salt != size
}

// TestRFC7638 is the example of section 3.1.
func TestRFC7638(t *testing.T) {
	key, err := jose.ParseKey([]byte(`{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := key.Thumbprint(); got != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Errorf("thumbprint %s", got)
	}
	sum := sha256.Sum256([]byte("a certificate"))
	if got := jose.CertificateThumbprint([]byte("a certificate")); got != strings.TrimRight(b64(sum[:]), "=") {
		t.Errorf("certificate's thumbprint %s", got)
	}
	if !slices.Contains(jose.ForeignAlgorithms(), key.Algorithm()) {
		t.Errorf("algorithm %q", key.Algorithm())
	}
}
