package openai

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"sallyport/internal/enforce/guard/guardtest"
)

// TestNarrowed: the upstream is asked for no more tokens than the permission covers,
// and nobody is told more probabilities; what a client writes about it has one reading.
func TestNarrowed(t *testing.T) {
	s := newSite(t)
	s.World.Rules(guardtest.Policies + `
@id("t") @owner("test") @requirement("T") @text("T.") @obligation("max-tokens=100, logprobs=2")
permit (principal == User::"ana", action == Action::"model.infer", resource);`)
	const head = `{"model":"acme/open","messages":[{"role":"user","content":"hi"}]`
	for _, test := range []struct{ ask, want string }{
		{``, `,"max_tokens":100}`},
		{`,"max_tokens":7`, `,"max_tokens":7}`},
		{`,"max_tokens":null`, `,"max_tokens":100}`},
		{`,"max_tokens":1e9`, `,"max_tokens":100}`},
		{`,"max_tokens":1e1`, `,"max_tokens":10}`}, {`,"max_tokens":7.0`, `,"max_tokens":7}`}, {`,"max_tokens":6.99999999999999999999`, `,"max_tokens":7}`},
		{`,"max_tokens":0`, ""}, {`,"max_tokens":-0`, ""}, {`,"max_tokens":1e-400`, ""}, {`,"max_completion_tokens":0`, ""}, {`,"max_tokens":9,"max_completion_tokens":0`, ""},
		{`,"max_tokens":1e400`, ""}, {`,"max_tokens":9007199254740993`, `,"max_tokens":100}`}, {`,"max_tokens":9223372036854775808`, ""}, {`,"max_tokens":[7]`, ""}, {`,"max_tokens":true`, ""},
		{`,"max_tokens":7,"max_tokens":500`, ""}, {`,"max_tokens":7,"max_\u0074okens":500`, ""}, {`,"Max_Tokens":500`, ""}, {`,"max_new_tokens":500`, ""}, {`,"max_output_tokens":500`, ""},
		{`,"max_tokens":7,"max_completion_tokens":500`, `,"max_tokens":7,"max_completion_tokens":100}`},
		{`,"n":3`, `,"n":3,"max_tokens":33}`},
		{`,"n":101`, ""}, {`,"n":1.5`, ""}, {`,"max_tokens":"7"`, ""}, {`,"max_tokens":-1`, ""},
		{`,"logprobs":true,"top_logprobs":2`, `,"logprobs":true,"top_logprobs":2,"max_tokens":100}`},
		{`,"logprobs":true,"top_logprobs":3`, ""}, {`,"top_logprobs":"2"`, ""},
		{`,"logprobs":false`, `,"logprobs":false,"max_tokens":100}`},
	} {
		before := len(s.upstream.asked())
		answer, body := s.do(t, "ana", "POST", "/v1/chat/completions", head+test.ask+"}")
		asked := s.upstream.asked()[before:]
		if test.want == "" {
			if answer.StatusCode != 400 || len(asked) != 0 {
				t.Errorf("%s: %d %s, the upstream was asked %q", test.ask, answer.StatusCode, body, asked)
			}
			continue
		}
		if answer.StatusCode != 200 || len(asked) != 1 || !strings.HasSuffix(asked[0], test.want) {
			t.Errorf("%s: %d %s, the upstream was asked %q, want an end of %s", test.ask, answer.StatusCode, body, asked, test.want)
		}
	}
	for ask, want := range map[string]string{
		`["a","b","c","d"]`: `,"max_tokens":25}`, `[[1,2],[3]]`: `,"max_tokens":50}`, `[1,2,3]`: `,"max_tokens":100}`, `["a"]`: `,"max_tokens":100}`, `[]`: `,"max_tokens":100}`,
		`["a","b"],"n":5`: `,"n":5,"max_tokens":10}`, `["a","b"],"best_of":4,"n":1`: `,"best_of":4,"n":1,"max_tokens":12}`, `["a","b"],"max_tokens":80`: `,"max_tokens":50}`,
		`["a","b"],"n":51`: "", `["a","b"],"n":9007199254740992`: "", `["a"` + strings.Repeat(`,"a"`, 100) + `]`: "",
		`[` + strings.Repeat(`"a",`, 2047) + `"a"],"n":9007199254740992`: "", // their product is no number here
	} {
		before := len(s.upstream.asked())
		answer, body := s.do(t, "ana", "POST", "/v1/completions", `{"model":"acme/open","prompt":`+ask+`}`)
		asked := s.upstream.asked()[before:]
		if want == "" && (answer.StatusCode != 400 || len(asked) != 0) || want != "" && (answer.StatusCode != 200 || len(asked) != 1 || !strings.HasSuffix(asked[0], want)) {
			t.Errorf("%.60s: %d %s, the upstream was asked %q, want an end of %q", ask, answer.StatusCode, body, asked, want)
		}
	}
	for path, ask := range map[string]string{
		"/v1/responses":   `{"model":"acme/open","input":"hi","top_logprobs":3}`,
		"/v1/completions": `{"model":"acme/open","prompt":"hi","logprobs":5}`,
	} {
		if answer, body := s.do(t, "ana", "POST", path, ask); answer.StatusCode != 400 {
			t.Errorf("%s: %d %s", path, answer.StatusCode, body)
		}
	}
}

