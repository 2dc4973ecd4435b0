package extauthz_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"sallyport"
	"sallyport/internal/enforce/extauthz"
)

// TestEX1AnotherRequestByAField: a field by which an upstream would take the request for another one is no part of a question
// that can be answered, in any spelling, at any proxy: nginx and Caddy pass it on as it came.
func TestEX1AnotherRequestByAField(t *testing.T) {
	s := newSite(t)
	fields := []string{"X-HTTP-Method-Override", "x-http-method", "X-Method-Override", "X_HTTP_Method_Override", "X-Rewrite-URL", "x-original-url"}
	for _, f := range fields {
		value := "DELETE"
		if strings.HasSuffix(strings.ToLower(f), "url") {
			value = "/hf/acme/secret/resolve/main/x.bin"
		}
		if a := s.ask(t, "GET", "/envoy/hub"+weight, "", rob("Host", host, f, value)...); a.status != 400 {
			t.Errorf("Envoy, %s: %+v", f, a)
		}
		if a := s.ask(t, "GET", "/nginx/hub", "", rob(original("GET", weight, f, value)...)...); a.status != 403 || a.header.Get(extauthz.StatusHeader) != "400" {
			t.Errorf("nginx, %s: %+v", f, a)
		}
		if a := s.ask(t, "GET", "/caddy/hub", "", rob(forwarded("GET", weight, f, value)...)...); a.status != 400 {
			t.Errorf("Caddy, %s: %+v", f, a)
		}
	}
	if n := len(s.Of(sallyport.EventDecided)); n != 0 {
		t.Errorf("%d were decided", n)
	}
	if n := len(s.Of(sallyport.EventUnmapped)); n != 3*len(fields) {
		t.Errorf("%d recorded, want %d", n, 3*len(fields))
	}
}

// TestEX2OneReadingOfThePath: encoded slashes, dots, backslashes, foreign letters and absolute targets, as nginx and Caddy
// hand them over, are refused and recorded, and decide nothing.
func TestEX2OneReadingOfThePath(t *testing.T) {
	s := newSite(t)
	uris := []string{
		"/hf/acme%2Fopen/resolve/main/x.bin", "/hf/acme%252fopen/resolve/main/x.bin", "/hf/acme/open/resolve/main/..%2f..%2fsecret", "/hf/acme/secret/../open/resolve/main/x.bin",
		"/hf/acme/open/resolve/main/%2e%2e/x.bin", "/hf//acme/open/resolve/main/x.bin", "/hf/acme/open;v=1/resolve/main/x.bin", `/hf/acme/open\resolve/main/x.bin`,
		"/hf/acme/open%5cresolve/main/x.bin", "/hf/acme/ｏpen/resolve/main/x.bin", "/hf/acme/%EF%BD%8Fpen/resolve/main/x.bin", "/hf/acme/open%00/resolve/main/x.bin",
		"/hf/acme/open/resolve/main/x.bin#frag", "http://other.test" + weight, "//other.test" + weight, "*", "hf/acme/open/resolve/main/x.bin", "/hf/acme/open/resolve/main/x.bin%",
		"/hf/acme/op%C2%ADen/resolve/main/x.bin", "/hf/acme/open/resolve/main/" + strings.Repeat("x", 9<<10),
	}
	for _, uri := range uris {
		if a := s.ask(t, "GET", "/nginx/hub", "", rob(original("GET", uri)...)...); a.status != 403 {
			t.Errorf("nginx, %.60s: %+v", uri, a)
		}
		if a := s.ask(t, "GET", "/caddy/hub", "", rob(forwarded("GET", uri)...)...); a.status < 400 {
			t.Errorf("Caddy, %.60s: %+v", uri, a)
		}
	}
	for _, e := range s.Of(sallyport.EventDecided) {
		if e.Outcome == "allow" {
			t.Errorf("%+v", e)
		}
	}
}

