// Package dictionary owns what the words of an enforcement point mean here: which principal, action and resource of
// Sallyport's its subjects, actions and resources are (AuthZEN Authorization API 1.0, section 5).
//
// Without a dictionary a point speaks Sallyport's own words. With one, rules that the operator wrote are tried in their
// order and the first that fits counts; what no rule fits is not known and is denied. Properties that a point sends only
// choose between rules: none of them becomes a fact. Facts are Sallyport's own.
//
// It leaves the form of messages to enforce/authzen/wire.
package dictionary

import (
	"fmt"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/enforce/authzen/wire"
)

// Limits on a dictionary.
const (
	maxRules = 10_000
	maxIDs   = 100 // of one rule
)

// Placeholders in rules.
const (
	anyID     = "$id"      // in Is: the id that was sent, where it is a name here
	asSubject = "$subject" // in When: an id that means the same principal as the subject
	anything  = "$any"     // in When: there is one
)

// A Rule says what a word means.
type Rule struct {
	Type string         `yaml:"type"` // of the subject or resource; "" for an action
	ID   []string       `yaml:"id"`   // the ids or names that it is about; none = every one
	When map[string]any `yaml:"when"` // what properties must be: text, number, true or false, $subject or $any
	Is   string         `yaml:"is"`   // "user:rick", "dataset.read", "dataset:acme/claims"; $id stands for the id
}

// A Dictionary is one point's. The zero value has no word; Own returns Sallyport's.
type Dictionary struct {
	Subjects  []Rule `yaml:"subjects"`
	Actions   []Rule `yaml:"actions"`
	Resources []Rule `yaml:"resources"`

	own bool
}

// Own is the dictionary of Sallyport's own words: subjects are of type user, service or agent and called by their names;
// actions are sallyport.Actions; resources are of type model, version, dataset, endpoint, project, organisation or
// system, called as in sallyport.ParseRef without the prefix.
func Own() *Dictionary { return &Dictionary{own: true} }

