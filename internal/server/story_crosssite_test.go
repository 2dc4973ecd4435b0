package server_test

import (
	"net/http"
	"strings"
	"testing"
)

// openToOthers are the routes that take forms of other sites. No cookie decides there: each wants a proof of its own, or leads
// to the same thing by GET.
func openToOthers() map[string]string {
	return map[string]string{
		"POST /oauth/authorize":           "the same request by GET, which shows the consent page",
		"POST /oauth/logout":              "the same request by GET, which asks",
		"POST /oauth/token":               "client authentication",
		"POST /oauth/par":                 "client authentication",
		"POST /oauth/device":              "client authentication",
		"POST /oauth/revoke":              "client authentication",
		"POST /oauth/introspect":          "an access token or client authentication",
		"POST /oauth/userinfo":            "an access token",
		"POST /login/oidc/{idp}/callback": "a state of this browser's flow",
		"POST /saml/{idp}/acs":            "a signed assertion that answers a question of ours",
		"POST /logout/backchannel/{idp}":  "a signed logout token",
		"POST /hf/oauth/token":            "client authentication",
		"POST /hf/oauth/device":           "client authentication",
	}
}

// SESS2: what a browser says of where a form comes from, row by row.
func TestSESS2RowByRow(t *testing.T) {
	r := tell(t)
	own := r.server.External()
	row := func(name, method string, refused bool, header map[string]string) {
		t.Helper()
		header["Content-Type"] = "application/x-www-form-urlencoded"
		q := request{method: method, path: "/login", header: header}
		if method == http.MethodPost {
			q.body = "username=nobody&password=x"
		}
		r.Nobody().Send(q)
		if r.last.err != nil {
			t.Fatalf("%s: %v", name, r.last.err)
		}
		if got := r.last.status == http.StatusForbidden; got != refused {
			t.Errorf("%s: %d, refused %v, want %v", name, r.last.status, got, refused)
		}
		if r.last.header.Get("Strict-Transport-Security") == "" {
			t.Errorf("%s: no HSTS, on which the comparison of hosts rests", name)
		}
	}
	row("another site", http.MethodPost, true, map[string]string{"Sec-Fetch-Site": "cross-site"})
	row("a sister site", http.MethodPost, true, map[string]string{"Sec-Fetch-Site": "same-site"})
	row("an origin that hides", http.MethodPost, true, map[string]string{"Origin": "null"})
	row("another origin", http.MethodPost, true, map[string]string{"Origin": "https://evil.example"})
	row("this origin", http.MethodPost, false, map[string]string{"Origin": own})
	row("this origin, as browsers say it", http.MethodPost, false, map[string]string{"Origin": own, "Sec-Fetch-Site": "same-origin"})
	row("typed by a person", http.MethodPost, false, map[string]string{"Sec-Fetch-Site": "none"})
	row("a program", http.MethodPost, false, map[string]string{})
	row("this host without TLS", http.MethodPost, false, map[string]string{"Origin": strings.Replace(own, "https://", "http://", 1)})
	row("a link from elsewhere", http.MethodGet, false, map[string]string{"Sec-Fetch-Site": "cross-site"})
}

// SESS2: every form of the pages refuses other sites, or stands on the written list.
func TestSESS2EveryForm(t *testing.T) {
	r := tell(t)
	listed := map[string]bool{}
	forms := 0
	for _, route := range pageRoutes(t) {
		method, pattern, _ := strings.Cut(route, " ")
		if method != http.MethodPost {
			continue
		}
		forms++
		r.Nobody().Send(request{method: method, path: fill(pattern), body: "x=y",
			header: map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}})
		if r.last.err != nil {
			t.Errorf("%s: %v", route, r.last.err)
			continue
		}
		refused := r.last.status == http.StatusForbidden
		if _, open := openToOthers()[route]; open {
			listed[route] = true
			if r.last.header.Get("Set-Cookie") != "" {
				t.Errorf("%s gives another site's form a cookie", route)
			}
		} else if !refused {
			t.Errorf("%s answers a form of another site %d, and is not on the list", route, r.last.status)
		}
	}
	if forms < 20 {
		t.Errorf("only %d forms were found", forms)
	}
	for route := range openToOthers() {
		if !listed[route] {
			t.Errorf("%s is on the list and is no form: strike it off", route)
		}
	}
}