// TestEX3TwoOfAField: what a proxy says stands once, and what the client says beside it under another spelling, or behind a
// comma, is never what is decided on.
func TestEX3TwoOfAField(t *testing.T) {
	s := newSite(t)
	const mine = "/hf/acme/open/resolve/main/README.md"
	for name, fields := range map[string][]string{
		"two paths": forwarded("GET", weight, "X-Forwarded-Uri", mine), "two methods": forwarded("GET", weight, "X-Forwarded-Method", "HEAD"),
		"two hosts": forwarded("GET", weight, "X-Forwarded-Host", "other.test"), "hosts in one": {"X-Forwarded-Method", "GET", "X-Forwarded-Uri", weight, "X-Forwarded-Host", host + ", other.test"},
		"methods in one": {"X-Forwarded-Method", "GET, HEAD", "X-Forwarded-Uri", weight, "X-Forwarded-Host", host},
		"another host":   {"X-Forwarded-Method", "GET", "X-Forwarded-Uri", weight, "X-Forwarded-Host", "other.test"},
		"two people":     forwarded("GET", weight, "Authorization", bearer("ana", "hf")["authorization"]),
		"small letters":  {"X-Forwarded-Method", "get", "X-Forwarded-Uri", weight, "X-Forwarded-Host", host},
	} {
		if a := s.ask(t, "GET", "/caddy/hub", "", rob(fields...)...); a.status < 400 {
			t.Errorf("%s: %+v", name, a)
		}
	}
	// Under another spelling it is some field of the client's, which says nothing.
	a := s.ask(t, "GET", "/caddy/hub", "", rob(forwarded("GET", weight, "X_Forwarded_Uri", mine, "X-Original-URI", mine, "Forwarded", "host=other.test", "X-Forwarded-Path", mine)...)...)
	decided := s.Of(sallyport.EventDecided)
	if a.status != 200 || len(decided) != 1 || decided[0].Asked.File != "x.bin" && !strings.HasSuffix(weight, decided[0].Asked.File) {
		t.Errorf("%+v %+v", a, decided)
	}
}

