package world

import (
	"fmt"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/authz/policy"
)

// A Filter chooses the questions of a world. The zero Filter chooses all.
type Filter struct{ terms []term }

// A term is FIELD == VALUE, FIELD != VALUE or FIELD in VALUE, VALUE, …
type term struct {
	field  string
	not    bool
	values []string
}

// Limits on an expression.
const (
	maxFilter = 1_000 // bytes
	maxTerms  = 16
)

// ParseFilter reads an expression: terms joined by "and", each FIELD == VALUE, FIELD != VALUE or FIELD in VALUE, VALUE. The
// fields are class, environment, action, group (of actions, such as possess), principal and resource (types), and role.
func ParseFilter(s string) (Filter, error) {
	const op = "read expression"
	if len(s) > maxFilter {
		return Filter{}, sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("the expression has more than %d bytes", maxFilter), "")
	}
	var f Filter
	if strings.TrimSpace(s) == "" {
		return f, nil
	}
	for part := range strings.SplitSeq(s, " and ") {
		t, err := parseTerm(part)
		if err != nil {
			return Filter{}, err
		}
		if f.terms = append(f.terms, t); len(f.terms) > maxTerms {
			return Filter{}, sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("the expression has more than %d terms", maxTerms), "")
		}
	}
	return f, nil
}

func parseTerm(s string) (term, error) {
	words := strings.Fields(strings.ReplaceAll(s, ",", " "))
	bad := sallyport.E("read expression", sallyport.Invalid, fmt.Sprintf("%q is no term", sallyport.OneLine(strings.TrimSpace(s))), "write for example: class == restricted and group in possess, release")
	if len(words) < 3 || !slices.Contains([]string{"class", "environment", "action", "group", "principal", "resource", "role"}, words[0]) {
		return term{}, bad
	}
	t := term{field: words[0], not: words[1] == "!="}
	for _, w := range words[2:] {
		t.values = append(t.values, strings.Trim(w, `"'`))
	}
	switch words[1] {
	case "==", "!=":
		if len(t.values) != 1 {
			return term{}, bad
		}
	case "in":
	default:
		return term{}, bad
	}
	return t, nil
}

// check refuses values that no question has: an expression with a slip would be checked for nothing at all.
func (f Filter) check(s policy.Survey) error {
	known := map[string]func(string) bool{
		"class":  func(v string) bool { _, err := sallyport.ParseClass(v); return err == nil },
		"action": func(v string) bool { _, ok := s.Actions[v]; return ok },
		"group": func(v string) bool {
			for _, a := range s.Actions {
				if slices.Contains(a.Groups, v) {
					return true
				}
			}
			return false
		},
		"environment": func(v string) bool { return slices.Contains([]string{"development", "staging", "production"}, v) },
		"principal":   func(v string) bool { _, ok := s.Entities[v]; return ok },
		"resource":    func(v string) bool { _, ok := s.Entities[v]; return ok },
		"role":        func(v string) bool { return sallyport.CheckName("role", v) == nil },
	}
	for _, t := range f.terms {
		for _, v := range t.values {
			if !known[t.field](v) {
				return sallyport.E("read expression", sallyport.Invalid, fmt.Sprintf("there is no %s %q", t.field, sallyport.OneLine(v)), "correct the expression: it would be checked for nothing")
			}
		}
	}
	return nil
}

// holds reports whether a value is one that the term chooses.
func (t term) holds(has func(string) bool) bool { return slices.ContainsFunc(t.values, has) != t.not }

func (f Filter) each(field string, has func(string) bool) bool {
	for _, t := range f.terms {
		if t.field == field && !t.holds(has) {
			return false
		}
	}
	return true
}

func (f Filter) wants(field string) bool {
	return slices.ContainsFunc(f.terms, func(t term) bool { return t.field == field })
}

// action reports whether an action is chosen.
func (f Filter) action(name string, groups []string) bool {
	return f.each("action", func(v string) bool { return v == name }) &&
		f.each("group", func(v string) bool { return slices.Contains(groups, v) })
}

func (f Filter) class(c string) bool { return f.each("class", func(v string) bool { return v == c }) }

// entities reports whether a principal and a resource are chosen.
func (f Filter) entities(p, r policy.Entity) bool {
	in := func(e policy.Entity, kind string) func(string) bool {
		return func(v string) bool { return slices.Contains(e.Parents, policy.UID{Type: kind, ID: v}) }
	}
	class, has := r.Attrs["class"]
	return f.each("principal", func(v string) bool { return v == p.UID.Type }) && f.each("resource", func(v string) bool { return v == r.UID.Type }) &&
		f.each("role", in(p, "Role")) && f.each("environment", in(r, "Environment")) &&
		(!f.wants("class") || has && f.class(class.String))
}

// named are the entities that an expression names.
func (f Filter) named() []policy.UID {
	var out []policy.UID
	for _, t := range f.terms {
		kind := map[string]string{"role": "Role", "environment": "Environment"}[t.field]
		for _, v := range t.values {
			if kind != "" {
				out = append(out, policy.UID{Type: kind, ID: v})
			}
		}
	}
	return out
}
