package openai

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
)

// TestI13ForwardsWhatWasDecided: the upstream gets what was parsed, under its own
// name for the model, and nothing else of the client's request.
func TestI13ForwardsWhatWasDecided(t *testing.T) {
	s := newSite(t)
	answer, body := s.do(t, "ana", "POST", "/v1/chat/completions?model=other&x=1",
		"{ \"temperature\": 0.50, \"mod\\u0065l\" : \"acme/open\",\n\"messages\":[ {\"role\":\"user\", \"content\":\"h\\u00e9 \\\"x\\\"\"} ],\"n\":1e0}",
		"X-Canary", "client", "Cookie", "a=b", "OpenAI-Organization", "org", "User-Agent", "client/1", "Connection", "x-canary", "Accept-Encoding", "gzip")
	if answer.StatusCode != 200 {
		t.Fatalf("%s %s", answer.Status, body)
	}
	want := `{"model":"served-name","temperature":0.50,"messages":[ {"role":"user", "content":"h\u00e9 \"x\""} ],"n":1e0}`
	if got := s.upstream.asked()[0]; got != want {
		t.Errorf("the upstream was asked\n%s, want\n%s", got, want)
	}
	head := s.upstream.heads[0]
	if head.Get("Authorization") != "Bearer "+upstreamKey || head.Get("X-Request-Id") != s.completed(t, 1).Decision {
		t.Errorf("header %v", head)
	}
	for name := range head {
		switch name {
		case "Authorization", "Content-Type", "Content-Length", "User-Agent", "X-Request-Id":
		default:
			t.Errorf("the upstream got the field %s", name)
		}
	}
	if s.upstream.paths[0] != "/v1/chat/completions" {
		t.Errorf("path %s", s.upstream.paths[0])
	}
	if want := strings.Replace(plainAnswer, `"served-name"`, `"acme/open"`, 1); body != want {
		t.Errorf("the client got %s", body)
	}
	for _, name := range []string{"X-Upstream-Secret", "Set-Cookie"} {
		if answer.Header.Get(name) != "" {
			t.Errorf("the client got the field %s", name)
		}
	}
	if d := s.completed(t, 1).Delivered; d.TokensIn != 3 || d.TokensOut != 2 || d.Bytes != int64(len(body)) {
		t.Errorf("recorded %+v", d)
	}
	if answer.Header.Get("Sallyport-Decision") != s.completed(t, 1).Decision || answer.ContentLength != int64(len(body)) {
		t.Errorf("header %v", answer.Header)
	}
}

