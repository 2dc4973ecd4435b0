package logout_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/clients"
	"sallyport/internal/identity/token/keys"
	"sallyport/internal/identity/token/logout"
	"sallyport/internal/store/sqldb"
	"sallyport/internal/store/sqldb/sqldbtest"
)

const external = "https://sallyport.example"

// A scene is the sender on a real store, and a client that answers as the test says.
type scene struct {
	t      *testing.T
	sender *logout.Sender
	store  sqldb.Tokens
	keys   *keys.Keys

	mu     sync.Mutex
	at     time.Time
	status int
	tokens []string
	events []sallyport.Event
}

func newScene(t *testing.T) *scene {
	s := &scene{t: t, at: time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC), status: http.StatusOK}
	db, err := sqldbtest.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s.store = db.Token()
	client := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tokens = append(s.tokens, r.PostFormValue("logout_token"))
		w.WriteHeader(s.status)
	}))
	t.Cleanup(client.Close)
	same := func(_ context.Context, b, _ []byte) ([]byte, error) { return append([]byte(nil), b...), nil }
	if s.keys, err = keys.Open(t.Context(), keys.Config{Store: s.store, Seal: same, Open: same, Rand: rand.Reader, Now: s.now, Life: time.Hour}); err != nil {
		t.Fatal(err)
	}
	registry, err := clients.New(s.store, s.now)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []clients.Client{{ID: "web", LogoutURI: client.URL + "/out"}, {ID: "silent"}} {
		c.Name, c.Grants, c.Audiences, c.RedirectURIs = c.ID, []clients.Grant{clients.Code}, []string{external + "/api"}, []string{"https://x.example/"}
		if _, err := registry.Add(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	s.sender = &logout.Sender{Issuer: external, Store: s.store, Families: s.store, Clients: registry, Keys: s.keys, HTTP: client.Client(), Now: s.now, Rand: rand.Reader,
		Record: func(_ context.Context, e sallyport.Event) error { s.events = append(s.events, e); return nil }}
	return s
}

func (s *scene) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

func (s *scene) wait(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = s.at.Add(d)
}

func (s *scene) family(id, client, session string, openid bool) {
	s.t.Helper()
	err := s.store.StartFamily(s.t.Context(), token.Family{ID: id, Principal: "user:ana", Person: "user:ana", Client: client, Session: session, Audiences: []string{external + "/api"},
		Assurance: sallyport.MultiFactor, AuthTime: s.at, Created: s.at, Expires: s.at.Add(time.Hour), OpenID: openid})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) send() {
	s.t.Helper()
	if err := s.sender.Send(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// TestLogoutToken tells each client once that learned who the person is, by a token that is nothing else.
func TestLogoutToken(t *testing.T) {
	s := newScene(t)
	s.family("a", "web", "S-1", true)
	s.family("b", "web", "S-1", true)
	s.family("c", "web", "S-2", true)
	s.family("d", "silent", "S-1", true)
	s.family("e", "web", "S-3", false)
	s.family("f", "gone", "S-1", true)
	for range 3 {
		for _, session := range []string{"S-1", "S-3", "S-9", ""} {
			if err := s.sender.Ended(t.Context(), session); err != nil {
				t.Fatal(err)
			}
		}
		s.send()
	}
	if len(s.tokens) != 1 {
		t.Fatalf("%d logout tokens were sent, want 1", len(s.tokens))
	}
	one, err := jose.Verify(s.tokens[0], s.keys.Current(), jose.Profile{Op: "test", Types: []string{"logout+jwt"}, Algorithms: jose.OwnAlgorithms()})
	if err != nil {
		t.Fatal(err)
	}
	c := one.Claims
	if err := c.Check(jose.Rules{Op: "test", Issuer: external, Audience: "web", Sole: true, Now: s.at, MaxLife: 2 * time.Minute, NeedID: true}); err != nil {
		t.Error(err)
	}
	if sid, _ := c.Text("sid"); sid != "S-1" || c.Subject != "user:ana" || !c.Has("events", "http://schemas.openid.net/event/backchannel-logout") || c.Has("nonce") {
		t.Errorf("claims %+v", c)
	}
	if len(s.events) != 1 || s.events[0].Detail["state"] != "sent" || s.events[0].Type != sallyport.EventSignalSent {
		t.Errorf("recorded %+v", s.events)
	}
}

// TestLogoutAgain tries again with longer and longer pauses, until the client takes it, refuses it, or a day is over.
func TestLogoutAgain(t *testing.T) {
	s := newScene(t)
	s.family("a", "web", "S-1", true)
	s.status = http.StatusServiceUnavailable
	if err := s.sender.Ended(t.Context(), "S-1"); err != nil {
		t.Fatal(err)
	}
	tries := map[time.Duration]int{}
	for d, step := time.Duration(0), 5*time.Second; d < 26*time.Hour; d += step {
		if d >= 5*time.Minute {
			step = 10 * time.Minute
		}
		s.send()
		tries[d.Truncate(time.Hour)] = len(s.tokens)
		s.wait(step)
	}
	if tries[0] < 5 || tries[0] > 12 || len(s.tokens) < 25 || len(s.tokens) > 40 {
		t.Errorf("%d tries in the first hour, %d in a day", tries[0], len(s.tokens))
	}
	last := s.events[len(s.events)-1]
	if last.Detail["state"] != "failed" || strings.Join(last.Reasons, "") != "status 503" || len(s.events) != len(s.tokens) {
		t.Errorf("the last of %d records: %+v", len(s.events), last)
	}
	s.family("b", "web", "S-2", true)
	s.status = http.StatusBadRequest
	if err := s.sender.Ended(t.Context(), "S-2"); err != nil {
		t.Fatal(err)
	}
	before := len(s.tokens)
	for range 5 {
		s.send()
		s.wait(time.Hour)
	}
	if len(s.tokens) != before+1 {
		t.Errorf("a client that refuses is asked %d times", len(s.tokens)-before)
	}
}

// TestLogoutIsRecorded keeps a notice that could not be written down for the next time.
func TestLogoutIsRecorded(t *testing.T) {
	s := newScene(t)
	s.family("a", "web", "S-1", true)
	if err := s.sender.Ended(t.Context(), "S-1"); err != nil {
		t.Fatal(err)
	}
	down := errors.New("the disk is full")
	good := s.sender.Record
	s.sender.Record = func(context.Context, sallyport.Event) error { return down }
	if err := s.sender.Send(t.Context()); !errors.Is(err, down) {
		t.Errorf("Send = %v", err)
	}
	s.sender.Record = good
	s.wait(time.Minute)
	s.send()
	if len(s.events) != 1 || s.events[0].Detail["try"] != "2" {
		t.Errorf("recorded %+v", s.events)
	}
	s.wait(30 * 24 * time.Hour)
	if err := s.sender.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
}
