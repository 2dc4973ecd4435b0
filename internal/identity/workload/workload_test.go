package workload_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/workload"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
)

func TestProves(t *testing.T) {
	w := newWorld(t)
	i := w.issuer()
	w.add(githubRule(i))
	p, err := w.verify(i, w.github(i))
	if err != nil || p.Rule != "trainer" || p.Principal != "service:trainer" || p.Scope.String() != "model.push@acme/fraud" {
		t.Fatalf("%+v, %v", p, err)
	}
	if p.Claims["jti"] != "j1" || p.Claims["environment"] != "prod" || p.Claims["iss"] != i.URL {
		t.Errorf("for the record: %v", p.Claims)
	}
	agent := githubRule(i)
	agent.Name, agent.Principal, agent.Match["environment"] = "helper", "agent:helper", "tools"
	w.add(agent)
	if p, err = w.verify(i, w.github(i).with("environment", "tools")); err != nil || p.Principal != "agent:helper" {
		t.Errorf("an agent: %+v, %v", p, err)
	}
}

func TestTX1ClientsRules(t *testing.T) {
	w := newWorld(t)
	i, other := w.issuer(), w.issuer()
	w.add(githubRule(i))
	_, err := w.Verify(t.Context(), i.sign(t, w.github(i)), "another-client")
	want(t, err, "client")
	_, err = w.Verify(t.Context(), i.sign(t, w.github(i)), "")
	want(t, err, "client")
	_, err = w.verify(other, w.github(other))
	want(t, err, "issuer")
	_, err = w.verify(other, w.github(i)) // signed by another issuer in the name of the first
	want(t, err, "signature")
	if i.fetches.Load() != 1 || other.fetches.Load() != 0 {
		t.Errorf("%d and %d fetches", i.fetches.Load(), other.fetches.Load())
	}
}

func TestTX2Audience(t *testing.T) {
	w := newWorld(t)
	i := w.issuer()
	w.add(githubRule(i))
	for _, aud := range []any{nil, "https://other.example", "https://github.com/acme", hub, []string{ours, "https://other.example"}, []string{}, ""} {
		if _, err := w.verify(i, w.github(i).with("aud", aud)); err == nil {
			t.Errorf("accepted with aud %v", aud)
		}
	}
	r := githubRule(i)
	r.Name, r.Audience = "hub", hub
	w.add(r)
	if p, err := w.verify(i, w.github(i).with("aud", hub)); err != nil || p.Rule != "hub" {
		t.Errorf("the Hub's address: %+v, %v", p, err)
	}
	r.Name, r.Audience = "elsewhere", "https://other.example"
	if _, err := w.Add(t.Context(), r); sallyport.KindOf(err) != sallyport.Invalid {
		t.Errorf("a rule for an audience that is not ours: %v", err)
	}
}

func TestTX3Times(t *testing.T) {
	w := newWorld(t)
	i := w.issuer()
	w.add(githubRule(i))
	for reason, c := range map[string]claims{
		"time":    w.github(i).with("exp", nil),
		"expired": w.github(i).with("iat", w.at.Add(-time.Hour).Unix()).with("exp", w.at.Add(-time.Minute).Unix()),
		"early":   w.github(i).with("iat", w.at.Add(time.Minute).Unix()),
	} {
		_, err := w.verify(i, c)
		want(t, err, reason)
	}
	_, err := w.verify(i, w.github(i).with("iat", nil))
	want(t, err, "time")
	_, err = w.verify(i, w.github(i).with("exp", w.at.Add(25*time.Hour).Unix()))
	want(t, err, "time")
	_, err = w.verify(i, w.github(i).with("nbf", w.at.Add(time.Minute).Unix()))
	want(t, err, "early")
}

// TX4: what is given never outlives the proof, nor what the rule allows; its scope is the rule's.
func TestTX4NeverMore(t *testing.T) {
	w := newWorld(t)
	i := w.issuer()
	w.add(githubRule(i))
	for left, life := range map[time.Duration]time.Duration{5 * time.Minute: 5 * time.Minute, time.Hour: 15 * time.Minute, time.Second: time.Second} {
		p, err := w.verify(i, w.github(i).with("exp", w.at.Add(left).Unix()).with("scope", "*"))
		if err != nil || p.Expires.Sub(w.at) != life || p.Scope.String() != "model.push@acme/fraud" {
			t.Errorf("a proof with %v left: %+v, %v", left, p, err)
		}
	}
}