// TestEX4BodiesOfAQuestion: one that is huge, shorter or longer than it says, doubled or still on its way decides nothing, and a
// proxy that says nothing is not waited for.
func TestEX4BodiesOfAQuestion(t *testing.T) {
	s := newSite(t)
	good := `{"model":"acme/open","messages":[]}`
	for name, edit := range map[string]func(*authv3.AttributeContext_HttpRequest){
		"shorter than it says":  func(h *authv3.AttributeContext_HttpRequest) { h.Headers["content-length"] = "4096" },
		"longer than it says":   func(h *authv3.AttributeContext_HttpRequest) { h.Headers["content-length"] = "2" },
		"a length of no number": func(h *authv3.AttributeContext_HttpRequest) { h.Headers["content-length"] = "0x23" },
		"two lengths": func(h *authv3.AttributeContext_HttpRequest) {
			h.HeaderMap = &corev3.HeaderMap{}
			for k, v := range h.Headers {
				h.HeaderMap.Headers = append(h.HeaderMap.Headers, &corev3.HeaderValue{Key: k, Value: v})
			}
			h.HeaderMap.Headers = append(h.HeaderMap.Headers, &corev3.HeaderValue{Key: "content-length", Value: "35"}, &corev3.HeaderValue{Key: "Content-Length", Value: "2"})
		},
		"text and bytes": func(h *authv3.AttributeContext_HttpRequest) { h.Body = `{"model":"acme/secret","messages":[]}` },
		"doubled members": func(h *authv3.AttributeContext_HttpRequest) {
			h.RawBody = []byte(`{"model":"acme/open","model":"acme/secret","messages":[]}`)
		},
		"two values": func(h *authv3.AttributeContext_HttpRequest) { h.RawBody = []byte(good + good) },
		"huge": func(h *authv3.AttributeContext_HttpRequest) {
			h.RawBody = []byte(`{"model":"acme/open","messages":[{"role":"user","content":"` + strings.Repeat("x", 2<<20) + `"}]}`)
		},
	} {
		out, err := s.send(t.Context(), s.client, ask{token: edge, upstream: "chat", method: "POST", path: "/v1/chat/completions", header: bearer("ana", "openai"), body: good,
			edit: func(in *authv3.AttributeContext) { edit(in.Request.Http) }})
		if err == nil && out.GetOkResponse() != nil {
			t.Errorf("%s: %v", name, out)
		}
	}
	if a := s.ask(t, "POST", "/envoy/chat/v1/chat/completions", strings.Repeat(" ", 1<<20)+good, "Host", host, "Content-Type", "application/json",
		"Authorization", bearer("ana", "openai")["authorization"], extauthz.TokenHeader, edge, "X-Envoy-Auth-Partial-Body", "false"); a.status < 400 {
		t.Errorf("huge over HTTP: %+v", a)
	}
	for _, e := range s.Of(sallyport.EventDecided) {
		if e.Outcome == "allow" {
			t.Errorf("%+v", e)
		}
	}
	// A question that stops half way is no question: the connection gives up, and nothing was decided.
	c, err := net.Dial("tcp", strings.TrimPrefix(s.http, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	half := "POST /envoy/chat/v1/chat/completions HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 35\r\nX-Envoy-Auth-Partial-Body: false\r\n" + extauthz.TokenHeader + ": " + edge + "\r\n\r\n{\"model\""
	if _, err := io.WriteString(c, half); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	answer, err := io.ReadAll(c)
	if err != nil || strings.HasPrefix(string(answer), "HTTP/1.1 200") || len(s.Of(sallyport.EventDecided)) != 0 {
		t.Errorf("%s, %v, %d decided", answer, err, len(s.Of(sallyport.EventDecided)))
	}
	if r, err := http.Get(s.http + "/healthz"); err != nil || r.Body.Close() != nil || r.StatusCode != 200 {
		t.Errorf("afterwards: %v, %v", r, err)
	}
}

// TestEX5WhereItComesFrom: what a proxy does not say of the client's address, says twice or in words, is not known, and no field
// of the client's says it instead.
func TestEX5WhereItComesFrom(t *testing.T) {
	s := newSite(t)
	asked := func(kind, method, uri string) []string {
		if kind == "nginx" {
			return []string{"X-Original-Method", method, "X-Original-URI", uri, "X-Original-Host", host}
		}
		return []string{"X-Forwarded-Method", method, "X-Forwarded-Uri", uri, "X-Forwarded-Host", host}
	}
	for _, x := range []struct {
		kind   string
		fields []string
		ip     string
	}{
		{"nginx", nil, ""},
		{"nginx", []string{"X-Real-IP", "192.0.2.9"}, "192.0.2.9"},
		{"nginx", []string{"X-Real-IP", "::ffff:192.0.2.9"}, "192.0.2.9"},
		{"nginx", []string{"X-Real-IP", "2001:db8::9"}, "2001:db8::9"},
		{"nginx", []string{"X-Real-IP", "192.0.2.9", "X-Real-IP", "192.0.2.8"}, ""},
		{"nginx", []string{"X-Real-IP", "192.0.2.9, 192.0.2.8"}, ""},
		{"nginx", []string{"X-Forwarded-For", "192.0.2.9", "Forwarded", "for=192.0.2.9", "X_Real_IP", "192.0.2.9", "X-Real-Ip-2", "192.0.2.9"}, ""},
		{"caddy", nil, ""},
		{"caddy", []string{"X-Forwarded-For", "192.0.2.7, 192.0.2.9"}, "192.0.2.9"},
		{"caddy", []string{"X-Forwarded-For", "192.0.2.7", "X-Forwarded-For", "192.0.2.9"}, "192.0.2.9"},
		{"caddy", []string{"X-Forwarded-For", "192.0.2.9, "}, ""},
		{"caddy", []string{"X-Forwarded-For", "192.0.2.9, office"}, ""},
		{"caddy", []string{"X-Real-IP", "192.0.2.9", "X-Forwarded-For-2", "192.0.2.9"}, ""},
	} {
		a := s.ask(t, "GET", "/"+x.kind+"/hub", "", rob(append(asked(x.kind, "GET", weight), x.fields...)...)...)
		decided := s.Of(sallyport.EventDecided)
		if a.status != 200 || len(decided) == 0 || decided[len(decided)-1].Asked.IP != x.ip {
			t.Errorf("%s, %q: %d, recorded from %+v, want %q", x.kind, x.fields, a.status, decided[len(decided)-1].Asked, x.ip)
		}
	}
	// Whoever is no proxy is told nothing, whatever they say of the request, and its method is spelled one way.
	before := len(s.Of(sallyport.EventDecided))
	for _, kind := range []string{"nginx", "caddy"} {
		stranger := append(asked(kind, "GET", weight), "Authorization", bearer("rob", "hf")["authorization"], "X-Forwarded-For", "127.0.0.1", "X-Real-IP", "127.0.0.1")
		if a := s.ask(t, "GET", "/"+kind+"/hub", "", stranger...); a.status != 403 {
			t.Errorf("%s, a stranger: %+v", kind, a)
		}
		if all := s.Of(sallyport.EventRefused); len(all) == 0 || all[len(all)-1].Reasons[0] != "proxy.unknown" {
			t.Errorf("%s, a stranger: %+v", kind, all)
		}
		for _, method := range []string{"get", "Get", "GET ", "GET,GET", "GET\tX", "CONNECT", "TRACE", "*"} {
			if a := s.ask(t, "GET", "/"+kind+"/hub", "", rob(asked(kind, method, weight)...)...); a.status < 400 && method != "GET " { // net/http cuts spaces off
				t.Errorf("%s, %q: %+v", kind, method, a)
			}
		}
	}
	for _, x := range []struct{ method, path string }{{"GET", weight + "\r\nX-A: b"}, {"GET", weight + "\n"}, {"GET\r\n", weight}, {"get", weight}, {"GET", weight + "\x00"}} {
		out, err := s.send(t.Context(), s.client, ask{token: edge, upstream: "hub", method: x.method, path: x.path, header: bearer("rob", "hf")})
		if err != nil || out.GetOkResponse() != nil {
			t.Errorf("Envoy, %q %q: %v, %v", x.method, x.path, out, err)
		}
	}
	for _, e := range s.Of(sallyport.EventDecided)[before:] {
		if e.Outcome != "allow" || e.Action != sallyport.ModelPull {
			t.Errorf("decided %+v", e)
		}
	}
	if n := len(s.Of(sallyport.EventDecided)) - before; n > 2 {
		t.Errorf("%d were decided", n)
	}
}
