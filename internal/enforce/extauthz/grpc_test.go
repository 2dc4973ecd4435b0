package extauthz_test

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"net/url"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"sallyport"
	"sallyport/internal/enforce/guard/guardtest"
)

func address(ip string) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Address: ip}}}
}

// fields are header options as a map; the values of one field are joined.
func fields(options []*corev3.HeaderValueOption) map[string]string {
	m := map[string]string{}
	for _, o := range options {
		if have, ok := m[o.GetHeader().GetKey()]; ok {
			m[o.GetHeader().GetKey()] = have + ", " + o.GetHeader().GetValue()
		} else {
			m[o.GetHeader().GetKey()] = o.GetHeader().GetValue()
		}
	}
	return m
}

func (s *site) allowed(t testing.TB, a ask) *authv3.OkHttpResponse {
	t.Helper()
	out := s.check(t, a)
	if out.GetStatus().GetCode() != int32(codes.OK) || out.GetOkResponse() == nil {
		t.Fatalf("%s %s: %v", a.method, a.path, out)
	}
	return out.GetOkResponse()
}

func (s *site) refused(t testing.TB, code int, a ask) *authv3.DeniedHttpResponse {
	t.Helper()
	out := s.check(t, a)
	d := out.GetDeniedResponse()
	if out.GetStatus().GetCode() == int32(codes.OK) || d == nil || out.GetOkResponse() != nil || int(d.GetStatus().GetCode()) != code {
		t.Fatalf("%s %s: %v, want %d", a.method, a.path, out, code)
	}
	return d
}

// TestAllow: the upstream learns who calls and what may be served, nothing of the client's credentials, and the record
// holds the decision and that its effect was handed over.
func TestAllow(t *testing.T) {
	s := newSite(t)
	a := ask{token: edge, upstream: "hub", path: weight + "?download=true", header: with(bearer("rob", "hf"), "dpop", "x",
		"x-forwarded-user", "root", "x-forwarded-client-cert", "Hash=1", "x-sallyport-user", "user:root", "x-sallyport-admin", "1", "X_Remote_User", "root",
		"x-mlflow-guardrail-bypass", "1", "accept", "*/*", "x-forwarded-for", "192.0.2.7")}
	out := s.check(t, a)
	ok := out.GetOkResponse()
	if ok == nil {
		t.Fatalf("%v", out)
	}
	decided, ended := s.Of(sallyport.EventDecided), s.Of(sallyport.EventCompleted)
	if len(decided) != 1 || len(ended) != 1 || ended[0].Decision != decided[0].Decision || ended[0].Delivered.End != "handed over" || ended[0].Delivered.Bytes != 0 {
		t.Fatalf("recorded %+v %+v", decided, ended)
	}
	if q := decided[0].Asked; q.Door != "extauthz:edge/hub" || q.IP != "192.0.2.7" || q.File != "model.safetensors" || decided[0].Action != sallyport.ModelPull {
		t.Errorf("recorded %+v %+v", decided[0], q)
	}
	id := decided[0].Decision
	set := fields(ok.GetHeaders())
	for name, want := range map[string]string{"x-sallyport-decision": id, "x-sallyport-user": "user:rob", "x-sallyport-action": "model.pull",
		"x-sallyport-resource": "acme/open@v1", "x-sallyport-digest": strings.Repeat("a1", 32)} {
		if set[name] != want {
			t.Errorf("%s is %q, want %q", name, set[name], want)
		}
	}
	for _, name := range []string{"authorization", "dpop", "x-forwarded-user", "x-forwarded-client-cert", "x-sallyport-admin", "x-sallyport-actor", "x_remote_user",
		"x-mlflow-guardrail-bypass", "x-sallyport-proxy"} {
		if !slices.Contains(ok.GetHeadersToRemove(), name) {
			t.Errorf("%s reaches the upstream: %q", name, ok.GetHeadersToRemove())
		}
		if _, both := set[name]; both {
			t.Errorf("%s is set and removed", name)
		}
	}
	for _, name := range []string{"accept", "x-forwarded-for", "x-sallyport-user"} {
		if slices.Contains(ok.GetHeadersToRemove(), name) {
			t.Errorf("%s is removed", name)
		}
	}
	if told := out.GetDynamicMetadata().AsMap(); told["decision"] != id || told["user"] != "user:rob" || fields(ok.GetResponseHeadersToAdd())["sallyport-decision"] != id {
		t.Errorf("told %v", told)
	}
	if n := s.Guard.Open(); n != 0 {
		t.Errorf("%d calls are still open", n)
	}
}

