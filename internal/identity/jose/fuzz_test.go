package jose_test

import (
	"strings"
	"testing"

	"sallyport/internal/identity/jose"
)

// FuzzParseSet looks for documents that make the parser fall over, or whose set does not read back as itself.
func FuzzParseSet(f *testing.F) {
	for _, a := range []jose.Algorithm{jose.ES256, jose.ES512, jose.EdDSA, jose.PS256} {
		key, err := jose.NewKey("k", a, ring()[a].Public())
		if err != nil {
			f.Fatal(err)
		}
		set, err := jose.NewSet(key)
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(set.Document()))
	}
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"RSA","n":"","e":""},{}]}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		set, err := jose.ParseSet(document)
		if err != nil {
			return
		}
		again, err := jose.ParseSet(set.Document())
		if err != nil || len(again.Keys()) != len(set.Keys()) {
			t.Fatalf("the set does not read back: %v", err)
		}
		for i, k := range set.Keys() {
			if again.Keys()[i].Thumbprint() != k.Thumbprint() || k.Thumbprint() == "" {
				t.Errorf("key %d is another one", i)
			}
		}
	})
}

// FuzzVerify looks for a text other than the one that was signed that verifies.
func FuzzVerify(f *testing.F) {
	text, err := signer(jose.ES256).Sign("at+jwt", access())
	if err != nil {
		f.Fatal(err)
	}
	good := text.Reveal()
	key, err := jose.NewKey("k1", "", ring()[jose.ES256].Public())
	if err != nil {
		f.Fatal(err)
	}
	set, err := jose.NewSet(key)
	if err != nil {
		f.Fatal(err)
	}
	signed := good[:strings.LastIndexByte(good, '.')]
	for _, seed := range []string{good, signed + ".", "e30.e30.AA", strings.ReplaceAll(good, ".", ".."), "eyJhbGciOiJub25lIn0.e30."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := jose.Verify(s, set, profile()); err == nil && s[:strings.LastIndexByte(s, '.')] != signed {
			t.Errorf("verifies: %q", s)
		}
		_, _ = jose.Peek(s)
	})
}

// FuzzVerifyProof looks for headers and addresses that make the checker fall over.
func FuzzVerifyProof(f *testing.F) {
	f.Add(rfcProof, "https://server.example.com/token")
	f.Add(rfcResource, "https://resource.example.org/protectedresource")
	f.Add(strings.Replace(rfcProof, ".", "", 1), "https://[::1]:443/%zz")
	f.Fuzz(func(t *testing.T, header, address string) {
		r := request()
		r.URL = address
		if _, err := jose.VerifyProof([]string{header}, r); err == nil {
			t.Errorf("a proof of long ago for %q", address)
		}
	})
}
