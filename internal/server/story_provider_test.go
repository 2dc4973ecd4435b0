package server_test

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/audit/trail"
	"sallyport/internal/identity/federation/oidc/oidctest"
	"sallyport/internal/server"
	"sallyport/internal/web/api"
)

var onward = regexp.MustCompile(`^0; ?url=(.*)$`)

// leave presses somebody's button for the provider, and returns what came and the address there.
func (r *story) leave(p *person) (*http.Response, string) {
	r.t.Helper()
	form := strings.NewReader(url.Values{"return": {""}, "again": {""}}.Encode())
	q, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.server.External()+"/login/with/corp", form)
	if err != nil {
		r.t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	q.Header.Set("Origin", r.server.External())
	q.Header.Set("Sec-Fetch-Site", "same-origin")
	a, err := p.web.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	a.Body.Close()
	to := onward.FindStringSubmatch(a.Header.Get("Refresh"))
	if to == nil {
		return a, ""
	}
	return a, to[1]
}

// throughCorp sends somebody's browser to the provider, where whoever it says signs in, and returns where it comes back.
func (r *story) throughCorp(p *person, corp *oidctest.Provider) string {
	r.t.Helper()
	a, to := r.leave(p)
	away, err := url.Parse(to)
	if err != nil || to == "" {
		r.t.Fatalf("%d %v %v", a.StatusCode, a.Header, err)
	}
	r.canaries.note("state of a sign-in elsewhere", away.Query().Get("state"))
	r.canaries.note("nonce of a sign-in elsewhere", away.Query().Get("nonce"))
	return r.server.External() + "/login/oidc/corp/callback?" + corp.Approve(to).Encode()
}

// says is who signs in at the provider next, and in which groups; down is that it answers nothing from now on.
func says(corp *oidctest.Provider, name string, down bool, groups ...string) {
	corp.Lock()
	defer corp.Unlock()
	corp.Claims = map[string]any{"sub": "s-" + name, "preferred_username": name, "acr": "gold", "auth_time": corp.Now().Unix(), "groups": groups}
	if corp.Break = nil; down {
		corp.Break = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
	}
}

// corp is a provider whose group /ml is our group acme/ml, which works on the project risk.
func (r *story) corp() *oidctest.Provider {
	r.t.Helper()
	corp := oidctest.New(r.t, r.clock.Now)
	adam := r.As("adam").who.client
	if _, err := adam.DefineGroup(r.t.Context(), api.Group{Name: "acme/ml"}); err != nil {
		r.t.Fatal(err)
	}
	if _, err := adam.Assign(r.t.Context(), api.Assignment{Subject: "group:acme/ml", Role: "model-developer", Scope: "project:acme/risk"}); err != nil {
		r.t.Fatal(err)
	}
	r.restartWith(func() {
		r.config.Federation = []server.IdentityProvider{{Name: "corp", Title: "Corp", Kind: "oidc", ACR: map[string]string{"gold": "aal2"},
			OIDC: server.OIDCProvider{Issuer: corp.URL, Client: oidctest.Client}, Claims: server.ClaimNames{Name: "preferred_username"},
			Map: []server.GroupMapping{{ClaimCondition: server.ClaimCondition{Claim: "groups", Is: "/ml"}, Groups: []string{"acme/ml"}}}, Join: &server.JoinSetting{Organisation: "acme"}}}
	})
	return corp
}

// arrives opens an address on which somebody comes back from the provider.
func (r *story) arrives(p *person, back string, status int, text string) {
	r.t.Helper()
	at, err := p.open(r.t.Context(), back)
	if err != nil || at.status != status || !strings.Contains(at.text, text) {
		r.t.Fatalf("coming back ends on %s (%d), %v, want %d: %.400s", at.path, at.status, err, status, at.text)
	}
}

