package workload_test

import (
	"crypto"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"

	"sallyport"
	"sallyport/internal/identity/workload"
)

func spiffeRule(i *issuer, keys []byte, sub string) workload.Rule {
	r := githubRule(i)
	r.Kind, r.Issuer, r.Keys, r.Match = workload.SPIFFE, "spiffe://acme.example", keys, map[string]string{"sub": sub}
	return r
}

// What we accept, go-spiffe accepts too; and whatever it refuses, we refuse.
func TestSPIFFE(t *testing.T) {
	w := newWorld(t)
	w.at = time.Now().UTC().Truncate(time.Second) // go-spiffe reads the clock itself
	i := w.issuer()
	bundle := strings.Replace(string(i.keys(t)), `"use":"sig"`, `"use":"jwt-svid"`, 1)
	bundle = strings.Replace(bundle, `{"keys":[`, `{"spiffe_sequence":1,"keys":[{"kty":"EC","use":"x509-svid","crv":"P-256","x":"AA","y":"AA"},{"use":"jwt-svid","kty":"XX"},1,`, 1)
	w.add(spiffeRule(i, []byte(bundle), "spiffe://acme.example/ns/prod/*"))
	domain := spiffeid.RequireTrustDomainFromString("acme.example")
	peer := jwtbundle.FromJWTAuthorities(domain, map[string]crypto.PublicKey{"k1": i.signer.Key.Public()})
	good := w.github(i).with("sub", "spiffe://acme.example/ns/prod/sa/trainer")
	for name, row := range map[string]struct {
		claims claims
		ok     bool
	}{
		"a workload":              {good, true},
		"without iss":             {good.with("iss", nil), true},
		"another path":            {good.with("sub", "spiffe://acme.example/ns/production/x"), false},
		"the prefix itself":       {good.with("sub", "spiffe://acme.example/ns/prod"), false},
		"an empty segment":        {good.with("sub", "spiffe://acme.example/ns/prod//x"), false},
		"a way up":                {good.with("sub", "spiffe://acme.example/ns/prod/../x"), false},
		"a slash at the end":      {good.with("sub", "spiffe://acme.example/ns/prod/x/"), false},
		"a strange character":     {good.with("sub", "spiffe://acme.example/ns/prod/x%41"), false},
		"another domain":          {good.with("sub", "spiffe://evil.example/ns/prod/x"), false},
		"a domain in upper case":  {good.with("sub", "spiffe://ACME.example/ns/prod/x"), false},
		"a domain that goes on":   {good.with("sub", "spiffe://acme.example.evil/ns/prod/x"), false},
		"no sub":                  {good.with("sub", nil), false},
		"another audience":        {good.with("aud", "other"), false},
		"no end":                  {good.with("exp", nil), false},
		"over":                    {good.with("iat", w.at.Add(-3*time.Hour).Unix()).with("exp", w.at.Add(-2*time.Hour).Unix()), false},
		"no sub, only a web name": {good.with("sub", "https://acme.example/ns/prod/x"), false},
	} {
		t.Run(name, func(t *testing.T) {
			text := i.sign(t, row.claims)
			_, err := w.Verify(t.Context(), text, "ci")
			if (err == nil) != row.ok {
				t.Errorf("%v, want accepted %v", err, row.ok)
			}
			if _, theirs := jwtsvid.ParseAndValidate(text.Reveal(), peer, []string{ours}); theirs != nil && err == nil {
				t.Errorf("go-spiffe refuses it: %v", theirs)
			}
		})
	}
}

// The ids that we take for well formed are those that go-spiffe does.
func FuzzSPIFFEID(f *testing.F) {
	for _, seed := range []string{"spiffe://a/b", "spiffe://a.b-c_d/e/F/0.1", "spiffe://a//b", "spiffe://a/..", "spiffe://A/b", "spiffe://a/b/", "https://a/b", "spiffe:///b", "spiffe://a/%41", "spiffe://é/b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := spiffeid.FromString(s)
		want := err == nil && id.Path() != "" && len(s) <= 2048
		if got := workload.SPIFFEID(s); got != want {
			t.Errorf("%q: %v, go-spiffe says %v (%v)", s, got, want, err)
		}
	})
}

func TestSPIFFEExact(t *testing.T) {
	w := newWorld(t)
	i := w.issuer()
	w.add(spiffeRule(i, i.keys(t), "spiffe://acme.example/trainer"))
	for sub, reason := range map[string]string{"spiffe://acme.example/trainer": "", "spiffe://acme.example/trainer/x": "match", "spiffe://acme.example/trainers": "match"} {
		_, err := w.verify(i, w.github(i).with("sub", sub))
		if reason == "" && err != nil || reason != "" && sallyport.ReasonOf(err) != "workload."+reason {
			t.Errorf("%s: %v", sub, err)
		}
	}
}