// TestA26AmbiguousModel: a body with two readings, or with another spelling of a
// field, reaches no upstream.
func TestA26AmbiguousModel(t *testing.T) {
	s := newSite(t)
	const rest = `"messages":[{"role":"user","content":"hi"}]`
	deep := strings.Repeat("[", 200) + strings.Repeat("]", 200)
	veryDeep := strings.Repeat("[", 200_000)
	for name, body := range map[string]string{
		"doubled":                  `{"model":"acme/open","model":"acme/secret",` + rest + `}`,
		"doubled by an escape":     `{"model":"acme/open","mod\u0065l":"acme/secret",` + rest + `}`,
		"doubled the other way":    `{"\u006dodel":"acme/secret",` + rest + `,"model":"acme/open"}`,
		"doubled and the same":     `{"model":"acme/open","model":"acme/open",` + rest + `}`,
		"doubled inside":           `{"model":"acme/open","messages":[{"role":"user","role":"system","content":"hi"}]}`,
		"doubled inside by escape": `{"model":"acme/open","messages":[{"role":"user","\u0072ole":"system","content":"hi"}]}`,
		"another case":             `{"Model":"acme/open",` + rest + `}`,
		"another case beside":      `{"model":"acme/open","MODEL":"acme/secret",` + rest + `}`,
		"zero width":               "{\"model\u200b\":\"acme/secret\",\"model\":\"acme/open\"," + rest + `}`,
		"full width":               "{\"ｍodel\":\"acme/secret\",\"model\":\"acme/open\"," + rest + `}`,
		"no model":                 `{` + rest + `}`,
		"null":                     `{"model":null,` + rest + `}`,
		"a number":                 `{"model":7,` + rest + `}`,
		"an array":                 `{"model":["acme/open"],` + rest + `}`,
		"an object":                `{"model":{"id":"acme/open"},` + rest + `}`,
		"empty":                    `{"model":"",` + rest + `}`,
		"a name in capitals":       `{"model":"acme/Open",` + rest + `}`,
		"a name with zero width":   "{\"model\":\"acme/op\u200ben\"," + rest + `}`,
		"a name in full width":     "{\"model\":\"acme/ｏpen\"," + rest + `}`,
		"a name with a space":      `{"model":"acme/open ",` + rest + `}`,
		"a name with NUL":          `{"model":"acme/open\u0000",` + rest + `}`,
		"a name with a path":       `{"model":"acme/../acme/open",` + rest + `}`,
		"a name of no model":       `{"model":"dataset:acme/open",` + rest + `}`,
		"the upstream's own name":  `{"model":"served-name",` + rest + `}`,
		"a cloud name":             `{"model":"acme/open:cloud",` + rest + `}`,
		"an array of bodies":       `[{"model":"acme/open",` + rest + `}]`,
		"two bodies":               `{"model":"acme/open",` + rest + `}{"model":"acme/secret",` + rest + `}`,
		"something behind":         `{"model":"acme/open",` + rest + `} x`,
		"cut off":                  `{"model":"acme/open",` + rest,
		"a comment":                `{"model":"acme/open",/* x */` + rest + `}`,
		"a trailing comma":         `{"model":"acme/open",` + rest + `,}`,
		"not UTF-8":                "{\"model\":\"acme/open\",\"user\":\"\xff\"," + rest + `}`,
		"half a surrogate":         `{"model":"acme/open","user":"\ud800",` + rest + `}`,
		"a byte order mark":        "\ufeff" + `{"model":"acme/open",` + rest + `}`,
		"UTF-16":                   "\xff\xfe{\x00",
		"nothing":                  ` `,
		"too deep":                 `{"model":"acme/open","messages":` + deep + `}`,
		"deep enough for a crash":  `{"model":"acme/open","messages":` + veryDeep,
		"an adapter":               `{"model":"acme/open","lora":[{"id":0,"scale":1}],` + rest + `}`,
		"another's conversation":   `{"model":"acme/open","previous_response_id":"resp_1",` + rest + `}`,
		"stream as a number":       `{"model":"acme/open","stream":1,` + rest + `}`,
		"stream as text":           `{"model":"acme/open","stream":"true",` + rest + `}`,
		"stream options as a list": `{"model":"acme/open","stream_options":[],` + rest + `}`,
		"stream options doubled":   `{"model":"acme/open","stream_options":{"include_usage":true,"include_usage":false},` + rest + `}`,
		"the version of nobody":    `{"model":"acme/open@",` + rest + `}`,
		"two versions":             `{"model":"acme/open@v1@v2",` + rest + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			answer, text := s.do(t, "ana", "POST", "/v1/chat/completions", body)
			if answer.StatusCode != 400 && answer.StatusCode != 404 {
				t.Errorf("%s %s", answer.Status, text)
			}
			var e struct{ Error apiError }
			if json.Unmarshal([]byte(text), &e) != nil || e.Error.Message == "" || e.Error.Code == "" {
				t.Errorf("the client reads %s", text)
			}
		})
	}
	for name, header := range map[string][]string{
		"gzip": {"Content-Encoding", "gzip"}, "zstd": {"Content-Encoding", "zstd"}, "identity": {"Content-Encoding", "identity"},
		"multipart": {"Content-Type", "multipart/form-data; boundary=x"}, "a form": {"Content-Type", "application/x-www-form-urlencoded"},
		"text": {"Content-Type", "text/plain"}, "UTF-16": {"Content-Type", "application/json; charset=utf-16"}, "no type": {"Content-Type", ""}, "two types": {"Content-Type", "application/json, text/plain"},
	} {
		if answer, text := s.do(t, "ana", "POST", "/v1/chat/completions", `{"model":"acme/open",`+rest+`}`, header...); answer.StatusCode != 400 {
			t.Errorf("%s: %s %s", name, answer.Status, text)
		}
	}
	if asked := s.upstream.asked(); len(asked) != 0 {
		t.Errorf("the upstream was asked %q", asked)
	}
	if n := len(s.Of(sallyport.EventDecided)); n != 0 {
		t.Errorf("%d decisions", n)
	}
	if n := len(s.Of(sallyport.EventRefused)); n < 50 {
		t.Errorf("only %d of the attempts are recorded", n)
	}
}

