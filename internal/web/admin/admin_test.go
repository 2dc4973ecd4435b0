package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"sallyport"
	"sallyport/internal/enforce/guard/guardtest"
	"sallyport/internal/web/admin"
	"sallyport/internal/web/api"
)

const audience = "https://acme.test/api"

// boss lets rita, who proved herself well, do everything, so that requests reach
// the handlers.
const boss = `
@id("boss") @owner("test") @requirement("T") @text("Rita may do everything.")
permit (principal == User::"rita", action, resource);
@id("boss.proof") @owner("test") @requirement("T") @text("With a second factor.") @outcome("step-up") @needs("aal2")
forbid (principal == User::"rita", action == Action::"policy.activate", resource) when { context.assurance < 2 };`

// world is the API over a real guard, without the rooms: a handler that reaches
// one of them panics.
func world(t *testing.T) (*guardtest.World, http.Handler) {
	t.Helper()
	w := guardtest.New(t)
	engine, err := guardtest.Compile(guardtest.Policies + boss)
	if err != nil {
		t.Fatal(err)
	}
	w.Facts.Use(engine)
	return w, admin.New(admin.API{Guard: w.Guard, Facts: w.Facts, Audience: audience, External: "https://acme.test", Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
}

// call asks the API as somebody; "" is nobody.
func call(t *testing.T, h http.Handler, who, method, path, body string) (*http.Response, api.Error) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	name, level, _ := strings.Cut(who, "@")
	if name != "" {
		assurance := sallyport.MultiFactor
		if level == "aal1" {
			assurance = sallyport.SingleFactor
		}
		r.Header.Set("Authorization", "Bearer "+guardtest.Token(name, assurance, audience, "*"))
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	a := w.Result()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	var e api.Error
	if a.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s %s: the answer is %q: %.200s", method, path, a.Header.Get("Content-Type"), text)
	} else if a.StatusCode >= 400 {
		if err := json.Unmarshal(text, &e); err != nil || e.Status != a.StatusCode || e.Message == "" || e.Kind == "" {
			t.Errorf("%s %s: %d %s, error %v", method, path, a.StatusCode, text, err)
		}
	}
	return a, e
}

// A refusal is JSON with the decision's id, its reasons and the way out; what may
// not be known is not found, without a reason.
func TestRefusals(t *testing.T) {
	w, h := world(t)
	holds := api.Version + "/holds"
	for _, test := range []struct {
		name, who, method, path string
		status                  int
		outcome                 string
		reasons                 []string
	}{
		{"nobody", "", "GET", holds, 401, "", nil},
		{"no right", "ana", "GET", holds, 403, "deny", []string{"default.deny"}},
		{"step-up", "rita@aal1", "POST", api.Version + "/policy", 401, "step-up", []string{"boss.proof"}},
		{"hidden", "zoe", "POST", holds + "?resource=" + url.QueryEscape("acme/open"), 404, "deny", nil},
		{"not there", "zoe", "POST", holds + "?resource=" + url.QueryEscape("acme/gone"), 404, "deny", nil},
		{"known", "ana", "POST", holds + "?resource=" + url.QueryEscape("acme/open"), 403, "deny", []string{"default.deny"}},
	} {
		a, e := call(t, h, test.who, test.method, test.path, "{}")
		var reasons []string
		for _, r := range e.Reasons {
			reasons = append(reasons, r.ID)
		}
		if a.StatusCode != test.status || e.Outcome != test.outcome || !slices.Equal(reasons, test.reasons) {
			t.Errorf("%s: %d, %q because of %q", test.name, a.StatusCode, e.Outcome, reasons)
		}
		if (e.Decision != "") != (test.outcome != "") {
			t.Errorf("%s: the decision is %q", test.name, e.Decision)
		}
		if test.outcome == "deny" && test.status == 403 && len(e.Remedies) == 0 {
			t.Errorf("%s: no way out is named", test.name)
		}
		if test.status == 401 && a.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: without WWW-Authenticate", test.name)
		}
		if test.outcome == "step-up" && (e.Needs != "aal2" || !strings.Contains(a.Header.Get("WWW-Authenticate"), `acr_values="aal2"`)) {
			t.Errorf("step-up needs %q, %q", e.Needs, a.Header.Get("WWW-Authenticate"))
		}
	}
	if n := len(w.Of(sallyport.EventDecided)); n != 5 {
		t.Errorf("%d decisions are recorded, want 5", n)
	}
	if n := len(w.Of(sallyport.EventRefused)); n != 1 {
		t.Errorf("%d refusals without a decision are recorded, want 1", n)
	}
	if n := len(w.Of(sallyport.EventCompleted)); n != 0 {
		t.Errorf("%d calls were permitted", n)
	}
}

