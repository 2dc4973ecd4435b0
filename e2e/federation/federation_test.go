//go:build e2e

// Package federation signs people in by other people's identity providers, unchanged: Keycloak by OpenID Connect and by SAML,
// node's oidc-provider and samlp. A small browser without scripts walks all their pages. It leaves installing them to install.sh:
//
//	e2e/federation/install.sh
//	go test -count=1 -tags e2e ./e2e/federation
//
// SALLYPORT_E2E_KEYCLOAK names the directory of another Keycloak.
package federation

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/directory"
	"sallyport/internal/server"
	"sallyport/internal/store/sqldb"
)

// A stage is a Sallyport with the providers of the test.
type stage struct {
	t        *testing.T
	external string
	people   *directory.Service
}

// start runs a server at an address, with providers.
func start(t *testing.T, address string, providers ...server.IdentityProvider) *stage {
	t.Helper()
	data, keys := t.TempDir(), t.TempDir()
	logger := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := server.Start(t.Context(), server.Config{Listen: address, Plaintext: true, Data: data, KeyFile: filepath.Join(keys, "kek"), Admin: "root", Organisation: "acme", Federation: providers}, logger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	db, err := sqldb.Open(t.Context(), "sqlite:"+filepath.Join(data, "sallyport.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	st := &stage{t: t, external: s.External(), people: &directory.Service{Store: db.Directory(), Now: time.Now}}
	for _, g := range []string{"acme/engineers", "acme/risk"} {
		if err := st.people.DefineGroup(t.Context(), directory.Group{Name: g}); err != nil {
			t.Fatal(err)
		}
	}
	return st
}

func mapped(claim, prefix string) []server.GroupMapping {
	return []server.GroupMapping{
		{ClaimCondition: server.ClaimCondition{Claim: claim, Is: prefix + "ml"}, Groups: []string{"acme/engineers"}},
		{ClaimCondition: server.ClaimCondition{Claim: claim, Is: prefix + "risk"}, Groups: []string{"acme/risk"}},
	}
}

// signedIn wants a browser to have come home, and the account page to be that of somebody, in a group.
func (s *stage) signedIn(b *browser, at page, name, group string) {
	s.t.Helper()
	if at.url.Path != "/home" || at.status != http.StatusOK {
		s.t.Fatalf("at %s (%d), want the home page\n%s", at.url, at.status, at.text)
	}
	if at = b.get(s.external + "/account"); at.url.Path != "/account" || at.status != http.StatusOK {
		s.t.Fatalf("at %s (%d), want the account\n%s", at.url, at.status, at.text)
	}
	for _, want := range []string{name, group, "identity provider"} {
		if !strings.Contains(at.text, want) {
			s.t.Errorf("the account page lacks %q:\n%s", want, at.text)
		}
	}
}

func (s *stage) member(id sallyport.PrincipalID) directory.Member {
	s.t.Helper()
	m, err := s.people.Get(s.t.Context(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

// ended waits for a browser's session to be over.
func (s *stage) ended(b *browser) {
	s.t.Helper()
	for range 1200 { // a minute
		if b.get(s.external+"/account").url.Path == "/login" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.t.Error("the session lives on")
}

func TestKeycloak(t *testing.T) {
	k := startKeycloak(t)
	address := freeAddress(t)
	k.configure("http://" + address)
	dir := t.TempDir()
	secret, metadata := filepath.Join(dir, "secret"), filepath.Join(dir, "metadata.xml")
	write(t, secret, []byte("a secret of the test\n"))
	write(t, metadata, []byte(newBrowser(t).get(k.realm+"/protocol/saml/descriptor").text))
	s := start(t, address,
		server.IdentityProvider{Name: "corp", Title: "Acme sign-in", Kind: "oidc", Map: mapped("groups", "/"), ACR: map[string]string{"1": "aal2"},
			OIDC:   server.OIDCProvider{Issuer: k.realm, Client: "sallyport", SecretFile: secret, Scopes: []string{"profile", "email"}},
			Claims: server.ClaimNames{Name: "preferred_username", Display: "name", Email: "email", Verified: "email_verified"}, Join: &server.JoinSetting{Organisation: "acme"}},
		server.IdentityProvider{Name: "legacy", Title: "Acme by SAML", Kind: "saml", Map: mapped("groups", "/"), ACR: map[string]string{"urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified": "aal2"},
			SAML: server.SAMLProvider{MetadataFile: metadata}, Claims: server.ClaimNames{Name: "uid"}, Join: &server.JoinSetting{Organisation: "acme"}})
	t.Run("OpenID Connect", func(t *testing.T) { s.openID(k) })
	t.Run("SAML", func(t *testing.T) { s.bySAML(k) })
}

// openID signs in by code, PKCE and a pushed request, which the realm demands; moves between groups; honours acr; and is signed
// out over the back channel.
func (s *stage) openID(k *keycloak) {
	t := s.t
	b := newBrowser(t)
	at := b.submit(b.submit(b.get(s.external+"/login"), "/login/with/corp"), "login-actions", "username", "ana", "password", "ana-at-keycloak")
	s.signedIn(b, at, "ana", "acme/engineers")
	m := s.member("user:ana")
	if len(m.Identities) != 1 || m.Identities[0].Issuer != k.realm || m.Email != "ana@acme.example" || !slices.Equal(m.Groups, []string{"acme/engineers"}) {
		t.Errorf("%+v", m)
	}
	// Keycloak remembers her and says so by another acr, which no rule maps: that is worth aal1, and people here need aal2.
	remembered := b.submit(b.get(s.external+"/login?again=1"), "/login/with/corp", "again", "")
	if remembered.status != http.StatusUnauthorized || !strings.Contains(remembered.text, "not enough here") {
		t.Errorf("by Keycloak's memory: %d at %s\n%s", remembered.status, remembered.url, remembered.text)
	}
	// Asked anew she proves herself, and in between she has moved.
	k.move("ana", "risk", "ml")
	again := b.submit(b.get(s.external+"/login?again=1"), "/login/with/corp")
	again = b.submit(again, "login-actions", "password", "ana-at-keycloak")
	s.signedIn(b, again, "ana", "acme/risk")
	if m := s.member("user:ana"); !slices.Equal(m.Groups, []string{"acme/risk"}) {
		t.Errorf("after she moved: %v", m.Groups)
	}
	k.logout("ana")
	s.ended(b)
}

// bySAML signs in by a signed assertion, refuses the same response again and in another browser, and knows another person than
// the one who came by OpenID Connect: an issuer's subject is what counts.
func (s *stage) bySAML(k *keycloak) {
	t := s.t
	b := newBrowser(t)
	var response url.Values
	b.posting = func(to string, form url.Values) {
		if strings.HasSuffix(to, "/saml/legacy/acs") {
			response = form
		}
	}
	at := b.submit(b.submit(b.get(s.external+"/login"), "/login/with/legacy"), "login-actions", "username", "bo", "password", "bo-at-keycloak")
	s.signedIn(b, b.submitted(at, "/saml/legacy/acs"), "bo", "acme/risk")
	m := s.member("user:bo")
	if len(m.Identities) != 1 || m.Identities[0].Issuer != "saml:"+k.realm {
		t.Errorf("%+v", m)
	}
	if response == nil {
		t.Fatal("no response was seen on its way")
	}
	for name, c := range map[string]*browser{"again": b, "elsewhere": newBrowser(t)} {
		if at := c.post(s.external+"/saml/legacy/acs", response); at.status != http.StatusUnauthorized || at.url.Path != "/saml/legacy/acs" {
			t.Errorf("the same response %s: %d at %s", name, at.status, at.url)
		}
	}
	// Login CSRF: a good response, never used, posted by another browser, signs nobody in there.
	c := newBrowser(t)
	c.holds = "/saml/legacy/acs"
	c.submit(c.submit(c.get(s.external+"/login"), "/login/with/legacy"), "login-actions", "username", "bo", "password", "bo-at-keycloak")
	if c.held == nil {
		t.Fatal("no response was held back")
	}
	victim := newBrowser(t)
	victim.submit(victim.get(s.external+"/login"), "/login/with/legacy")
	if at := victim.post(s.external+"/saml/legacy/acs", c.held); at.status != http.StatusUnauthorized {
		t.Errorf("somebody else's response: %d at %s\n%s", at.status, at.url, at.text)
	}
}

func TestNodeProviders(t *testing.T) {
	address, oidc, saml := freeAddress(t), freeAddress(t), freeAddress(t)
	dir := t.TempDir()
	certificate, key := selfSigned(t, dir)
	secret := filepath.Join(dir, "secret")
	write(t, secret, []byte("a-secret-of-the-test"))
	startNode(t, "oidc.mjs", port(oidc), "http://"+address)
	startNode(t, "saml.mjs", port(saml), "http://"+address, certificate, key)
	name := "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/"
	s := start(t, address,
		server.IdentityProvider{Name: "node", Title: "Node", Kind: "oidc", Map: mapped("groups", ""), AMR: []server.MethodMapping{{All: []string{"pwd"}, Level: "aal2"}},
			OIDC: server.OIDCProvider{Issuer: "http://" + oidc, Client: "sallyport", SecretFile: secret}, Claims: server.ClaimNames{Name: "preferred_username"}, Join: &server.JoinSetting{Organisation: "acme"},
			MaxAge: time.Hour},
		server.IdentityProvider{Name: "node-saml", Title: "Node by SAML", Kind: "saml", SAML: server.SAMLProvider{Entity: "urn:node-saml", SSO: "http://" + saml + "/", Certificates: []string{certificate}, NameID: "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"},
			ACR: map[string]string{"urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified": "aal2"}, Claims: server.ClaimNames{Name: name + "emailaddress"}, Join: &server.JoinSetting{Organisation: "acme"}})
	t.Run("samlp", func(t *testing.T) {
		b := newBrowser(t)
		at := b.submit(b.get(s.external+"/login"), "/login/with/node-saml")
		s.signedIn(b, b.submitted(at, "/saml/node-saml/acs"), "ana", "acme")
	})
	t.Run("oidc-provider", func(t *testing.T) {
		b := newBrowser(t)
		at := b.submit(b.get(s.external+"/login"), "/login/with/node")
		at = b.submit(at, "/interaction/", "login", "cy", "password", "x")
		at = b.submit(at, "/interaction/")
		// It says nothing of methods, so that nothing is worth more than aal1.
		if at.status != http.StatusUnauthorized || !strings.Contains(at.text, "not enough here (aal1, needed: aal2)") {
			t.Fatalf("%d at %s\n%s", at.status, at.url, at.text)
		}
		if m := s.member("user:cy"); !slices.Equal(m.Groups, []string{"acme/engineers"}) {
			t.Errorf("%+v", m)
		}
	})
}

// Down: who is signed in stays so, the page says who cannot be reached, and other ways stay open.
func TestProviderIsDown(t *testing.T) {
	s := start(t, freeAddress(t), server.IdentityProvider{Name: "gone", Title: "Gone sign-in", Kind: "oidc", OIDC: server.OIDCProvider{Issuer: "http://" + freeAddress(t), Client: "x"}})
	b := newBrowser(t)
	at := b.submit(b.get(s.external+"/login"), "/login/with/gone")
	if at.status != http.StatusServiceUnavailable || !strings.Contains(at.text, "Gone sign-in cannot be reached") {
		t.Errorf("%d\n%s", at.status, at.text)
	}
	if at := b.get(s.external + "/login"); at.status != http.StatusOK || !strings.Contains(at.text, `name="password"`) {
		t.Errorf("the sign-in page: %d", at.status)
	}
}

// move changes the groups of a person in Keycloak.
func (k *keycloak) move(user, to, from string) {
	k.t.Helper()
	id := k.find("/users?exact=true&username="+user, "username", user)
	k.admin(http.MethodPut, "/users/"+id+"/groups/"+k.find("/groups?search="+to, "name", to), nil, nil)
	k.admin(http.MethodDelete, "/users/"+id+"/groups/"+k.find("/groups?search="+from, "name", from), nil, nil)
}

func (k *keycloak) logout(user string) {
	k.t.Helper()
	k.admin(http.MethodPost, "/users/"+k.find("/users?exact=true&username="+user, "username", user)+"/logout", nil, nil)
}

func (k *keycloak) find(path, field, value string) string {
	k.t.Helper()
	var all []map[string]any
	k.admin(http.MethodGet, path, nil, &all)
	for _, one := range all {
		if one[field] == value {
			return fmt.Sprint(one["id"])
		}
	}
	k.t.Fatalf("%s finds no %s", path, value)
	return ""
}

// configure imports the realm, with our addresses in it.
func (k *keycloak) configure(external string) {
	k.t.Helper()
	raw, err := os.ReadFile("realm.json")
	if err != nil {
		k.t.Fatal(err)
	}
	realm := strings.ReplaceAll(string(raw), "EXTERNAL", external)
	k.call(http.MethodPost, k.url+"/admin/realms", strings.NewReader(realm), nil)
}

func (k *keycloak) admin(method, path string, in, out any) {
	k.t.Helper()
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			k.t.Fatal(err)
		}
		body = strings.NewReader(string(raw))
	}
	k.call(method, k.url+"/admin/realms/acme"+path, body, out)
}

// call calls the administration of Keycloak.
func (k *keycloak) call(method, to string, body io.Reader, out any) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, to, body)
	if err != nil {
		k.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+k.token())
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		k.t.Fatal(err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		k.t.Fatalf("%s %s: %d %s %v", method, to, answer.StatusCode, raw, err)
	}
	if out != nil {
		if err := json.Unmarshal(raw, out); err != nil {
			k.t.Fatal(err)
		}
	}
}