// TestReach: what would make the model server fetch, open or run something is
// refused; the same words where they are only data are not.
func TestReach(t *testing.T) {
	s := newSite(t)
	refused := map[string]string{
		"an image by address":  `"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://169.254.169.254/"}}]}]`,
		"an image as a string": `"messages":[{"role":"user","content":[{"type":"image_url","image_url":"https://example.com/a.png"}]}]`,
		"a list of addresses":  `"messages":[{"role":"user","content":[{"image_url":[{"detail":"low"},"http://x"]}]}]`,
		"a video":              `"messages":[{"role":"user","content":[{"type":"video_url","video_url":{"url":"file:///etc/passwd"}}]}]`,
		"audio":                `"messages":[{"role":"user","content":[{"type":"audio_url","audio_url":{"url":"gopher://x"}}]}]`,
		"another case":         `"messages":[{"role":"user","content":[{"type":"image_url","Image_URL":{"URL":"http://x"}}]}]`,
		"a letter that folds":  `"messages":[{"role":"user","content":[{"type":"input_file","ſerver_url":"http://x","file_id":"f"}]}]`,
		"a file by id":         `"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-1"}}]}]`,
		"tensors":              `"messages":[{"role":"user","content":[{"type":"image_embeds","image_embeds":"AAAA"}]}]`,
		"a space before data":  `"messages":[{"role":"user","content":[{"image_url":{"url":" data:image/png;base64,AA"}}]}]`,
		"a search":             `"messages":[],"tools":[{"type":"web_search"}]`,
		"a server of tools":    `"messages":[],"tools":[{"type":"mcp","server_url":"http://x"}]`,
		"a tool of no type":    `"messages":[],"tools":[{"function":{"name":"x"}}]`,
		"tools as an object":   `"messages":[],"tools":{"type":"function"}`,
		"an interpreter":       `"messages":[],"tools":[{"type":"function","function":{"name":"f"}},{"type":"code_interpreter"}]`,
	}
	for name, fields := range refused {
		if answer, text := s.do(t, "ana", "POST", "/v1/chat/completions", `{"model":"acme/open",`+fields+`}`); answer.StatusCode != 400 {
			t.Errorf("%s: %s %s", name, answer.Status, text)
		}
	}
	for name, input := range map[string]string{
		"a reference":          `[{"type":"item_reference","id":"msg_1"}]`,
		"a bare reference":     `[{"id":"msg_1"}]`,
		"a reference inside":   `[{"role":"user","content":[{"type":"item_reference","id":"x"}]}]`,
		"a file":               `[{"role":"user","content":[{"type":"input_file","file_url":"http://x"}]}]`,
		"a reference as value": `{"id":"msg_1"}`,
	} {
		if answer, text := s.do(t, "ana", "POST", "/v1/responses", `{"model":"acme/open","input":`+input+`}`); answer.StatusCode != 400 {
			t.Errorf("%s: %s %s", name, answer.Status, text)
		}
	}
	if n := len(s.upstream.asked()); n != 0 {
		t.Fatalf("the upstream was asked %d times", n)
	}
	for name, fields := range map[string]string{
		"an image itself":       `"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}}]}]`,
		"a tool about files":    `"messages":[],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"file_id":{"type":"string"},"url":{"type":"string","default":"http://x"}}}}}]`,
		"a form of answers":     `"messages":[],"response_format":{"type":"json_schema","json_schema":{"schema":{"properties":{"server_url":{"const":"http://x"}}}}}`,
		"the client's own note": `"messages":[],"metadata":{"url":"https://example.com/run/7"}`,
		"words in a message":    `"messages":[{"role":"user","content":"fetch http://example.com, server_url, file_id"}]`,
		"a call of a tool":      `"messages":[{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"url\":\"http://x\"}"}}]}]`,
		"a benchmark":           `"messages":[],"ignore_eos":true,"seed":1`,
	} {
		if answer, text := s.do(t, "ana", "POST", "/v1/chat/completions", `{"model":"acme/open",`+fields+`}`); answer.StatusCode != 200 {
			t.Errorf("%s: %s %s", name, answer.Status, text)
		}
	}
}

