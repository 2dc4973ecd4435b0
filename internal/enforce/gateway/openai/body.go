package openai

import (
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sallyport"
)

// maxBody bounds a request: a long context with images inside.
const maxBody = 16 << 20

// A request is a body that was parsed once and has one reading.
type request struct {
	ref     sallyport.Ref
	fields  map[string]jsontext.Value
	stream  bool
	wantUse bool // the client asked for usage in the stream itself
}

// common are the fields every generating route takes; the others are each route's
// own. A field that is not here is refused: what an upstream would do with it is
// not known (load an adapter, fetch a URL, continue somebody's conversation).
func common() []string {
	return []string{
		"model", "stream", "stream_options", "temperature", "top_p", "top_k", "min_p", "n", "stop", "seed", "user",
		"max_tokens", "max_completion_tokens", "presence_penalty", "frequency_penalty", "repetition_penalty",
		"logprobs", "top_logprobs", "logit_bias", "metadata", "safety_identifier", "service_tier",
	}
}

func fieldsOf(route string) []string {
	switch route {
	case "chat":
		return append([]string{"messages", "tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "verbosity", "modalities", "prediction"}, common()...)
	case "completions":
		return append([]string{"prompt", "suffix", "echo", "best_of"}, common()...)
	case "embeddings":
		return []string{"model", "input", "encoding_format", "dimensions", "user"}
	case "responses":
		return append([]string{"input", "instructions", "max_output_tokens", "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning", "truncation", "include", "store"}, common()...)
	}
	return nil
}

// readBody parses the body of a route and refuses everything with two readings:
// doubled names at any depth, other spellings of model, wrong types, unknown
// fields, encodings a proxy cannot see through.
func readBody(r *http.Request, route string) (*request, error) {
	const op = "read request"
	if ct, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || ct != "application/json" || r.Header.Get("Content-Encoding") != "" {
		return nil, sallyport.E(op, sallyport.Invalid, "the body is not plain application/json", "send JSON without content encoding")
	}
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Invalid, "the body broke off", err)
	}
	if len(raw) > maxBody {
		return nil, sallyport.E(op, sallyport.TooLarge, "the body is over 16 MiB", "send less")
	}
	return parse(raw, route)
}

func parse(raw []byte, route string) (*request, error) {
	const op = "read request"
	body := &request{}
	if err := json.Unmarshal(raw, &body.fields); err != nil || body.fields == nil {
		return nil, sallyport.Wrap(op, sallyport.Invalid, "the body is not one JSON object with each name once", err)
	}
	allowed := fieldsOf(route)
	for name := range body.fields {
		if !slices.Contains(allowed, name) {
			return nil, sallyport.E(op, sallyport.Invalid, "the field "+quote(name)+" is not taken here", "leave it out")
		}
	}
	var model string
	if err := json.Unmarshal(body.fields["model"], &model); err != nil || model == "" {
		return nil, sallyport.E(op, sallyport.Invalid, "the field \"model\" must be a string", "name a model as ORG/MODEL")
	}
	ref, err := sallyport.ParseRef(model)
	if err != nil || ref.Kind != sallyport.ModelKind {
		return nil, sallyport.E(op, sallyport.NotFound, "the model "+quote(model)+" is not served here", "name a model as ORG/MODEL; list them with GET /v1/models")
	}
	body.ref = ref
	if err := body.readStream(); err != nil {
		return nil, err
	}
	for _, v := range body.fields {
		if err := checkReach(v); err != nil {
			return nil, err
		}
	}
	return body, nil
}

func (b *request) readStream() error {
	if v, ok := b.fields["stream"]; ok {
		if err := json.Unmarshal(v, &b.stream); err != nil {
			return sallyport.E("read request", sallyport.Invalid, "the field \"stream\" must be true or false", "")
		}
	}
	if v, ok := b.fields["stream_options"]; ok && v.Kind() != 'n' {
		var o struct {
			IncludeUsage bool `json:"include_usage"`
		}
		if err := json.Unmarshal(v, &o); err != nil {
			return sallyport.E("read request", sallyport.Invalid, "the field \"stream_options\" must be an object", "")
		}
		b.wantUse = o.IncludeUsage
	}
	return nil
}

// checkReach refuses what would make the upstream fetch a URL or open an object
// by its id: the fields by which a model call reaches out.
func checkReach(v jsontext.Value) error {
	dec := jsontext.NewDecoder(strings.NewReader(string(v)))
	var key string
	for {
		inObject, n := dec.StackIndex(dec.StackDepth())
		tok, err := dec.ReadToken()
		if err != nil {
			return nil // the value was parsed before: this is its end
		}
		isKey := inObject == '{' && n%2 == 0 && tok.Kind() == '"'
		switch {
		case isKey:
			key = tok.String()
			if slices.Contains([]string{"server_url", "file_url", "file_id", "connector_id", "vector_store_ids", "container"}, key) {
				return reaches(key)
			}
		case tok.Kind() == '"' && (key == "url" || key == "image_url") && !strings.HasPrefix(tok.String(), "data:"):
			return reaches(key)
		}
	}
}

func reaches(field string) error {
	return sallyport.E("read request", sallyport.Invalid, "the field "+quote(field)+" would make the model server fetch something",
		"send the content itself, for example as a data: URL")
}

// forUpstream is the body that is forwarded: what was parsed, with the upstream's
// name for the model and, in a stream, the request to count tokens.
func (b *request) forUpstream(model, route string) ([]byte, error) {
	out := make(map[string]jsontext.Value, len(b.fields)+1)
	for name, v := range b.fields {
		out[name] = v
	}
	name, err := json.Marshal(model)
	if err != nil {
		return nil, err
	}
	out["model"] = name
	if b.stream && (route == "chat" || route == "completions") {
		out["stream_options"] = jsontext.Value(`{"include_usage":true}`)
	}
	if route == "responses" {
		out["store"] = jsontext.Value("false") // an id would be a key to somebody's conversation
	}
	return json.Marshal(out, json.Deterministic(true))
}

func quote(s string) string {
	b, err := json.Marshal(sallyport.OneLine(s))
	if err != nil {
		return `"?"`
	}
	return string(b)
}