// Both answers about what may not be known are the same but for the id and the
// name that the caller gave.
func TestHiddenIsAsAbsent(t *testing.T) {
	_, h := world(t)
	var said []string
	for _, model := range []string{"acme/open", "acme/gone"} {
		_, e := call(t, h, "zoe", "POST", api.Version+"/holds?resource="+url.QueryEscape(model), "{}")
		said = append(said, strings.NewReplacer(e.Decision, "ID", model, "NAME").Replace(e.Message+e.Kind))
	}
	if said[0] != said[1] {
		t.Errorf("%q and %q", said[0], said[1])
	}
}

// What no route covers is refused and recorded, whoever asks.
func TestUnknownRoutesAreRecorded(t *testing.T) {
	w, h := world(t)
	asked := 0
	for _, who := range []string{"", "ana", "rita"} {
		for _, q := range []string{"GET /api/v1/nothing", "DELETE /api/v1/whoami", "GET /api/v2/whoami", "POST /api/v1/whoami/x", "GET /api", "PATCH /api/v1/holds", "GET /api/v1/holds/x/lift"} {
			method, path, _ := strings.Cut(q, " ")
			a, e := call(t, h, who, method, path, "")
			if a.StatusCode != http.StatusNotFound || e.Decision == "" {
				t.Errorf("%s by %q: %d with decision %q", q, who, a.StatusCode, e.Decision)
			}
			asked++
		}
	}
	events := w.Of(sallyport.EventUnmapped)
	if len(events) != asked {
		t.Errorf("%d of %d are recorded", len(events), asked)
	}
	for _, e := range events {
		if e.Detail["method"] == "" || e.Detail["path"] == "" || e.Outcome != "deny" {
			t.Errorf("recorded %+v", e)
		}
	}
}

// noBody are the routes that read nothing from their body.
func noBody() []string {
	return []string{"/sessions/{id}/revoke", "/logout", "/requests/{id}/withdraw", "/policy/proposals/{id}/withdraw", "/grants/{id}/revoke", "/people/{id}/enrol", "/assignments/{id}/remove",
		"/keys/rotate", "/trust/{name}/remove", "/log/reindex", "/scim/{name}/token", "/signals/streams/{id}/test", "/clients/{id}/remove", "/delegations/{id}/end",
		"/risk/{id}/clear", "/risk/relearn", "/breakglass/openings/{id}/end", "/approvers/{key}/remove", "/grants/{id}/renew",
		"/recoveries/{id}/approve", "/recoveries/{id}/vouch", "/recoveries/{id}/cancel", "/recoveries/{id}/link"}
}

// Every route that takes a body takes exactly its own JSON: what is unknown, left
// over, doubled as a whole, of another kind or too long is refused before any room
// is touched, and recorded as a permitted call that ended in an error.
func TestBodiesAreStrict(t *testing.T) {
	for _, route := range admin.Routes() {
		if route.Method != http.MethodPost || slices.Contains(noBody(), route.Pattern) {
			continue
		}
		w, h := world(t)
		path := api.Version + strings.ReplaceAll(route.Pattern, "{id}", "user:ana") + "?resource=system"
		if slices.Contains([]sallyport.Action{sallyport.ModelPromote, sallyport.ModelRetire, sallyport.LabelChange}, route.Action) {
			path = api.Version + route.Pattern + "?resource=" + url.QueryEscape("acme/open")
		}
		if route.Action.Enters() {
			path += "&to=staging"
		}
		if route.Action == sallyport.ModelRegister {
			path = api.Version + route.Pattern + "?resource=project:acme/lab"
		}
		for name, test := range map[string]struct {
			body   string
			status int
		}{
			"nothing":          {"", 400},
			"no JSON":          {"{", 400},
			"a list":           {"[]", 400},
			"a text":           {`"x"`, 400},
			"null":             {` null `, 400},
			"a null text":      {`{"why":null}`, 400},
			"unknown field":    {`{"nonsense":1}`, 400},
			"two values":       {`{} {}`, 400},
			"something behind": {`{}x`, 400},
			"a field twice":    {`{"why":"a","why":"b"}`, 400},
			"another case":     {`{"WHY":"a"}`, 400},
			"too long":         {`{"why":"` + strings.Repeat("x", 1<<20) + `"}`, 413},
		} {
			if a, e := call(t, h, "rita", http.MethodPost, path, test.body); a.StatusCode != test.status {
				t.Errorf("%s with %s: %d %s, want %d", route.Pattern, name, a.StatusCode, e.Message, test.status)
			}
		}
		ends := w.Of(sallyport.EventCompleted)
		if len(ends) != 12 {
			t.Errorf("%s: %d ends are recorded, want 12", route.Pattern, len(ends))
		}
		for _, e := range ends {
			if e.Delivered.Status != 400 && e.Delivered.Status != 413 {
				t.Errorf("%s: recorded with status %d", route.Pattern, e.Delivered.Status)
			}
		}
	}
}

