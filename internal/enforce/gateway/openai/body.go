package openai

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"sallyport"
)

// Limits on a request.
const (
	maxBody  = 16 << 20 // bytes: a long context with images inside
	maxDepth = 64       // of arrays and objects inside each other
)

// A field is a member of the body's object.
type field struct {
	name  string
	value jsontext.Value // checked at every depth, aliases the body
}

// A request is a body that was parsed once and has one reading.
type request struct {
	ref     sallyport.Ref
	model   string  // as the client wrote it, for the answer
	fields  []field // without model, in the client's order
	stream  bool
	wantUse bool // the client asked for usage in the stream itself
}

// takes reports whether a route takes a field. What is not here is refused: what an
// upstream would do with it is not known (load an adapter, fetch a URL, continue
// somebody's conversation).
func takes(route, field string) bool {
	switch field {
	case "model", "user":
		return true
	case "stream", "stream_options", "temperature", "top_p", "top_k", "min_p", "n", "stop", "seed",
		"max_tokens", "max_completion_tokens", "presence_penalty", "frequency_penalty", "repetition_penalty", "ignore_eos",
		"logprobs", "top_logprobs", "logit_bias", "metadata", "safety_identifier", "service_tier":
		return route != "embeddings"
	case "messages", "response_format", "reasoning_effort", "verbosity", "modalities", "prediction":
		return route == "chat"
	case "tools", "tool_choice", "parallel_tool_calls":
		return route == "chat" || route == "responses"
	case "prompt", "suffix", "echo", "best_of":
		return route == "completions"
	case "input":
		return route == "embeddings" || route == "responses"
	case "encoding_format", "dimensions":
		return route == "embeddings"
	case "instructions", "max_output_tokens", "text", "reasoning", "truncation", "include", "store":
		return route == "responses"
	}
	return false
}

// readBody parses the body of a route and refuses everything with two readings:
// doubled names at any depth, other spellings of model, wrong types, unknown
// fields, encodings a proxy cannot see through.
func readBody(r *http.Request, route string) (*request, error) {
	ct, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset, ok := params["charset"]
	if err != nil || ct != "application/json" || ok && !strings.EqualFold(charset, "utf-8") || r.Header.Get("Content-Encoding") != "" {
		return nil, invalid("the body is not plain application/json", "send JSON in UTF-8 without content encoding")
	}
	if r.ContentLength > maxBody {
		return nil, tooLarge()
	}
	var raw bytes.Buffer
	raw.Grow(int(max(r.ContentLength, 0)) + bytes.MinRead)
	if _, err := raw.ReadFrom(io.LimitReader(r.Body, maxBody+1)); err != nil {
		return nil, sallyport.Wrap(opRead, sallyport.Invalid, "the body broke off", err)
	}
	if raw.Len() > maxBody {
		return nil, tooLarge()
	}
	return parse(raw.Bytes(), route)
}

const opRead = "read request"

func invalid(message, hint string) error {
	return sallyport.E(opRead, sallyport.Invalid, message, hint)
}

func tooLarge() error {
	return sallyport.E(opRead, sallyport.TooLarge, "the body is over 16 MiB", "send less")
}

// parse reads the body of a route. The result aliases raw.
func parse(raw []byte, route string) (*request, error) {
	body := &request{}
	err := eachMember(raw, func(name string, v jsontext.Value) error {
		if !takes(route, name) {
			return invalid("the field "+quote(name)+" is not taken here", "leave it out")
		}
		if err := checkReach(route, name, v); err != nil {
			return err
		}
		return body.take(name, v)
	})
	if err != nil {
		return nil, err
	}
	if body.model == "" {
		return nil, invalid(`the field "model" must be a string`, "name a model as ORG/MODEL")
	}
	if body.ref, err = sallyport.ParseRef(body.model); err != nil || body.ref.Kind != sallyport.ModelKind {
		return nil, sallyport.E(opRead, sallyport.NotFound, "the model "+quote(body.model)+" is not served here", "name a model as ORG/MODEL; list them with GET /v1/models")
	}
	return body, nil
}

