package openai

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"sallyport"
)

// checkReach refuses in a field of the body what would make the upstream reach
// out: fetch a URL, open an object by its id, run a tool of its own, load tensors
// that a client made. It bounds the depth of every field.
//
// The text of a schema (of a tool's parameters, of the form of an answer) is data
// about names, and metadata is the client's own: neither is acted on.
func checkReach(route, field string, v jsontext.Value) error {
	if k := v.Kind(); k != '{' && k != '[' {
		return nil
	}
	w := reach{dec: jsontext.NewDecoder(bytes.NewBuffer(v)), schema: schemaOf(field), free: field == "metadata"}
	if err := w.walk(0, ""); err != nil {
		return err
	}
	switch {
	case field == "tools":
		return checkTools(v)
	case field == "input" && route == "responses":
		return checkItems(v)
	}
	return nil
}

// schemaOf names the member of a field below which there is a JSON schema.
func schemaOf(field string) string {
	switch field {
	case "tools":
		return "parameters"
	case "response_format", "text":
		return "schema"
	}
	return ""
}

// A reach walks through one value.
type reach struct {
	dec    *jsontext.Decoder
	schema string // what is below a member of this name is not looked at
	free   bool   // nothing is looked at
}

// walk reads one value, which stands under key. The value was parsed before, so
// that the decoder cannot fail.
func (w *reach) walk(depth int, key string) error {
	if depth > maxDepth {
		return invalid("the body is nested too deeply", "send at most 64 levels")
	}
	t, err := w.dec.ReadToken()
	if err != nil {
		return err
	}
	switch t.Kind() {
	case '"':
		return w.text(key, t)
	case '[':
		for w.dec.PeekKind() != ']' {
			if err := w.walk(depth+1, key); err != nil {
				return err
			}
		}
	case '{':
		for w.dec.PeekKind() != '}' {
			if err := w.member(depth); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	_, err = w.dec.ReadToken()
	return err
}

func (w *reach) member(depth int) error {
	t, err := w.dec.ReadToken()
	if err != nil {
		return err
	}
	key := fold(t.String())
	if w.free {
		return w.walk(depth+1, "")
	}
	if key == w.schema {
		inside := reach{dec: w.dec, free: true}
		return inside.walk(depth+1, "")
	}
	if opens(key) {
		return reaches(key)
	}
	return w.walk(depth+1, key)
}

// fold is the spelling under which a reader that ignores case finds a member:
// encoding/json of Go takes "ſerver_URL" for "server_url".
func fold(key string) string {
	return strings.ToLower(strings.Map(func(r rune) rune {
		switch r {
		case 'ſ':
			return 's'
		case 'K': // the Kelvin sign
			return 'k'
		}
		return r
	}, key))
}

// opens reports whether a member makes the upstream open something.
func opens(key string) bool {
	return strings.HasSuffix(key, "_embeds") || slices.Contains([]string{
		"server_url", "file_url", "file_id", "file_ids", "connector_id", "vector_store_ids", "container", "prompt_embeds",
	}, key)
}

func (w *reach) text(key string, t jsontext.Token) error {
	if w.free || key == "" {
		return nil
	}
	switch {
	case key == "url" || strings.HasSuffix(key, "_url"):
		if !strings.HasPrefix(t.String(), "data:") {
			return reaches(key)
		}
	case key == "type" && t.String() == "item_reference":
		return reaches("item_reference")
	}
	return nil
}

// checkTools takes functions and custom tools, which the client runs. Every other
// kind is one that the server runs.
func checkTools(v jsontext.Value) error {
	return eachElement(v, func(tool jsontext.Value) error {
		kind := memberText(tool, "type")
		if kind != "function" && kind != "custom" {
			return invalid("a tool of the type "+quote(kind)+" would run on the model server", "offer tools of the type function")
		}
		return nil
	})
}

// checkItems refuses an item of a conversation that only points to another.
func checkItems(v jsontext.Value) error {
	return eachElement(v, func(item jsontext.Value) error {
		if item.Kind() == '{' && memberText(item, "type") == "" && memberText(item, "role") == "" {
			return reaches("id")
		}
		return nil
	})
}

// eachElement calls yield with the elements of an array that was parsed before.
func eachElement(v jsontext.Value, yield func(jsontext.Value) error) error {
	dec := jsontext.NewDecoder(bytes.NewBuffer(v))
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '[' {
		return invalid("tools and input items must be lists", "")
	}
	for dec.PeekKind() != ']' {
		element, err := dec.ReadValue()
		if err != nil {
			return err
		}
		if err := yield(element); err != nil {
			return err
		}
	}
	return nil
}

// memberText is a member's text, "" when it is not there or no text.
func memberText(object jsontext.Value, name string) string {
	var text string
	_ = eachMember(object, func(n string, v jsontext.Value) error { // what is no object has no members
		if n == name && v.Kind() == '"' {
			text = unquote(v)
		}
		return nil
	})
	return text
}

func reaches(field string) error {
	return sallyport.E(opRead, sallyport.Invalid, "the field "+quote(field)+" would make the model server fetch or open something",
		"send the content itself, for example as a data: URL")
}
