package extauthz_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/enforce/extauthz"
)

// A seen is what a proxy that asks over HTTP gets.
type seen struct {
	status int
	header http.Header
	body   string
}

// ask sends a proxy's question. It sends fields as they are spelled, and doubles where one is asked for twice.
func (s *site) ask(t testing.TB, method, path, body string, fields ...string) seen {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.http+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		if strings.EqualFold(fields[i], "host") {
			r.Host = fields[i+1]
			continue
		}
		r.Header.Add(fields[i], fields[i+1])
	}
	a, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return seen{a.StatusCode, a.Header, string(text)}
}

func rob(more ...string) []string {
	return append([]string{"Authorization", bearer("rob", "hf")["authorization"], extauthz.TokenHeader, edge}, more...)
}

func ana(more ...string) []string {
	return append([]string{"Authorization", bearer("ana", "hf")["authorization"], extauthz.TokenHeader, edge}, more...)
}

func original(method, uri string, more ...string) []string {
	return append([]string{"X-Original-Method", method, "X-Original-URI", uri, "X-Original-Host", host, "X-Real-IP", "192.0.2.9"}, more...)
}

func forwarded(method, uri string, more ...string) []string {
	return append([]string{"X-Forwarded-Method", method, "X-Forwarded-Uri", uri, "X-Forwarded-Host", host, "X-Forwarded-For", "10.0.0.1, 192.0.2.9"}, more...)
}

// TestNginx: it hears 200, 401 and 403 and nothing else; the rest is in fields that its configuration takes up.
func TestNginx(t *testing.T) {
	s := newSite(t)
	a := s.ask(t, "GET", "/nginx/hub", "", rob(original("GET", weight)...)...)
	decided := s.Of(sallyport.EventDecided)
	if a.status != 200 || len(decided) != 1 || a.header.Get("X-Sallyport-Decision") != decided[0].Decision || a.header.Get("X-Sallyport-User") != "user:rob" ||
		a.header.Get("X-Sallyport-Resource") != "acme/open@v1" || decided[0].Asked.IP != "192.0.2.9" {
		t.Fatalf("%+v %+v", a, decided)
	}
	if _, there := a.header["X-Sallyport-Actor"]; !there {
		t.Error("a field without a value is left to the client's")
	}
	a = s.ask(t, "GET", "/nginx/hub", "", ana(original("GET", weight)...)...)
	if a.status != 403 || a.header.Get(extauthz.StatusHeader) != "403" || a.header.Get("X-Error-Code") != "GatedRepo" || !strings.HasPrefix(a.header.Get(extauthz.BodyHeader), `{"error":"Sallyport D-`) || a.body != "" {
		t.Errorf("%+v", a)
	}
	for _, x := range []struct {
		name          string
		status        int
		real          string
		method, uri   string
		path, dialect string
	}{
		{"not there", 403, "404", "GET", "/hf/acme/nothing/resolve/main/x.bin", "/nginx/hub", "hf"},
		{"two readings", 403, "400", "GET", "/hf/acme%2fopen/resolve/main/x.bin", "/nginx/hub", "hf"},
		{"unmapped", 403, "403", "GET", "/hf/api/spaces", "/nginx/hub", "hf"},
		{"in the body", 403, "403", "POST", "/v1/chat/completions", "/nginx/chat", "openai"},
		{"in the body too", 403, "403", "POST", "/hf/api/models/acme/open/paths-info/main", "/nginx/hub", "hf"},
		{"of another audience", 401, "401", "GET", weight, "/nginx/hub", "openai"},
		{"no such upstream", 403, "403", "GET", weight, "/nginx/none", "hf"},
		{"no such kind", 403, "", "GET", weight, "/traefik/hub", "hf"},
		{"no method", 403, "400", "", weight, "/nginx/hub", "hf"},
		{"no path", 403, "400", "GET", "", "/nginx/hub", "hf"},
	} {
		a := s.ask(t, "GET", x.path, "", append(original(x.method, x.uri), "Content-Type", "application/json", "Authorization", bearer("rob", x.dialect)["authorization"], extauthz.TokenHeader, edge)...)
		if a.status != x.status || a.header.Get(extauthz.StatusHeader) != x.real && x.name != "no method" {
			t.Errorf("%s: %+v", x.name, a)
		}
	}
	// What the client adds to what nginx says makes it unreadable, not another question.
	before := len(s.Of(sallyport.EventDecided))
	for _, name := range []string{"X-Original-URI", "X-Original-Method", "X-Original-Host"} {
		if a := s.ask(t, "GET", "/nginx/hub", "", rob(original("GET", weight, name, "/hf/acme/open/resolve/main/README.md")...)...); a.status != 403 {
			t.Errorf("%s twice: %+v", name, a)
		}
	}
	if n := len(s.Of(sallyport.EventDecided)); n != before {
		t.Errorf("%d decisions", n-before)
	}
	s.BreakLog()
	if a := s.ask(t, "GET", "/nginx/hub", "", rob(original("GET", weight)...)...); a.status != 403 || a.header.Get(extauthz.StatusHeader) != "503" {
		t.Errorf("without a log: %+v", a)
	}
}

