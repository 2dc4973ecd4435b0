package serve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"sallyport/internal/demo/tinylm"
)

// input reads the input of a response: a string, or an array of messages.
type input []message

func (in *input) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte("[")) {
		return json.Unmarshal(data, (*[]message)(in))
	}
	var text string
	err := json.Unmarshal(data, &text)
	*in = input{{Role: "user", Content: content(text)}}
	return err
}

// response is one call of POST /v1/responses on its way. Nothing is stored: an id cannot be asked for later.
type response struct {
	s            *server
	id, item     string
	created      int64
	instructions any
	options      tinylm.Options
	text         strings.Builder
	seq          int
	out          *stream
}

func (s *server) responses(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		sampling
		Model        string  `json:"model"`
		Input        input   `json:"input"`
		Instructions *string `json:"instructions"`
		MaxTokens    *int    `json:"max_output_tokens"`
		Previous     *string `json:"previous_response_id"`
	}
	if err := read(r, &req); err != nil {
		return err
	}
	if err := s.known(req.Model); err != nil {
		return err
	}
	if len(req.Input) == 0 {
		return invalid("input", "input is empty")
	}
	if req.Previous != nil {
		return invalid("previous_response_id", "this server stores no responses: send the conversation as input")
	}
	call := s.calls.Add(1)
	o, err := req.checked(req.MaxTokens, call)
	if err != nil {
		return err
	}
	a := &response{
		s: s, id: fmt.Sprintf("resp_%08d", call), item: fmt.Sprintf("msg_%08d", call), created: s.o.Clock().Unix(),
		instructions: req.Instructions, options: o,
	}
	text := prompt(req.Input)
	if req.Instructions != nil {
		text = *req.Instructions + "\n" + text
	}
	if req.Stream {
		a.out = &stream{w: w}
		return a.stream(r, text)
	}
	u, err := s.run(r, text, o, func(t string) error { a.text.WriteString(t); return nil })
	if err != nil {
		return err
	}
	return answer(w, a.object(&u))
}

// object is the response as it stands; u is nil until it has ended.
func (a *response) object(u *tinylm.Usage) map[string]any {
	v := map[string]any{
		"id": a.id, "object": "response", "created_at": a.created, "model": a.s.o.Name, "status": "in_progress",
		"error": nil, "incomplete_details": nil, "instructions": a.instructions, "metadata": map[string]string{},
		"output": []any{}, "parallel_tool_calls": false, "previous_response_id": nil, "store": false,
		"temperature": a.options.Temperature, "tool_choice": "none", "tools": []any{}, "top_p": 1,
		"max_output_tokens": a.options.MaxTokens, "truncation": "disabled", "usage": nil,
	}
	if u == nil {
		return v
	}
	v["status"] = status(*u)
	if u.Finish == tinylm.FinishLength {
		v["incomplete_details"] = map[string]string{"reason": "max_output_tokens"}
	}
	v["output"] = []any{a.message(status(*u), a.part())}
	v["usage"] = map[string]any{
		"input_tokens": u.Prompt, "input_tokens_details": map[string]int{"cached_tokens": 0},
		"output_tokens": u.Completion, "output_tokens_details": map[string]int{"reasoning_tokens": 0},
		"total_tokens": u.Prompt + u.Completion,
	}
	return v
}

func status(u tinylm.Usage) string {
	if u.Finish == tinylm.FinishLength {
		return "incomplete"
	}
	return "completed"
}

func (a *response) message(status string, parts ...any) map[string]any {
	return map[string]any{
		"id": a.item, "type": "message", "role": "assistant", "status": status, "content": append([]any{}, parts...),
	}
}

func (a *response) part() map[string]any {
	return map[string]any{"type": "output_text", "text": a.text.String(), "annotations": []any{}}
}

// event sends one typed event; fields are its own, type and number are added.
func (a *response) event(kind string, fields map[string]any) error {
	fields["type"], fields["sequence_number"] = "response."+kind, a.seq
	a.seq++
	return a.out.send("response."+kind, fields)
}

// step is one event: its type less "response.", and its own fields.
type step struct {
	kind   string
	fields map[string]any
}

// events sends them in order and stops at the first error.
func (a *response) events(list ...step) error {
	for _, e := range list {
		if err := a.event(e.kind, e.fields); err != nil {
			return err
		}
	}
	return nil
}

// stream sends the life of the response as events. Its errors are those of a client that is gone, or events.
func (a *response) stream(r *http.Request, prompt string) error {
	at := func(more map[string]any) map[string]any {
		more["item_id"], more["output_index"], more["content_index"] = a.item, 0, 0
		return more
	}
	err := a.events(
		step{"created", map[string]any{"response": a.object(nil)}},
		step{"in_progress", map[string]any{"response": a.object(nil)}},
		step{"output_item.added", map[string]any{"output_index": 0, "item": a.message("in_progress")}},
		step{"content_part.added", at(map[string]any{"part": a.part()})},
	)
	if err != nil {
		return nil
	}
	u, err := a.s.run(r, prompt, a.options, func(t string) error {
		a.text.WriteString(t)
		return a.event("output_text.delta", at(map[string]any{"delta": t, "logprobs": []any{}}))
	})
	if err != nil {
		failed := a.object(nil)
		failed["status"], failed["error"] = "failed", map[string]string{"code": "server_error", "message": "generation failed"}
		_ = a.event("failed", map[string]any{"response": failed})
		return nil
	}
	_ = a.events(
		step{"output_text.done", at(map[string]any{"text": a.text.String(), "logprobs": []any{}})},
		step{"content_part.done", at(map[string]any{"part": a.part()})},
		step{"output_item.done", map[string]any{"output_index": 0, "item": a.message(status(u), a.part())}},
		step{status(u), map[string]any{"response": a.object(&u)}},
	)
	return nil
}