// TestDeny: a refusal is the dialect's own, with its status, fields and body.
func TestDeny(t *testing.T) {
	s := newSite(t)
	d := s.refused(t, 403, ask{token: edge, upstream: "hub", path: weight, header: bearer("ana", "hf")})
	h := fields(d.GetHeaders())
	if h["x-error-code"] != "GatedRepo" || !strings.Contains(h["x-error-message"], "model.pull on acme/open: deny") || h["sallyport-decision"] == "" {
		t.Errorf("fields %v", h)
	}
	var body map[string]string
	if err := json.Unmarshal([]byte(d.GetBody()), &body); err != nil || body["error"] != h["x-error-message"] {
		t.Errorf("body %q", d.GetBody())
	}

	d = s.refused(t, 403, chat("acme/secret", with(map[string]string{}, "authorization", "Bearer "+guardtest.Token("ana", sallyport.SingleFactor, audience("openai"), "*"))))
	if h := fields(d.GetHeaders()); !strings.Contains(h["www-authenticate"], "insufficient_user_authentication") || !strings.Contains(d.GetBody(), `"policy_step-up"`) {
		t.Errorf("step-up: %v %s", h, d.GetBody())
	}
	d = s.refused(t, 404, ask{token: edge, upstream: "hub", path: "/hf/acme/nothing/resolve/main/x.bin", header: bearer("ana", "hf")})
	if fields(d.GetHeaders())["x-error-code"] != "RepoNotFound" {
		t.Errorf("%v", d)
	}
	out := s.check(t, ask{token: edge, upstream: "hub", path: weight})
	if out.GetStatus().GetCode() != int32(codes.Unauthenticated) || out.GetDeniedResponse().GetStatus().GetCode() != 401 ||
		!strings.Contains(fields(out.GetDeniedResponse().GetHeaders())["www-authenticate"], "Bearer realm") {
		t.Errorf("%v", out)
	}
	s.BreakLog()
	s.refused(t, 503, ask{token: edge, upstream: "hub", path: weight, header: bearer("rob", "hf")})
	if n := s.Guard.Open(); n != 0 {
		t.Errorf("%d calls are still open", n)
	}
}

// chat is a call of a model, with its body.
func chat(model string, header map[string]string) ask {
	return ask{token: edge, upstream: "chat", method: "POST", path: "/v1/chat/completions", header: header,
		body: `{"model":"` + model + `","messages":[{"role":"user","content":"hi"}]}`}
}

