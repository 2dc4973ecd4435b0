package approvals_test

import (
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport/internal/web/api"
)

var offerField = regexp.MustCompile(`name="offer" value="([^"]+)"`)

// EN-3: what somebody may not do is not on the page; its form sent by hand is refused as ever and told as a bypass. A form
// that the page had offered, and that is refused because a right has ended since, is none.
func TestEN3WhatIsNotOffered(t *testing.T) {
	denied := api.Error{Status: 403, Message: "no", Decision: "D-1", Outcome: "deny"}
	answers := map[string]any{
		"GET /api/v1/requests": []api.Request{}, "GET /api/v1/requests/R-1": request(), "GET /api/v1/approvers": api.Approvers{Own: []api.OwnKey{{Passkey: "p"}}},
		"GET /api/v1/requests/R-1/review": api.Review{Request: request(), MayVote: true}, "GET /api/v1/requests/R-2/review": api.Review{Request: request()},
		"POST /api/v1/requests/R-1/vote": denied, "POST /api/v1/requests": denied, "POST /api/v1/approvers/first": denied,
	}
	d := newDesk(t, answers)
	offer := func(path string) string {
		t.Helper()
		w := d.send("GET", path, "", "")
		if m := offerField.FindStringSubmatch(w.Body.String()); m != nil {
			return m[1]
		}
		return ""
	}
	vote := func(offer string) *httptest.ResponseRecorder {
		return d.send("POST", "/approvals/R-1/vote", form, "yes=yes&hash=abc&offer="+offer)
	}
	told := func(what string, want int) {
		t.Helper()
		if len(d.bypassed) != want {
			t.Errorf("%s: told %q, want %d", what, d.bypassed, want)
		}
		d.bypassed = nil
	}
	offered := offer("/approvals/R-1")
	if w := vote(offered); w.Code != 403 || offered == "" {
		t.Errorf("a vote that the page offered: %d", w.Code)
	}
	told("offered", 0)
	if w := d.send("POST", "/approvals/R-1/sign", "application/json", `{"yes":true,"hash":"abc"}`, "Sallyport-Offer", offered); w.Code != 403 {
		t.Errorf("a signed vote that the page offered: %d %s", w.Code, w.Body)
	}
	told("offered to the script", 0)

	for what, offer := range map[string]string{"none": "", "no base64": "%21", "another's seal": "YWJj", "another request's": offer("/approvals/ask"), "too long": strings.Repeat("A", 4000)} {
		if w := vote(offer); w.Code != 403 {
			t.Errorf("%s: %d", what, w.Code)
		}
		told(what, 1)
	}
	d.now = d.now.Add(25 * time.Hour)
	vote(offered)
	told("an old page", 1)
	d.send("POST", "/approvals/R-1/sign", "application/json", `{"yes":true,"hash":"abc"}`)
	told("a script without", 1)

	answers["POST /api/v1/requests/R-1/vote"] = api.Error{Status: 401, Message: "prove it", Decision: "D-2", Outcome: "step-up", Needs: "aal2"}
	vote("")
	told("a step-up", 0)
	answers["POST /api/v1/requests/R-1/vote"] = api.Error{Status: 409, Message: "it is over"}
	vote("")
	told("what no decision refused", 0)

	// A batch says what is on the page.
	answers["POST /api/v1/can"] = []api.Answer{{Outcome: "deny"}, {Outcome: "deny"}}
	for path, gone := range map[string]string{"/approvals": `id="ask"`, "/approvals/ask": "<form", "/approvals/keys": "<form", "/approvals/R-2": "<form"} {
		if w := d.send("GET", path, "", ""); w.Code != 200 || strings.Contains(w.Body.String(), gone) {
			t.Errorf("%s offers what may not be done: %d\n%s", path, w.Code, w.Body)
		}
	}
	d.send("POST", "/approvals/ask", form, "action=model.pull&resource=acme/fraud&for=1h&why=x&task=")
	told("asking by hand", 1)
	d.send("POST", "/approvals/keys", form, "passkey=p&groups=&first=yes")
	told("pinning by hand", 1)
}