// TestCaddy passes a refusal on as it is.
func TestCaddy(t *testing.T) {
	s := newSite(t)
	a := s.ask(t, "GET", "/caddy/hub", "", rob(forwarded("GET", weight)...)...)
	if a.status != 200 || a.header.Get("X-Sallyport-User") != "user:rob" || s.Of(sallyport.EventDecided)[0].Asked.IP != "192.0.2.9" {
		t.Fatalf("%+v", a)
	}
	a = s.ask(t, "GET", "/caddy/hub", "", ana(forwarded("GET", weight)...)...)
	if a.status != 403 || a.header.Get("X-Error-Code") != "GatedRepo" || !strings.Contains(a.body, `"error"`) {
		t.Errorf("%+v", a)
	}
	a = s.ask(t, "GET", "/caddy/hub", "", ana(forwarded("HEAD", "/hf/acme/nothing/resolve/main/x.bin")...)...)
	if a.status != 404 || a.body != "" {
		t.Errorf("%+v", a)
	}
	if a := s.ask(t, "GET", "/caddy/hub?download=true", "", rob(forwarded("GET", weight+"?download=true")...)...); a.status != 200 {
		t.Errorf("%+v", a)
	}
	if a = s.ask(t, "GET", "/caddy/hub", "", forwarded("GET", weight, extauthz.TokenHeader, edge)...); a.status != 401 || a.header.Get("WWW-Authenticate") == "" {
		t.Errorf("%+v", a)
	}
	if a = s.ask(t, "GET", "/caddy/hub", "", ana(forwarded("GET", weight, extauthz.TokenHeader, edge)...)...); a.status != 403 || len(s.Of(sallyport.EventDecided)) != 4 {
		t.Errorf("two tokens: %+v", a)
	}
}

// TestEnvoyOverHTTP keeps the method and the path behind its prefix, and may send the body along.
func TestEnvoyOverHTTP(t *testing.T) {
	s := newSite(t)
	a := s.ask(t, "GET", "/envoy/hub"+weight+"?download=true", "", rob("Host", host, "X-Real-Ip", "192.0.2.9", "X-Forwarded-For", "192.0.2.9, 192.0.2.77", "X-Sallyport-Admin", "1")...)
	if a.status != 200 || a.header.Get("X-Sallyport-User") != "user:rob" {
		t.Fatalf("%+v", a)
	}
	if r := a.header.Get("X-Envoy-Auth-Headers-To-Remove"); !strings.Contains(r, "authorization") || !strings.Contains(r, "x-sallyport-admin") {
		t.Errorf("removes %q", r)
	}
	for name, from := range map[string][]string{"unsaid": nil, "twice": {"X-Real-Ip", "192.0.2.9", "X-Real-Ip", "192.0.2.8"}, "a list": {"X-Real-Ip", "192.0.2.9, 192.0.2.8"},
		"with a port": {"X-Real-Ip", "192.0.2.9:80"}, "a name": {"X-Real-Ip", "office"}, "nothing": {"X-Real-Ip", ""}, "another spelling": {"X_Real_Ip", "192.0.2.9"}} {
		// What the proxy did not say is not known, and no other field says it.
		a := s.ask(t, "GET", "/envoy/hub"+weight, "", rob(append([]string{"Host", host, "X-Forwarded-For", "192.0.2.77", "X-Envoy-External-Address", "192.0.2.77"}, from...)...)...)
		decided := s.Of(sallyport.EventDecided)
		if last := decided[len(decided)-1]; a.status != 200 || last.Asked.IP != "" || last.Asked.Network != "" {
			t.Errorf("its address %s: %d, recorded from %q in %q", name, a.status, last.Asked.IP, last.Asked.Network)
		}
	}
	body := `{"model":"acme/open","messages":[]}`
	head := []string{"Host", host, "Content-Type", "application/json", "Authorization", bearer("ana", "openai")["authorization"], extauthz.TokenHeader, edge}
	if a := s.ask(t, "POST", "/envoy/chat/v1/chat/completions", body, append(head, "X-Envoy-Auth-Partial-Body", "false")...); a.status != 200 || a.header.Get("X-Sallyport-Action") != "model.infer" {
		t.Errorf("%+v", a)
	}
	for name, more := range map[string][]string{"unsaid": nil, "partial": {"X-Envoy-Auth-Partial-Body", "true"}, "both": {"X-Envoy-Auth-Partial-Body", "false", "X-Envoy-Auth-Partial-Body", "true"}} {
		if a := s.ask(t, "POST", "/envoy/chat/v1/chat/completions", body, append(head, more...)...); a.status != 403 || !strings.Contains(a.body, "ask inline") {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if a := s.ask(t, "POST", "/envoy/chat/v1/chat/completions", "", append(head, "X-Envoy-Auth-Partial-Body", "false")...); a.status != 403 || !strings.Contains(a.body, "ask inline") {
		t.Errorf("no body: %+v", a)
	}
	if a := s.ask(t, "GET", "/envoy/hub/hf/acme/open/resolve/main/../../../x", "", rob("Host", host)...); a.status != 400 {
		t.Errorf("%+v", a)
	}
	if a := s.ask(t, "GET", "/envoy/hub", "", rob("Host", host)...); a.status != 400 {
		t.Errorf("%+v", a)
	}
	if a := s.ask(t, "GET", "/healthz", ""); a.status != 200 {
		t.Errorf("%+v", a)
	}
}
