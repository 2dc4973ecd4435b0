package drills_test

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/web/api"
	"sallyport/internal/web/drills"
	"sallyport/internal/web/within"
)

// A desk is the door before an API that answers one lure and notes what it was asked.
type desk struct {
	mux   *http.ServeMux
	lure  api.Lure
	name  string // who is signed in, "" nobody
	asked []string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{mux: http.NewServeMux(), name: "ana", lure: api.Lure{Title: "<b>Please</b>", Lead: "It is urgent.", Facts: []api.LureFact{{Name: "On", Text: "<script>alert(1)</script>"}}, Yes: "Allow", No: "Deny"}}
	asking, err := within.New(within.Config{Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		API: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			d.asked = append(d.asked, r.Method+" "+r.URL.RequestURI()+" "+strings.TrimSpace(string(body)))
			var answer any = d.lure
			if r.URL.Path != "/api/v1/me/lures/abc" {
				answer = api.Error{Status: 404, Message: "there is no such page"}
				w.WriteHeader(http.StatusNotFound)
			}
			if err := json.NewEncoder(w).Encode(answer); err != nil {
				t.Error(err)
			}
		}),
		Seal: func(plain []byte) []byte { return plain }, Open: func([]byte) ([]byte, error) { return nil, errors.New("no offer") },
		Bypassed: func(*http.Request, within.Bypass) error { return nil }, Now: time.Now,
		Session: func(w http.ResponseWriter, r *http.Request, back string) (within.Visitor, bool) {
			if d.name == "" {
				http.Redirect(w, r, "/login?return="+back, http.StatusSeeOther)
			}
			return within.Visitor{ID: sallyport.PrincipalID("user:" + d.name), Session: "S-1"}, d.name != ""
		}})
	if err != nil {
		t.Fatal(err)
	}
	door, err := drills.New(asking)
	if err != nil {
		t.Fatal(err)
	}
	door.Routes(d.mux)
	return d
}

func (d *desk) send(method, path, body, site string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", site)
	w := httptest.NewRecorder()
	d.mux.ServeHTTP(w, r)
	return w
}

// TestPages: no script runs, nothing tells of a drill before it is over, and afterwards each end has its words.
func TestPages(t *testing.T) {
	d := newDesk(t)
	w := d.send("GET", "/confirm/abc", "", "none")
	text, policy := w.Body.String(), w.Header().Get("Content-Security-Policy")
	if w.Code != 200 || !strings.Contains(text, "&lt;script&gt;") || strings.Contains(text, "<script") || strings.Contains(policy, "script-src") || strings.Contains(strings.ToLower(text), "drill") ||
		!strings.Contains(text, `value="yes"`) || !strings.Contains(text, `value="no"`) || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s\n%s", w.Code, policy, text)
	}
	d.lure.Signs = []string{"It was <i>urgent</i>."}
	for ended, want := range map[string]string{"reported": "reported it: well done", "denied": "You said no: well done", "fell": "You said yes", "ignored": "You did not answer", "else": "You did not answer"} {
		d.lure.Told = &api.MyDrill{ID: "DR-1", Ended: ended}
		text := d.send("GET", "/confirm/abc", "", "none").Body.String()
		if !strings.Contains(text, want) || !strings.Contains(text, "It was &lt;i&gt;urgent") || !strings.Contains(text, `value="read"`) || strings.Contains(text, `value="yes"`) {
			t.Errorf("%s: %s", ended, text)
		}
	}
	d.lure.Told.Learned = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	if text := d.send("GET", "/confirm/abc", "", "none").Body.String(); !strings.Contains(text, "4 March 2026") || strings.Contains(text, "<form") {
		t.Errorf("read: %s", text)
	}
	if w := d.send("GET", "/confirm/abcd", "", "none"); w.Code != 404 || strings.Contains(strings.ToLower(w.Body.String()), "drill") {
		t.Errorf("no such link: %d %s", w.Code, w.Body)
	}
	if d.name = ""; d.send("GET", "/confirm/abc", "", "none").Code != 303 {
		t.Error("shown to nobody who is signed in")
	}
}

// TestForms: a form has one field, comes from our own page, and is handed on as it is; looking answers nothing.
func TestForms(t *testing.T) {
	d := newDesk(t)
	if w := d.send("POST", "/confirm/abc", "answer=no", "same-origin"); w.Code != 303 || w.Header().Get("Location") != "/confirm/abc" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if len(d.asked) != 1 || d.asked[0] != `POST /api/v1/me/lures/abc {"answer":"no"}` {
		t.Errorf("asked %q", d.asked)
	}
	if w := d.send("POST", "/confirm/a%2Fb", "answer=no", "same-origin"); w.Code != 404 || d.asked[1] != `POST /api/v1/me/lures/a%2Fb {"answer":"no"}` {
		t.Errorf("a path within the link: %d, %q", w.Code, d.asked)
	}
	before := len(d.asked)
	for name, w := range map[string]*httptest.ResponseRecorder{
		"another site": d.send("POST", "/confirm/abc", "answer=yes", "cross-site"), "twice": d.send("POST", "/confirm/abc", "answer=yes&answer=no", "same-origin"),
		"something else": d.send("POST", "/confirm/abc", "answer=yes&x=1", "same-origin"), "nothing": d.send("POST", "/confirm/abc", "", "same-origin"),
		"in the address": d.send("POST", "/confirm/abc?answer=yes", "", "same-origin"), "both": d.send("POST", "/confirm/abc?a=1", "answer=yes", "same-origin"),
		"too long": d.send("POST", "/confirm/abc", "answer="+strings.Repeat("x", 40<<10), "same-origin"), "another method": d.send("PUT", "/confirm/abc", "answer=yes", "same-origin"),
	} {
		if w.Code < 400 || w.Code > 499 {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	if len(d.asked) != before {
		t.Errorf("the API was asked %q", d.asked[before:])
	}
}
