package server_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/enforce/gateway"
	"sallyport/internal/enforce/gateway/hfhub"
	"sallyport/internal/enforce/gateway/openai"
	"sallyport/internal/web/admin"
	"sallyport/internal/web/api"
)

// public is everything that answers somebody without a credential with anything
// but a refusal or the way to the sign-in page. It is short, and read by people.
func public() map[string]string {
	return map[string]string{
		"GET /healthz":                          "the process runs",
		"GET /readyz":                           "what keeps it from serving, in four words",
		"GET /log/checkpoint":                   "the signed head of the log",
		"GET /log/tile/0/000":                   "hashes, for outsiders who verify",
		"GET /login":                            "the form",
		"GET /logout":                           "the form",
		"POST /logout":                          "leads to the form",
		"POST /oauth/authorize":                 "leads to the same request as a GET, which leads to the sign-in page",
		"GET /jwks":                             "public keys",
		"GET /.well-known/openid-configuration": "discovery",
		"GET /.well-known/oauth-authorization-server": "discovery",
		"POST /oauth/device":                          "begins a sign-in that a person approves",
		"POST /oauth/logout":                          "leads to the same request as a GET",
		"GET /oauth/logout":                           "says that nobody is signed in",
		"POST /oauth/logout/confirm":                  "says that nobody is signed in",
		"POST /oauth/revoke":                          "gives a token back; an unknown one is no error (RFC 7009)",
		"GET /static/style.css":                       "looks",
		"GET /static/icon.svg":                        "looks",
		"GET /static/passkey.js":                      "the one script of the sign-in pages",
		"GET /recover":                                "the form",
		"POST /login/oidc/{idp}/callback":             "leads the browser to the same answer by GET, with its cookie",
		"POST /passkey/signin/begin":                  "a challenge, which only a passkey answers",
	}
}

// mux are the patterns that a source file of ours registers.
var muxPatterns = regexp.MustCompile(`"(GET|POST) (" ?\+ ?[pP]ath\w+|/[^"]*")`)

// pageRoutes reads the routes of the pages and the authorization server from
// their sources, so that a new one cannot be left out of the sweep.
func pageRoutes(t *testing.T) []string {
	t.Helper()
	paths := map[string]string{}
	var all []string
	for _, name := range []string{"../web/login/door.go", "../web/login/own.go", "../web/login/passkey.go", "../web/login/federated.go", "../web/oauth/oauth.go", "../web/oidc/oidc.go", "doors.go"} {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`([pP]ath\w+)\s+= (?:"([^"]+)"|oauth\.(\w+))`).FindAllStringSubmatch(string(src), -1) {
			if paths[m[1]] = m[2]; m[2] == "" {
				paths[m[1]] = paths[m[3]]
			}
		}
		for _, m := range muxPatterns.FindAllStringSubmatch(string(src), -1) {
			path := strings.Trim(m[2], `"`)
			if constant, ok := strings.CutPrefix(strings.ReplaceAll(path, " ", ""), "+"); ok {
				if path = paths[constant]; path == "" {
					t.Fatalf("%s: the path %s is not known", name, constant)
				}
			}
			all = append(all, m[1]+" "+path)
		}
	}
	if len(all) < 30 {
		t.Fatalf("only %d routes of pages were found: %q", len(all), all)
	}
	return all
}

// everyRoute is every route of every door that we know of, with parameters filled
// in, and those of the upstream surfaces that we do not offer.
func everyRoute(t *testing.T) []string {
	t.Helper()
	all := pageRoutes(t)
	for _, r := range admin.Routes() {
		all = append(all, r.Method+" "+api.Version+r.Pattern)
	}
	native, err := os.ReadFile("../enforce/gateway/native/routes.txt")
	if err != nil {
		t.Fatal(err)
	}
	for prefix, table := range map[string]string{"/hf": hfhub.Upstream(), "/openai": openai.Upstream(), "/vault": string(native)} {
		for line := range strings.Lines(table) {
			f := strings.Fields(line)
			if len(f) < 2 || strings.HasPrefix(f[0], "#") {
				continue
			}
			for method := range strings.SplitSeq(f[0], ",") {
				if method == "WS" {
					method = "GET"
				}
				all = append(all, method+" "+prefix+f[1])
			}
		}
	}
	return append(all, "GET /log/checkpoint", "GET /log/tile/0/000", "GET /log/tile/entries/000", "GET /", "GET /metrics", "GET /debug/pprof/")
}

var (
	parameter = regexp.MustCompile(`\{[^}]*\}`)
	assets    = regexp.MustCompile(`"(/static/[^"]+)"`)
	assetHash = regexp.MustCompile(`-[0-9a-f]{16}\.`)
)