// take keeps one member. Of stream and model it reads the value.
func (b *request) take(name string, v jsontext.Value) error {
	switch name {
	case "model":
		if v.Kind() != '"' {
			return invalid(`the field "model" must be a string`, "name a model as ORG/MODEL")
		}
		b.model = unquote(v)
		return nil
	case "stream":
		if v.Kind() != 't' && v.Kind() != 'f' && v.Kind() != 'n' {
			return invalid(`the field "stream" must be true or false`, "")
		}
		b.stream = v.Kind() == 't'
	case "stream_options":
		return b.takeStreamOptions(v) // not kept: what the upstream is asked for is ours
	}
	b.fields = append(b.fields, field{name, v})
	return nil
}

func (b *request) takeStreamOptions(v jsontext.Value) error {
	if v.Kind() == 'n' {
		return nil
	}
	if v.Kind() != '{' {
		return invalid(`the field "stream_options" must be an object`, "")
	}
	return eachMember(v, func(name string, v jsontext.Value) error {
		if name == "include_usage" {
			b.wantUse = v.Kind() == 't'
		}
		return nil
	})
}

// eachMember calls yield with every member of the one object that raw is. A
// doubled name at any depth, after escapes, text that is not UTF-8, and anything
// behind the object are errors.
func eachMember(raw []byte, yield func(name string, v jsontext.Value) error) error {
	const message = "the body is not one JSON object with each name once"
	dec := jsontext.NewDecoder(bytes.NewBuffer(raw))
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '{' {
		return sallyport.Wrap(opRead, sallyport.Invalid, message, err)
	}
	for dec.PeekKind() != '}' {
		t, err := dec.ReadToken()
		if err != nil {
			return sallyport.Wrap(opRead, sallyport.Invalid, message, err)
		}
		name := t.String()
		v, err := dec.ReadValue()
		if err != nil {
			return sallyport.Wrap(opRead, sallyport.Invalid, message, err)
		}
		end := int(dec.InputOffset())
		if err := yield(name, raw[end-len(v):end:end]); err != nil {
			return err
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return sallyport.Wrap(opRead, sallyport.Invalid, message, err)
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return sallyport.Wrap(opRead, sallyport.Invalid, message, err)
	}
	return nil
}

// forUpstream is the body that is forwarded: what was parsed, with the upstream's
// name for the model and, in a stream, the request to count tokens.
func (b *request) forUpstream(model, route string) ([]byte, error) {
	size := len(model) + 64
	for _, f := range b.fields {
		size += len(f.name) + len(f.value) + 4
	}
	out, err := jsontext.AppendQuote(append(make([]byte, 0, size), `{"model":`...), model)
	if err != nil {
		return nil, err
	}
	for _, f := range b.fields {
		if f.name == "store" {
			continue
		}
		// The names are those of takes, which need no escapes.
		out = append(append(append(out, `,"`...), f.name...), `":`...)
		out = append(out, f.value...)
	}
	if b.stream && counts(route) {
		out = append(out, `,"stream_options":{"include_usage":true}`...)
	}
	if route == "responses" {
		out = append(out, `,"store":false`...) // an id would be a key to somebody's conversation
	}
	return append(out, '}'), nil
}

// inline is why a request cannot go to the upstream as it is, "" where it can.
func (b *request) inline(route string) string {
	kept := route == "responses" // unless it says otherwise
	for _, f := range b.fields {
		if f.name == "store" {
			kept = f.value.Kind() != 'f'
		}
	}
	if kept {
		return `or send "store": false, because the model server would keep the conversation`
	}
	return ""
}

// counts reports whether a stream of the route counts tokens only when asked.
func counts(route string) bool { return route == "chat" || route == "completions" }

// unquote returns the text of a JSON string that was checked before.
func unquote(v jsontext.Value) string {
	text, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		return ""
	}
	return string(text)
}

func quote(s string) string {
	b, err := jsontext.AppendQuote(nil, sallyport.OneLine(s))
	if err != nil {
		return `"?"`
	}
	return string(b)
}
