package server_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/web/admin"
	"sallyport/internal/web/api"
)

// approvalPages are the routes of the pages on which people ask and answer.
func approvalPages() []string {
	return []string{"GET /approvals", "GET /approvals/{id}", "POST /approvals/{id}/vote", "POST /approvals/{id}/withdraw", "POST /approvals/{id}/statement",
		"POST /approvals/{id}/sign", "GET /approvals/ask", "POST /approvals/ask", "GET /approvals/keys", "POST /approvals/keys"}
}

// formOf are forms that are filled in as they should be, by path: they are refused for who sends them.
func formOf() map[string]string {
	return map[string]string{"/login/code": "code=123456", "/enrol": "password=long+enough+to+be+one&again=long+enough+to+be+one",
		"/enrol/code": "code=123456", "/stepup": "code=123456&return=/account", "/account/revoke": "id=S-1", "/account/notices": "upto=1", "/account/passkeys/rename": "id=x&label=x",
		"/account/passkeys/remove": "id=x", "/account/password": "old=x&password=long+enough+to+be+one&again=long+enough+to+be+one", "/account/recovery/cancel": "id=x",
		"/login/recovery": "code=x", "/oauth/consent": "request=x&decision=allow", "/activate": "user_code=BCDF-GHJK", "/activate/decide": "user_code=BCDF-GHJK&decision=allow",
		"/account/apps/forget": "id=x", "/approvals/x1/vote": "yes=true&hash=x&reason=x"}
}

// ID-9: on every page on which a person proves themselves, agrees, approves a device's code or votes, row by row, the credential of a
// service, of a workload and of an agent is worth what none is: as a token, and in the place of a browser's session.
func TestID9AMachineIsNobodyOnPages(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	machines := map[string]string{"a service with a key": r.machine("batch", "signal-receiver", "/signals", "identity.read")(),
		"a workload": r.Job(api.Member{ID: "service:deputy", Person: "user:ravi", Purpose: "works"}, "evaluator", "org:acme")(client.API, "server.read")}
	h, ana := r.Helper(base), r.As("ana")
	if _, err := ana.who.client.Delegate(t.Context(), api.Delegation{Agent: "agent:helper", Scope: "model.infer@" + base, For: "1h"}); err != nil {
		t.Fatal(err)
	}
	var status int
	var said string
	if machines["an agent for ana"], status, said = ana.Behalf(h, "helper-1", client.OpenAI); status != http.StatusOK {
		t.Fatal(status, said)
	}
	answer := func(method, path string, header map[string]string) string {
		t.Helper()
		q := request{method: method, path: path, header: map[string]string{"Origin": r.server.External()}}
		if method == http.MethodPost {
			q.body, q.header["Content-Type"] = cmp.Or(formOf()[path], "x=y"), "application/x-www-form-urlencoded"
		}
		for name, value := range header {
			q.header[name] = value
		}
		r.Nobody().Send(q)
		if r.last.err != nil {
			t.Fatalf("%s %s: %v", method, path, r.last.err)
		}
		session := slices.ContainsFunc(r.last.header.Values("Set-Cookie"), func(c string) bool {
			return strings.HasPrefix(c, "__Host-sallyport=") && !strings.HasPrefix(c, "__Host-sallyport=;")
		})
		return fmt.Sprintf("%d to %q, a session %t", r.last.status, r.last.header.Get("Location"), session)
	}
	begun := len(r.leaves())
	rows, people := 0, 0
	for _, route := range append(pageRoutes(t), approvalPages()...) {
		method, pattern, _ := strings.Cut(route, " ")
		if _, open := openToOthers()[route]; open || strings.HasPrefix(pattern, "/oauth/userinfo") {
			continue // no session decides there
		}
		rows++
		path := fill(pattern)
		if route == "GET /oauth/authorize" {
			path += "?" + url.Values{"response_type": {"code"}, "client_id": {"sallyport-cli"}, "redirect_uri": {callback}, "state": {"s-1"}, "scope": {"*"},
				"code_challenge": {challenge(strings.Repeat("v", 43))}, "code_challenge_method": {"S256"}}.Encode()
		}
		nobody := answer(method, path, nil)
		for name, token := range machines {
			for _, way := range []map[string]string{{"Authorization": "Bearer " + token}, {"Cookie": "__Host-sallyport=" + token}, {"Authorization": "Bearer " + token, "Cookie": "__Host-sallyport=" + token}} {
				if got := answer(method, path, way); got != nobody {
					t.Errorf("%s, shown by %s: %s; nobody gets %s", route, name, got, nobody)
				}
			}
		}
		if method == http.MethodGet && !strings.Contains(pattern, "logout") && answer(method, path, map[string]string{"Cookie": "__Host-sallyport=" + ana.who.cookie()}) != nobody {
			people++
		}
	}
	if rows < 50 || people < 10 {
		t.Errorf("%d rows, of which a person's session changes %d", rows, people)
	}
	if e, ok := r.found(func(e sallyport.Logged) bool {
		return e.Type == sallyport.EventTokenIssued && e.Who == "service:deputy"
	}); !ok || !strings.HasPrefix(e.Detail["credential"], "proof:") {
		t.Errorf("the record of a workload's token: %+v", e.Event)
	}
	for _, e := range r.leaves()[begun:] {
		if e.Who.Kind() != sallyport.User && e.Who != "" && e.Type != sallyport.EventRefused {
			t.Errorf("the log has %+v", e.Event)
		}
	}
}