// TestTokensThatWereNotAskedFor: an upstream that ignores its limit does not get them through; one that keeps to it does,
// however it cuts its stream.
func TestTokensThatWereNotAskedFor(t *testing.T) {
	s := newSite(t)
	s.World.Rules(guardtest.Policies + `
@id("t") @owner("test") @requirement("T") @text("T.") @obligation("max-tokens=8")
permit (principal == User::"ana", action == Action::"model.infer", resource);`)
	told := func(n int) string {
		return fmt.Sprintf(`data: {"model":"served-name","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":%d}}`+"\n\n", n)
	}
	many := func(event string, n int) []string {
		return append(slices.Repeat([]string{event}, n), "data: [DONE]\n\n")
	}
	delta := `data: {"type":"response.output_text.delta","delta":"x"}` + "\n\n"
	chat, responses := `{"model":"acme/open","messages":[],"stream":true}`, `{"model":"acme/open","input":"hi","stream":true}`
	for name, test := range map[string]struct {
		path, ask string
		events    []string
		most      int // events that come through
		cut       bool
	}{
		"kept to":                 {"/v1/chat/completions", chat, append(many(chunk("x"), 8), told(8)), 8, false},
		"pieces of tokens":        {"/v1/chat/completions", chat, many(chunk("x"), 20), 20, false},
		"says nothing, goes on":   {"/v1/chat/completions", chat, many(chunk("x"), 1000), 30, true},
		"says so":                 {"/v1/chat/completions", chat, append([]string{told(9)}, many(chunk("x"), 5)...), 0, true},
		"says no more, goes on":   {"/v1/chat/completions", chat, append([]string{told(-1), told(0)}, many(chunk("x"), 1000)...), 30, true},
		"counts past the end":     {"/v1/chat/completions", chat, []string{`data: {"choices":[],"usage":{"completion_tokens":9223372036854775807,"output_tokens":9223372036854775807}}` + "\n\n"}, 0, true},
		"counts in both words":    {"/v1/chat/completions", chat, append(many(chunk("x"), 8), `data: {"choices":[],"usage":{"completion_tokens":8,"output_tokens":8}}`+"\n\n"), 8, false},
		"choices twice":           {"/v1/chat/completions", chat, many(`data: {"choices":[{"delta":{"content":"x"}}],"choices":[]}`+"\n\n", 1000), 30, true},
		"keeps the line open":     {"/v1/chat/completions", chat, append(slices.Repeat([]string{": here\n\n", `data: {"choices":[]}` + "\n\n"}, 500), many(chunk("x"), 8)...), 8, false},
		"calls a tool":            {"/v1/chat/completions", chat, many(`data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"x"}}]}}]}`+"\n\n", 1000), 30, true},
		"responses, calls a tool": {"/v1/responses", responses, many(strings.Replace(delta, "output_text", "function_call_arguments", 1), 1000), 30, true},
		"responses, says so":      {"/v1/responses", responses, []string{`data: {"type":"response.completed","response":{"output":["x"],"usage":{"output_tokens":9}}}` + "\n\n"}, 0, true},
		"responses, kept to":      {"/v1/responses", responses, many(delta, 8), 8, false},
		"responses, goes on":      {"/v1/responses", responses, many(delta, 1000), 30, true},
		"whole, kept to":          {"/v1/chat/completions", `{"model":"acme/open","messages":[]}`, []string{`{"choices":[{"x":1}],"usage":{"completion_tokens":8}}`}, 1, false},
		"whole, says nothing":     {"/v1/chat/completions", `{"model":"acme/open","messages":[]}`, []string{`{"choices":[{"x":1}]}`}, 1, false}, // which is left to whoever runs it
		"whole, less than none":   {"/v1/chat/completions", `{"model":"acme/open","messages":[]}`, []string{`{"choices":[{"x":1}],"usage":{"completion_tokens":-9}}`}, 1, false},
		"whole, more than it may": {"/v1/chat/completions", `{"model":"acme/open","messages":[]}`, []string{`{"choices":[{"x":1}],"usage":{"completion_tokens":9}}`}, 0, true},
	} {
		s.upstream.script(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(name, "whole") {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, test.events[0]) // the client reads what came
				return
			}
			sse(test.events...)(w, r)
		})
		answer, body := s.do(t, "ana", "POST", test.path, test.ask)
		n := strings.Count(body, `"x"`)
		if cut := strings.Contains(body, "8 tokens that the permission covers"); cut != test.cut || n > test.most || !cut && n != test.most {
			t.Errorf("%s: %d, %d events came, cut %v: %.200s", name, answer.StatusCode, n, cut, body)
		}
	}
}

