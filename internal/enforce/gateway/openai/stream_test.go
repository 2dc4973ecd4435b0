package openai

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/enforce/guard/guardtest"
)

const streamed = `,"stream":true`

func chunk(text string) string {
	return `data: {"id":"c1","object":"chat.completion.chunk","model":"served-name","choices":[{"index":0,"delta":{"content":"` + text + `"}}],"usage":null}` + "\n\n"
}

const usageChunk = `data: {"id":"c1","model":"served-name","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":11}}` + "\n\n"

// ours is what the client reads of an event of the upstream.
func ours(event string) string { return strings.ReplaceAll(event, `"served-name"`, `"acme/open"`) }

func TestStream(t *testing.T) {
	s := newSite(t)
	s.upstream.script(sse(": ping\n\n", chunk("a"), chunk("b"), usageChunk, "data: [DONE]\n\n"))
	answer, body := s.chat(t, "ana", streamed)
	if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "text/event-stream" || answer.Header.Get("Sallyport-Decision") == "" {
		t.Fatalf("%s %v", answer.Status, answer.Header)
	}
	if want := ": ping\n\n" + ours(chunk("a")+chunk("b")) + "data: [DONE]\n\n"; body != want {
		t.Errorf("the client reads\n%q, want\n%q", body, want)
	}
	if got := s.upstream.asked()[0]; !strings.HasSuffix(got, `,"stream_options":{"include_usage":true}}`) || strings.Count(got, "stream_options") != 1 {
		t.Errorf("the upstream was asked %s", got)
	}
	if d := s.completed(t, 1).Delivered; d.TokensIn != 7 || d.TokensOut != 11 || d.Bytes != int64(len(body)) || d.End != "" {
		t.Errorf("recorded %+v", d)
	}
	_, body = s.chat(t, "ana", streamed+`,"stream_options":{"include_usage":true,"other":[1]}`)
	if !strings.Contains(body, ours(usageChunk)) {
		t.Errorf("who asks for the counts reads %q", body)
	}
	if got := s.upstream.asked()[1]; strings.Count(got, "stream_options") != 1 || strings.Contains(got, "other") {
		t.Errorf("the upstream was asked %s", got)
	}
	_, body = s.chat(t, "ana", streamed+`,"stream_options":{"include_usage":false}`)
	if strings.Contains(body, "prompt_tokens") {
		t.Errorf("who does not ask for the counts reads %q", body)
	}
}

func TestStreamForms(t *testing.T) {
	for name, c := range map[string]struct{ from, to string }{
		"carriage returns":    {"data: {\"model\":\"x\"}\r\n\r\ndata: [DONE]\r\n\r\n", "data: {\"model\":\"acme/open\"}\n\ndata: [DONE]\r\n\r\n"},
		"data in two lines":   {"data: {\"model\":\ndata: \"x\"}\n\n", "data: {\"model\":\ndata: \"acme/open\"}\n\n"},
		"no space":            {"data:{\"model\":\"x\"}\n\n", "data: {\"model\":\"acme/open\"}\n\n"},
		"other fields":        {"id: 7\nevent: e\ndata: {\"model\":\"x\"}\nretry: 1\n\n", "id: 7\nevent: e\nretry: 1\ndata: {\"model\":\"acme/open\"}\n\n"},
		"no model":            {"data: {\"a\":1}\n\n", "data: {\"a\":1}\n\n"},
		"a model inside":      {"data: {\"a\":{\"model\":\"x\"}}\n\n", "data: {\"a\":{\"model\":\"x\"}}\n\n"},
		"an escaped name":     {"data: {\"mod\\u0065l\":\"x\"}\n\n", "data: {\"mod\\u0065l\":\"acme/open\"}\n\n"},
		"a doubled name":      {"data: {\"model\":\"x\",\"model\":\"y\"}\n\n", "data: {\"model\":\"acme/open\",\"model\":\"acme/open\"}\n\n"},
		"no blank at the end": {"data: {\"a\":1}\n\ndata: [DONE]", "data: {\"a\":1}\n\ndata: [DONE]\n\n"},
		"blank lines":         {"\n\n\ndata: {\"a\":1}\n\n", "\n\n\ndata: {\"a\":1}\n\n"},
		"a long line":         {"data: {\"a\":\"" + strings.Repeat("x", 32<<10-13) + "\"}\n\n", "data: {\"a\":\"" + strings.Repeat("x", 32<<10-13) + "\"}\n\n"},
		"an error of its own": {"data: {\"error\":{\"message\":\"m\"}}\n\n", "data: {\"error\":{\"message\":\"m\"}}\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.upstream.script(sse(c.from))
			if _, body := s.chat(t, "ana", streamed); body != c.to {
				t.Errorf("%q, want %q", body, c.to)
			}
		})
	}
}

