package approvals_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/web/api"
	"sallyport/internal/web/approvals"
	"sallyport/internal/web/within"
)

// A desk is the door before an API that answers what a test wants and notes what it was asked.
type desk struct {
	mux   *http.ServeMux
	asked []string
	name  string // who is signed in, "" nobody

	bypassed []string
	now      time.Time
}

func newDesk(t *testing.T, answers map[string]any) *desk {
	t.Helper()
	d := &desk{mux: http.NewServeMux(), name: "rita", now: time.Unix(1_800_000_000, 0)}
	asking, err := within.New(within.Config{Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		API: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			d.asked = append(d.asked, r.Method+" "+r.URL.RequestURI()+" "+strings.TrimSpace(string(body)))
			answer, ok := answers[r.Method+" "+r.URL.Path]
			if r.URL.Path == "/api/v1/can" && !ok { // everything, where a test says nothing
				var all []api.CanAsk
				if err := json.Unmarshal(body, &all); err != nil {
					t.Error(err)
				}
				list := make([]api.Answer, len(all))
				for i := range list {
					list[i].Outcome = "allow"
				}
				answer, ok = list, true
			}
			if e, bad := answer.(api.Error); bad || !ok {
				if !ok {
					e = api.Error{Status: 404, Message: "there is no such request"}
				}
				w.WriteHeader(e.Status)
				answer = e
			}
			if err := json.NewEncoder(w).Encode(answer); err != nil {
				t.Error(err)
			}
		}),
		Seal: func(plain []byte) []byte { return append([]byte("sealed "), plain...) },
		Open: func(sealed []byte) ([]byte, error) {
			plain, ok := bytes.CutPrefix(sealed, []byte("sealed "))
			if !ok {
				return nil, errors.New("not ours")
			}
			return plain, nil
		},
		Bypassed: func(_ *http.Request, b within.Bypass) error {
			d.bypassed = append(d.bypassed, string(b.ID)+" "+b.Session+" "+b.Path+" "+b.Decision)
			return nil
		},
		Now: func() time.Time { return d.now },
		Session: func(w http.ResponseWriter, r *http.Request, back string) (within.Visitor, bool) {
			if d.name == "" {
				http.Redirect(w, r, "/login?return="+url.QueryEscape(back), http.StatusSeeOther)
			}
			return within.Visitor{ID: sallyport.PrincipalID("user:" + d.name), Session: "S-1", Org: "acme"}, d.name != ""
		}})
	if err != nil {
		t.Fatal(err)
	}
	door, err := approvals.New(asking)
	if err != nil {
		t.Fatal(err)
	}
	door.Routes(d.mux)
	return d
}

func (d *desk) send(method, path, kind, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", kind)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	d.mux.ServeHTTP(w, r)
	return w
}

const form = "application/x-www-form-urlencoded"

func request() api.Request {
	return api.Request{ID: "R-1", Who: "user:ana", Action: "model.pull", Resource: "acme/fraud", Why: "<script>alert(1)</script>", Hash: "abc", Need: 1, State: "pending", Topic: "grant", Subject: "s",
		VotePath: "/requests/R-1/vote?resource=acme%2Ffraud"}
}

// TestPages: what others wrote is text, a script is permitted where something is signed, and nowhere else.
func TestPages(t *testing.T) {
	d := newDesk(t, map[string]any{
		"GET /api/v1/requests":            []api.Request{request()},
		"GET /api/v1/requests/R-1/review": api.Review{Request: request(), Sentence: "Ana wants it.", Sign: true, MayVote: true},
		"GET /api/v1/requests/R-2/review": api.Review{Request: request(), Sentence: "Ana wants it.", MayVote: true},
		"GET /api/v1/approvers":           api.Approvers{},
		"GET /api/v1/decisions/D-1":       api.Why{ID: "D-1"},
	})
	for path, want := range map[string]struct {
		status int
		script bool
		text   string
	}{
		"/approvals": {200, false, "&lt;script&gt;"}, "/approvals/R-1": {200, true, "Approve with your passkey"}, "/approvals/R-2": {200, false, `value="yes"`},
		"/approvals/keys": {200, false, "Nobody has an approver"}, "/approvals/ask?action=model.pull&resource=acme%2Ffraud": {200, false, `value="acme/fraud"`},
		"/approvals/R-9": {404, false, "There is no such request."}, "/approvals/ask?from=D-1": {409, false, "would not change"},
	} {
		w := d.send("GET", path, "", "")
		policy := w.Header().Get("Content-Security-Policy")
		if w.Code != want.status || !strings.Contains(w.Body.String(), want.text) || strings.Contains(policy, "script-src") != want.script || !strings.Contains(policy, "default-src 'none'") {
			t.Errorf("%s: %d, %s\n%s", path, w.Code, policy, w.Body)
		}
		if strings.Contains(w.Body.String(), "<script>alert") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s lets a script in", path)
		}
	}
	d.name = ""
	if w := d.send("GET", "/approvals/R-1", "", ""); w.Code != 303 || w.Header().Get("Location") != "/login?return=%2Fapprovals%2FR-1" {
		t.Errorf("without a session: %d %s", w.Code, w.Header().Get("Location"))
	}
}