func TestTX5RepositoryMadeAgain(t *testing.T) {
	w := newWorld(t)
	i := w.issuer()
	w.add(githubRule(i))
	for name, value := range map[string]any{
		"repository_id": "43", "repository_owner_id": "8", "environment": "staging", "Environment": "prod",
	} {
		c := w.github(i).with(name, value)
		if name == "Environment" { // another name is another claim
			c = c.with("environment", nil)
		}
		_, err := w.verify(i, c)
		want(t, err, "match")
	}
	_, err := w.verify(i, w.github(i).with("repository_id", 42)) // a number is not the text that the rule names
	want(t, err, "match")
	if _, err = w.verify(i, w.github(i).with("repository", "acme/renamed")); err != nil {
		t.Errorf("the same repository under another name: %v", err)
	}
}

func TestTX6ServiceAccountMadeAgain(t *testing.T) {
	w := newWorld(t)
	i := w.issuer()
	r := githubRule(i)
	r.Kind, r.Keys = workload.Kubernetes, i.keys(t)
	r.Match = map[string]string{"namespace": "ml", "serviceaccount": "trainer", "uid": "u-1"}
	w.add(r)
	proof := func(namespace, name, uid string) claims {
		return w.github(i).with("sub", "system:serviceaccount:"+namespace+":"+name).with("kubernetes.io", claims{
			"namespace": namespace, "serviceaccount": claims{"name": name, "uid": uid}, "pod": claims{"name": "p"}})
	}
	if _, err := w.verify(i, proof("ml", "trainer", "u-1")); err != nil {
		t.Fatal(err)
	}
	for _, other := range []claims{proof("ml", "trainer", "u-2"), proof("web", "trainer", "u-1"), proof("ml", "server", "u-1"),
		proof("ml", "trainer", "u-1").with("kubernetes.io", claims{"namespace": "ml"}).with("uid", "u-1").with("serviceaccount", "trainer")} {
		_, err := w.verify(i, other)
		want(t, err, "match")
	}
	if i.fetches.Load() != 0 {
		t.Error("uploaded keys are fetched")
	}
}

func TestTX7FewFetches(t *testing.T) {
	w := newWorld(t)
	i := w.issuer()
	w.add(githubRule(i))
	good := i.sign(t, w.github(i))
	unknown := &issuer{signer: i.signer}
	forged := good.Reveal()[:len(good.Reveal())-8] + "AAAAAAAA"
	for n := range 1000 {
		unknown.signer.KeyID = fmt.Sprintf("k-%d", n)
		if _, err := w.Verify(t.Context(), unknown.sign(t, w.github(i)), "ci"); err == nil {
			t.Fatal("an unknown key verifies")
		}
		if n%10 == 0 {
			_, err := w.Verify(t.Context(), secret.NewText(forged), "ci")
			want(t, err, "signature")
		}
	}
	if n := i.fetches.Load(); n != 1 {
		t.Errorf("%d fetches within 30 s, want 1", n)
	}
	w.at = w.at.Add(29 * time.Second)
	_, _ = w.Verify(t.Context(), unknown.sign(t, w.github(i)), "ci")
	if n := i.fetches.Load(); n != 1 {
		t.Errorf("%d fetches after 29 s, want 1", n)
	}
	w.at = w.at.Add(time.Second)
	unknown.signer.KeyID = "k-new"
	for range 10 {
		_, err := w.Verify(t.Context(), unknown.sign(t, w.github(i)), "ci")
		want(t, err, "key")
	}
	if n := i.fetches.Load(); n != 2 {
		t.Errorf("%d fetches after 30 s, want 2", n)
	}
	w.at = w.at.Add(time.Minute) // a kid that was not there is not looked for again soon
	_, err := w.Verify(t.Context(), unknown.sign(t, w.github(i)), "ci")
	want(t, err, "key")
	if n := i.fetches.Load(); n != 2 {
		t.Errorf("%d fetches for a kid that is known not to be there, want 2", n)
	}
}