// TestBodies: what is in a body is read like the gateway reads it, and where the body is not there whole nobody guesses.
func TestBodies(t *testing.T) {
	s := newSite(t)
	ok := s.allowed(t, chat("acme/open", bearer("ana", "openai")))
	if set := fields(ok.GetHeaders()); set["x-sallyport-resource"] != "acme/open@v1" || set["x-sallyport-action"] != "model.infer" {
		t.Errorf("%v", set)
	}
	http := func(edit func(*authv3.AttributeContext_HttpRequest)) func(*authv3.AttributeContext) {
		return func(in *authv3.AttributeContext) { edit(in.GetRequest().GetHttp()) }
	}
	length := http(func(h *authv3.AttributeContext_HttpRequest) {
		delete(h.Headers, "x-envoy-auth-partial-body")
		h.Headers["content-length"] = "65"
	})
	exact := chat("acme/open", bearer("ana", "openai"))
	exact.edit = length
	if len(exact.body) != 65 {
		t.Fatalf("the body is %d bytes long", len(exact.body))
	}
	s.allowed(t, exact)
	before := len(s.Of(sallyport.EventDecided))
	for name, edit := range map[string]func(h *authv3.AttributeContext_HttpRequest){
		"none":     func(h *authv3.AttributeContext_HttpRequest) { h.RawBody = nil },
		"partial":  func(h *authv3.AttributeContext_HttpRequest) { h.Headers["x-envoy-auth-partial-body"] = "true" },
		"unsaid":   func(h *authv3.AttributeContext_HttpRequest) { delete(h.Headers, "x-envoy-auth-partial-body") },
		"twice":    func(h *authv3.AttributeContext_HttpRequest) { h.Headers["x-envoy-auth-partial-body"] = "false,true" },
		"shorter":  func(h *authv3.AttributeContext_HttpRequest) { h.Headers["content-length"] = "66" },
		"as text!": func(h *authv3.AttributeContext_HttpRequest) { h.Body, h.RawBody = string(h.RawBody)+" !", nil },
		"both":     func(h *authv3.AttributeContext_HttpRequest) { h.Body = string(h.RawBody) },
		"claimed":  func(h *authv3.AttributeContext_HttpRequest) { h.RawBody = nil; h.Headers["content-length"] = "65" },
	} {
		a := chat("acme/open", bearer("ana", "openai"))
		a.edit = http(edit)
		d := s.refused(t, 403, a)
		if !strings.Contains(d.GetBody(), "ask inline") {
			t.Errorf("%s: %s", name, d.GetBody())
		}
	}
	text := chat("acme/open", bearer("ana", "openai"))
	text.edit = http(func(h *authv3.AttributeContext_HttpRequest) { h.Body, h.RawBody = string(h.RawBody), nil })
	s.allowed(t, text)
	doubled := chat("acme/open", bearer("ana", "openai"))
	doubled.body = `{"model":"acme/open","model":"acme/secret","messages":[]}`
	s.refused(t, 400, doubled)
	if n := len(s.Of(sallyport.EventDecided)); n != before+1 {
		t.Errorf("%d decisions on bodies that nobody has read", n-before-1)
	}
	// What the question is not in may be missing.
	s.allowed(t, ask{token: edge, upstream: "own", method: "POST", path: "/vault/v1/acme/open/uploads", header: with(bearer("pia", "vault"), "content-length", "9")})
}

// TestInline: what only the gateway's own serving can do is refused here.
func TestInline(t *testing.T) {
	s := newSite(t)
	for _, a := range []ask{
		{upstream: "chat", path: "/v1/models", header: bearer("ana", "openai")},
		{upstream: "hub", path: "/hf/api/models", header: bearer("ana", "hf")},
		{upstream: "chat", method: "POST", path: "/v1/responses", header: bearer("ana", "openai"), body: `{"model":"acme/open","input":"hi"}`},
		{upstream: "chat", method: "POST", path: "/v1/responses", header: bearer("ana", "openai"), body: `{"model":"acme/open","input":"hi","store":true}`},
	} {
		a.token = edge
		d := s.refused(t, 403, a)
		if !strings.Contains(d.GetBody(), "ask inline") {
			t.Errorf("%s: %s", a.path, d.GetBody())
		}
	}
	s.allowed(t, ask{token: edge, upstream: "chat", method: "POST", path: "/v1/responses", header: bearer("ana", "openai"), body: `{"model":"acme/open","input":"hi","store":false}`})
	if n := len(s.Of(sallyport.EventUnmapped)); n != 4 {
		t.Errorf("%d of 4 are recorded", n)
	}
	// An obligation is about the answer.
	d := s.refused(t, 403, ask{token: edge, upstream: "hub", path: weight, header: bearer("lim", "hf")})
	if !strings.Contains(d.GetBody(), "limit-bytes=1048576, which this door cannot carry out") {
		t.Errorf("%s", d.GetBody())
	}
}

// TestUnknownRoutes are refused and recorded, whoever asks.
func TestUnknownRoutes(t *testing.T) {
	s := newSite(t)
	for i, a := range []ask{
		{upstream: "hub", path: "/hf/acme/open/raw/main/model.safetensors"},
		{upstream: "hub", path: "/acme/open/resolve/main/model.safetensors"}, // not below the prefix
		{upstream: "hub", path: "/hfx/acme/open/resolve/main/model.safetensors"},
		{upstream: "hub", method: "PROPFIND", path: weight},
		{upstream: "chat", method: "POST", path: "/v1/load_lora_adapter"},
		{upstream: "chat", path: "/metrics"},
	} {
		a.token, a.header = edge, bearer("rob", "hf")
		d := s.refused(t, 403, a)
		all := s.Of(sallyport.EventUnmapped)
		if len(all) != i+1 || all[i].Detail["path"] != a.path || all[i].Decision != fields(d.GetHeaders())["sallyport-decision"] {
			t.Errorf("%s is recorded as %+v", a.path, all)
		}
	}
}

