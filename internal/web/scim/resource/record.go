package resource

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	strict "github.com/go-json-experiment/json"

	"sallyport"
	"sallyport/internal/web/scim/filter"
)

// The limits of a record.
const (
	MaxText    = 1024   // bytes of one text
	MaxValues  = 32     // of a multi-valued attribute but members
	MaxMembers = 10_000 // of a group
)

// A Record is a user or a group in its one form: names in the spelling of the
// schema, values as string, bool, map[string]any and []any, never empty. An
// extension stands under its URN.
type Record map[string]any

// Decode reads a record that a provider sent. What only the server writes is
// dropped, as RFC 7644, section 3.3 asks, and so is a password, which nobody may
// set from outside; anything else that is not understood is an error of kind
// Invalid, with the scimType of section 3.12 as its reason. Whether the record has
// all that it must have is for Check to say.
func (t Type) Decode(raw []byte) (Record, error) {
	v, err := DecodeJSON(raw)
	if err != nil {
		return nil, err
	}
	in, ok := v.(map[string]any)
	if !ok {
		return nil, Invalid("invalidSyntax", "the body is no object")
	}
	if err := t.checkSchemas(in); err != nil {
		return nil, err
	}
	out := Record{}
	for key, value := range in {
		if strings.EqualFold(key, "schemas") || strings.EqualFold(key, "password") {
			continue
		}
		path, err := filter.ParseAttr(key)
		if err != nil || path.Sub != "" {
			return nil, Unknown(key)
		}
		as, a, ok := t.Attr(path)
		switch {
		case !ok || as.URN != "" && as.Name != "":
			return nil, Unknown(key)
		case a.Mutability == "readOnly":
			continue
		}
		if value, err = a.Normal(value); err != nil {
			return nil, err
		}
		if _, twice := out[as.String()]; twice {
			return nil, Invalid("invalidSyntax", "an attribute stands twice: "+sallyport.OneLine(key))
		}
		Set(out, as.String(), value)
	}
	return out, nil
}

// DecodeJSON reads JSON strictly: one value, no name twice in an object.
func DecodeJSON(raw []byte) (any, error) {
	var v any
	if err := strict.Unmarshal(raw, &v); err != nil {
		return nil, Invalid("invalidSyntax", "the body is not JSON, or has a name twice")
	}
	return v, nil
}

// checkSchemas wants the record's own schema and no other than its extension. An
// extension that is used and not announced is accepted, as providers forget it.
func (t Type) checkSchemas(in map[string]any) error {
	all, _ := in["schemas"].([]any)
	own := false
	for _, s := range all {
		urn, _ := s.(string)
		switch {
		case strings.EqualFold(urn, t.Schema.URN):
			own = true
		case t.Extension == nil || !strings.EqualFold(urn, t.Extension.URN):
			return Invalid("invalidValue", "there is no schema "+sallyport.OneLine(urn)+" of a "+t.Name)
		}
	}
	if !own {
		return Invalid("invalidValue", "\"schemas\" does not name "+t.Schema.URN)
	}
	return nil
}

// Check refuses a record without what it must have.
func (t Type) Check(r Record) error {
	for _, a := range t.Schema.Attributes {
		if a.Required && r[a.Name] == nil {
			return Invalid("invalidValue", fmt.Sprintf("a %s needs %s", t.Name, a.Name))
		}
	}
	return nil
}

// Set puts a value into an object, or takes it out when there is none.
func Set(m map[string]any, name string, value any) {
	if value == nil {
		delete(m, name)
		return
	}
	m[name] = value
}

