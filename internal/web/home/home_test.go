package home_test

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/web/api"
	"sallyport/internal/web/home"
	"sallyport/internal/web/within"
)

var now = time.Date(2026, 3, 4, 9, 0, 0, 0, time.UTC)

// A world is the page before an API that answers what a test wants, and notes what it was asked.
type world struct {
	t       *testing.T
	mux     *http.ServeMux
	answers map[string]any
	cells   map[string]api.Answer // by action and thing; everything else is allowed
	asked   []string
	batches [][]api.CanAsk
}

func newWorld(t *testing.T, things ...api.Thing) *world {
	t.Helper()
	w := &world{t: t, mux: http.NewServeMux(), cells: map[string]api.Answer{}, answers: map[string]any{"/api/v1/catalog": things,
		"/api/v1/whoami":   api.Who{ID: "user:ana", Display: "Ana <Lima>", Assurance: "aal2", Methods: []string{"pwd", "otp"}, Expires: now.Add(time.Hour), Groups: []string{"acme/staff"}, Roles: []api.Assignment{{Role: "reader", Scope: "org:acme"}}},
		"/api/v1/requests": []api.Request{}, "/api/v1/requests?mine=true": []api.Request{}, "/api/v1/me/notices": []api.Notice{}, "/api/v1/grants": []api.Grant{}}}
	desk, err := within.New(within.Config{API: http.HandlerFunc(w.serve), Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: func() time.Time { return now },
		Seal: func(p []byte) []byte { return p }, Open: func(p []byte) ([]byte, error) { return p, nil }, Bypassed: func(*http.Request, within.Bypass) error { return nil },
		Session: func(http.ResponseWriter, *http.Request, string) (within.Visitor, bool) {
			return within.Visitor{ID: "user:ana", Session: "S-1", Org: "acme"}, true
		}})
	if err != nil {
		t.Fatal(err)
	}
	door, err := home.New(desk)
	if err != nil {
		t.Fatal(err)
	}
	door.Routes(w.mux)
	return w
}

func (x *world) serve(w http.ResponseWriter, r *http.Request) {
	x.asked = append(x.asked, r.Method+" "+r.URL.RequestURI())
	answer, ok := x.answers[r.URL.RequestURI()]
	if !ok {
		answer, ok = x.answers[r.URL.Path]
	}
	if r.URL.Path == "/api/v1/can" && !ok {
		answer, ok = x.can(r.Body), true
	}
	if e, bad := answer.(api.Error); bad {
		w.WriteHeader(e.Status)
	}
	if !ok {
		x.t.Errorf("the page asks %s", r.URL)
	}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		x.t.Error(err)
	}
}

func (x *world) can(body io.Reader) []api.Answer {
	var asks []api.CanAsk
	if err := json.NewDecoder(body).Decode(&asks); err != nil || len(asks) > api.MostAsks {
		x.t.Errorf("a batch of %d, %v", len(asks), err)
	}
	x.batches = append(x.batches, asks)
	var all []api.Answer
	for _, q := range asks {
		a, ok := x.cells[string(q.Action)+" "+q.Resource]
		if !ok {
			a = api.Answer{Outcome: "allow", Cell: "allow", Reasons: []sallyport.Reason{{ID: "x", Text: "because"}}}
		}
		a.Action, a.Resource = q.Action, q.Resource
		all = append(all, a)
	}
	return all
}

func (x *world) get(path string) (int, string) {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	w := httptest.NewRecorder()
	x.mux.ServeHTTP(w, r)
	if policy := w.Header().Get("Content-Security-Policy"); strings.Contains(policy, "script-src") || strings.Contains(policy, "unsafe") {
		x.t.Errorf("the page permits scripts: %s", policy)
	}
	return w.Code, w.Body.String()
}

var (
	tagged = regexp.MustCompile(`<[^>]*>`)
	spaces = regexp.MustCompile(`\s+`)
	groups = regexp.MustCompile(`(?s)<dt class="(\w+)">[^<]*</dt><dd[^>]*>(.*?)</dd>`)
)