// A name in the query that is none is refused before anybody is asked.
func TestTargetsAreChecked(t *testing.T) {
	w, h := world(t)
	for _, resource := range []string{"acme", "acme/../x", "Acme/open", "acme/open@", "robot:acme/x", "acme/open/x", "system:x", "%00"} {
		if a, _ := call(t, h, "rita", "POST", api.Version+"/holds?resource="+url.QueryEscape(resource), "{}"); a.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %d", resource, a.StatusCode)
		}
	}
	if n := len(w.Of(sallyport.EventDecided)); n != 0 {
		t.Errorf("%d decisions about what has no name", n)
	}
}

// TestWhereAPromotionGoes: what was decided on is what the body asks for, said once, in one spelling; anything else is refused
// before a room is touched.
func TestWhereAPromotionGoes(t *testing.T) {
	for _, test := range []struct {
		to, body string
		status   int
		decided  string // where the decision says that it goes, "" where nothing was decided
	}{
		{"", `{"environment":"staging"}`, 403, "-"},
		{"&to=", `{"environment":"staging"}`, 403, "-"},
		{"&TO=staging", `{"environment":"staging"}`, 403, "-"},
		{"&to=mars", `{"environment":"mars"}`, 400, ""},
		{"&to=Staging", `{"environment":"Staging"}`, 400, ""},
		{"&to=staging%20", `{"environment":"staging"}`, 400, ""},
		{"&to=staging", `{"environment":"production"}`, 400, "staging"},
		{"&to=staging", `{"environment":"Staging"}`, 400, "staging"},
		{"&to=staging", `{"aliases":{"main":""}}`, 400, "staging"},
		{"&to=staging&to=production", `{"environment":"production"}`, 400, "staging"},
		{"&to=development&to=staging", `{"environment":"staging"}`, 400, "development"},
		{"&to=here", `{"environment":"production","aliases":{"main":""}}`, 400, "production"}, // where it stands
		{"&to=here", `{}`, 400, "production"},
	} {
		w, h := world(t)
		a, e := call(t, h, "rita", "POST", api.Version+"/catalog/promote?resource="+url.QueryEscape("acme/open")+test.to, test.body)
		decided := ""
		for _, x := range w.Of(sallyport.EventDecided) {
			decided += x.Asked.To
		}
		if a.StatusCode != test.status || decided != test.decided {
			t.Errorf("%q with %s: %d %s, decided as going to %q, want %d and %q", test.to, test.body, a.StatusCode, e.Message, decided, test.status, test.decided)
		}
	}
}

// Numbers and times of queries are read strictly.
func TestQueriesAreChecked(t *testing.T) {
	_, h := world(t)
	for _, path := range []string{"/log/entries?from=x", "/log/entries?from=-1", "/log/entries?max=501", "/log/entries?from=99999999999999999999", "/log/search?max=1000000",
		"/log/search?since=yesterday", "/log/search?before=x", "/log/receipt/x", "/log/receipt/-1", "/can?action=model.fly&resource=acme/open", "/can?action=model.pull&resource=nothing",
		"/can", "/matrix?assurance=aal9", "/can?action=model.pull&resource=acme/open&as=robot:x", "/can?action=model.pull&resource=acme/open&as=ana&assurance=x"} {
		if a, e := call(t, h, "rita", "GET", api.Version+path, ""); a.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d %s", path, a.StatusCode, e.Message)
		}
	}
}

