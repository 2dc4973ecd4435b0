package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"sallyport/internal/demo/tinylm"
)

// stream writes server-sent events, each flushed at once. The first write sends the header.
type stream struct {
	w       http.ResponseWriter
	started bool
}

func (s *stream) send(event string, v any) error {
	if !s.started {
		s.started = true
		s.w.Header().Set("Content-Type", "text/event-stream")
		s.w.Header().Set("Cache-Control", "no-cache")
	}
	data, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		data = string(b)
	}
	if event != "" {
		event = "event: " + event + "\n"
	}
	if _, err := fmt.Fprintf(s.w, "%sdata: %s\n\n", event, data); err != nil {
		return err
	}
	return http.NewResponseController(s.w).Flush()
}

// form is what tells chat from plain completions on the wire.
type form struct {
	prefix, object, chunk string
	whole                 func(text string) map[string]any // a choice's content
	piece                 func(text string) map[string]any
}

// generation is the body that chat and plain completions share.
type generation struct {
	sampling
	Model         string `json:"model"`
	MaxTokens     *int   `json:"max_tokens"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`

	prompt  string         // what the model is to continue
	options tinylm.Options // checked
	head    map[string]any // what every answer and chunk begins with
}

func (s *server) chat(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		generation
		Messages []message `json:"messages"`
		Newer    *int      `json:"max_completion_tokens"`
	}
	if err := read(r, &req); err != nil {
		return err
	}
	if len(req.Messages) == 0 {
		return invalid("messages", "messages is empty")
	}
	if req.Newer != nil {
		req.MaxTokens = req.Newer
	}
	req.prompt = prompt(req.Messages)
	return s.generate(w, r, req.generation, form{
		prefix: "chatcmpl-", object: "chat.completion", chunk: "chat.completion.chunk",
		whole: func(t string) map[string]any {
			return map[string]any{"message": map[string]any{"role": "assistant", "content": t, "refusal": nil}}
		},
		piece: func(t string) map[string]any { return map[string]any{"delta": map[string]any{"content": t}} },
	})
}

func (s *server) complete(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		generation
		Prompt texts `json:"prompt"`
	}
	if err := read(r, &req); err != nil {
		return err
	}
	if len(req.Prompt) != 1 {
		return invalid("prompt", "%d prompts: this server takes one, as text", len(req.Prompt))
	}
	text := func(t string) map[string]any { return map[string]any{"text": t} }
	req.prompt = req.Prompt[0]
	return s.generate(w, r, req.generation, form{
		prefix: "cmpl-", object: "text_completion", chunk: "text_completion", whole: text, piece: text,
	})
}

func (s *server) generate(w http.ResponseWriter, r *http.Request, req generation, f form) error {
	if err := s.known(req.Model); err != nil {
		return err
	}
	call := s.calls.Add(1)
	var err error
	if req.options, err = req.checked(req.MaxTokens, call); err != nil {
		return err
	}
	req.head = map[string]any{"id": fmt.Sprintf("%s%08d", f.prefix, call), "created": s.o.Clock().Unix(), "model": s.o.Name}
	if req.Stream {
		return s.generateStream(w, r, req, f)
	}
	var b strings.Builder
	u, err := s.run(r, req.prompt, req.options, func(t string) error { b.WriteString(t); return nil })
	if err != nil {
		return err
	}
	req.head["object"] = f.object
	req.head["choices"] = []any{choice(f.whole(b.String()), u.Finish)}
	req.head["usage"] = usage(u)
	return answer(w, req.head)
}

// generateStream sends one chunk for each piece of text, one with the finish reason, one with the usage when asked for
// it, and the end mark.
func (s *server) generateStream(w http.ResponseWriter, r *http.Request, req generation, f form) error {
	out, head := &stream{w: w}, req.head
	head["object"] = f.chunk
	if req.StreamOptions.IncludeUsage {
		head["usage"] = nil // in every chunk but the last
	}
	send := func(choices ...any) error {
		head["choices"] = append([]any{}, choices...) // an empty list, never null
		return out.send("", head)
	}
	if f.object != f.chunk { // chat names the role first
		role := map[string]any{"delta": map[string]any{"role": "assistant", "content": ""}}
		if err := send(choice(role, "")); err != nil {
			return nil // the client is gone
		}
	}
	u, err := s.run(r, req.prompt, req.options, func(t string) error { return send(choice(f.piece(t), "")) })
	if err != nil {
		_ = out.send("", (&apiError{kind: "server_error", message: "generation failed"}).body())
		return nil
	}
	last := map[string]any{"delta": map[string]any{}}
	if f.object == f.chunk {
		last = f.piece("")
	}
	err = send(choice(last, u.Finish))
	if err == nil && req.StreamOptions.IncludeUsage {
		head["usage"] = usage(u)
		err = send()
	}
	if err == nil {
		_ = out.send("", "[DONE]")
	}
	return nil
}

// choice adds to content what every choice has; an empty finish is null.
func choice(content map[string]any, finish string) map[string]any {
	content["index"], content["logprobs"], content["finish_reason"] = 0, nil, nil
	if finish != "" {
		content["finish_reason"] = finish
	}
	return content
}

func usage(u tinylm.Usage) map[string]int {
	return map[string]int{
		"prompt_tokens": u.Prompt, "completion_tokens": u.Completion, "total_tokens": u.Prompt + u.Completion,
	}
}