// RS-2, ID-2: a group at the provider is a group here, the group has a role, and the role decides; who is taken out of it
// there has lost the right at the next sign-in here. While the provider is down, who is signed in stays so.
func TestGroupsOfAProviderDecide(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	corp := r.corp()
	zed, err := r.newPerson("zed")
	if err != nil {
		t.Fatal(err)
	}
	says(corp, "zed", false, "/ml", "/other")
	r.arrives(zed, r.throughCorp(zed, corp), http.StatusOK, "acme/ml")
	if err := zed.login(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.people["zed"] = zed
	r.As("zed").Infer(fraud).Want(allowed, "developer.work")
	r.As("zed").Pull(fraud).Want(denied, "proof.restricted-weights", "weights.restricted-need-a-grant")
	r.As("zed").Infer(keel).Want(denied).WantStatus(404)

	says(corp, "zed", true)
	r.Later(20 * time.Minute) // its tokens are over: they are refreshed without the provider
	r.As("zed").Infer(fraud).Want(allowed, "developer.work")
	if at, err := zed.open(t.Context(), r.server.External()+"/account"); err != nil || at.path != "/account" {
		t.Errorf("the browser is signed out: %s, %v", at.path, err)
	}

	says(corp, "zed", false)
	again, err := r.newPerson("zed")
	if err != nil {
		t.Fatal(err)
	}
	r.arrives(again, r.throughCorp(again, corp), http.StatusOK, "")
	r.As("zed").Infer(fraud).Want(denied).WantStatus(404) // by the login from before, too: what is known is read anew
}

// everybody is who is in the directory.
func (r *story) everybody() []api.Member {
	r.t.Helper()
	all, err := r.As("adam").who.client.People(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// RS-2: a provider that goes down between leaving and coming back has signed nobody in and used nothing up: the same answer
// is good when it is up again. One that is down from the start says so on a page, and is asked again soon.
func TestAProviderGoesDownAndComesBack(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	corp := r.corp()
	yara, err := r.newPerson("yara")
	if err != nil {
		t.Fatal(err)
	}
	says(corp, "yara", false, "/ml")
	back := r.throughCorp(yara, corp)
	says(corp, "yara", true, "/ml")
	for range 3 {
		r.arrives(yara, back, http.StatusServiceUnavailable, "cannot be reached at this moment")
	}
	if at, err := yara.open(t.Context(), r.server.External()+"/account"); err != nil || at.path != "/login" {
		t.Errorf("the account page leads to %s, %v", at.path, err)
	}
	if slices.ContainsFunc(r.everybody(), func(m api.Member) bool { return m.ID == "user:yara" }) {
		t.Error("somebody joined without a proof")
	}
	if _, err := r.person(t.Context(), "nora"); err != nil { // by what is hers here
		t.Errorf("another way in: %v", err)
	}
	says(corp, "yara", false, "/ml")
	r.arrives(yara, back, http.StatusOK, "acme/ml")
	r.arrives(yara, back, http.StatusUnauthorized, "Begin again") // once
	if m := memberOf(t, r, "user:yara"); !slices.Equal(m.Groups, []string{"acme/ml"}) {
		t.Errorf("%+v", m)
	}

	says(corp, "yara", true)
	r.restartWith(func() {}) // what the provider said of itself is forgotten
	if a, to := r.leave(yara); a.StatusCode != http.StatusServiceUnavailable || to != "" || len(a.Cookies()) != 0 || a.Header.Get("Retry-After") == "" {
		t.Errorf("leaving for a provider that is down: %d to %q, %v", a.StatusCode, to, a.Header)
	}
	says(corp, "yara", false)
	r.Later(16 * time.Second) // it is not asked at every click
	r.arrives(yara, r.throughCorp(yara, corp), http.StatusOK, "")
	for _, l := range r.leaves() {
		if l.Type == sallyport.EventSignInFailed && l.Who == "user:yara" {
			t.Errorf("the provider's absence counts as a failure of hers: %+v", l)
		}
	}
}
