package server

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/federation"
	"sallyport/internal/identity/session"
)

const providerText = `
data: /d
key_file: /k
federation:
  - name: corp
    kind: oidc
    oidc: {issuer: "https://idp.example/realms/acme", client_id: sallyport, client_secret_file: corp.secret, hosts: ["10.0.0.7:8443"]}
    claims: {name: preferred_username, email: email, verified: email_verified}
    map: [{claim: groups, is: /ml, groups: [acme/engineers]}]
    only: [{claim: groups, is: /ml}]
    acr: {gold: phr}
    amr: [{all: [pwd, otp], level: aal2}]
    max_age: 12h
    domains: [acme.example]
    join: {organisation: acme, groups: [acme/staff]}
  - name: people
    kind: ldap
    ldap: {url: "ldaps://directory.example", bind_dn: cn=x, bind_password_file: /abs/secret, base: "dc=x", filter: "(uid={})", poll: 5m}
`

func TestFederationConfig(t *testing.T) {
	c, err := ParseConfig([]byte(providerText))
	if err != nil {
		t.Fatal(err)
	}
	below := c.below("/etc/sallyport")
	if got := below.Federation[0].OIDC.SecretFile; got != "/etc/sallyport/corp.secret" || below.Federation[1].LDAP.PasswordFile != "/abs/secret" || c.Federation[0].OIDC.SecretFile != "corp.secret" {
		t.Errorf("%s", got)
	}
	if _, err := c.check(); err != nil {
		t.Fatal(err)
	}
	rules, err := c.Federation[0].rules()
	if err != nil || rules.MaxAge != 12*time.Hour || rules.ACR["gold"] != sallyport.PhishingResistant || rules.Join.Organisation != "acme" || rules.AMR[0].Level != sallyport.MultiFactor ||
		rules.Groups[0].Condition != (federation.Condition{Claim: "groups", Is: "/ml"}) || rules.Fields.Verified != "email_verified" || len(rules.Only) != 1 {
		t.Errorf("%+v, %v", rules, err)
	}
	for name, change := range map[string][2]string{
		"another key":        {"max_age: 12h", "maxage: 12h"},
		"no level":           {"gold: phr", "gold: high"},
		"a level of methods": {"level: aal2", "level: strong"},
		"a kind":             {"kind: ldap", "kind: kerberos"},
		"a name twice":       {"name: people", "name: corp"},
		"an odd name":        {"name: people", "name: People"},
		"a group":            {"acme/engineers", "engineers"},
		"poll":               {"poll: 5m", "poll: 5ms"},
		"a domain":           {"[acme.example]", "[example]"},
		"join nowhere":       {"organisation: acme, ", ""},
	} {
		c, err := ParseConfig([]byte(strings.Replace(providerText, change[0], change[1], 1)))
		if err == nil {
			_, err = c.check()
		}
		if sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FED5: a provider's documents do not send us to our neighbours: only hosts that the operator listed may be private.
func TestFED5OnlyListedNeighbours(t *testing.T) {
	answers := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 2*maxDocument)) })
	listed, neighbour := httptest.NewServer(answers), httptest.NewServer(answers)
	defer listed.Close()
	defer neighbour.Close()
	u, err := url.Parse(listed.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := providerClient([]*url.URL{u}, nil)
	answer, err := c.Get(listed.URL)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := answer.Body.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	_ = answer.Body.Close()
	metadata := netip.MustParseAddr("169.254.169.254")
	for _, to := range []string{neighbour.URL, "http://" + metadata.String() + "/", "http://localhost" + neighbour.URL[strings.LastIndex(neighbour.URL, ":"):]} {
		if answer, err := c.Get(to); err == nil {
			_ = answer.Body.Close()
			t.Errorf("%s was reached", to)
		} else if !strings.Contains(err.Error(), "is not one that this server may call") {
			t.Errorf("%s: %v", to, err)
		}
	}
	hosts, err := OIDCProvider{Issuer: "https://idp.example/x", Hosts: []string{"10.0.0.7:8443"}}.hosts()
	if err != nil || len(hosts) != 2 || hosts[1].String() != "https://10.0.0.7:8443" {
		t.Errorf("%v, %v", hosts, err)
	}
	for _, bad := range []string{"", "https://x", "x/y", "u@x"} {
		if hosts, err := (OIDCProvider{Issuer: "https://idp.example", Hosts: []string{bad}}).hosts(); err == nil {
			t.Errorf("%q became %v", bad, hosts[1])
		}
	}
}

// ID-10: whoever is gone from a directory leaves here: the account is suspended and its sessions are over.
func TestGoneFromTheDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Start(t.Context(), Config{Listen: "127.0.0.1:0", Plaintext: true, Data: filepath.Join(dir, "data"), KeyFile: filepath.Join(dir, "keys", "kek"), Admin: "root", Organisation: "acme",
		Federation: []IdentityProvider{{Name: "people", Kind: "ldap", LDAP: LDAPProvider{URL: "ldaps://127.0.0.1:1", BindDN: "cn=x", PasswordFile: filepath.Join(dir, "secret"), Base: "dc=x", Filter: "(uid={})", Poll: time.Hour}}}},
		slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, err := s.rooms.directory.Create(t.Context(), directory.Member{ID: "user:ana", Org: "acme", Identities: []directory.Identity{{Issuer: "ldap:people", Subject: "u-1"}}}); err != nil {
		t.Fatal(err)
	}
	bearer, _, err := s.rooms.sessions.Start(t.Context(), session.Proof{Principal: "user:ana", Person: "user:ana", Assurance: sallyport.MultiFactor, Methods: []string{"fed", "otp"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.sweeps) != 1 {
		t.Fatalf("%d sweeps", len(s.sweeps))
	}
	if gone, err := s.rooms.signin.Sweep(t.Context(), "people", s.sweeps[0].look, s.gone); sallyport.KindOf(err) != sallyport.Unavailable || len(gone) != 0 {
		t.Errorf("a directory that cannot be reached: %v, %v", gone, err)
	}
	nobody := func(context.Context, []string) (map[string]federation.Assertion, error) { return nil, nil }
	if gone, err := s.rooms.signin.Sweep(t.Context(), "people", nobody, s.gone); err != nil || len(gone) != 1 {
		t.Fatalf("%v, %v", gone, err)
	}
	if m, err := s.rooms.directory.Get(t.Context(), "user:ana"); err != nil || m.State != directory.Suspended {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := s.rooms.sessions.Lookup(t.Context(), bearer); sallyport.ReasonOf(err) != session.ReasonRevoked {
		t.Errorf("the session: %v", err)
	}
}