// TX7, while the issuer is down: old keys serve for a day, then nothing is allowed and nothing is said to be wrong with the proof.
func TestTX7StaleKeysServe(t *testing.T) {
	w := newWorld(t)
	i := w.issuer()
	w.add(githubRule(i))
	i.down.Store(true)
	_, err := w.verify(i, w.github(i))
	if sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("no keys at all: %v, want unavailable", err)
	}
	i.down.Store(false)
	if _, err = w.verify(i, w.github(i)); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("within the cool-down: %v", err)
	}
	w.at = w.at.Add(30 * time.Second)
	if _, err = w.verify(i, w.github(i)); err != nil {
		t.Fatal(err)
	}
	i.down.Store(true)
	w.at = w.at.Add(23 * time.Hour)
	if _, err = w.verify(i, w.github(i)); err != nil {
		t.Errorf("old keys: %v", err)
	}
	i.answer.Store(`{"keys":1}`)
	i.down.Store(false)
	w.at = w.at.Add(time.Minute)
	if _, err = w.verify(i, w.github(i)); err != nil {
		t.Errorf("a broken document takes the keys away: %v", err)
	}
	w.at = w.at.Add(time.Hour)
	if _, err = w.verify(i, w.github(i)); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("keys of a day ago: %v, want unavailable", err)
	}
}

// A key that the issuer takes away stops verifying within the hour; a new one serves at once.
func TestKeysChange(t *testing.T) {
	w := newWorld(t)
	i := w.issuer()
	w.add(githubRule(i))
	if _, err := w.verify(i, w.github(i)); err != nil {
		t.Fatal(err)
	}
	i.answer.Store(strings.Replace(string(i.keys(t)), `"k1"`, `"k2"`, 1))
	w.at = w.at.Add(time.Minute)
	if _, err := w.verify(i, w.github(i)); err != nil {
		t.Errorf("within the hour: %v", err)
	}
	next := &issuer{signer: i.signer}
	next.signer.KeyID = "k2"
	if _, err := w.Verify(t.Context(), next.sign(t, w.github(i)), "ci"); err != nil {
		t.Errorf("a new key: %v", err)
	}
	_, err := w.verify(i, w.github(i))
	want(t, err, "key")
}

// Many at once cause one fetch, and all get its keys.
func TestFetchTogether(t *testing.T) {
	w := newWorld(t)
	i := w.issuer()
	w.add(githubRule(i))
	proof := i.sign(t, w.github(i))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := w.Verify(context.Background(), proof, "ci"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := i.fetches.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

func TestTX8AddressesAndAnswers(t *testing.T) {
	w := newWorld(t)
	i := w.issuer()
	r := githubRule(i)
	w.add(r)
	guarded := &workload.Service{Store: w.Store, Issuer: ours, Now: w.Now,
		Client: httpsafe.Client(func(a netip.AddrPort) bool { return httpsafe.Global(a.Addr()) }, 1)}
	_, err := guarded.Verify(t.Context(), i.sign(t, w.github(i)), "ci")
	if sallyport.KindOf(err) != sallyport.Unavailable || i.fetches.Load() != 0 {
		t.Errorf("an issuer on this machine: %v, %d fetches", err, i.fetches.Load())
	}
	for n, at := range []string{"http://issuer.example", "https://", "https://ana@issuer.example", "https://issuer.example?x", "https://issuer.example#x", "file:///etc/passwd", "issuer.example", ""} {
		bad := githubRule(i)
		bad.Name, bad.Issuer = fmt.Sprintf("bad-%d", n), at
		if _, err := w.Add(t.Context(), bad); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("an issuer at %q: %v", at, err)
		}
		if at != "" {
			bad.Issuer, bad.KeysURL = i.URL, at
			if _, err := w.Add(t.Context(), bad); sallyport.KindOf(err) != sallyport.Invalid {
				t.Errorf("keys at %q: %v", at, err)
			}
		}
	}
	for name, answer := range map[string]http.HandlerFunc{
		"without end": func(rw http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := rw.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		},
		"elsewhere": func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, i.URL+"/keys", http.StatusFound) },
		"another issuer's discovery": func(rw http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(rw, `{"issuer":%q,"jwks_uri":%q}`, i.URL, i.URL+"/keys")
		},
		"plain discovery": func(rw http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(rw, `{"issuer":"https://%s","jwks_uri":"http://%s/keys"}`, r.Host, r.Host)
		},
		"no JSON": func(rw http.ResponseWriter, r *http.Request) { _, _ = rw.Write([]byte("<html>")) },
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewTLSServer(answer)
			defer server.Close()
			w.trust(server)
			strange := &issuer{Server: server, signer: i.signer}
			r := githubRule(strange)
			r.Name = strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), "'", "")
			r.Name = strings.ToLower(r.Name)
			w.add(r)
			if _, err := w.verify(strange, w.github(strange)); sallyport.KindOf(err) != sallyport.Unavailable {
				t.Errorf("%v, want unavailable", err)
			}
		})
	}
	if i.fetches.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

