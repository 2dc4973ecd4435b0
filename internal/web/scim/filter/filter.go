// Package filter owns the filters and paths of SCIM (RFC 7644, sections 3.4.2.2
// and 3.5.2): reading them, holding them against a schema, and matching records.
// It is pure. What it reads comes from strangers, and is bounded in length, depth
// and number of terms.
//
// It leaves to web/scim/resource which attributes there are, and never makes SQL.
package filter

import (
	"cmp"
	"strings"
	"time"

	"sallyport"
)

// The limits of a filter or path.
const (
	MaxLength = 2048 // bytes
	MaxDepth  = 16   // of parentheses and "not"
	MaxTerms  = 64   // comparisons
)

// An Op is an operator of a filter, in lower case.
type Op string

// The operators. Has is an expression about one value of a multi-valued attribute.
const (
	And Op = "and"
	Or  Op = "or"
	Not Op = "not"
	Has Op = "[]"

	Equal          Op = "eq"
	NotEqual       Op = "ne"
	Contains       Op = "co"
	StartsWith     Op = "sw"
	EndsWith       Op = "ew"
	Greater        Op = "gt"
	GreaterOrEqual Op = "ge"
	Less           Op = "lt"
	LessOrEqual    Op = "le"
	Present        Op = "pr"
)

// An Attr names an attribute: "userName", "name.familyName", or with the URN of
// its schema before a colon. Resolve puts it into its schema's spelling.
type Attr struct {
	URN  string // of the schema; "" for the one at hand
	Name string // "" for all of an extension
	Sub  string
}

// String returns the attribute as it is written in filters.
func (a Attr) String() string {
	s := a.Name
	if a.Sub != "" {
		s += "." + a.Sub
	}
	if a.URN != "" {
		s = strings.TrimSuffix(a.URN+":"+s, ":")
	}
	return s
}

// An Expr is a filter. It is made by Parse and matched after Resolve.
type Expr struct {
	Op    Op
	Attr  Attr   // of a comparison, and of Has
	Value any    // of a comparison: string, float64, bool or nil
	Args  []Expr // two or more of And and Or, one of Not and Has
	typ   Typed
}

// A Kind is the type of an attribute's values.
type Kind string

// The kinds, as RFC 7643, section 2.3 calls them.
const (
	Text      Kind = "string"
	Flag      Kind = "boolean"
	Number    Kind = "decimal"
	Time      Kind = "dateTime"
	Reference Kind = "reference"
	Complex   Kind = "complex"
)

// Typed is what a schema says of an attribute.
type Typed struct {
	Kind  Kind
	Exact bool // upper and lower case differ
	Many  bool // multi-valued
}

// A Schema resolves the name of an attribute, whatever its case, to the spelling
// of its schema and its type; false where there is none. within is the attribute
// whose values are asked about, zero at the top.
type Schema func(within, a Attr) (Attr, Typed, bool)

// Resolve returns the filter in the spelling of the schema, or an error of kind
// Invalid and reason "invalidFilter" where it asks about what is not there, or
// compares what cannot be compared.
func (e Expr) Resolve(s Schema) (Expr, error) { return e.resolve(s, Attr{}) }

func (e Expr) resolve(s Schema, within Attr) (Expr, error) {
	switch e.Op {
	case And, Or, Not:
		args := make([]Expr, len(e.Args))
		for i, a := range e.Args {
			var err error
			if args[i], err = a.resolve(s, within); err != nil {
				return Expr{}, err
			}
		}
		e.Args = args
		return e, nil
	}
	attr, typ, ok := s(within, e.Attr)
	if !ok {
		return Expr{}, invalid("there is no attribute " + sallyport.OneLine(e.Attr.String()))
	}
	if typ.Kind == Complex && e.Op != Has && e.Op != Present && e.Value != nil { // its default (RFC 7643, section 2.4)
		if attr, typ, ok = s(within, Attr{URN: attr.URN, Name: attr.Name, Sub: "value"}); !ok {
			return Expr{}, invalid("a part of " + sallyport.OneLine(e.Attr.String()) + " must be named")
		}
	}
	e.Attr, e.typ = attr, typ
	if e.Op == Has {
		if typ.Kind != Complex || !typ.Many {
			return Expr{}, invalid(attr.String() + " has no values to choose from")
		}
		arg, err := e.Args[0].resolve(s, attr)
		e.Args = []Expr{arg}
		return e, err
	}
	return e.typed()
}