// What needs no room is answered from the facts.
func TestCanAndMatrix(t *testing.T) {
	w, h := world(t)
	a, _ := call(t, h, "rita", "GET", api.Version+"/can?action=model.infer&resource=acme/secret&as=ana&assurance=aal1", "")
	if a.StatusCode != 200 {
		t.Errorf("can: %d", a.StatusCode)
	}
	if a, _ := call(t, h, "ana", "GET", api.Version+"/can?action=model.infer&resource=acme/secret&as=rita", ""); a.StatusCode != 404 {
		t.Errorf("somebody without the right asks about another: %d", a.StatusCode)
	}
	if a, _ := call(t, h, "rita", "GET", api.Version+"/matrix", ""); a.StatusCode != 200 {
		t.Errorf("matrix: %d", a.StatusCode)
	}
	if a, _ := call(t, h, "ana", "GET", api.Version+"/whoami", ""); a.StatusCode != 200 {
		t.Errorf("whoami: %d", a.StatusCode)
	}
	for _, e := range w.Of(sallyport.EventCompleted) {
		if e.Delivered == nil || e.Delivered.Status == 0 {
			t.Errorf("%s ended with %+v", e.Decision, e.Delivered)
		}
	}
}

// A batch of questions has one reading and an end, and answers about what the caller may not know of as about what does not
// exist; with the log down nothing is answered.
func TestCanInBatches(t *testing.T) {
	w, h := world(t)
	const path, one = api.Version + "/can", `{"action":"model.infer","resource":"acme/open"}`
	for body, status := range map[string]int{
		"[" + one + "]":                               200,
		"[" + one + "," + one + "]":                   200,
		"[" + strings.Repeat(one+",", 63) + one + "]": 200,
		"[" + strings.Repeat(one+",", 64) + one + "]": 413,
		"": 400, "[]": 400, "null": 400, "[null]": 400, "[{}]": 400, one: 400, "[" + one + "] []": 400,
		`[{"action":"model.fly","resource":"acme/open"}]`:                                        400,
		`[{"action":"model.infer","resource":"acme/open\u001b[2J"}]`:                             400,
		`[{"action":"model.infer","action":"model.pull","resource":"acme/open"}]`:                400,
		`[{"action":"model.promote","resource":"acme/open","to":"production"}]`:                  400, // asked one by one
		`[{"action":"model.infer","resource":"acme/open","as":"user:rita"}]`:                     400,
		"[" + one + `,{"action":"model.infer","resource":"` + strings.Repeat("a", 1<<20) + `"}]`: 413,
	} {
		if a, e := call(t, h, "ana", "POST", path, body); a.StatusCode != status {
			t.Errorf("%.80s: %d %.120s, want %d", body, a.StatusCode, e.Message, status)
		}
	}
	answers := map[string]string{}
	for _, model := range []string{"acme/open", "acme/gone"} {
		r := httptest.NewRequestWithContext(t.Context(), "POST", path, strings.NewReader(strings.ReplaceAll("["+one+"]", "acme/open", model)))
		r.Header.Set("Authorization", "Bearer "+guardtest.Token("zoe", sallyport.MultiFactor, audience, "*"))
		a := httptest.NewRecorder()
		h.ServeHTTP(a, r)
		answers[model] = strings.ReplaceAll(a.Body.String(), model, "NAME")
	}
	if answers["acme/open"] != answers["acme/gone"] || !strings.Contains(answers["acme/gone"], "resource.unknown") {
		t.Errorf("what zoe may not know of is told apart: %v", answers)
	}
	w.BreakLog()
	if a, _ := call(t, h, "ana", "POST", path, "["+one+"]"); a.StatusCode != 503 {
		t.Errorf("with the log down: %d", a.StatusCode)
	}
}

// A handler that panics is an error of ours: the caller reads nothing of it, and
// the permit ends.
func TestPanicsEndThePermit(t *testing.T) {
	w, h := world(t)
	a, e := call(t, h, "rita", "GET", api.Version+"/log/head", "") // there is no log room
	if a.StatusCode != http.StatusInternalServerError || strings.Contains(e.Message, "nil") {
		t.Errorf("%d %q", a.StatusCode, e.Message)
	}
	ends := w.Of(sallyport.EventCompleted)
	if len(ends) != 1 || ends[0].Delivered.Status != 500 {
		t.Errorf("the end is recorded as %+v", ends)
	}
}

