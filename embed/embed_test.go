package embed_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/embed"
	"sallyport/examples/acme"
	"sallyport/internal/enforce/authzen"
	"sallyport/internal/enforce/authzen/dictionary"
	"sallyport/internal/enforce/doortest"
)

const external = "https://pdp.test"

// A site is another server with the guard in it, and the Sallyport that it asks.
type site struct {
	*doortest.World
	t     *testing.T
	guard *embed.Guard
	pdp   *httptest.Server
}

func newSite(t *testing.T, edit func(*embed.Config)) *site {
	t.Helper()
	w := doortest.New(t, acme.Files)
	w.Assign("service:mesh", "enforcement-point", sallyport.Ref{Kind: sallyport.SystemKind})
	s := &site{World: w, t: t}
	s.pdp = httptest.NewServer(authzen.New(authzen.Door{Guard: w.Guard, Facts: w.Facts, External: external, Key: []byte("a key of a test, of 32 bytes ...."),
		Points: []authzen.Point{{Principal: "service:mesh", Words: dictionary.Own(), Obligations: sallyport.ObligationKinds()}},
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}, 16))
	t.Cleanup(s.pdp.Close)
	now := w.Clock.Now()
	own := w.Issue(sallyport.Principal{ID: "service:mesh", Person: w.Person("service:mesh"), Audience: external + authzen.Audience, Scope: sallyport.Scope{"*"}, Expires: now.Add(time.Hour)})
	cfg := embed.Config{Server: s.pdp.URL, Plaintext: true, Token: func(context.Context) (string, error) { return own, nil }, CarryOut: sallyport.ObligationKinds(), Again: time.Second}
	if edit != nil {
		edit(&cfg)
	}
	var err error
	if s.guard, err = embed.Open(cfg); err != nil {
		t.Fatal(err)
	}
	return s
}

// call is a case of the corpus as the embedding server asks it.
func (s *site) call(c doortest.Case) embed.Call {
	return embed.Call{Action: c.Action, Resource: c.Ref(s.t), To: c.To, Who: c.Who, Token: s.Issue(s.Principal(c, external+authzen.Audience)), IP: "127.0.0.1"}
}

func eva() doortest.Case {
	return doortest.Case{Who: "user:eva", Assurance: sallyport.PhishingResistant, Proved: time.Minute, Action: sallyport.ModelInfer, Resource: "acme/base-7b@v1", Scope: sallyport.Scope{"*"}}
}

// TestTheCorpus asks the whole corpus through the guard inside another server.
func TestTheCorpus(t *testing.T) {
	s := newSite(t, nil)
	sent := doortest.Run(t, s.World, func(doortest.Case) string { return "" }, func(t testing.TB, c doortest.Case) doortest.Said {
		a, err := s.guard.Check(t.Context(), s.call(c))
		if err != nil {
			t.Fatal(err)
		}
		if (a.Permit != nil) != (a.Outcome == sallyport.Allow) || a.Permit != nil && !a.Permit.Valid() || a.Permit == nil && a.Message == "" {
			t.Errorf("%s: %+v", c.Name, a)
		}
		a.Permit.Done()
		if a.Permit.Valid() {
			t.Errorf("%s: valid after its end", c.Name)
		}
		return doortest.Of(a.Outcome, a.Hidden)
	})
	if sent < 180 {
		t.Errorf("%d cases sent", sent)
	}
}

// TestAPermitIsCut when what it rests on ends, and when nobody can say any more whether it stands.
func TestAPermitIsCut(t *testing.T) {
	for name, end := range map[string]func(*site){
		"a lock":       func(s *site) { s.Lock("user:eva") },
		"an account":   func(s *site) { s.Suspend("eva") },
		"out of reach": func(s *site) { s.pdp.CloseClientConnections(); s.pdp.Close() },
		"a broken log": func(s *site) { s.BreakLog() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, nil)
			a, err := s.guard.Check(t.Context(), s.call(eva()))
			if err != nil || a.Permit == nil {
				t.Fatalf("%s: %+v, %v", name, a, err)
			}
			end(s)
			<-a.Permit.Context().Done()
			if cut, ok := errors.AsType[*embed.Cut](context.Cause(a.Permit.Context())); !ok || cut.Decision != a.ID || a.Permit.Valid() || a.Permit.Count(1) == nil {
				t.Errorf("%s: %v", name, context.Cause(a.Permit.Context()))
			}
			a.Permit.Done()
		})
	}
}

