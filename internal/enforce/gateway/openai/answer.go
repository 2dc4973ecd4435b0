package openai

import (
	"bytes"
	"errors"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// A usage is the token counts of an answer, in the words of each route.
type usage struct {
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
	InputTokens      int64 `json:"input_tokens"`
	OutputTokens     int64 `json:"output_tokens"`
}

// An answer is what a JSON document of the upstream says that concerns us. The
// spans are those of the text.
type answer struct {
	models [][2]int // where its name for the model stands
	usage  *usage
	choice bool // it holds a choice, or a piece of one
}

// readAnswer reads a document, and with inner what its member of that name holds
// too. What the upstream doubled or mis-encoded stays as it is: all that hangs on it
// is where an upstream that forgets its limit is stopped (budget).
func readAnswer(doc []byte, inner string) (answer, error) {
	var a answer
	return a, a.read(doc, 0, inner)
}

func (a *answer) read(doc []byte, at int, inner string) error {
	dec := jsontext.NewDecoder(bytes.NewBuffer(doc), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '{' {
		return errors.Join(errors.New("it is no JSON object"), err)
	}
	for dec.PeekKind() != '}' {
		t, err := dec.ReadToken()
		if err != nil {
			return err
		}
		name := t.String()
		v, err := dec.ReadValue()
		if err != nil {
			return err
		}
		end := int(dec.InputOffset())
		if err := a.member(name, doc[end-len(v):end:end], at+end-len(v), inner); err != nil {
			return err
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	if len(bytes.TrimSpace(doc[dec.InputOffset():])) > 0 {
		return errors.New("something stands behind the JSON object")
	}
	return nil
}

func (a *answer) member(name string, v jsontext.Value, at int, inner string) error {
	switch {
	case name == "model" && v.Kind() == '"':
		a.models = append(a.models, [2]int{at, at + len(v)})
	case name == "usage" && v.Kind() == '{':
		var u usage
		if json.Unmarshal(v, &u, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) == nil {
			a.usage = &u
		}
	case name == "choices":
		a.choice = a.choice || len(bytes.Trim(v, "[] \t\r\n")) > 0
	case name == "type" && bytes.HasSuffix(v, []byte(`.delta"`)): // an event of Responses
		a.choice = true
	case name == inner && v.Kind() == '{':
		return a.read(v, at, "")
	}
	return nil
}

// renamed appends doc to out, with the model named as the client named it. It
// must be the document that was read.
func (a *answer) renamed(out, doc []byte, model []byte) []byte {
	from := 0
	for _, span := range a.models {
		out = append(append(out, doc[from:span[0]]...), model...)
		from = span[1]
	}
	return append(out, doc[from:]...)
}
