package storetest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/clients"
	"sallyport/internal/identity/token/codes"
	"sallyport/internal/identity/token/logout"
	"sallyport/internal/store/sqldb"
)

func TestTokenClients(t *testing.T) { Run(t, testTokenClients) }

func TestTokenAssertionsOA30(t *testing.T) { Run(t, testTokenAssertions) }

func TestTokenPushedOA6(t *testing.T) { Run(t, testTokenPushed) }

func TestTokenConsents(t *testing.T) { Run(t, testTokenConsents) }

func TestTokenBinding(t *testing.T) { Run(t, testTokenBinding) }

func TestLogoutNotices(t *testing.T) { Run(t, testLogoutNotices) }

func testTokenClients(t *testing.T, open func() *sqldb.DB) {
	a, b := open().Token(), open().Token()
	one := clients.Client{
		ID: "web", Name: "Web", RedirectURIs: []string{"https://w.example/cb"}, Grants: []clients.Grant{clients.Code}, Scopes: sallyport.Scope{"model.infer@acme/fraud"},
		Audiences: []string{"https://s.example/api"}, Method: clients.SelfSignedTLS, Thumbprint: "x", Principal: "service:w", Serves: []string{"https://w.example"},
		Push: true, Bind: true, Overlap: 10 * time.Second, PostLogout: []string{"https://w.example/bye"}, LogoutURI: "https://w.example/out", Created: tokenTime(),
	}
	two := clients.Client{ID: "app", Name: "App", Grants: []clients.Grant{clients.Device}, Audiences: []string{"https://s.example/api"}, Created: tokenTime()}
	must(t, a.AddClient(t.Context(), one))
	must(t, a.AddClient(t.Context(), two))
	wantKind(t, "an id that is taken", b.AddClient(t.Context(), one), sallyport.Conflict)
	got, err := b.FindClient(t.Context(), "web")
	if diff := gocmp.Diff(one, got); diff != "" || err != nil {
		t.Errorf("FindClient: %v, -want +got:\n%s", err, diff)
	}
	all, err := b.AllClients(t.Context())
	if diff := gocmp.Diff([]clients.Client{two, one}, all); diff != "" || err != nil {
		t.Errorf("AllClients: %v, -want +got:\n%s", err, diff)
	}
	must(t, b.RemoveClient(t.Context(), "web", tokenTime()))
	_, err = a.FindClient(t.Context(), "web")
	wantKind(t, "a client that is gone", err, sallyport.NotFound)
	wantKind(t, "removing it again", a.RemoveClient(t.Context(), "web", tokenTime()), sallyport.NotFound)
	wantKind(t, "its id for another", a.AddClient(t.Context(), one), sallyport.Conflict)
}

// testTokenAssertions has many nodes use one assertion at once: one succeeds.
func testTokenAssertions(t *testing.T, open func() *sqldb.DB) {
	nodes := []sqldb.Tokens{open().Token(), open().Token()}
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			err := nodes[i%2].UseAssertion(t.Context(), "job", "one", tokenTime())
			if err == nil {
				won.Add(1)
			} else if sallyport.KindOf(err) != sallyport.Conflict {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("an assertion was used %d times", won.Load())
	}
	must(t, nodes[0].UseAssertion(t.Context(), "other", "one", tokenTime()))
	must(t, nodes[0].Sweep(t.Context(), tokenTime().Add(time.Second)))
	must(t, nodes[0].UseAssertion(t.Context(), "job", "one", tokenTime()))
}

// testTokenPushed uses a pushed request: once, by its client, in time, on any node.
func testTokenPushed(t *testing.T, open func() *sqldb.DB) {
	a, b := open().Token(), open().Token()
	now := tokenTime()
	p := codes.Pushed{Hash: token.HashOf("p"), Client: "web", Request: "scope=model.infer", Key: "jkt:x", Created: now, Expires: now.Add(time.Minute)}
	must(t, a.AddPushed(t.Context(), p))
	_, err := b.UsePushed(t.Context(), p.Hash, "other", now)
	wantKind(t, "another client", err, sallyport.NotFound)
	_, err = b.UsePushed(t.Context(), p.Hash, "web", now.Add(time.Minute))
	wantKind(t, "too late", err, sallyport.NotFound)
	_, err = b.FindPushed(t.Context(), p.Hash, "web", time.Time{})
	wantKind(t, "going on before it was used", err, sallyport.NotFound)
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, err := []sqldb.Tokens{a, b}[i%2].UsePushed(t.Context(), p.Hash, "web", now.Add(time.Second)); err == nil {
				won.Add(1)
			} else if sallyport.KindOf(err) != sallyport.NotFound {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("a pushed request was used %d times", won.Load())
	}
	p.Used = now.Add(time.Second)
	got, err := a.FindPushed(t.Context(), p.Hash, "web", now)
	if diff := gocmp.Diff(p, got); diff != "" || err != nil {
		t.Errorf("FindPushed: %v, -want +got:\n%s", err, diff)
	}
	_, err = a.FindPushed(t.Context(), p.Hash, "web", now.Add(2*time.Second))
	wantKind(t, "going on too late", err, sallyport.NotFound)
	must(t, a.DropPushed(t.Context(), p.Hash))
	wantKind(t, "deciding twice", b.DropPushed(t.Context(), p.Hash), sallyport.NotFound)
}