// TestNoProbabilities: under logprobs=0 none is told, however it is asked for.
func TestNoProbabilities(t *testing.T) {
	s := newSite(t)
	s.World.Rules(guardtest.Policies + `
@id("t") @owner("test") @requirement("T") @text("T.") @obligation("logprobs=0")
permit (principal == User::"ana", action == Action::"model.infer", resource);`)
	for path, asks := range map[string][]string{
		"/v1/chat/completions": {`{"model":"acme/open","messages":[],"logprobs":true}`, `{"model":"acme/open","messages":[],"logprobs":true,"top_logprobs":0}`},
		"/v1/completions":      {`{"model":"acme/open","prompt":"hi","logprobs":0}`},
		"/v1/responses":        {`{"model":"acme/open","input":"hi","include":["message.output_text.log\u0070robs"]}`},
	} {
		for _, ask := range asks {
			if answer, body := s.do(t, "ana", "POST", path, ask); answer.StatusCode != 400 || len(s.upstream.asked()) != 0 {
				t.Errorf("%s: %d %s, the upstream was asked %q", ask, answer.StatusCode, body, s.upstream.asked())
			}
		}
	}
	if answer, body := s.do(t, "ana", "POST", "/v1/chat/completions", `{"model":"acme/open","messages":[],"logprobs":null}`); answer.StatusCode != 200 {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
}

// TestFilesAreNotCarriedOutHere: using a model uses all of its files.
func TestFilesAreNotCarriedOutHere(t *testing.T) {
	s := newSite(t)
	s.World.Rules(guardtest.Policies + `
@id("t") @owner("test") @requirement("T") @text("T.") @obligation("files=*.json")
permit (principal == User::"ana", action == Action::"model.infer", resource);`)
	answer, body := s.chat(t, "ana", "")
	if answer.StatusCode != 403 || !strings.Contains(body, "files=*.json") || len(s.upstream.asked()) != 0 {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
}