// TestWhatVotersWroteIsText: of votes, groups, changes and requests before, like of the reason of this one. Who is called like
// the asker, and is another kind of account, did not ask.
func TestWhatVotersWroteIsText(t *testing.T) {
	const evil = "<script>alert(1)</script>"
	r := request()
	r.Who, r.Task, r.Purpose, r.Approvers, r.Groups = "service:rita", evil, evil, evil, []sallyport.Quorum{{Need: 1, Group: evil}}
	r.Votes = []api.Vote{{By: "user:eva", Reason: evil}}
	x := api.Review{Request: r, Sentence: evil, Changes: []string{evil}, History: []string{"in " + evil}, Similar: []api.Similar{{ID: "R-0", Why: evil}}}
	d := newDesk(t, map[string]any{"GET /api/v1/requests/R-1/review": x})
	w := d.send("GET", "/approvals/R-1", "", "")
	if n := strings.Count(w.Body.String(), "&lt;script&gt;"); w.Code != 200 || n < 9 || strings.Contains(w.Body.String(), "<script>alert") {
		t.Errorf("%d, escaped %d times:\n%s", w.Code, n, w.Body)
	}
	if strings.Contains(w.Body.String(), "/withdraw") {
		t.Error("user:rita is offered to take back what service:rita asked for")
	}
}

// TestVotes: a vote goes where the request says, as it stands on the page; what is not ours is refused before the API is asked.
func TestVotes(t *testing.T) {
	d := newDesk(t, map[string]any{"GET /api/v1/requests/R-1": request(), "POST /api/v1/requests/R-1/vote": request(), "POST /api/v1/requests/R-1/statement": api.Statement{Text: "x"},
		"GET /api/v1/requests/R-3":           request(),
		"POST /api/v1/requests/R-3/withdraw": api.Error{Status: 503, Message: "the facts cannot be read"},
		"POST /api/v1/requests/R-1/withdraw": api.Error{Status: 401, Message: "prove it", Needs: "aal2"}})
	if w := d.send("POST", "/approvals/R-1/vote", form, "yes=no&reason=later&hash=abc"); w.Code != 303 || w.Header().Get("Location") != "/approvals/R-1" {
		t.Errorf("a vote: %d %s", w.Code, w.Body)
	}
	if last := d.asked[len(d.asked)-1]; last != `POST /api/v1/requests/R-1/vote?resource=acme%2Ffraud {"yes":false,"reason":"later","hash":"abc"}` {
		t.Errorf("the API was asked %s", last)
	}
	if w := d.send("POST", "/approvals/R-1/withdraw", form, ""); w.Code != 303 || w.Header().Get("Location") != "/stepup?needs=aal2&return=%2Fapprovals%2FR-1" {
		t.Errorf("a step-up: %d %s", w.Code, w.Header().Get("Location"))
	}
	// It is kept, and something behind it failed: the page promises nothing, and leads to where it can be seen.
	if w := d.send("POST", "/approvals/R-3/withdraw", form, ""); w.Code != 503 || strings.Contains(w.Body.String(), "nothing was changed") || !strings.Contains(w.Body.String(), `href="/approvals/R-3"`) {
		t.Errorf("what may have been done: %d %s", w.Code, w.Body)
	}
	sign := `{"yes":true,"reason":"","hash":"abc","groups":[],"at":"2026-01-01T00:00:00Z","response":{"id":"a","rawId":"a","type":"public-key","response":{"authenticatorData":"b","clientDataJSON":"c","signature":"d"}}}`
	if w := d.send("POST", "/approvals/R-1/sign", "application/json", sign); w.Code != 200 || !strings.Contains(d.asked[len(d.asked)-1], `"signature":{"credential":"a","authenticatorData":"b","clientDataJSON":"c","signature":"d"}`) {
		t.Errorf("a signature: %d %s", w.Code, d.asked[len(d.asked)-1])
	}
	before := len(d.asked)
	for name, w := range map[string]*httptest.ResponseRecorder{
		"another site":    d.send("POST", "/approvals/R-1/vote", form, "yes=no&hash=abc", "Sec-Fetch-Site", "cross-site"),
		"neither":         d.send("POST", "/approvals/R-1/vote", form, "yes=maybe&hash=abc"),
		"twice":           d.send("POST", "/approvals/R-1/vote", form, "yes=no&yes=yes&hash=abc"),
		"unknown field":   d.send("POST", "/approvals/R-1/vote", form, "yes=no&hash=abc&x=1"),
		"in the address":  d.send("POST", "/approvals/R-1/vote?yes=yes", form, "hash=abc"),
		"no JSON":         d.send("POST", "/approvals/R-1/statement", "application/json", "{"),
		"JSON as a form":  d.send("POST", "/approvals/R-1/statement", form, `{"yes":true}`),
		"unknown member":  d.send("POST", "/approvals/R-1/statement", "application/json", `{"yes":true,"x":1}`),
		"something after": d.send("POST", "/approvals/R-1/statement", "application/json", `{"yes":true} {}`),
		"too long":        d.send("POST", "/approvals/R-1/statement", "application/json", `{"reason":"`+strings.Repeat("x", 40<<10)+`"}`),
	} {
		if w.Code < 400 || w.Code > 499 {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	if len(d.asked) != before {
		t.Errorf("the API was asked %q", d.asked[before:])
	}
}