func testTokenConsents(t *testing.T, open func() *sqldb.DB) {
	a, b := open().Token(), open().Token()
	c := codes.Consent{Principal: "user:ana", Client: "web", Scope: sallyport.Scope{"model.infer"}, Audiences: []string{"https://s.example/api"}, OpenID: true, Given: tokenTime()}
	must(t, a.KeepConsent(t.Context(), c))
	c.Scope = sallyport.Scope{"model.infer", "model.read"}
	must(t, b.KeepConsent(t.Context(), c))
	must(t, a.KeepConsent(t.Context(), codes.Consent{Principal: "user:bo", Client: "web", Given: tokenTime()}))
	got, err := a.Consents(t.Context(), "user:ana")
	if diff := gocmp.Diff([]codes.Consent{c}, got); diff != "" || err != nil {
		t.Errorf("Consents: %v, -want +got:\n%s", err, diff)
	}
	must(t, a.DropConsent(t.Context(), "user:ana", "web"))
	wantKind(t, "dropping it again", a.DropConsent(t.Context(), "user:ana", "web"), sallyport.NotFound)
	if got, err := b.Consents(t.Context(), "user:bo"); len(got) != 1 || err != nil {
		t.Errorf("somebody else's: %v, %v", got, err)
	}
}

// testTokenBinding keeps what families and codes are bound to: once, and never to another key.
func testTokenBinding(t *testing.T, open func() *sqldb.DB) {
	s := open().Token()
	f := tokenFamily("bound")
	f.Actors, f.Purpose, f.OpenID, f.Detailed = []sallyport.PrincipalID{"agent:b", "agent:a"}, "training", true, true
	must(t, s.StartFamily(t.Context(), f))
	first := token.Refresh{Hash: token.HashOf("1"), Family: f.ID, Created: tokenTime(), Expires: tokenTime().Add(time.Hour), Key: "jkt:one"}
	must(t, s.AddRefresh(t.Context(), first))
	other := first
	other.Hash, other.Key = token.HashOf("2"), "jkt:two"
	wantKind(t, "another key", s.AddRefresh(t.Context(), other), sallyport.Conflict)
	again := first
	again.Hash, again.Key = token.HashOf("3"), ""
	must(t, s.AddRefresh(t.Context(), again))
	f.Key, f.LastIssued = "jkt:one", tokenTime()
	got, err := s.Families(t.Context(), token.Selector{Client: f.Client})
	if diff := gocmp.Diff([]token.Family{f}, got); diff != "" || err != nil {
		t.Errorf("Families: %v, -want +got:\n%s", err, diff)
	}
	code := codes.Code{Hash: token.HashOf("c"), Family: f.ID, Client: f.Client, RedirectURI: "https://x.example", Challenge: "c", Expires: tokenTime().Add(time.Minute), Key: "jkt:one", Nonce: "n 1"}
	must(t, s.AddCode(t.Context(), code))
	taken, err := s.TakeCode(t.Context(), code.Hash, f.Client, tokenTime())
	if diff := gocmp.Diff(code, taken); diff != "" || err != nil {
		t.Errorf("TakeCode: %v, -want +got:\n%s", err, diff)
	}
}

func testLogoutNotices(t *testing.T, open func() *sqldb.DB) {
	a, b := open().Token(), open().Token()
	now := tokenTime()
	n := logout.Notice{Session: "S-1", Client: "web", Principal: "user:ana", URI: "https://w.example/out", Created: now, Due: now, State: logout.Waiting}
	must(t, a.AddNotice(t.Context(), n))
	again := n
	again.URI = "https://elsewhere.example"
	must(t, b.AddNotice(t.Context(), again))
	if got, err := b.DueNotices(t.Context(), now.Add(-time.Second), 10); len(got) != 0 || err != nil {
		t.Errorf("before it is due: %v, %v", got, err)
	}
	got, err := b.DueNotices(t.Context(), now, 10)
	if diff := gocmp.Diff([]logout.Notice{n}, got); diff != "" || err != nil {
		t.Fatalf("DueNotices: %v, -want +got:\n%s", err, diff)
	}
	must(t, a.TakeNotice(t.Context(), n, now.Add(time.Minute)))
	wantKind(t, "taking it on another node", b.TakeNotice(t.Context(), n, now.Add(time.Minute)), sallyport.Conflict)
	n.Tries, n.Due = 1, now.Add(time.Minute)
	got, err = a.DueNotices(t.Context(), now.Add(time.Minute), 10)
	if diff := gocmp.Diff([]logout.Notice{n}, got); diff != "" || err != nil {
		t.Errorf("after a try: %v, -want +got:\n%s", err, diff)
	}
	must(t, a.CloseNotice(t.Context(), n, logout.Sent))
	if got, err := b.DueNotices(t.Context(), now.Add(time.Hour), 10); len(got) != 0 || err != nil {
		t.Errorf("when it is sent: %v, %v", got, err)
	}
	must(t, a.SweepNotices(t.Context(), now.Add(time.Second)))
	wantKind(t, "a swept one", a.CloseNotice(t.Context(), n, logout.Sent), sallyport.NotFound)
}
