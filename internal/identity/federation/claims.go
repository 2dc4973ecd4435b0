package federation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

const maxDepth = 4 // of objects in objects

// Flatten reads a JSON object as claims: text, numbers and truth values become text, lists their entries, an object in an
// object its members with a dot between: "realm_access.roles". What is none of these, a list of objects for example, is left
// out. Doubled members and more than the limits allow are errors.
func Flatten(raw []byte) (Claims, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	c := Claims{}
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("claims: not a JSON object")
	}
	if err := c.object(dec, "", 1); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("claims: something follows the object")
	}
	return c, nil
}

func (c Claims) object(dec *json.Decoder, prefix string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("claims: objects more than %d deep", maxDepth)
	}
	seen := map[string]bool{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		name, ok := key.(string)
		if !ok || seen[name] {
			return fmt.Errorf("claims: the member %.80q is there twice", name)
		}
		seen[name] = true
		if err := c.value(dec, prefix+name, depth); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
}

func (c Claims) value(dec *json.Decoder, name string, depth int) error {
	t, err := dec.Token()
	if err != nil {
		return err
	}
	if _, there := c[name]; there { // {"a.b": …} beside {"a": {"b": …}}: two readings
		return fmt.Errorf("claims: the member %.80q is there twice", name)
	}
	switch t {
	case json.Delim('{'):
		return c.object(dec, name+".", depth+1)
	case json.Delim('['):
		return c.list(dec, name, depth)
	}
	if text, ok := asText(t); ok {
		return c.add(name, text)
	}
	return nil
}

// list takes the plain entries of a list. What lies deeper is read and left out.
func (c Claims) list(dec *json.Decoder, name string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("claims: lists more than %d deep", maxDepth)
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		switch text, ok := asText(t); {
		case ok:
			err = c.add(name, text)
		case t == json.Delim('['):
			err = Claims{}.list(dec, name, depth+1)
		case t == json.Delim('{'):
			err = Claims{}.object(dec, name+".", depth+1)
		}
		if err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
}

// add adds one value within the limits.
func (c Claims) add(name, text string) error {
	if _, there := c[name]; !there && len(c) >= maxClaims || len(c[name]) >= maxValues || len(text) > maxValue || len(name) > maxValue {
		return fmt.Errorf("claims: more than %d claims, %d values or %d bytes", maxClaims, maxValues, maxValue)
	}
	c[name] = append(c[name], text)
	return nil
}

func asText(t json.Token) (string, bool) {
	switch v := t.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case json.Number:
		return v.String(), true
	}
	return "", false
}
