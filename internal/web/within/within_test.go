package within_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/web/api"
	"sallyport/internal/web/within"
)

// config is a desk before an API that answers with one status and text.
func config(t *testing.T, status int, answer string) within.Config {
	return within.Config{Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: time.Now,
		API: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if c, err := r.Cookie("session"); err != nil || c.Value != "ana" || r.RemoteAddr == "" {
				t.Errorf("the API is asked without the browser's session: %v, %q", err, r.RemoteAddr)
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(answer))
		}),
		Seal:     func(plain []byte) []byte { return plain },
		Open:     func(sealed []byte) ([]byte, error) { return sealed, nil },
		Bypassed: func(*http.Request, within.Bypass) error { return errors.New("the log is full") },
		Session: func(http.ResponseWriter, *http.Request, string) (within.Visitor, bool) {
			return within.Visitor{ID: "user:ana", Session: "S-1", Org: "acme"}, true
		}}
}

// get serves one page that asks what ask does.
func get(t *testing.T, c within.Config, path string, ask func(*within.Desk, within.Visit) error) *httptest.ResponseRecorder {
	t.Helper()
	d, err := within.New(c)
	if err != nil {
		t.Fatal(err)
	}
	r, w := httptest.NewRequest(http.MethodGet, path, nil), httptest.NewRecorder()
	r.AddCookie(&http.Cookie{Name: "session", Value: "ana"})
	d.Handler(func(v within.Visit) error { return ask(d, v) }).ServeHTTP(w, r)
	return w
}

func who(d *within.Desk, v within.Visit) error {
	return d.Call(v, within.Question{Method: http.MethodGet, Path: "/whoami"}, &api.Who{})
}

// TestWhatGoesWrong: every error is one whole page with its status, in words; more proof is asked for and leads back.
func TestWhatGoesWrong(t *testing.T) {
	answer := func(e api.Error) string {
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for name, test := range map[string]struct {
		path, answer string
		given, want  int
		text         string
	}{
		"refused":        {"/home", answer(api.Error{Status: 403, Message: "you are on hold"}), 403, 403, "You are on hold."},
		"the log":        {"/home?from=acme/fraud", answer(api.Error{Status: 503, Message: "the log cannot be written"}), 503, 503, "The log cannot be written. Nothing was decided"},
		"no JSON":        {"/approvals", "oops", 500, 500, "Sallyport cannot answer now"},
		"half an answer": {"/home", `{"id":`, 200, 500, "Sallyport cannot answer now"},
		"proof":          {"/home?from=acme/fraud", answer(api.Error{Status: 401, Message: "prove it", Needs: "phr"}), 401, 303, "/stepup?needs=phr&amp;return=%2Fhome%3Ffrom%3Dacme%2Ffraud"},
	} {
		w := get(t, config(t, test.given, test.answer), test.path, who)
		if w.Code != test.want || !strings.Contains(w.Body.String(), test.text) || strings.Count(w.Body.String(), "</html>") > 1 {
			t.Errorf("%s: %d\n%s", name, w.Code, w.Body)
		}
		if w.Code == 503 && w.Header().Get("Retry-After") == "" {
			t.Errorf("%s does not say when to come again", name)
		}
	}
}

// TestBatch: an answer of another length than the question is none, and nothing is asked about nothing.
func TestBatch(t *testing.T) {
	c := config(t, 200, `[{"outcome":"allow"},{"outcome":"step-up"},{"outcome":"deny"}]`)
	asks := []api.CanAsk{{Action: sallyport.ModelPull, Resource: "a/b"}, {Action: sallyport.ModelPush, Resource: "a/b"}, {Action: sallyport.ModelRead, Resource: "a/b"}}
	w := get(t, c, "/home", func(d *within.Desk, v within.Visit) error {
		can, err := d.May(v, asks...)
		if err != nil || len(can) != 3 || !can[0] || !can[1] || can[2] {
			t.Errorf("%v, %v", can, err)
		}
		if none, err := d.Can(v); err != nil || none != nil {
			t.Errorf("asked nothing: %v, %v", none, err)
		}
		_, err = d.Can(v, asks[:2]...)
		return err
	})
	if w.Code != 500 {
		t.Errorf("three answers to two questions: %d", w.Code)
	}
}

// TestHere: a form belongs to the page of what it is about.
func TestHere(t *testing.T) {
	for _, test := range [][3]string{
		{"GET", "/home?from=acme%2Ffraud", "/home?from=acme%2Ffraud"}, {"POST", "/approvals/R-1/vote", "/approvals/R-1"}, {"POST", "/approvals/ask", "/approvals/ask"},
	} {
		mux, got := http.NewServeMux(), ""
		here := func(_ http.ResponseWriter, r *http.Request) { got = within.Here(r) }
		mux.HandleFunc("GET /home", here)
		mux.HandleFunc("POST /approvals/ask", here)
		mux.HandleFunc("POST /approvals/{id}/vote", here)
		mux.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(test[0], test[1], nil))
		if got != test[2] {
			t.Errorf("%s %s: %q, want %q", test[0], test[1], got, test[2])
		}
	}
}

func TestNewNeedsAll(t *testing.T) {
	for name, take := range map[string]func(*within.Config){
		"API": func(c *within.Config) { c.API = nil }, "session": func(c *within.Config) { c.Session = nil }, "seal": func(c *within.Config) { c.Seal = nil },
		"open": func(c *within.Config) { c.Open = nil }, "record": func(c *within.Config) { c.Bypassed = nil }, "clock": func(c *within.Config) { c.Now = nil }, "log": func(c *within.Config) { c.Log = nil },
	} {
		c := config(t, 200, "{}")
		take(&c)
		if _, err := within.New(c); err == nil {
			t.Errorf("a desk without its %s was made", name)
		}
	}
}