// When the log cannot be written nothing is answered but that.
func TestNothingWithoutTheLog(t *testing.T) {
	w, h := world(t)
	w.BreakLog()
	for _, path := range []string{"/whoami", "/holds", "/nothing", "/can?action=model.pull&resource=acme/open"} {
		for _, who := range []string{"", "ana", "rita"} {
			if a, e := call(t, h, who, "GET", api.Version+path, ""); a.StatusCode != http.StatusServiceUnavailable || strings.Contains(e.Message, "space") {
				t.Errorf("%s by %q: %d %s", path, who, a.StatusCode, e.Message)
			}
		}
	}
}

// Checkpoint and hashes are for everybody, entries for who may read the log; an
// address that is no file of a log is not looked up.
func TestLogFiles(t *testing.T) {
	w := guardtest.New(t)
	files := fstest.MapFS{"checkpoint": {Data: []byte("head")}, "tile/0/000": {Data: []byte("hashes")}, "tile/entries/000": {Data: []byte("entries")}}
	looked := []string{}
	l := &admin.LogFiles{Guard: w.Guard, Audience: audience, Logger: slog.New(slog.DiscardHandler), Fetch: func(_ context.Context, path string) ([]byte, error) {
		looked = append(looked, path)
		if path == "tile/1/000" {
			return nil, errors.New("the disk is gone")
		}
		return files.ReadFile(path)
	}}
	for _, test := range []struct {
		who, method, path string
		status            int
	}{
		{"", "GET", "/log/checkpoint", 200}, {"", "GET", "/log/tile/0/000", 200}, {"", "GET", "/log/tile/2/000", 404}, {"", "GET", "/log/tile/1/000", 503},
		{"", "GET", "/log/tile/entries/000", 401}, {"ana", "GET", "/log/tile/entries/000", 403}, {"rita", "GET", "/log/tile/entries/000", 200},
		{"", "GET", "/log/tile/entries/../../secrets", 404}, {"rita", "GET", "/log/journal/x", 404}, {"rita", "GET", "/log/", 404}, {"rita", "POST", "/log/checkpoint", 404},
		{"rita", "GET", "/log/tile/entries/x", 404}, {"rita", "GET", "/log/tile/entries/000.p/256", 404},
	} {
		r := httptest.NewRequestWithContext(t.Context(), test.method, "https://acme.test/log/checkpoint", nil)
		r.URL.Path = test.path
		if test.who != "" {
			r.Header.Set("Authorization", "Bearer "+guardtest.Token(test.who, sallyport.MultiFactor, audience, "*"))
		}
		rec := httptest.NewRecorder()
		l.ServeHTTP(rec, r)
		if rec.Code != test.status {
			t.Errorf("%s %s by %q: %d %s", test.method, test.path, test.who, rec.Code, rec.Body)
		}
		if rec.Code == 403 && !strings.Contains(rec.Body.String(), `"decision":"D-`) {
			t.Errorf("%s is denied without a decision: %s", test.path, rec.Body)
		}
		if strings.Contains(rec.Body.String(), "disk") {
			t.Errorf("%s tells %s", test.path, rec.Body)
		}
	}
	for _, path := range looked {
		if strings.Contains(path, "..") || strings.Contains(path, "journal") {
			t.Errorf("%s was looked up", path)
		}
	}
	w.BreakLog()
	r := httptest.NewRequestWithContext(t.Context(), "GET", "https://acme.test/log/tile/entries/000", nil)
	r.Header.Set("Authorization", "Bearer "+guardtest.Token("rita", sallyport.MultiFactor, audience, "*"))
	rec := httptest.NewRecorder()
	if l.ServeHTTP(rec, r); rec.Code != 503 || strings.Contains(rec.Body.String(), "entries") {
		t.Errorf("unrecorded: %d %s", rec.Code, rec.Body)
	}
}

// What no door serves is refused and recorded; the root leads people on.
func TestNowhere(t *testing.T) {
	w := guardtest.New(t)
	n := &admin.Nowhere{Guard: w.Guard, Home: "/account", Logger: slog.New(slog.DiscardHandler)}
	for path, status := range map[string]int{"GET /": 303, "HEAD /": 303, "POST /": 404, "GET /x": 404, "GET //": 404} {
		method, at, _ := strings.Cut(path, " ")
		r := httptest.NewRequestWithContext(t.Context(), method, "https://acme.test/", nil)
		r.URL.Path = at
		rec := httptest.NewRecorder()
		if n.ServeHTTP(rec, r); rec.Code != status {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
	if got := len(w.Of(sallyport.EventUnmapped)); got != 3 {
		t.Errorf("%d are recorded, want 3", got)
	}
}