func TestTX9NoWildcards(t *testing.T) {
	w := newWorld(t)
	i := w.issuer()
	keys := i.keys(t)
	spiffe := func(r *workload.Rule) { r.Kind, r.Issuer, r.Keys = workload.SPIFFE, "spiffe://acme.example", keys }
	for name, change := range map[string]func(*workload.Rule){
		"a star":                   func(r *workload.Rule) { r.Match["environment"] = "*" },
		"a star in a value":        func(r *workload.Rule) { r.Match["sub"] = "repo:acme/*" },
		"no repository id":         func(r *workload.Rule) { delete(r.Match, "repository_id") },
		"no owner id":              func(r *workload.Rule) { delete(r.Match, "repository_owner_id") },
		"any branch":               func(r *workload.Rule) { delete(r.Match, "environment") },
		"nothing":                  func(r *workload.Rule) { r.Match = nil },
		"nothing, with the switch": func(r *workload.Rule) { r.Match, r.AnySubject = nil, true },
		"a star, with the switch":  func(r *workload.Rule) { r.Match["environment"], r.AnySubject = "*", true },
		"no uid": func(r *workload.Rule) {
			r.Kind = workload.Kubernetes
			r.Match = map[string]string{"namespace": "a", "serviceaccount": "b"}
		},
		"a project's name": func(r *workload.Rule) {
			r.Kind = workload.GitLab
			r.Match = map[string]string{"project_path": "a/b", "ref": "main"}
		},
		"no sub":               func(r *workload.Rule) { r.Kind = workload.OIDC; r.Match = map[string]string{"group": "a"} },
		"a whole trust domain": func(r *workload.Rule) { spiffe(r); r.Match = map[string]string{"sub": "spiffe://acme.example/*"} },
		"another trust domain": func(r *workload.Rule) { spiffe(r); r.Match = map[string]string{"sub": "spiffe://evil.example/x"} },
		"half a segment": func(r *workload.Rule) {
			spiffe(r)
			r.Match = map[string]string{"sub": "spiffe://acme.example/ns/prod*"}
		},
		"a trust domain with a path": func(r *workload.Rule) {
			spiffe(r)
			r.Issuer += "/x"
			r.Match = map[string]string{"sub": "spiffe://acme.example/x/y"}
		},
		"a domain without keys": func(r *workload.Rule) {
			spiffe(r)
			r.Keys = nil
			r.Match = map[string]string{"sub": "spiffe://acme.example/x"}
		},
		"a scope for all":             func(r *workload.Rule) { r.Scope = sallyport.Scope{"*"} },
		"a scope for all of a model":  func(r *workload.Rule) { r.Scope = sallyport.Scope{"*@acme/fraud"} },
		"no scope":                    func(r *workload.Rule) { r.Scope = nil },
		"a person":                    func(r *workload.Rule) { r.Principal = "user:ana" },
		"nobody":                      func(r *workload.Rule) { r.Principal = "" },
		"over an hour":                func(r *workload.Rule) { r.Life = time.Hour + 1 },
		"no time":                     func(r *workload.Rule) { r.Life = 0 },
		"no client":                   func(r *workload.Rule) { r.Clients = nil },
		"no kind":                     func(r *workload.Rule) { r.Kind = "" },
		"no name":                     func(r *workload.Rule) { r.Name = "" },
		"keys of two kinds":           func(r *workload.Rule) { r.Keys, r.KeysURL = keys, i.URL },
		"keys without a key":          func(r *workload.Rule) { r.Keys = json.RawMessage(`{"keys":[]}`) },
		"keys that are none":          func(r *workload.Rule) { r.Keys = json.RawMessage(`[]`) },
		"a value that does not print": func(r *workload.Rule) { r.Match["environment"] = "a\n" },
	} {
		t.Run(name, func(t *testing.T) {
			r := githubRule(i)
			change(&r)
			if _, err := w.Add(t.Context(), r); sallyport.KindOf(err) != sallyport.Invalid {
				t.Errorf("%v, want invalid", err)
			}
		})
	}
	r := githubRule(i)
	r.Match, r.AnySubject = map[string]string{"repository_owner_id": "7"}, true
	w.add(r)
	if _, err := w.verify(i, w.github(i).with("repository_id", "99")); err != nil {
		t.Errorf("with the switch, any repository of the owner: %v", err)
	}
	if rules, err := w.List(t.Context()); err != nil || len(rules) != 1 || !rules[0].Created.Equal(w.at) {
		t.Errorf("rules %v, %v", rules, err)
	}
	if err := w.Remove(t.Context(), "trainer"); err != nil {
		t.Error(err)
	}
	_, err := w.verify(i, w.github(i))
	want(t, err, "issuer")
}

