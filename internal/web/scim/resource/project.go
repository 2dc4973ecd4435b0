package resource

import (
	"maps"

	"sallyport"
	"sallyport/internal/web/scim/filter"
)

// A Projection is what of a record is shown (RFC 7644, section 3.9).
type Projection struct {
	only, without []filter.Attr
}

// maxNames bounds how many attributes a request names.
const maxNames = 64

// Projection reads the parameters attributes and excludedAttributes, of which one
// at most may be given. Names that the type does not have select nothing.
func (t Type) Projection(only, without []string) (Projection, error) {
	if len(only) > 0 && len(without) > 0 || len(only)+len(without) > maxNames {
		return Projection{}, Invalid("invalidValue", "attributes and excludedAttributes exclude each other, and name few")
	}
	var p Projection
	for _, s := range []struct {
		names []string
		into  *[]filter.Attr
	}{{only, &p.only}, {without, &p.without}} {
		for _, name := range s.names {
			a, err := filter.ParseAttr(name)
			if err != nil {
				return Projection{}, Invalid("invalidValue", "this is no name of an attribute: "+sallyport.OneLine(name))
			}
			if as, _, ok := t.Attr(a); ok {
				a = as
			}
			*s.into = append(*s.into, a)
		}
	}
	return p, nil
}

// Show returns what of a record is shown, with the schemas that it speaks. The
// id is always among it.
func (t Type) Show(r Record, p Projection) map[string]any {
	out := map[string]any(r.Clone())
	switch {
	case p.only != nil:
		out = map[string]any{}
		for _, a := range p.only {
			keep(out, r, a)
		}
	case p.without != nil:
		for _, a := range p.without {
			drop(out, a)
		}
	}
	if id, ok := r["id"]; ok {
		out["id"] = id
	}
	schemas := []any{t.Schema.URN}
	if t.Extension != nil && out[t.Extension.URN] != nil {
		schemas = append(schemas, t.Extension.URN)
	}
	out["schemas"] = schemas
	return out
}

// keep copies an attribute.
func keep(out, from map[string]any, a filter.Attr) {
	if a.URN != "" {
		inner, ok := from[a.URN].(map[string]any)
		if !ok {
			return
		}
		if a.Name == "" {
			out[a.URN] = copied(inner)
			return
		}
		to, ok := out[a.URN].(map[string]any)
		if !ok {
			to = map[string]any{}
		}
		urn := a.URN
		a.URN, from = "", inner
		if keep(to, from, a); len(to) > 0 {
			out[urn] = to
		}
		return
	}
	v, ok := from[a.Name]
	switch {
	case !ok:
	case a.Sub == "":
		out[a.Name] = copied(v)
	default:
		if part := parts(v, a.Sub); part != nil {
			out[a.Name] = merged(out[a.Name], part)
		}
	}
}

// parts returns the values of v with nothing but sub.
func parts(v any, sub string) any {
	switch v := v.(type) {
	case map[string]any:
		if x, ok := v[sub]; ok {
			return map[string]any{sub: copied(x)}
		}
		return nil
	case []any:
		list := make([]any, len(v))
		for i, one := range v {
			if list[i] = parts(one, sub); list[i] == nil {
				list[i] = map[string]any{}
			}
		}
		return list
	}
	return nil
}

// merged joins two selections of parts of one value.
func merged(a, b any) any {
	switch x := a.(type) {
	case map[string]any:
		if y, ok := b.(map[string]any); ok {
			maps.Copy(x, y)
			return x
		}
	case []any:
		if y, ok := b.([]any); ok && len(x) == len(y) {
			for i := range x {
				x[i] = merged(x[i], y[i])
			}
			return x
		}
	}
	return b
}

// drop takes an attribute out.
func drop(out map[string]any, a filter.Attr) {
	if a.URN != "" && a.Name != "" {
		if inner, ok := out[a.URN].(map[string]any); ok {
			a.URN, out = "", inner
			drop(out, a)
		}
		return
	}
	name := a.Name
	if a.URN != "" {
		name = a.URN
	}
	if a.Sub == "" {
		delete(out, name)
		return
	}
	switch v := out[name].(type) {
	case map[string]any:
		delete(v, a.Sub)
	case []any:
		for _, one := range v {
			if m, ok := one.(map[string]any); ok {
				delete(m, a.Sub)
			}
		}
	}
}
