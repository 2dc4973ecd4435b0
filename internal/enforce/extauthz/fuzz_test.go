package extauthz

import (
	"net/http"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"sallyport/internal/enforce/gateway"
	"sallyport/internal/plumbing/httpsafe"
)

// FuzzRequest reads any message that Envoy could send. What is taken has one reading: its path is the client's own,
// byte for byte; a body that is read is all of it; no header field of a proxy's or a pseudo field is among the client's.
func FuzzRequest(f *testing.F) {
	seed := func(h *authv3.AttributeContext_HttpRequest, certificate string) {
		raw, err := proto.Marshal(&authv3.AttributeContext{Source: &authv3.AttributeContext_Peer{Certificate: certificate}, Request: &authv3.AttributeContext_Request{Http: h},
			ContextExtensions: map[string]string{"upstream": "hub"}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	seed(&authv3.AttributeContext_HttpRequest{Method: "GET", Host: "h.test", Path: "/hf/acme/open/resolve/main/x?download=true", Headers: map[string]string{":path": "/x", "authorization": "Bearer a,Bearer b"}}, "-----BEGIN+CERTIFICATE-----%0A")
	seed(&authv3.AttributeContext_HttpRequest{Method: "POST", Host: "h.test:443", Path: "/v1/chat/completions", RawBody: []byte("{}"), Headers: map[string]string{"content-length": "2", "x-envoy-auth-partial-body": "false"}}, "")
	seed(&authv3.AttributeContext_HttpRequest{Method: "POST", Host: "h.test", Path: "/a%2fb/%2e%2e//;\\", Body: "{!", HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "Content-Length", RawValue: []byte("9")}, {Key: "x-sallyport-proxy", Value: "t"}}}}, "%zz")
	s, w := &Service{}, &way{Upstream: Upstream{Origin: "https://h.test"}}
	f.Fuzz(func(t *testing.T, raw []byte) {
		in := &authv3.AttributeContext{}
		if proto.Unmarshal(raw, in) != nil {
			return
		}
		q := requestOf(in)
		w.Protocol = named0{}
		r, err := s.request(t.Context(), w, q)
		if err != nil {
			return
		}
		path, _, _ := strings.Cut(q.URI, "?")
		if r.URL.EscapedPath() != path || r.URL.Host != "" || strings.Contains(strings.ToLower(path), "%2f") {
			t.Fatalf("%q is read as %q", q.URI, r.URL)
		}
		if _, err := httpsafe.Segments(path); err != nil {
			t.Fatalf("%q: %v", path, err)
		}
		for name := range r.Header {
			if strings.HasPrefix(name, ":") || http.CanonicalHeaderKey(name) == TokenHeader {
				t.Fatalf("the field %q is the client's", name)
			}
		}
		h := in.GetRequest().GetHttp()
		if r.ContentLength > 0 && (r.ContentLength != int64(len(h.GetRawBody())+len(h.GetBody())) || len(h.GetRawBody()) > 0 && h.GetBody() != "") {
			t.Fatalf("%d bytes of a body of %d", r.ContentLength, len(h.GetRawBody())+len(h.GetBody()))
		}
		if partial := r.Header.Get("X-Envoy-Auth-Partial-Body"); partial != "" {
			t.Fatalf("what Envoy says of the body is the client's: %q", partial)
		}
	})
}

// named0 is a protocol with a name and nothing else.
type named0 struct{ gateway.Protocol }

// Name implements gateway.Protocol.
func (named0) Name() string { return "hfhub" }

// FuzzLast takes nothing for an address that is none.
func FuzzLast(f *testing.F) {
	f.Add("10.0.0.1, 192.0.2.9")
	f.Add("[2001:db8::1]:80")
	f.Add("fe80::1%eth0,")
	f.Fuzz(func(t *testing.T, list string) {
		got := last([]string{"1.2.3.4", list})
		if got != "" && remote(got) == "" {
			t.Fatalf("%q", got)
		}
	})
}