// TestTwoReadings: paths that a proxy and an upstream could read differently.
func TestTwoReadings(t *testing.T) {
	s := newSite(t)
	paths := []string{"/hf/acme%2fopen/resolve/main/x", "/hf/acme/open/resolve/refs%2Fpr%2F1/x", "/hf/acme%5copen/resolve/main/x", "/hf/acme/open/resolve/main/x%00", "/hf/acme/open;v=1/resolve/main/x",
		"/hf//acme/open/resolve/main/x", "/hf/acme/open/resolve/main/../x", "/hf/acme/open/resolve/main/%2e%2e/x", "/hf/acme/open/resolve/main/x/", "/hf/acme/./open", "//evil/hf/acme",
		"/hf/acme/open/resolve/main/x#y", "/hf/acme/open/resolve/main/\x01", "/hf/acme/op%C3%A9n/%zz", "/hf/acme/\u00f6pen/resolve/main/x", "", "*", "hf/x", "https://models.acme.test/hf/x", "/hf/a b", "/hf/acme/op%2565n", "/hf\\acme"}
	for i, path := range paths {
		d := s.refused(t, 400, ask{token: edge, upstream: "hub", path: path, header: bearer("rob", "hf")})
		if n := len(s.Of(sallyport.EventUnmapped)); n != i+1 {
			t.Fatalf("%q is not recorded (%s)", path, d.GetBody())
		}
	}
	for name, edit := range map[string]func(*authv3.AttributeContext){
		"host":        func(in *authv3.AttributeContext) { in.GetRequest().GetHttp().Host = "other.test" },
		"protocol":    func(in *authv3.AttributeContext) { in.ContextExtensions["protocol"] = "openai" },
		"environment": func(in *authv3.AttributeContext) { in.ContextExtensions["environment"] = "staging" },
		"upgrade":     func(in *authv3.AttributeContext) { in.GetRequest().GetHttp().Headers["upgrade"] = "websocket" },
		"two ranges": func(in *authv3.AttributeContext) {
			h := in.GetRequest().GetHttp()
			h.HeaderMap = &corev3.HeaderMap{}
			for k, v := range h.GetHeaders() {
				h.HeaderMap.Headers = append(h.HeaderMap.Headers, &corev3.HeaderValue{Key: k, RawValue: []byte(v)})
			}
			h.HeaderMap.Headers = append(h.HeaderMap.Headers, &corev3.HeaderValue{Key: "range", RawValue: []byte("bytes=0-1")}, &corev3.HeaderValue{Key: "range", RawValue: []byte("bytes=2-3")})
		},
	} {
		before := len(s.Of(sallyport.EventUnmapped))
		s.refused(t, 400, ask{token: edge, upstream: "hub", path: weight, header: bearer("rob", "hf"), edit: edit})
		if len(s.Of(sallyport.EventUnmapped)) != before+1 {
			t.Errorf("%s: not recorded", name)
		}
	}
	for _, same := range []string{"models.acme.test:443", "MODELS.acme.test"} {
		s.allowed(t, ask{token: edge, upstream: "hub", path: weight, header: bearer("rob", "hf"),
			edit: func(in *authv3.AttributeContext) {
				in.GetRequest().GetHttp().Host = same
				in.ContextExtensions["protocol"] = "hfhub"
			}})
	}
	two := ask{token: edge, upstream: "hub", path: weight, header: with(bearer("rob", "hf"), "authorization", bearer("rob", "hf")["authorization"]+",Bearer x")}
	s.refused(t, 401, two)
}

// TestProxies: who asks is proved too, and asks only for what it is registered for.
func TestProxies(t *testing.T) {
	s := newSite(t)
	for _, x := range []struct{ token, upstream, reason string }{
		{"", "hub", "proxy.unknown"}, {edge + "x", "hub", "proxy.unknown"}, {lone, "hub", "proxy.upstream"}, {edge, "", "proxy.upstream"}, {edge, "none", "proxy.upstream"}, {edge + "-both", "hub", "proxy.unknown"},
	} {
		before := len(s.Of(sallyport.EventRefused))
		s.refused(t, 403, ask{token: x.token, upstream: x.upstream, path: weight, header: bearer("rob", "hf")})
		all := s.Of(sallyport.EventRefused)
		if len(all) != before+1 || all[before].Reasons[0] != x.reason || all[before].Detail["upstream"] != x.upstream {
			t.Errorf("%+v is recorded as %+v", x, all[before:])
		}
	}
	if n := len(s.Of(sallyport.EventDecided)); n != 0 {
		t.Errorf("%d decisions", n)
	}
	s.allowed(t, func() ask { a := chat("acme/open", bearer("ana", "openai")); a.token = lone; return a }())
}