// TestDenialsInTheClientsWords: the error object of the API, with our sentence.
func TestDenialsInTheClientsWords(t *testing.T) {
	s := newSite(t)
	for _, c := range []struct {
		name, who, path, body string
		status                int
		kind, code, says      string
	}{
		{"hidden", "zoe", "/v1/chat/completions", `{"model":"acme/open","messages":[]}`, 404, "invalid_request_error", "model_not_found", "that you may know of"},
		{"step up", "ana", "/v1/chat/completions", `{"model":"acme/secret","messages":[]}`, 403, "permission_error", "policy_step-up", "step-up"},
		{"unknown", "ana", "/v1/chat/completions", `{"model":"acme/none","messages":[]}`, 404, "invalid_request_error", "model_not_found", "there is no acme/none"},
		{"an unknown version", "ana", "/v1/chat/completions", `{"model":"acme/open@v9","messages":[]}`, 404, "invalid_request_error", "model_not_found", "there is no acme/open@v9"},
		{"nobody", "x|y", "/v1/chat/completions", `{"model":"acme/open","messages":[]}`, 401, "authentication_error", "invalid_api_key", "token"},
		{"a route", "ana", "/v1/files", `{}`, 403, "permission_error", "policy_deny", "files are not kept"},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, text := s.do(t, c.who, "POST", c.path, c.body)
			var e struct{ Error apiError }
			if err := json.Unmarshal([]byte(text), &e); err != nil {
				t.Fatal(err)
			}
			if answer.StatusCode != c.status || e.Error.Type != c.kind || e.Error.Code != c.code || !strings.Contains(e.Error.Message, c.says) {
				t.Errorf("%s %s", answer.Status, text)
			}
		})
	}
	s.BreakLog()
	answer, _ := s.chat(t, "ana", "")
	if answer.StatusCode != 503 || answer.Header.Get("X-Should-Retry") != "true" {
		t.Errorf("a log that fails: %s %v", answer.Status, answer.Header)
	}
	if n := len(s.upstream.asked()); n != 0 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

func TestModels(t *testing.T) {
	s := newSite(t)
	if _, body := s.do(t, "ana", "GET", "/v1/models", ""); body != `{"data":[{"id":"acme/open","object":"model","created":0,"owned_by":"acme"}],"object":"list"}` {
		t.Errorf("ana sees %s", body)
	}
	if _, body := s.do(t, "zoe", "GET", "/v1/models", ""); body != `{"data":[],"object":"list"}` {
		t.Errorf("zoe sees %s", body)
	}
	for path, status := range map[string]int{"acme/open": 200, "acme%2Fopen": 200, "acme/open@v1": 200, "acme/secret": 200, "acme/none": 404, "open": 404, "acme%2Fopen%2Fx": 404, "system": 404} {
		if answer, body := s.do(t, "ana", "GET", "/v1/models/"+path, ""); answer.StatusCode != status {
			t.Errorf("%s: %s %s", path, answer.Status, body)
		}
	}
	if answer, body := s.do(t, "ana", "DELETE", "/v1/models/acme/open", ""); answer.StatusCode != 403 {
		t.Errorf("%s %s", answer.Status, body)
	}
}

