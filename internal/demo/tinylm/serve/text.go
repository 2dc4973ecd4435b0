package serve

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"strings"

	"sallyport/internal/demo/tinylm"
)

// sampling is what the generating routes have in common.
type sampling struct {
	Temperature *float64 `json:"temperature"`
	Seed        *int64   `json:"seed"`
	Stop        texts    `json:"stop"`
	N           *int     `json:"n"`
	Stream      bool     `json:"stream"`
	IgnoreEnd   bool     `json:"ignore_eos"` // as vLLM calls it: a stream as long as the limit says
}

// options checks what the client asked for; tokens is its limit under whatever name the route has for it.
func (p sampling) checked(tokens *int, call uint64) (tinylm.Options, error) {
	o := tinylm.Options{MaxTokens: defaultTokens, Temperature: defaultTemp, Seed: call, Stop: p.Stop, IgnoreEnd: p.IgnoreEnd}
	if tokens != nil {
		o.MaxTokens = *tokens
	}
	if p.Temperature != nil {
		o.Temperature = *p.Temperature
	}
	if p.Seed != nil {
		o.Seed = uint64(*p.Seed)
	}
	if p.N != nil && *p.N != 1 {
		return o, invalid("n", "n is %d: this server makes one choice", *p.N)
	}
	if err := o.Check(); err != nil {
		return o, invalid("", "%s", strings.TrimPrefix(err.Error(), "tinylm: "))
	}
	return o, nil
}

// texts reads a string, or an array of strings.
type texts []string

func (t *texts) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte(`"`)) {
		*t = make(texts, 1)
		return json.Unmarshal(data, &(*t)[0])
	}
	return json.Unmarshal(data, (*[]string)(t))
}

// content reads a string, or an array of parts of which those with text count.
type content string

func (c *content) UnmarshalJSON(data []byte) error {
	if !bytes.HasPrefix(data, []byte("[")) {
		return json.Unmarshal(data, (*string)(c))
	}
	var parts []struct{ Text string }
	if err := json.Unmarshal(data, &parts); err != nil {
		return err
	}
	for _, p := range parts {
		*c += content(p.Text)
	}
	return nil
}

type message struct {
	Role    string  `json:"role"`
	Content content `json:"content"`
}

// prompt applies tinylm.ChatTemplate.
func prompt(messages []message) string {
	var b strings.Builder
	for _, m := range messages {
		b.WriteString(string(m.Content) + "\n")
	}
	return b.String()
}

// run generates at the server's pace.
func (s *server) run(r *http.Request, prompt string, o tinylm.Options, piece func(string) error) (tinylm.Usage, error) {
	return s.model.Generate(r.Context(), prompt, o, func(text string) error {
		if err := s.wait(r); err != nil {
			return err
		}
		if text == "" {
			return nil
		}
		return piece(text)
	})
}

func (s *server) embeddings(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Model      string `json:"model"`
		Input      texts  `json:"input"`
		Format     string `json:"encoding_format"`
		Dimensions *int   `json:"dimensions"`
	}
	if err := read(r, &req); err != nil {
		return err
	}
	if err := s.known(req.Model); err != nil {
		return err
	}
	switch {
	case len(req.Input) == 0 || len(req.Input) > maxInputs:
		return invalid("input", "%d texts: want 1 to %d", len(req.Input), maxInputs)
	case req.Dimensions != nil && *req.Dimensions != s.model.EmbeddingSize():
		return invalid("dimensions", "this model has %d dimensions", s.model.EmbeddingSize())
	case req.Format != "" && req.Format != "float" && req.Format != "base64":
		return invalid("encoding_format", "want float or base64")
	}
	var data []any
	tokens := 0
	for i, text := range req.Input {
		if text == "" {
			return invalid("input", "text %d is empty", i)
		}
		tokens += s.model.Tokens(text)
		var v any = s.model.Embed(text)
		if req.Format == "base64" {
			v = packed(s.model.Embed(text))
		}
		data = append(data, map[string]any{"object": "embedding", "index": i, "embedding": v})
	}
	return answer(w, map[string]any{
		"object": "list", "model": s.o.Name, "data": data,
		"usage": map[string]int{"prompt_tokens": tokens, "total_tokens": tokens},
	})
}

// packed is the base64 form: little-endian 32-bit floats.
func packed(v []float32) string {
	var out []byte
	for _, x := range v {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(out)
}