// TestStreamFaults: a stream that cannot be believed ends with the error event of
// the API, after what was good of it.
func TestStreamFaults(t *testing.T) {
	for name, c := range map[string]struct{ from, says string }{
		"half an event":  {chunk("a") + `data: {"model":`, "broke off"},
		"no JSON":        {chunk("a") + "data: hello\n\n", "not JSON"},
		"its own key":    {chunk("a") + `data: {"x":"` + upstreamKey + "\"}\n\n", "its own key"},
		"an endless one": {chunk("a") + "data: " + strings.Repeat("x", maxEvent+1), "broke off"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.upstream.script(sse(c.from))
			_, body := s.chat(t, "ana", streamed)
			rest, ok := strings.CutPrefix(body, ours(chunk("a")))
			if !ok || !strings.HasPrefix(rest, `data: {"error":{"message":"`) || !strings.Contains(rest, c.says) || strings.Contains(body, upstreamKey) {
				t.Errorf("the client reads %q", body)
			}
			if end := s.completed(t, 1).Delivered; end.End != "upstream" || end.Bytes != int64(len(ours(chunk("a")))) {
				t.Errorf("recorded %+v", end)
			}
		})
	}
}

func TestResponsesStream(t *testing.T) {
	s := newSite(t)
	created := "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r1\",\"model\":\"served-name\",\"usage\":null}}\n\n"
	done := "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"model\":\"served-name\",\"usage\":{\"input_tokens\":5,\"output_tokens\":6}}}\n\n"
	s.upstream.script(sse(created, done))
	_, body := s.do(t, "ana", "POST", "/v1/responses", `{"model":"acme/open","input":"hi","store":true,"stream":true}`)
	if body != ours(created+done) {
		t.Errorf("the client reads %q", body)
	}
	if got := s.upstream.asked()[0]; got != `{"model":"served-name","input":"hi","stream":true,"store":false}` {
		t.Errorf("the upstream was asked %s", got)
	}
	if d := s.completed(t, 1).Delivered; d.TokensIn != 5 || d.TokensOut != 6 {
		t.Errorf("recorded %+v", d)
	}
}

func TestEmbeddings(t *testing.T) {
	s := newSite(t)
	s.upstream.script(answerJSON(`{"object":"list","data":[{"embedding":[0.1]}],"model":"served-name","usage":{"prompt_tokens":4}}`))
	answer, body := s.do(t, "ana", "POST", "/v1/embeddings", `{"model":"acme/open","input":["a","b"]}`)
	if answer.StatusCode != 200 || !strings.Contains(body, `"model":"acme/open"`) {
		t.Errorf("%s %s", answer.Status, body)
	}
	if e := s.Of(sallyport.EventDecided)[0]; e.Action != sallyport.ModelEmbed {
		t.Errorf("decided on %s", e.Action)
	}
	if d := s.completed(t, 1).Delivered; d.TokensIn != 4 || d.TokensOut != 0 {
		t.Errorf("recorded %+v", d)
	}
}

// TestA27CutStream: who is suspended in the middle of a stream reads why, as the
// error event of the API; the record says how much left.
func TestA27CutStream(t *testing.T) {
	for route, want := range map[string]string{
		"/v1/chat/completions": `data: {"error":{"message":"sallyport D-`,
		"/v1/responses":        "event: error\ndata: {\"code\":\"permit_withdrawn\",\"message\":\"sallyport D-",
	} {
		t.Run(route, func(t *testing.T) {
			s := newSite(t)
			ended := make(chan struct{})
			s.upstream.script(func(w http.ResponseWriter, r *http.Request) {
				sse(chunk("a"))(w, r)
				<-r.Context().Done()
				close(ended)
			})
			body := `{"model":"acme/open","messages":[],"stream":true}`
			if route == "/v1/responses" {
				body = `{"model":"acme/open","input":"","stream":true}`
			}
			r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+s.addr+"/openai"+route, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header = http.Header{"Authorization": {"Bearer " + token("ana")}, "Content-Type": {"application/json"}}
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			in := bufio.NewReader(answer.Body)
			first, err := in.ReadString('\n')
			if err != nil || !strings.Contains(first, "acme/open") {
				t.Fatalf("%q, %v", first, err)
			}
			s.Suspend("ana")
			s.Guard.Sweep(context.Background(), 0)
			rest, err := io.ReadAll(in)
			if err != nil || !strings.HasPrefix(strings.TrimLeft(string(rest), "\n"), want) || !strings.Contains(string(rest), "withdrawn") {
				t.Errorf("the client reads %q, %v", rest, err)
			}
			<-ended
			if end := s.completed(t, 1).Delivered; end.End != "cut" || end.Bytes != int64(len(first)+1) || end.AfterCut != 0 {
				t.Errorf("recorded %+v, delivered %d", end, len(first)+1)
			}
		})
	}
}

// TestStreamLimit: a limit on bytes ends a stream with the reason.
func TestStreamLimit(t *testing.T) {
	s := newSite(t)
	engine, err := guardtest.Compile(guardtest.Policies + `
@id("little") @owner("test") @requirement("T") @text("A little.") @obligation("limit-bytes=300")
permit (principal == User::"pia", action == Action::"model.infer", resource);`)
	if err != nil {
		t.Fatal(err)
	}
	s.Facts.Use(engine)
	s.upstream.script(sse(chunk("a"), chunk("b"), chunk("c"), "data: [DONE]\n\n"))
	_, body := s.chat(t, "pia", streamed)
	if !strings.HasPrefix(body, ours(chunk("a")+chunk("b"))) || strings.Contains(body, `"c"`) || !strings.Contains(body, "limit_reached") {
		t.Errorf("the client reads %q", body)
	}
	if end := s.completed(t, 1).Delivered; end.Bytes > 300 || end.End != "error" {
		t.Errorf("recorded %+v", end)
	}
}