// TestA21TheVersionDecidedOnIsServed: a binding of a model serves its main version
// and never another that the caller may use.
func TestA21TheVersionDecidedOnIsServed(t *testing.T) {
	s := newSite(t)
	s.Catalog(func(c *catalog.Dump) {
		c.Versions = append(c.Versions, catalog.Version{Org: "acme", Model: "open", Number: "v2", Digest: strings.Repeat("c3", 32), Environment: sallyport.Development})
	})
	ask := func(model string) int {
		answer, _ := s.do(t, "ana", "POST", "/v1/chat/completions", `{"model":"`+model+`","messages":[]}`)
		return answer.StatusCode
	}
	if a, b, c := ask("acme/open"), ask("acme/open@v1"), ask("acme/open@v2"); a != 200 || b != 200 || c != 404 {
		t.Errorf("main %d, v1 %d, v2 %d", a, b, c)
	}
	s.Catalog(func(c *catalog.Dump) { c.Models[0].Aliases = map[string]string{"main": "v2"} })
	if a, b, c := ask("acme/open"), ask("acme/open@v1"), ask("acme/open@v2"); a != 200 || b != 404 || c != 200 {
		t.Errorf("after main moved: main %d, v1 %d, v2 %d", a, b, c)
	}
	decided := s.Of(sallyport.EventDecided)
	if last := decided[len(decided)-3]; last.On != "acme/open@v2" {
		t.Errorf("the bare name was decided on %s", last.On)
	}
}