// typed holds the operator and the value of a comparison against the attribute.
func (e Expr) typed() (Expr, error) {
	if e.Op == Present || e.Value == nil && (e.Op == Equal || e.Op == NotEqual) {
		return e, nil
	}
	wrong := invalid("'" + string(e.Op) + "' cannot compare " + e.Attr.String() + " with this value")
	switch e.typ.Kind {
	case Flag:
		if s, ok := e.Value.(string); ok && (strings.EqualFold(s, "true") || strings.EqualFold(s, "false")) {
			e.Value = strings.EqualFold(s, "true") // as some providers write it
		}
		if _, ok := e.Value.(bool); !ok || e.Op != Equal && e.Op != NotEqual {
			return e, wrong
		}
	case Number:
		if _, ok := e.Value.(float64); !ok || e.Op == Contains || e.Op == StartsWith || e.Op == EndsWith {
			return e, wrong
		}
	case Time:
		s, ok := e.Value.(string)
		if _, err := time.Parse(time.RFC3339Nano, s); !ok || err != nil && e.Op != Contains && e.Op != StartsWith && e.Op != EndsWith {
			return e, wrong
		}
	default:
		if _, ok := e.Value.(string); !ok {
			return e, wrong
		}
	}
	return e, nil
}

// Match tells whether a record, made of string, float64, bool, map[string]any and
// []any under the spelling of the schema, satisfies a resolved filter.
func (e Expr) Match(record map[string]any) bool {
	switch e.Op {
	case And:
		for _, a := range e.Args {
			if !a.Match(record) {
				return false
			}
		}
		return true
	case Or:
		for _, a := range e.Args {
			if a.Match(record) {
				return true
			}
		}
		return false
	case Not:
		return !e.Args[0].Match(record)
	case Has:
		for _, v := range values(e.Attr, record) {
			if m, ok := v.(map[string]any); ok && e.Args[0].Match(m) {
				return true
			}
		}
		return false
	}
	return e.compare(values(e.Attr, record))
}

// values are the values of an attribute, each of a multi-valued one.
func values(a Attr, record map[string]any) []any {
	if a.URN != "" {
		record, _ = record[a.URN].(map[string]any)
	}
	found := each(record[a.Name])
	if a.Name == "" && len(record) > 0 {
		found = []any{record}
	}
	if a.Sub == "" {
		return found
	}
	var subs []any
	for _, v := range found {
		if m, ok := v.(map[string]any); ok {
			subs = append(subs, each(m[a.Sub])...)
		}
	}
	return subs
}

func each(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{v}
}

// compare asks whether one of the values satisfies the comparison; of "ne",
// whether none is equal.
func (e Expr) compare(all []any) bool {
	switch {
	case e.Op == Present:
		return len(all) > 0
	case e.Value == nil:
		return (len(all) == 0) == (e.Op == Equal)
	case e.Op == NotEqual:
		e.Op = Equal
		return !e.compare(all)
	}
	for _, v := range all {
		if e.one(v) {
			return true
		}
	}
	return false
}

func (e Expr) one(v any) bool {
	switch want := e.Value.(type) {
	case bool:
		return v == want
	case float64:
		got, ok := v.(float64)
		return ok && ordered(e.Op, cmp.Compare(got, want))
	case string:
		got, ok := v.(string)
		return ok && e.text(got, want)
	}
	return false
}

func (e Expr) text(got, want string) bool {
	if e.typ.Kind == Time && e.Op != Contains && e.Op != StartsWith && e.Op != EndsWith {
		a, aerr := time.Parse(time.RFC3339Nano, got)
		b, berr := time.Parse(time.RFC3339Nano, want)
		return aerr == nil && berr == nil && ordered(e.Op, a.Compare(b))
	}
	if !e.typ.Exact {
		got, want = strings.ToLower(got), strings.ToLower(want)
	}
	switch e.Op {
	case Contains:
		return strings.Contains(got, want)
	case StartsWith:
		return strings.HasPrefix(got, want)
	case EndsWith:
		return strings.HasSuffix(got, want)
	}
	return ordered(e.Op, strings.Compare(got, want))
}

func ordered(op Op, c int) bool {
	switch op {
	case Equal:
		return c == 0
	case Greater:
		return c > 0
	case GreaterOrEqual:
		return c >= 0
	case Less:
		return c < 0
	case LessOrEqual:
		return c <= 0
	}
	return false
}

func invalid(text string) error {
	return sallyport.E("read filter", sallyport.Invalid, text, "see RFC 7644, section 3.4.2.2").Because("invalidFilter")
}