// The rule that asks for most decides; two that ask for as much and say different things do not.
func TestTheNarrowerRuleCounts(t *testing.T) {
	w := newWorld(t)
	i := w.issuer()
	w.add(githubRule(i))
	narrow := githubRule(i)
	narrow.Name, narrow.Principal, narrow.Match["ref"] = "main", "service:releaser", "refs/heads/main"
	w.add(narrow)
	if p, err := w.verify(i, w.github(i)); err != nil || p.Rule != "main" {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := w.verify(i, w.github(i).with("ref", "refs/heads/x")); err != nil || p.Rule != "trainer" {
		t.Errorf("%+v, %v", p, err)
	}
	same := githubRule(i)
	same.Name, same.Principal, same.Match = "other", "service:other", map[string]string{"repository_id": "42", "repository_owner_id": "7", "job_workflow_ref": "acme/fraud/.github/workflows/train.yml@refs/heads/main", "sub": "repo:acme/fraud:environment:prod"}
	w.add(same)
	_, err := w.verify(i, w.github(i))
	want(t, err, "ambiguous")
}

func TestTryExplains(t *testing.T) {
	w := newWorld(t)
	i := w.issuer()
	w.add(githubRule(i))
	other := githubRule(i)
	other.Name, other.Match["environment"] = "staging", "staging"
	w.add(other)
	trials, err := w.Try(t.Context(), i.sign(t, w.github(i)), "ci")
	if err != nil || len(trials) != 2 {
		t.Fatalf("%+v, %v", trials, err)
	}
	if trials[1].Proven == nil || trials[1].Rule != "trainer" || trials[0].Proven != nil || trials[0].Why != `environment is "prod", want "staging"` {
		t.Errorf("%+v", trials)
	}
	if trials, err = w.Try(t.Context(), i.sign(t, w.github(i)), "web"); err != nil || !strings.Contains(trials[0].Why, `"web" may not`) {
		t.Errorf("%+v, %v", trials, err)
	}
	_, err = w.Try(t.Context(), secret.NewText("nonsense"), "ci")
	want(t, err, "form")
}

// An access token, a DPoP proof or a logout token is no proof of a workload, whoever signed it.
func TestOtherTokensAreNoProofs(t *testing.T) {
	w := newWorld(t)
	i := w.issuer()
	w.add(githubRule(i))
	for _, typ := range []string{"at+jwt", "dpop+jwt", "logout+jwt", "secevent+jwt", "JOSE"} {
		token, err := i.signer.Sign(typ, w.github(i))
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Verify(t.Context(), token, "ci")
		want(t, err, "type")
	}
}