// Check refuses rules that can mean nothing.
func (d *Dictionary) Check() error {
	const op = "dictionary"
	if len(d.Subjects)+len(d.Actions)+len(d.Resources) > maxRules {
		return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("more than %d rules", maxRules), "")
	}
	for name, part := range map[string]struct {
		rules []Rule
		means func(string) bool
	}{
		"subject":  {d.Subjects, func(s string) bool { _, ok := principal(s); return ok }},
		"action":   {d.Actions, func(s string) bool { return sallyport.Action(s).Valid() }},
		"resource": {d.Resources, func(s string) bool { _, err := sallyport.ParseRef(s); return err == nil }},
	} {
		for i, r := range part.rules {
			if (r.Type == "") != (name == "action") || len(r.ID) > maxIDs || !part.means(strings.ReplaceAll(r.Is, anyID, "name")) {
				return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the %s rule %d (type %.40q, is %.80q) means nothing here", name, i+1, r.Type, r.Is),
					"name a type, and in is: user:NAME, an action of 'sallyport matrix', or a resource")
			}
			if err := r.checkWhen(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r Rule) checkWhen() error {
	for k, v := range r.When {
		switch v.(type) {
		case string, bool, int, float64:
		default:
			return sallyport.E("dictionary", sallyport.Invalid, fmt.Sprintf("when %.40q is neither a text, a number, true nor false", k), "")
		}
	}
	return nil
}

// Subject is the principal that a subject means.
func (d *Dictionary) Subject(e wire.Entity) (sallyport.PrincipalID, bool) {
	if d.own {
		return principal(e.Type + ":" + e.ID)
	}
	for _, r := range d.Subjects {
		if r.fits(e.Type, e.ID, e.Properties, nil) {
			return principal(strings.ReplaceAll(r.Is, anyID, e.ID))
		}
	}
	return "", false
}

// principal reads the whole form of a principal's id, and no other.
func principal(s string) (sallyport.PrincipalID, bool) {
	id, err := sallyport.ParsePrincipalID(s)
	return id, err == nil && string(id) == s
}

// Action is the action that a name means.
func (d *Dictionary) Action(a wire.Action) (sallyport.Action, bool) {
	if d.own {
		return sallyport.Action(a.Name), sallyport.Action(a.Name).Valid()
	}
	for _, r := range d.Actions {
		if r.fits("", a.Name, a.Properties, nil) {
			return sallyport.Action(r.Is), true
		}
	}
	return "", false
}

// Resource is the resource that an entity means to a subject.
func (d *Dictionary) Resource(e, subject wire.Entity) (sallyport.Ref, bool) {
	if d.own {
		return ownResource(e)
	}
	same := func(id string) bool {
		a, ok := d.Subject(subject)
		b, known := d.Subject(wire.Entity{Type: subject.Type, ID: id})
		return ok && known && a == b
	}
	for _, r := range d.Resources {
		if r.fits(e.Type, e.ID, e.Properties, same) {
			ref, err := sallyport.ParseRef(strings.ReplaceAll(r.Is, anyID, e.ID))
			return ref, err == nil
		}
	}
	return sallyport.Ref{}, false
}

// fits reports whether a rule is about an entity.
func (r Rule) fits(kind, id string, properties map[string]any, same func(string) bool) bool {
	if r.Type != kind || len(r.ID) > 0 && !slices.Contains(r.ID, id) {
		return false
	}
	for key, want := range r.When {
		got, there := properties[key]
		if !there || !equal(want, got, same) {
			return false
		}
	}
	return true
}

func equal(want, got any, same func(string) bool) bool {
	switch want {
	case anything:
		return got != nil
	case asSubject:
		id, ok := got.(string)
		return ok && same != nil && same(id)
	}
	switch w := want.(type) {
	case int:
		n, ok := got.(float64)
		return ok && n == float64(w)
	case string, bool, float64:
		return got == w
	}
	return false
}

// prefixes of resources by their type in Sallyport's own words.
func prefixes() map[string]string {
	return map[string]string{"model": "model:", "version": "model:", "dataset": "dataset:", "endpoint": "endpoint:", "project": "project:", "organisation": "org:"}
}

func ownResource(e wire.Entity) (sallyport.Ref, bool) {
	if e.Type == "system" {
		return sallyport.Ref{Kind: sallyport.SystemKind}, e.ID == "system" || e.ID == "sallyport"
	}
	prefix, ok := prefixes()[e.Type]
	if !ok {
		return sallyport.Ref{}, false
	}
	r, err := sallyport.ParseRef(prefix + e.ID)
	return r, err == nil && (e.Type != "version" || r.Revision != "")
}

// OwnEntity is a resource in Sallyport's own words: what Own reads back.
func OwnEntity(r sallyport.Ref) wire.Entity {
	e := wire.Entity{Type: string(r.Kind), ID: r.Org + "/" + r.Name}
	switch r.Kind {
	case sallyport.SystemKind:
		e.ID = "system"
	case sallyport.OrganisationKind:
		e.ID = r.Org
	case sallyport.ModelKind, sallyport.VersionKind:
		if e.Type = string(sallyport.ModelKind); r.Revision != "" {
			e.Type, e.ID = string(sallyport.VersionKind), e.ID+"@"+r.Revision
		}
	}
	return e
}

// SubjectsOf are the words for principals of a type, by principal: those of people that rules name, or whoever of members
// a rule for every id means.
func (d *Dictionary) SubjectsOf(kind string, members []sallyport.PrincipalID) []Named[sallyport.PrincipalID] {
	var all []Named[sallyport.PrincipalID]
	seen := map[string]bool{}
	add := func(e wire.Entity) {
		if id, ok := d.Subject(e); ok && !seen[e.ID] {
			seen[e.ID] = true
			all = append(all, Named[sallyport.PrincipalID]{Entity: e, Is: id})
		}
	}
	for _, r := range d.Subjects {
		if r.Type == kind && len(r.When) == 0 && len(r.ID) > 0 {
			add(wire.Entity{Type: kind, ID: r.ID[0]})
		}
	}
	for _, m := range members {
		if d.own && string(m.Kind()) == kind || d.everyID(d.Subjects, kind) {
			add(wire.Entity{Type: kind, ID: m.Name()})
		}
	}
	return sorted(all)
}

// Named is a word with what it means.
type Named[T any] struct {
	Entity wire.Entity
	Is     T
}

// ResourcesOf are the words for resources of a type, to a subject: those that rules name, and those of refs that a rule
// for every id means.
func (d *Dictionary) ResourcesOf(kind string, subject wire.Entity, refs []sallyport.Ref) []Named[sallyport.Ref] {
	var all []Named[sallyport.Ref]
	seen := map[string]bool{}
	add := func(e wire.Entity) {
		if ref, ok := d.Resource(e, subject); ok && !seen[e.ID] {
			seen[e.ID] = true
			all = append(all, Named[sallyport.Ref]{Entity: e, Is: ref})
		}
	}
	for _, r := range d.Resources {
		if r.Type == kind && len(r.When) == 0 && len(r.ID) > 0 {
			add(wire.Entity{Type: kind, ID: r.ID[0]})
		}
	}
	for _, ref := range refs {
		switch {
		case d.own && OwnEntity(ref).Type == kind:
			add(OwnEntity(ref))
		case !d.own && d.everyID(d.Resources, kind):
			add(wire.Entity{Type: kind, ID: ref.Name})
		}
	}
	return sorted(all)
}

// ActionNames are the names of actions that mean something without properties.
func (d *Dictionary) ActionNames() map[string]sallyport.Action {
	names := map[string]sallyport.Action{}
	if d.own {
		for _, a := range sallyport.Actions() {
			names[string(a)] = a
		}
		return names
	}
	for _, r := range d.Actions {
		for _, name := range r.ID {
			if a, ok := d.Action(wire.Action{Name: name}); ok {
				names[name] = a
			}
		}
	}
	return names
}

// everyID reports whether a rule of a type takes every id into what it means.
func (d *Dictionary) everyID(rules []Rule, kind string) bool {
	return slices.ContainsFunc(rules, func(r Rule) bool {
		return r.Type == kind && len(r.ID) == 0 && len(r.When) == 0 && strings.Contains(r.Is, anyID)
	})
}

func sorted[T any](all []Named[T]) []Named[T] {
	slices.SortFunc(all, func(a, b Named[T]) int { return strings.Compare(a.Entity.ID, b.Entity.ID) })
	return all
}
