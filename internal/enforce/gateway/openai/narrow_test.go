package openai

import (
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
	for path, ask := range map[string]string{
		"/v1/responses":   `{"model":"acme/open","input":"hi","top_logprobs":3}`,
		"/v1/completions": `{"model":"acme/open","prompt":"hi","logprobs":5}`,
	} {
		if answer, body := s.do(t, "ana", "POST", path, ask); answer.StatusCode != 400 {
			t.Errorf("%s: %d %s", path, answer.StatusCode, body)
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
