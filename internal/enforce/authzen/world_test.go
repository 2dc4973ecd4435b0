package authzen_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/enforce/authzen"
	"sallyport/internal/enforce/authzen/dictionary"
	"sallyport/internal/enforce/authzen/wire"
	"sallyport/internal/enforce/guard/guardtest"
	"sallyport/internal/identity/directory"
)

const external = "https://pdp.test"

// A site is the door behind a real listener, and a registered point's token.
type site struct {
	t     *testing.T
	world *guardtest.World
	url   string
	token string
	last  http.Header
}

func open(t *testing.T, w *guardtest.World, point authzen.Point) *site {
	t.Helper()
	if point.Words == nil {
		point.Words = dictionary.Own()
	}
	door := authzen.New(authzen.Door{Guard: w.Guard, Facts: w.Facts, External: external, Points: []authzen.Point{point},
		Key: []byte("a key of a test, of 32 bytes ...."), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}, 16)
	server := httptest.NewServer(door)
	t.Cleanup(server.Close)
	return &site{t: t, world: w, url: server.URL, token: issue(w, point.Principal, "")}
}

// issue makes a token for the door.
func issue(w *guardtest.World, id sallyport.PrincipalID, key string) string {
	now := w.Clock.Now()
	return w.Issue(sallyport.Principal{ID: id, Person: w.Person(id), Family: "F-" + id.Name(), Audience: external + authzen.Audience,
		Scope: sallyport.Scope{"*"}, Key: key, Assurance: sallyport.MultiFactor, AuthTime: now, Expires: now.Add(time.Hour)})
}

// join adds an enforcement point to the world of guardtest.
func join(w *guardtest.World, roles ...string) {
	w.Join(directory.Member{ID: "service:pep", Person: "user:rita", Org: "acme", State: directory.Active}, roles...)
}

// post sends a body and returns the status and the answer.
func (s *site) post(path string, body any, header ...string) (int, []byte) {
	s.t.Helper()
	raw, ok := body.(string)
	if !ok {
		b, err := json.Marshal(body)
		if err != nil {
			s.t.Fatal(err)
		}
		raw = string(b)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+path, bytes.NewReader([]byte(raw)))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if s.token != "" {
		r.Header.Set("Authorization", "Bearer "+s.token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	s.last = res.Header
	return res.StatusCode, out
}

// ask sends a body that must be answered, and reads the answer into v.
func (s *site) ask(path string, body, v any) {
	s.t.Helper()
	status, raw := s.post(path, body)
	if status != http.StatusOK {
		s.t.Fatalf("%s %v: status %d, %s", path, body, status, raw)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		s.t.Fatalf("%s: %v in %s", path, err, raw)
	}
}

// decide asks one question.
func (s *site) decide(body any) wire.Decision {
	s.t.Helper()
	var d wire.Decision
	s.ask(wire.EvaluationPath, body, &d)
	return d
}

// question is one in Sallyport's own words.
func question(who, action, kind, id string, context map[string]any) wire.Request {
	p := sallyport.PrincipalID(who)
	return wire.Request{Subject: &wire.Entity{Type: string(p.Kind()), ID: p.Name()}, Action: &wire.Action{Name: action}, Resource: &wire.Entity{Type: kind, ID: id}, Context: context}
}