// ID-9: no machine signs in with a name, gets a link, asks a person's consent for itself, or votes; what a person must do, it is refused.
func TestID9AMachineDoesNothingThatTakesAPerson(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	r.machine("batch", "signal-receiver", "/signals", "identity.read")
	for _, name := range []string{"service:batch", "batch", "agent:batch"} {
		r.Nobody().Send(request{method: http.MethodPost, path: "/login", body: "username=" + name + "&password=correct+horse+battery", header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}})
		if r.last.status == http.StatusSeeOther || r.last.header.Get("Set-Cookie") != "" {
			t.Errorf("%s and a password: %d %v", name, r.last.status, r.last.header)
		}
	}
	if _, err := r.As("adam").who.client.Enrol(t.Context(), "service:batch"); err == nil {
		t.Error("a service gets an enrolment link")
	}
	if at := r.As("ana").authorize(map[string][]string{"client_id": {"batch"}}); at.away != nil || at.status < 400 {
		t.Errorf("a service's program asks ana's consent: %d, leads to %v", at.status, at.away)
	}

	asked := r.As("ana").Request(sallyport.ModelPull, fraud, "1h")
	begun := len(r.leaves())
	deputy := r.Job(api.Member{ID: "service:deputy", Person: "user:ravi", Purpose: "works"}, "security-reviewer", "org:acme")(client.API,
		"server.read grant.approve hold.lift label.change policy.approve token.issue model.list")
	sends := func(method, path string, in any) {
		t.Helper()
		body, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		r.Nobody().Send(request{method: method, path: api.Version + path, body: string(body), bearer: deputy})
		if r.last.err != nil || r.last.status < 400 || r.last.status >= 500 || r.last.status == http.StatusUnauthorized {
			t.Errorf("%s %s: %d %.200s %v", method, path, r.last.status, r.last.body, r.last.err)
		}
	}
	r.Nobody().Send(request{path: api.Version + "/whoami", bearer: deputy})
	r.WantStatus(http.StatusOK) // its token is good
	sends(http.MethodPost, "/requests/"+asked.ID+"/vote?resource="+fraud, api.Vote{Yes: true, Hash: asked.Hash, Reason: "read it"})
	rows := 0
	for _, route := range admin.Routes() {
		if strings.HasSuffix(route.Pattern, "/vote") {
			rows++
			sends(route.Method, fill(route.Pattern)+"?resource="+fraud, api.Vote{Yes: true, Hash: asked.Hash, Reason: "read it"})
		}
	}
	if rows < 6 {
		t.Errorf("%d routes on which people vote", rows)
	}
	sends(http.MethodPost, "/me/reports", api.Report{What: "wasnt-me"})
	r.Helper(base)
	sends(http.MethodPost, "/delegations", api.Delegation{Agent: "agent:helper", Scope: "model.list", For: "1h"})
	if !strings.Contains(string(r.last.body), "only a person lets an agent act") {
		t.Errorf("a service's consent: %.200s", r.last.body)
	}
	for _, e := range r.leaves()[begun:] {
		if e.Who == "service:deputy" && slices.Contains([]sallyport.EventType{sallyport.EventGrantVoted, sallyport.EventPolicyVoted, sallyport.EventReported, sallyport.EventHoldLifted, sallyport.EventSignedIn, sallyport.EventSteppedUp}, e.Type) {
			t.Errorf("the log has %+v", e.Event)
		}
	}
	if x := r.As("rita").Approve(asked); len(x.Votes) != 1 || x.Votes[0].By != "user:rita" {
		t.Errorf("after rita's vote: %+v", x.Votes)
	}
}