// read are the groups of one thing, as their text.
func read(page, thing string) map[string]string {
	_, page, _ = strings.Cut(page, "<h4>"+thing+" ")
	page, _, _ = strings.Cut(page, "</article>")
	out := map[string]string{}
	for _, m := range groups.FindAllStringSubmatch(page, -1) {
		out[m[1]] = strings.TrimSpace(spaces.ReplaceAllString(html.UnescapeString(tagged.ReplaceAllString(m[2], " ")), " "))
	}
	return out
}

func why(texts ...string) (all []sallyport.Reason) {
	for i, t := range texts {
		all = append(all, sallyport.Reason{ID: fmt.Sprint("p.", i), Text: t})
	}
	return all
}

// TestFourGroups: each answer stands in the group that it says, with its reason and the one step that would help.
func TestFourGroups(t *testing.T) {
	w := newWorld(t, api.Thing{Resource: "acme/fraud", Project: "acme/risk", Class: "restricted", Version: "v3"})
	ask := sallyport.Remedy{Kind: sallyport.RemedyRequest, Command: "sallyport request …", Text: "ask for it"}
	for action, a := range map[sallyport.Action]api.Answer{
		sallyport.ModelPullAux: {Outcome: "step-up", Cell: "step-up", Needs: "phr", Reasons: why("It needs a passkey.")},
		sallyport.ModelPull:    {Outcome: "deny", Cell: "request", Reasons: why("Weights are taken under a grant"), Remedies: []sallyport.Remedy{ask}},
		sallyport.ModelPush:    {Outcome: "deny", Cell: "request", Reasons: []sallyport.Reason{{ID: "default.deny", Text: "no policy permits this"}}, Remedies: []sallyport.Remedy{ask}},
		sallyport.ModelPromote: {Outcome: "deny", Cell: "device", Reasons: why("From a managed computer."), Remedies: []sallyport.Remedy{{Kind: sallyport.RemedyDevice, Command: "sallyport device enroll", Text: "enrol"}}},
		sallyport.ModelDeploy:  {Outcome: "hold", Cell: "hold", Reasons: why("It is on hold")},
		sallyport.ModelDelete:  {Outcome: "deny", Cell: "deny", Reasons: why("no policy permits this"), Remedies: []sallyport.Remedy{{Kind: sallyport.RemedyAsk, Text: "nothing you can do permits this; ask <user:oto>"}}},
	} {
		w.cells[string(action)+" acme/fraud"] = a
	}
	w.cells["model.evaluate acme/fraud"] = w.cells["model.push acme/fraud"]
	w.answers["/api/v1/requests?mine=true"] = []api.Request{{ID: "R-7", Topic: "grant", State: "pending", Action: sallyport.ModelEvaluate, Resource: "acme/fraud"}}
	status, page := w.get("/home")
	got := read(page, "acme/fraud")
	for group, want := range map[string]string{
		"can":    "use use sallyport token --for model.infer@acme/fraud",
		"ask":    "evaluate See : evaluate You have asked for it. download the weights Ask : download the weights Weights are taken under a grant. upload a version Ask : upload a version",
		"not":    "deploy, delete deploy It is on hold. delete No policy permits this. Nothing you can do permits this; ask <user:oto>.",
		"proof":  "download the tokenizer and configuration Prove it : download the tokenizer and configuration It needs a passkey.",
		"device": "promote From a managed computer. sallyport device enroll",
	} {
		if got[group] != want {
			t.Errorf("%s: %q, want %q", group, got[group], want)
		}
	}
	for _, want := range []string{
		`href="/stepup?needs=phr&amp;return=%2Fhome"`, `href="/approvals/ask?action=model.pull&amp;resource=acme%2Ffraud"`, "ask &lt;user:oto&gt;", "<h1>Ana &lt;Lima&gt;</h1>", "user:ana (Ana &lt;Lima&gt;), proved by password and one-time code (aal2), from no enrolled device, until 10:00 UTC.",
		"reader on org:acme", "in acme/staff", "acme/risk</h3>", `href="/approvals/R-7">See`,
	} {
		if status != 200 || !strings.Contains(page, want) {
			t.Errorf("%d: the page lacks %q", status, want)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
	for _, gone := range []string{"<form", "<button", "<script", "sallyport pull", "Sheet"} {
		if strings.Contains(page, gone) {
			t.Errorf("the page has %q", gone)
		}
	}
	if len(w.batches) != 2 || len(w.batches[1]) != 8 {
		t.Errorf("the things are asked about in %d batches", len(w.batches)-1)
	}
}

// TestSheets: more than one batch can answer is cut into sheets by project, each reached from the others, and what is not in
// the list is on none.
func TestSheets(t *testing.T) {
	var things []api.Thing
	for i := range 30 {
		things = append(things, api.Thing{Resource: fmt.Sprintf("acme/m%02d", i), Project: fmt.Sprintf("acme/p%d", i%2), Class: "internal"})
	}
	things = append(things, api.Thing{Resource: "dataset:acme/rows", Project: "acme/p0"}, api.Thing{Resource: "endpoint:acme/live"})
	w := newWorld(t, things...)
	seen, next := map[string]int{}, "/home"
	name := regexp.MustCompile(`<h4>(\S+) `)
	sheets := 0
	for ; next != "" && sheets < 10; sheets++ {
		status, page := w.get(next)
		if status != 200 {
			t.Fatalf("%s: %d", next, status)
		}
		for _, m := range name.FindAllStringSubmatch(page, -1) {
			seen[m[1]]++
		}
		next = ""
		if m := regexp.MustCompile(`rel="next" href="([^"#]+)`).FindStringSubmatch(page); m != nil {
			next = html.UnescapeString(m[1])
		}
		if back := strings.Contains(page, `rel="prev"`); back != (sheets > 0) || !strings.Contains(page, fmt.Sprintf("Sheet %d of 4", sheets+1)) || strings.Count(page, `<nav class="jumps"`) != 1 {
			t.Errorf("sheet %d leads nowhere", sheets)
		}
	}
	if sheets != 4 || len(seen) != len(things) {
		t.Errorf("%d things on %d sheets: %v", len(seen), sheets, seen)
	}
	for n, times := range seen {
		if times != 1 {
			t.Errorf("%s stands there %d times", n, times)
		}
	}
	if _, page := w.get("/home?from=acme%2Fsecret"); !strings.Contains(page, "Sheet 1 of 4") || strings.Contains(page, "secret") {
		t.Error("a name that is not in the list leads somewhere, or comes back")
	}
}

// TestWaiting: what waits, what was asked and what was granted stand there with their ends; what is over does not.
func TestWaiting(t *testing.T) {
	w := newWorld(t)
	w.answers["/api/v1/requests"] = []api.Request{{ID: "R-9"}}
	w.answers["/api/v1/me/notices"] = []api.Notice{{}, {}}
	w.answers["/api/v1/requests?mine=true"] = []api.Request{
		{ID: "R-1", Topic: "grant", State: "pending", Action: sallyport.ModelPull, Resource: "acme/fraud", Expires: now.Add(30 * time.Hour)}, {ID: "R-2", Topic: "grant", State: "denied"},
		{ID: "R-3", Topic: "policy", State: "pending", Sentence: "ana proposes policies", Expires: now.Add(time.Hour)}}
	grants := []api.Grant{{Actions: []sallyport.Action{sallyport.ModelPull}, Resource: "acme/late", Active: true, Until: now.Add(50 * time.Hour)},
		{Actions: []sallyport.Action{sallyport.ModelPull, sallyport.ModelExport}, Resource: "acme/fraud", Active: true, Until: now.Add(43*time.Minute + 10*time.Second), Task: "lease"},
		{Actions: []sallyport.Action{sallyport.ModelPull}, Resource: "acme/waits", Until: now.Add(51 * time.Hour)}, {Resource: "acme/over", Ended: true}}
	for range 4 {
		grants = append(grants, api.Grant{Actions: []sallyport.Action{sallyport.ModelTune}, Resource: "acme/more", Active: true, Until: now.Add(99 * time.Hour)})
	}
	w.answers["/api/v1/grants"] = grants
	if _, page := newWorld(t).get("/home"); !strings.Contains(page, `id="quiet"`) {
		t.Error("where nothing waits, that is not said")
	}
	_, page := w.get("/home")
	text := spaces.ReplaceAllString(tagged.ReplaceAllString(page, " "), " ")
	for _, want := range []string{"1 request to answer", "2 unread notices", "download the weights of acme/fraud open until 5 March 2026, 15:00 UTC", "ana proposes policies open until 10:00 UTC",
		"download the weights of acme/fraud, hand acme/fraud to somebody outside ends 09:43 UTC, in 43 minutes, or with lease", "download the weights of acme/waits begins when its lease is renewed",
		"2 more grants: sallyport grants", "There is nothing in the catalog that you may see", "Across acme"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "R-2") || strings.Contains(page, "acme/over") || strings.Index(page, "acme/late") < strings.Index(page, "in 43 minutes") {
		t.Error("what is over is there, or what ends later comes first")
	}
	if t.Failed() {
		t.Log(text)
	}
}

// TestNothingHalf: what cannot be asked leaves no page; who may list nothing is told why and sees the rest; what one may not
// know of any more when it is asked about is left out.
func TestNothingHalf(t *testing.T) {
	for path := range newWorld(t).answers {
		w := newWorld(t, api.Thing{Resource: "acme/fraud"})
		w.answers[path] = api.Error{Status: 503, Message: "the log cannot be written"}
		if status, page := w.get("/home"); status != 503 || strings.Contains(page, "acme/fraud") || !strings.Contains(page, "Try again in a minute") {
			t.Errorf("without %s: %d\n%s", path, status, page)
		}
	}
	w := newWorld(t)
	w.answers["/api/v1/can"] = api.Error{Status: 503, Message: "the facts are old"}
	if status, _ := w.get("/home"); status != 503 {
		t.Errorf("without answers: %d", status)
	}
	w = newWorld(t, api.Thing{Resource: "acme/fraud"})
	w.cells["model.list system"] = api.Answer{Outcome: "deny", Cell: "deny", Reasons: why("Auditors touch nothing.")}
	status, page := w.get("/home")
	if status != 200 || !strings.Contains(page, "Auditors touch nothing.") || !strings.Contains(page, `id="across"`) || strings.Contains(strings.Join(w.asked, "\n"), "/catalog") {
		t.Errorf("who may list nothing: %d, asked %q\n%s", status, w.asked, page)
	}
	w = newWorld(t)
	w.cells["grant.approve org:acme"] = api.Answer{Outcome: "deny", Cell: "deny", Reasons: []sallyport.Reason{{ID: "resource.unknown", Text: "there is no such thing"}}}
	if _, page := w.get("/home"); strings.Contains(page, "There is no such thing") || !strings.Contains(page, "No policy permits this.") {
		t.Errorf("the own organisation is unknown\n%s", page)
	}
	w = newWorld(t, api.Thing{Resource: "acme/fraud"}, api.Thing{Resource: "acme/gone"})
	for _, a := range sallyport.Actions() {
		w.cells[string(a)+" acme/gone"] = api.Answer{Outcome: "deny", Cell: "deny", Reasons: []sallyport.Reason{{ID: "resource.unknown", Text: "there is no such thing"}}}
	}
	if _, page := w.get("/home"); strings.Contains(page, "acme/gone") || !strings.Contains(page, "acme/fraud") {
		t.Error("what one may not know of any more is there")
	}
}