// TestWhatCannotBeAskedIsRefused, whatever it is that is answered.
func TestWhatCannotBeAskedIsRefused(t *testing.T) {
	for name, answer := range map[string]struct {
		status int
		body   string
		deny   bool // a refusal, and no error
	}{
		"no JSON":                {200, "yes", false},
		"nothing":                {200, "", false},
		"another status":         {500, `{"decision":true,"context":{"id":"D-1"}}`, false},
		"a redirect":             {302, `{"decision":true,"context":{"id":"D-1"}}`, false},
		"no record":              {200, `{"decision":true}`, false},
		"doubled":                {200, `{"decision":false,"decision":true,"context":{"id":"D-1"}}`, false},
		"a text":                 {200, `{"decision":"true","context":{"id":"D-1"}}`, false},
		"an unknown obligation":  {200, `{"decision":true,"context":{"id":"D-1","obligations":[{"id":"o","type":"custom","properties":{"sallyport":"sing=1"}}]}}`, true},
		"somebody's obligation":  {200, `{"decision":true,"context":{"id":"D-1","obligations":[{"id":"o","type":"encrypt","properties":{}}]}}`, true},
		"one not carried out":    {200, `{"decision":true,"context":{"id":"D-1","obligations":[{"id":"o","type":"custom","properties":{"sallyport":"max-tokens=1"}}]}}`, true},
		"a denial":               {200, `{"decision":false}`, true},
		"an allow in words only": {200, `{"decision":false,"context":{"id":"D-1","outcome":"allow"}}`, true},
	} {
		pdp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/")
			w.WriteHeader(answer.status)
			_, _ = io.WriteString(w, answer.body)
		}))
		g, err := embed.Open(embed.Config{Server: pdp.URL, Plaintext: true, Token: func(context.Context) (string, error) { return "t", nil }})
		if err != nil {
			t.Fatal(err)
		}
		a, err := g.Check(t.Context(), embed.Call{Action: sallyport.ModelInfer, Resource: sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "x"}, Who: "user:ana"})
		if a.Permit != nil || a.Outcome == sallyport.Allow || (err == nil) != answer.deny || err != nil && sallyport.KindOf(err) != sallyport.Unavailable {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
		pdp.Close()
	}
	for name, cfg := range map[string]embed.Config{"no server": {}, "no token": {Server: "https://x.test"}, "plaintext": {Server: "http://127.0.0.1:1", Token: func(context.Context) (string, error) { return "", nil }},
		"too rare": {Server: "https://x.test", Token: func(context.Context) (string, error) { return "", nil }, Again: time.Hour}} {
		if _, err := embed.Open(cfg); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	var none *embed.Permit
	if none.Valid() || (&embed.Permit{}).Valid() || none.Count(1) == nil || none.Allows(sallyport.Ref{}, "") {
		t.Error("no permit permits something")
	}
	none.Done()
}

// TestProtect serves what is permitted, and tells refusals apart.
func TestProtect(t *testing.T) {
	s := newSite(t, nil)
	served := 0
	var body string
	asked := eva()
	h := s.guard.Protect(func(r *http.Request) (embed.Call, error) {
		if r.URL.Path != "/chat" {
			return embed.Call{}, sallyport.E("read request", sallyport.NotFound, "there is no such route", "")
		}
		return s.call(asked), nil
	}, func(w http.ResponseWriter, r *http.Request, p *embed.Permit) {
		served++
		if !p.Allows(asked.Ref(t), sallyport.ModelInfer, sallyport.ModelPull) || r.Context() != p.Context() {
			t.Error("the permit is for something else")
		}
		_, _ = io.WriteString(w, body)
	})
	try := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://other.test"+path, nil))
		return w
	}
	body = "hello"
	if w := try("/chat"); w.Code != 200 || w.Body.String() != "hello" || !strings.HasPrefix(w.Header().Get("Sallyport-Decision"), "D-") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := try("/other"); w.Code != http.StatusNotFound || served != 1 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	asked = doortest.Case{Who: "user:nora", Assurance: sallyport.MultiFactor, Proved: time.Minute, Action: sallyport.ModelPull, Resource: "acme/frontier-70b@v1", Scope: sallyport.Scope{"*"}}
	if w := try("/chat"); w.Code != http.StatusNotFound || served != 1 || strings.Contains(w.Body.String(), "v1 is") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, c := range s.Cases {
		if c.Outcome == sallyport.StepUp && c.Action.Valid() && !c.Hidden {
			s.Arrange(c)
			asked = c
			break
		}
	}
	if w := try("/chat"); w.Code != http.StatusUnauthorized || !strings.Contains(w.Header().Get("WWW-Authenticate"), "acr_values=") || served != 1 {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	s.BreakLog()
	if w := try("/chat"); w.Code != http.StatusServiceUnavailable || served != 1 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestLimitBytes ends an answer that is longer than what was permitted, so that the client knows.
func TestLimitBytes(t *testing.T) {
	pdp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"decision":true,"context":{"id":"D-1","obligations":[{"id":"o","type":"custom","properties":{"sallyport":"limit-bytes=8"}}]}}`)
	}))
	defer pdp.Close()
	g, err := embed.Open(embed.Config{Server: pdp.URL, Plaintext: true, Token: func(context.Context) (string, error) { return "t", nil }})
	if err != nil {
		t.Fatal(err)
	}
	other := httptest.NewServer(g.Protect(func(*http.Request) (embed.Call, error) {
		return embed.Call{Action: sallyport.ModelInfer, Resource: sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "x"}, Who: "user:ana", Assurance: sallyport.MultiFactor}, nil
	}, func(w http.ResponseWriter, r *http.Request, _ *embed.Permit) {
		for range len(r.URL.Path) {
			if _, err := io.WriteString(w, "1234"); err != nil {
				return
			}
			w.(http.Flusher).Flush()
		}
	}))
	defer other.Close()
	for path, whole := range map[string]bool{"/1": true, "/123": false} {
		res, err := http.Get(other.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if (err == nil) != whole || len(got) > 8 {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
}