func TestBindings(t *testing.T) {
	s := newSite(t)
	ref := func(text string) sallyport.Ref {
		r, err := sallyport.ParseRef(text)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	at := func(text string) *url.URL {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	good := Binding{Ref: ref("acme/open"), URL: at("http://127.0.0.1:1/v1"), Model: "m"}
	for name, b := range map[string]Binding{
		"no URL":         {Ref: good.Ref, Model: "m"},
		"no host":        {Ref: good.Ref, Model: "m", URL: at("/v1")},
		"a file":         {Ref: good.Ref, Model: "m", URL: at("file:///v1")},
		"a password":     {Ref: good.Ref, Model: "m", URL: at("http://u:p@h/v1")},
		"a query":        {Ref: good.Ref, Model: "m", URL: at("http://h/v1?key=x")},
		"no name":        {Ref: good.Ref, URL: good.URL},
		"no model":       {Ref: ref("dataset:acme/x"), Model: "m", URL: good.URL},
		"an alias":       {Ref: ref("acme/open@main"), Model: "m", URL: good.URL},
		"a digest":       {Ref: ref("acme/open@sha256:" + strings.Repeat("0", 64)), Model: "m", URL: good.URL},
		"the zero value": {},
	} {
		if _, err := New([]Binding{b}, s.Guard, http.DefaultClient); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New([]Binding{good, good}, s.Guard, http.DefaultClient); err == nil {
		t.Error("a model was bound twice")
	}
	for base, want := range map[string]string{"http://h": "http://h/chat/completions", "http://h/": "http://h/chat/completions", "http://h/v1": "http://h/v1/chat/completions", "http://h:1/a/v1/": "http://h:1/a/v1/chat/completions"} {
		b := good
		b.URL = at(base)
		if x, err := targetOf(b); err != nil || x.urls["chat"].String() != want {
			t.Errorf("%s: %v, %v", base, x, err)
		}
	}
	pinned := good
	pinned.Ref = ref("acme/open@v2")
	if _, err := New([]Binding{good, pinned}, s.Guard, http.DefaultClient); err != nil {
		t.Error(err)
	}
}

// TestUpstreamFaults: whatever an upstream does wrong, the client gets one error of
// the API, and nothing of the upstream's.
func TestUpstreamFaults(t *testing.T) {
	html := func(status int) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "<h1>internal-host-17 "+upstreamKey+"</h1>")
		}
	}
	jsonStatus := func(status int, body string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for _, c := range []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request)
		status int
		says   string
	}{
		{"a page", html(200), 503, "another form"},
		{"an error page", html(502), 503, "could not answer"},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusTemporaryRedirect)
		}, 503, "could not answer"},
		{"no JSON", answerJSON("hello"), 503, "not JSON"},
		{"half of it", answerJSON(`{"model":"x","choices":[`), 503, "not JSON"},
		{"two of it", answerJSON(`{} {}`), 503, "not JSON"},
		{"no object", answerJSON(`[1]`), 503, "not JSON"},
		{"nothing", answerJSON(""), 503, "not JSON"},
		{"its own key", answerJSON(`{"echo":"` + upstreamKey + `"}`), 503, "its own key"},
		{"a stream nobody asked for", sse("data: {}\n\n"), 503, "another form"},
		{"packed", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write([]byte("\x1f\x8b"))
		}, 503, "another form"},
		{"not known here", jsonStatus(401, `{"error":{"message":"bad key `+upstreamKey+`"}}`), 503, "could not answer"},
		{"busy", jsonStatus(429, `{"error":{"message":"slow down"}}`), 429, "busy"},
		{"a fault of the request", jsonStatus(400, `{"error":{"message":"max_tokens is too\r\nlarge"}}`), 400, "max_tokens is too"},
		{"a fault with the key in it", jsonStatus(400, `{"error":{"message":"Bearer `+upstreamKey+`"}}`), 503, "could not answer"},
		{"a fault without words", jsonStatus(422, `{}`), 503, "could not answer"},
		{"a length that is a lie", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"a":1}`)
		}, 503, "broke off"},
		{"the connection ends", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 503, "cannot be reached"},
		{"endless headers", func(w http.ResponseWriter, _ *http.Request) {
			for i := range 2000 {
				w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 100))
			}
		}, 503, "cannot be reached"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			s.upstream.script(c.answer)
			answer, text := s.chat(t, "ana", "")
			if answer.StatusCode != c.status || !strings.Contains(text, c.says) {
				t.Errorf("%s %s", answer.Status, text)
			}
			for _, canary := range []string{upstreamKey, "internal-host", "169.254", "<h1>"} {
				if strings.Contains(text, canary) || strings.Contains(fmt.Sprint(answer.Header), canary) {
					t.Errorf("the client reads %q in %s %v", canary, text, answer.Header)
				}
			}
			if end := s.completed(t, 1).Delivered; end.End != "upstream" || end.Bytes != 0 {
				t.Errorf("recorded %+v", end)
			}
			if strings.Contains(s.log.String(), upstreamKey) {
				t.Error("the key is in the log")
			}
		})
	}
}

// TestA37UpstreamAddresses: the client of the upstreams connects only where it may.
func TestA37UpstreamAddresses(t *testing.T) {
	s := newSite(t)
	u, err := url.Parse("http://127.0.0.1:9/v1")
	if err != nil {
		t.Fatal(err)
	}
	ref := sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "open"}
	s.start(t, []Binding{{Ref: ref, URL: u, Model: "m", Key: secret.NewText("")}}, httpsafe.Client(publicOnly, 1))
	if answer, text := s.chat(t, "ana", ""); answer.StatusCode != 503 || strings.Contains(text, "127.0.0.1") {
		t.Errorf("%s %s", answer.Status, text)
	}
	if !strings.Contains(s.log.String(), "may call") {
		t.Errorf("the log does not say why: %s", s.log.String())
	}
}

// TestTheClientEndsTheUpstreamCall: who leaves stops what was computed for them.
func TestTheClientEndsTheUpstreamCall(t *testing.T) {
	s := newSite(t)
	began, ended := make(chan struct{}), make(chan struct{})
	s.upstream.script(func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		close(ended)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	r, err := http.NewRequestWithContext(ctx, "POST", "http://"+s.addr+"/openai/v1/chat/completions", strings.NewReader(`{"model":"acme/open","messages":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Authorization": {"Bearer " + token("ana")}, "Content-Type": {"application/json"}}
	if answer, err := http.DefaultClient.Do(r); err == nil {
		t.Error(answer.Status)
		_ = answer.Body.Close()
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the upstream goes on")
	}
	if end := s.completed(t, 1).Delivered; end.End != "client" {
		t.Errorf("recorded %+v", end)
	}
}
