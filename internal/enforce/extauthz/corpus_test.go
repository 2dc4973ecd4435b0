package extauthz_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"sallyport"
	"sallyport/examples/acme"
	"sallyport/internal/enforce/doortest"
)

// route is how a client of a dialect asks the question of a case; ok is false where no dialect has it.
func route(t testing.TB, c doortest.Case) (a ask, ok bool) {
	ref := c.Ref(t)
	if ref.Kind != sallyport.ModelKind && ref.Kind != sallyport.SystemKind {
		return a, false
	}
	name, rev := "/"+ref.Org+"/"+ref.Name, "main"
	if ref.Revision != "" {
		rev = url.PathEscape(ref.Revision)
	}
	a = ask{token: edge, upstream: "hub", method: http.MethodGet, header: map[string]string{}}
	switch {
	case ref.Kind == sallyport.SystemKind && c.Action == sallyport.ServerRead:
		a.path = "/hf/api/whoami-v2"
	case ref.Kind == sallyport.SystemKind:
		return a, false
	case c.Action == sallyport.ModelRead:
		a.path = "/hf/api/models" + name + "/revision/" + rev
	case c.Action == sallyport.ModelPull:
		a.path = "/hf" + name + "/resolve/" + rev + "/model.safetensors"
	case c.Action == sallyport.ModelPullAux:
		a.path = "/hf" + name + "/resolve/" + rev + "/tokenizer.json"
	case c.Action == sallyport.ModelPush && ref.Revision == "":
		a.upstream, a.method, a.path = "own", http.MethodPost, "/vault/v1"+name+"/uploads"
	case c.Action == sallyport.ModelInfer:
		a = chat(c.Resource, a.header)
	case c.Action == sallyport.ModelEmbed:
		a = chat(c.Resource, a.header)
		a.path, a.body = "/v1/embeddings", `{"model":"`+c.Resource+`","input":"hi"}`
	default:
		return a, false
	}
	return a, true
}

// carries says why a case is left out: no route asks it, or what is permitted obliges to something about the answer. Of
// the latter this door must say no, which obliged checks.
func carries(t testing.TB, w *doortest.World) func(doortest.Case) string {
	return func(c doortest.Case) string {
		if _, ok := route(t, c); !ok {
			return "no route"
		}
		w.Arrange(c)
		if a := w.Answer(t, c); len(a.Obligations) > 0 {
			return "obliged"
		}
		return ""
	}
}

// outcome reads a refusal as a client does.
func outcome(status int, header http.Header, body string) doortest.Said {
	text := header.Get("X-Error-Message") + body
	return doortest.Said{Allowed: status == http.StatusOK, StepUp: strings.Contains(header.Get("WWW-Authenticate"), "insufficient_user_authentication"),
		Held: strings.Contains(text, ": hold (")}
}

// TestCorpusGRPC asks the one corpus as Envoy does.
func TestCorpusGRPC(t *testing.T) {
	w := doortest.New(t, acme.Files)
	s := newSiteOf(t, w.World)
	grpc := func(t testing.TB, c doortest.Case) doortest.Said {
		a, _ := route(t, c)
		a.header["authorization"] = "Bearer " + w.Issue(w.Principal(c, audience("hf")))
		a.edit = local
		out := s.check(t, a)
		d := out.GetDeniedResponse()
		if d == nil {
			return outcome(http.StatusOK, nil, "")
		}
		h := http.Header{}
		for k, v := range fields(d.GetHeaders()) {
			h.Set(k, v)
		}
		return outcome(int(d.GetStatus().GetCode()), h, d.GetBody())
	}
	if sent := doortest.Run(t, w, carries(t, w), grpc); sent < 40 {
		t.Errorf("%d cases sent", sent)
	}
	obliged := 0
	for _, c := range w.Cases {
		if carries(t, w)(c) == "obliged" {
			obliged++
			if got := grpc(t, c); got.Allowed {
				t.Errorf("%s: allowed although it obliges to something about the answer", c.Name)
			}
		}
	}
	if obliged == 0 {
		t.Error("no case obliges to anything")
	}
}

func local(in *authv3.AttributeContext) { in.Source.Address = address("127.0.0.1") }

// TestCorpusHTTP asks it as nginx and Caddy do; what is in a body they cannot ask.
func TestCorpusHTTP(t *testing.T) {
	w := doortest.New(t, acme.Files)
	s := newSiteOf(t, w.World)
	for kind, say := range map[string]func(string, string, ...string) []string{"nginx": original, "caddy": forwarded} {
		can := func(c doortest.Case) string {
			if a, ok := route(t, c); ok && a.body != "" {
				return "in the body"
			}
			return carries(t, w)(c)
		}
		sent := doortest.Run(t, w, can, func(t testing.TB, c doortest.Case) doortest.Said {
			a, _ := route(t, c)
			q := say(a.method, a.path, "Authorization", "Bearer "+w.Issue(w.Principal(c, audience("hf"))), "X-Sallyport-Proxy", edge)
			for i := range q {
				if q[i] == "192.0.2.9" || q[i] == "10.0.0.1, 192.0.2.9" {
					q[i] = "127.0.0.1"
				}
			}
			got := s.ask(t, "GET", "/"+kind+"/"+a.upstream, "", q...)
			return outcome(got.status, got.header, got.body+got.header.Get("X-Sallyport-Body"))
		})
		if sent < 20 {
			t.Errorf("%s: %d cases sent", kind, sent)
		}
	}
}