// ID-1: without a credential every route refuses or leads to the sign-in page,
// except those of a short list; and nothing of it reaches the upstream.
func TestID1AnonymousSweep(t *testing.T) {
	r := tell(t)
	before, listed := len(r.up.requests()), map[string]bool{}
	statuses := map[int]int{}
	routes := everyRoute(t)
	r.Nobody().Send(request{path: "/login"})
	for _, m := range assets.FindAllSubmatch(r.last.body, -1) {
		routes = append(routes, "GET "+string(m[1]))
	}
	for _, route := range routes {
		method, pattern, _ := strings.Cut(route, " ")
		path := fill(pattern)
		body := ""
		if method != http.MethodGet && method != http.MethodHead {
			body = "client_id=sallyport-cli&token=x"
		}
		r.Nobody().Send(request{method: method, path: path, body: body, header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}})
		if r.last.err != nil {
			t.Errorf("%s: %v", route, r.last.err)
			continue
		}
		statuses[r.last.status]++
		name := assetHash.ReplaceAllString(route, ".")
		switch _, ok := public()[name]; {
		case ok:
			listed[name] = true
		case !slices.Contains([]int{400, 401, 403, 404, 405}, r.last.status) && !(r.last.status == http.StatusSeeOther && r.leadsToSignIn()):
			t.Errorf("%s answers a stranger %d, leads to %q: %.200s", route, r.last.status, r.last.header.Get("Location"), r.last.body)
		}
	}
	if after := len(r.up.requests()); after != before {
		t.Errorf("%d anonymous requests reached the upstream", after-before)
	}
	for _, p := range slices.Sorted(maps.Keys(public())) {
		t.Logf("public: %-46s %s", p, public()[p])
		if !listed[p] {
			t.Errorf("%s is on the public list and was not asked: strike it off", p)
		}
	}
	t.Logf("%d routes asked; answers %s", len(routes), fmt.Sprint(statuses))
}

// fill writes something into the parameters of a pattern.
func fill(pattern string) string {
	return strings.ReplaceAll(parameter.ReplaceAllStringFunc(pattern, func(p string) string {
		switch strings.Trim(p, "{}.") {
		case "org":
			return "acme"
		case "name":
			return "base"
		case "rev":
			return "main"
		case "path":
			return weights
		}
		return "x1"
	}), "*", "x")
}

// I-15: of every route of the Hub and of the servers that speak OpenAI's dialect,
// somebody who may do much gets an answer only where the table names an action;
// everything else is refused, with a decision that the log has, and nothing but
// what is named reaches the upstream.
func TestI15EveryUpstreamRoute(t *testing.T) {
	r := tell(t)
	hub, err := hfhub.New(nil, nil, "https://acme.test/hf")
	if err != nil {
		t.Fatal(err)
	}
	chats, err := openai.New(nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	answered, refused := 0, map[string]string{}
	for _, d := range []struct {
		door   client.Door
		table  string
		routes gateway.Routes
	}{{client.Hub, hfhub.Upstream(), hub.Routes()}, {client.OpenAI, openai.Upstream(), chats.Routes()}} {
		for line := range strings.Lines(d.table) {
			f := strings.Fields(line)
			if len(f) < 2 || strings.HasPrefix(f[0], "#") || f[0] == "WS" {
				continue
			}
			path := fill(f[1])
			match, named := d.routes.Match(f[0], path)
			named = named && !match.Deny
			before := len(r.up.requests())
			body := ""
			if f[0] != http.MethodGet && f[0] != http.MethodHead {
				body = `{"model":"acme/base","messages":[],"prompt":"x","input":"x"}`
			}
			r.As("ana").Send(request{door: d.door, method: f[0], path: "/" + string(d.door) + path, body: body})
			if r.last.status < 400 {
				answered++
			}
			if path == "/oauth/device" || path == "/oauth/token" {
				continue // the authorization server answers below this door, too
			}
			if strings.HasSuffix(path, "/") && r.last.status == http.StatusBadRequest {
				continue // no canonical path: refused before any door
			}
			if !named {
				if r.last.status != http.StatusForbidden || r.last.decision == "" || len(r.up.requests()) != before {
					t.Errorf("%s, which no line names: %d with decision %q, %d requests upstream", r.last.what, r.last.status, r.last.decision, len(r.up.requests())-before)
				}
				refused[r.last.decision] = r.last.what
			}
		}
	}
	for _, l := range r.leaves() {
		if l.Type == sallyport.EventUnmapped && slices.Equal(l.Reasons, []string{"route.unmapped"}) && l.Who == "user:ana" {
			delete(refused, l.Decision)
		}
	}
	for id, what := range refused {
		t.Errorf("the refusal %q of %s is not in the log", id, what)
	}
	t.Logf("%d routes were answered", answered)
	if answered == 0 {
		t.Error("nothing was answered: this shows nothing")
	}
}

// leadsToSignIn reports whether a redirect leads to the sign-in page.
func (r *story) leadsToSignIn() bool {
	to := r.last.header.Get("Location")
	return to == "/login" || strings.HasPrefix(to, "/login?") || to == landing
}

// Every handler of the management API stands behind an action and a target, and no
// handler is registered beside the table.
func TestID1NoHandlerWithoutAction(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range admin.Routes() {
		if !r.Action.Valid() || r.Target == nil || r.Serve == nil || seen[r.Method+" "+r.Pattern] {
			t.Errorf("%s %s has action %q, or no target, or no handler, or stands twice", r.Method, r.Pattern, r.Action)
		}
		seen[r.Method+" "+r.Pattern] = true
	}
	files, err := filepath.Glob("../web/admin/*.go")
	if err != nil {
		t.Fatal(err)
	}
	registered := regexp.MustCompile(`\.(Handle|HandleFunc)\(`)
	n := 0
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		src, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		n += len(registered.FindAll(src, -1))
	}
	if n != 2 { // the loop over Routes, and what is unmapped
		t.Errorf("web/admin registers handlers in %d places, want 2", n)
	}
}