// TestMutualTLS: without a certificate of the mesh's authority nothing is even asked; with one, its name counts.
func TestMutualTLS(t *testing.T) {
	s := newSite(t)
	ca, other := newAuthority(t), newAuthority(t)
	server := ca.issue(t, "localhost")
	addr := serve(t, s.service.GRPC(&tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool}))
	client := func(certificates ...tls.Certificate) authv3.AuthorizationClient {
		return authv3.NewAuthorizationClient(dial(t, addr, credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ca.pool, ServerName: "localhost", Certificates: certificates})))
	}
	a := ask{upstream: "hub", path: weight, header: bearer("rob", "hf")}
	out, err := s.send(t.Context(), client(ca.issue(t, "spiffe://acme.test/envoy")), a)
	if err != nil || out.GetOkResponse() == nil {
		t.Fatalf("%v %v", out, err)
	}
	for name, c := range map[string]authv3.AuthorizationClient{"none": client(), "another authority's": client(other.issue(t, "spiffe://acme.test/envoy"))} {
		if out, err := s.send(t.Context(), c, a); err == nil {
			t.Errorf("%s: %v", name, out)
		}
	}
	for name, x := range map[string]struct {
		names []string
		token string
		ok    bool
	}{
		"another name":         {[]string{"spiffe://acme.test/other"}, "", false},
		"a longer name":        {[]string{"spiffe://acme.test/envoy/x"}, "", false},
		"another's token":      {[]string{"spiffe://acme.test/other"}, edge, true}, // edge needs no certificate
		"both without a token": {[]string{"both.acme.test"}, "", false},
		"both, wrong token":    {[]string{"both.acme.test"}, edge, false},
		"both":                 {[]string{"both.acme.test"}, edge + "-both", true},
	} {
		a.token = x.token
		out, err := s.send(t.Context(), client(ca.issue(t, x.names...)), a)
		if err != nil || (out.GetOkResponse() != nil) != x.ok {
			t.Errorf("%s: %v %v", name, out, err)
		}
	}
}

// TestCertificatesOfClients: one that Envoy passes on counts where it is a device's, and else as none.
func TestCertificatesOfClients(t *testing.T) {
	s := newSite(t)
	c := newAuthority(t).issue(t, "spiffe://acme.test/laptop")
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}))
	for _, text := range []string{url.QueryEscape(text), url.PathEscape(text), text, "%", "-----BEGIN", strings.Repeat("x", 20<<10)} {
		s.allowed(t, ask{token: edge, upstream: "hub", path: weight, header: bearer("rob", "hf"), edit: func(in *authv3.AttributeContext) { in.Source.Certificate = text }})
	}
}

// TestCutWhileAsking: a right that ends is refused from the next question on; what was handed over is not cut here.
func TestCutWhileAsking(t *testing.T) {
	s := newSite(t)
	a := ask{token: edge, upstream: "hub", path: weight, header: bearer("rob", "hf")}
	s.allowed(t, a)
	s.Lock("acme/open")
	s.refused(t, 403, a)
}

func TestHealthAndLimits(t *testing.T) {
	s := newSite(t)
	got, err := healthpb.NewHealthClient(s.conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: "envoy.service.auth.v3.Authorization"})
	if err != nil || got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("%v %v", got, err)
	}
	big := chat("acme/open", bearer("ana", "openai"))
	big.body = `{"model":"acme/open","messages":[{"role":"user","content":"` + strings.Repeat("x", 2<<20) + `"}]}`
	if _, err := s.send(t.Context(), s.client, big); status.Code(err) != codes.ResourceExhausted && status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("%v", err)
	}
	// Nothing at all is a question too.
	out, err := s.client.Check(t.Context(), &authv3.CheckRequest{})
	if err != nil || out.GetDeniedResponse().GetStatus().GetCode() != 403 {
		t.Errorf("%v %v", out, err)
	}
}