// Normal returns a value in the form in which it is kept; nil where it says
// nothing.
func (a Attribute) Normal(v any) (any, error) {
	if !a.Many {
		if list, ok := v.([]any); ok && len(list) == 0 {
			return nil, nil
		}
		return a.Single(v)
	}
	list, ok := v.([]any)
	if !ok && v != nil {
		list = []any{v}
	}
	if err := a.fits(list); err != nil {
		return nil, err
	}
	var out []any
	primary := false
	for _, one := range list {
		value, err := a.Single(one)
		if err != nil {
			return nil, err
		}
		if m, ok := value.(map[string]any); ok && m["primary"] == true {
			if primary {
				return nil, Invalid("invalidValue", a.Name+" has two primary values")
			}
			primary = true
		}
		if value != nil {
			out = append(out, value)
		}
	}
	if out = distinct(out); len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

// fits refuses more values than an attribute may have.
func (a Attribute) fits(list []any) error {
	most := MaxValues
	if a.Name == "members" {
		most = MaxMembers
	}
	if len(list) > most {
		return sallyport.E("read record", sallyport.TooLarge, fmt.Sprintf("%s has more than %d values", a.Name, most), "").Because("tooMany")
	}
	return nil
}

// Values puts values of a multi-valued attribute together: each once, and no more
// than there may be.
func (a Attribute) Values(all []any) ([]any, error) {
	all = distinct(all)
	return all, a.fits(all)
}

// distinct drops values that stand twice. Members are compared by their value.
func distinct(all []any) []any {
	if len(all) > MaxValues {
		seen := make(map[string]bool, len(all))
		return slices.DeleteFunc(all, func(v any) bool {
			m, _ := v.(map[string]any)
			id, _ := m["value"].(string)
			twice := seen[id]
			seen[id] = true
			return twice
		})
	}
	var out []any
	for _, v := range all {
		if !slices.ContainsFunc(out, func(old any) bool { return same(old, v) }) {
			out = append(out, v)
		}
	}
	return out
}

func same(a, b any) bool { return reflect.DeepEqual(a, b) }

// Single returns one value of the attribute in its form.
func (a Attribute) Single(v any) (any, error) {
	wrong := Invalid("invalidValue", fmt.Sprintf("%s is no %s", a.Name, a.Type))
	switch v := v.(type) {
	case nil:
		return nil, nil
	case bool:
		if a.Type != filter.Flag {
			return nil, wrong
		}
		return v, nil
	case string:
		switch {
		case a.Type == filter.Flag && (strings.EqualFold(v, "true") || strings.EqualFold(v, "false")): // as Entra writes it
			return strings.EqualFold(v, "true"), nil
		case a.Type == filter.Complex: // a bare value, as Entra names managers and members
			if _, ok := Find(a.Sub, "value"); ok && v != "" {
				return a.complex(map[string]any{"value": v})
			}
			return nil, wrong
		case a.Type != filter.Text && a.Type != filter.Reference:
			return nil, wrong
		case len(v) > MaxText || !utf8.ValidString(v) || strings.ContainsRune(v, 0):
			return nil, Invalid("invalidValue", fmt.Sprintf("%s is longer than %d bytes or no text", a.Name, MaxText))
		case v == "":
			return nil, nil
		}
		return v, nil
	case map[string]any:
		if a.Type != filter.Complex {
			return nil, wrong
		}
		return a.complex(v)
	}
	return nil, wrong
}

func (a Attribute) complex(in map[string]any) (any, error) {
	out := map[string]any{}
	for key, value := range in {
		if a.Name == "" && strings.EqualFold(key, "schemas") { // of an extension that stands by itself
			continue
		}
		sub, ok := Find(a.Sub, key)
		switch {
		case !ok:
			return nil, Unknown(a.Name + "." + key)
		case sub.Mutability == "readOnly":
			continue
		}
		value, err := sub.Normal(value)
		if err != nil {
			return nil, err
		}
		if _, twice := out[sub.Name]; twice {
			return nil, Invalid("invalidSyntax", "an attribute stands twice: "+sallyport.OneLine(key))
		}
		Set(out, sub.Name, value)
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

// Text returns a text of the record, "" where there is none. sub is "" for a
// simple attribute.
func (r Record) Text(name, sub string) string {
	v := r[name]
	if m, ok := v.(map[string]any); ok && sub != "" {
		v = m[sub]
	}
	s, _ := v.(string)
	return s
}

// Email returns the address to write to: the primary one, else one for work, else
// the first.
func (r Record) Email() string {
	best, rank := "", -1
	all, _ := r["emails"].([]any)
	for _, v := range all {
		m, _ := v.(map[string]any)
		value, _ := m["value"].(string)
		n := 0
		if m["type"] == "work" {
			n = 1
		}
		if m["primary"] == true {
			n = 2
		}
		if n > rank && value != "" {
			best, rank = value, n
		}
	}
	return best
}

// Members returns the ids in a group's members.
func (r Record) Members() []string {
	all, _ := r["members"].([]any)
	ids := make([]string, 0, len(all))
	for _, v := range all {
		m, _ := v.(map[string]any)
		if id, _ := m["value"].(string); id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// Clone returns a deep copy.
func (r Record) Clone() Record { return copied(map[string]any(r)).(map[string]any) }

func copied(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, x := range v {
			m[k] = copied(x)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, x := range v {
			l[i] = copied(x)
		}
		return l
	}
	return v
}

// Same tells whether two records say the same.
func Same(a, b Record) bool { return same(map[string]any(a), map[string]any(b)) }

// Marshal writes a record as it is kept, always in the same way.
func Marshal(r Record) ([]byte, error) { return json.Marshal(map[string]any(r)) }

// Unmarshal reads what Marshal wrote.
func Unmarshal(raw []byte) (Record, error) {
	r := Record{}
	return r, json.NewDecoder(bytes.NewReader(raw)).Decode(&r)
}

// Stamp is a time as records show it.
func Stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// Unknown is the error about an attribute that there is not.
func Unknown(name string) error {
	return Invalid("invalidSyntax", "there is no attribute "+sallyport.OneLine(name))
}

// Invalid is an error with the scimType of RFC 7644, section 3.12.
func Invalid(scimType, text string) error {
	return sallyport.E("read record", sallyport.Invalid, text, "see /scim/v2/Schemas").Because(scimType)
}
