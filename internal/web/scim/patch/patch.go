// Package patch owns what the operations of a PATCH make of a SCIM record (RFC
// 7644, section 3.5.2), in the shapes that providers really send. It is pure. It
// leaves attributes and their values to web/scim/resource.
package patch

import (
	"fmt"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/web/scim/filter"
	"sallyport/internal/web/scim/resource"
)

// URN is the schema of a PATCH's body.
const URN = "urn:ietf:params:scim:api:messages:2.0:PatchOp"

// MaxOperations bounds the operations of one PATCH, those of attributes in a value
// without a path counted each.
const MaxOperations = 1000

// Apply returns what the operations of a body make of a record of a type; the
// record stays as it is. All of them apply, or none. The shapes that
// Entra and Okta send are understood: operations with a capital, names with dots
// and filters in a value without a path, and members to remove as a list.
func Apply(t resource.Type, r resource.Record, raw []byte) (resource.Record, error) {
	v, err := resource.DecodeJSON(raw)
	if err != nil {
		return nil, err
	}
	body, _ := v.(map[string]any)
	schemas, _ := member(body, "schemas").([]any)
	operations, _ := member(body, "operations").([]any)
	if len(schemas) != 1 || !strings.EqualFold(fmt.Sprint(schemas[0]), URN) || len(operations) == 0 {
		return nil, resource.Invalid("invalidSyntax", "the body is no PatchOp with Operations")
	}
	p := patch{Type: t, record: r.Clone()}
	for _, o := range operations {
		fields, ok := o.(map[string]any)
		if !ok {
			return nil, resource.Invalid("invalidSyntax", "an operation is no object")
		}
		if err := p.operation(fields); err != nil {
			return nil, err
		}
	}
	prune(p.record)
	return p.record, t.Check(p.record)
}

// prune takes out what operations left empty.
func prune(m map[string]any) {
	for name, v := range m {
		if inner, ok := v.(map[string]any); ok {
			prune(inner)
		}
		if empty(v) {
			delete(m, name)
		}
	}
}

func empty(v any) bool {
	switch v := v.(type) {
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return v == nil
}

// member reads a member of a message, whatever its case.
func member(m map[string]any, name string) any {
	for key, v := range m {
		if strings.EqualFold(key, name) {
			return v
		}
	}
	return nil
}

type patch struct {
	resource.Type
	record resource.Record
	done   int // operations
}

func (p *patch) operation(fields map[string]any) error {
	for key := range fields {
		if !strings.EqualFold(key, "op") && !strings.EqualFold(key, "path") && !strings.EqualFold(key, "value") {
			return resource.Invalid("invalidSyntax", "an operation has "+sallyport.OneLine(key)+", which means nothing")
		}
	}
	name, _ := member(fields, "op").(string)
	op := strings.ToLower(name)
	if op != "add" && op != "replace" && op != "remove" {
		return resource.Invalid("invalidSyntax", "there is no operation "+sallyport.OneLine(name))
	}
	value := member(fields, "value")
	switch path := member(fields, "path").(type) {
	case string:
		return p.apply(op, path, value)
	case nil:
	default:
		return resource.Invalid("invalidPath", "a path is no text")
	}
	all, ok := value.(map[string]any)
	if op == "remove" || !ok {
		return resource.Invalid("noTarget", "an operation says not what it is about")
	}
	for _, path := range sortedKeys(all) {
		if strings.EqualFold(path, "schemas") || p.serversOwn(path) {
			continue
		}
		if err := p.apply(op, path, all[path]); err != nil {
			return err
		}
	}
	return nil
}

// serversOwn reports whether a name in a value without a path is the server's own,
// which Okta repeats there and means nothing by.
func (p *patch) serversOwn(name string) bool {
	path, err := filter.ParseAttr(name)
	if err != nil {
		return false
	}
	_, a, ok := p.Attr(path)
	return ok && a.Mutability == "readOnly"
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// A target is the place in a record that an operation is about.
type target struct {
	op     string
	holder map[string]any // in which the attribute stands: the record or an extension
	attr   resource.Attribute
	where  *filter.Expr // which of its values; nil = all
	sub    string       // which part of them; "" = all
	value  any
}

func (p *patch) apply(op, text string, value any) error {
	if p.done++; p.done > MaxOperations {
		return sallyport.E("patch", sallyport.TooLarge, fmt.Sprintf("more than %d operations", MaxOperations), "").Because("tooMany")
	}
	if strings.EqualFold(text, "password") {
		return nil // nobody sets one from outside
	}
	path, err := filter.ParsePath(text)
	if err != nil {
		return err
	}
	name := path.Attr
	name.Sub = ""
	as, a, ok := p.Attr(name)
	if !ok {
		return resource.Invalid("invalidPath", "there is no attribute "+sallyport.OneLine(text))
	}
	if as.URN != "" && as.Name == "" && path.Attr.Sub == "" {
		return p.extension(op, as.URN, a, value)
	}
	t := target{op: op, holder: p.record, attr: a, value: value, sub: path.Attr.Sub + path.Sub}
	if as.URN != "" {
		t.holder = p.holder(as.URN)
	}
	if t.sub != "" {
		sub, ok := resource.Find(a.Sub, t.sub)
		if !ok {
			return resource.Invalid("invalidPath", "there is no attribute "+sallyport.OneLine(text))
		}
		if t.sub = sub.Name; sub.Mutability == "readOnly" {
			return errReadOnly(text)
		}
	}
	if a.Mutability == "readOnly" {
		return errReadOnly(text)
	}
	if path.Where != nil {
		where, err := (filter.Expr{Op: filter.Has, Attr: name, Args: []filter.Expr{*path.Where}}).Resolve(p.Resolve)
		if err != nil {
			return err
		}
		t.where = &where.Args[0]
	}
	return t.change()
}

func errReadOnly(text string) error {
	return resource.Invalid("mutability", sallyport.OneLine(text)+" is the server's own")
}

func (p *patch) holder(urn string) map[string]any {
	m, ok := p.record[urn].(map[string]any)
	if !ok {
		m = map[string]any{}
		p.record[urn] = m
	}
	return m
}

// extension applies an operation to all of an extension.
func (p *patch) extension(op, urn string, a resource.Attribute, value any) error {
	if op == "remove" {
		delete(p.record, urn)
		return nil
	}
	all, ok := value.(map[string]any)
	if !ok {
		return resource.Invalid("invalidValue", "an extension is an object")
	}
	if op == "replace" {
		delete(p.record, urn)
	}
	for _, key := range sortedKeys(all) {
		if strings.EqualFold(key, "schemas") {
			continue
		}
		if _, ok := resource.Find(a.Sub, key); !ok {
			return resource.Unknown(urn + ":" + key)
		}
		if err := p.apply(op, urn+":"+key, all[key]); err != nil {
			return err
		}
	}
	return nil
}

func (t target) change() error {
	switch {
	case t.attr.Many && (t.where != nil || t.sub != ""):
		return t.some()
	case t.op == "remove" && t.sub == "":
		return t.remove()
	case t.sub != "":
		return t.part()
	}
	v, err := t.attr.Normal(t.value)
	if err != nil {
		return err
	}
	old, had := t.holder[t.attr.Name]
	switch {
	case t.op == "add" && t.attr.Many && had:
		return t.append(old, v)
	case t.attr.Type == filter.Complex && !t.attr.Many && had && v != nil: // parts that are not named stay
		for key, part := range v.(map[string]any) {
			old.(map[string]any)[key] = part
		}
		return nil
	}
	resource.Set(t.holder, t.attr.Name, v)
	return nil
}

// append adds values that are not there yet. A new primary one makes the old one
// ordinary.
func (t target) append(old, added any) error {
	all, _ := old.([]any)
	more, _ := added.([]any)
	for _, v := range more {
		if m, _ := v.(map[string]any); m["primary"] == true {
			ordinary(all)
		}
	}
	all, err := t.attr.Values(append(all, more...))
	if err == nil {
		t.holder[t.attr.Name] = all
	}
	return err
}

func ordinary(all []any) {
	for _, v := range all {
		if m, _ := v.(map[string]any); m["primary"] == true {
			m["primary"] = false
		}
	}
}

// remove takes an attribute away, or of a multi-valued one the values that are
// listed, as Entra and Okta remove members.
func (t target) remove() error {
	listed, err := t.attr.Normal(t.value)
	if err != nil {
		return err
	}
	gone, _ := listed.([]any)
	if !t.attr.Many || len(gone) == 0 {
		delete(t.holder, t.attr.Name)
		return nil
	}
	ids := map[any]bool{}
	for _, v := range gone {
		m, _ := v.(map[string]any)
		ids[m["value"]] = true
	}
	all, _ := t.holder[t.attr.Name].([]any)
	t.holder[t.attr.Name] = slices.DeleteFunc(slices.Clone(all), func(v any) bool {
		m, _ := v.(map[string]any)
		return m["value"] != nil && ids[m["value"]]
	})
	return nil
}

// part changes a part of the complex value of an attribute.
func (t target) part() error {
	m, ok := t.holder[t.attr.Name].(map[string]any)
	if !ok {
		m = map[string]any{}
		t.holder[t.attr.Name] = m
	}
	return t.setPart(m)
}

func (t target) setPart(m map[string]any) error {
	sub, _ := resource.Find(t.attr.Sub, t.sub)
	if t.op == "remove" {
		delete(m, sub.Name)
		return nil
	}
	v, err := sub.Normal(t.value)
	if err != nil {
		return err
	}
	if sub.Mutability == "immutable" && m[sub.Name] != nil && m[sub.Name] != v {
		return resource.Invalid("mutability", t.attr.Name+"."+sub.Name+" does not change: remove the value and add another")
	}
	resource.Set(m, sub.Name, v)
	return nil
}

// some changes those values of a multi-valued attribute that the filter selects,
// all of them without one.
func (t target) some() error {
	all, _ := t.holder[t.attr.Name].([]any)
	var kept []any
	matched := false
	for _, v := range all {
		m, _ := v.(map[string]any)
		if t.where != nil && !t.where.Match(m) {
			kept = append(kept, v)
			continue
		}
		matched = true
		changed, err := t.one(m, all)
		if err != nil {
			return err
		}
		if changed != nil {
			kept = append(kept, changed)
		}
	}
	if !matched && t.op != "remove" {
		fresh, err := t.fresh()
		if err != nil {
			return err
		}
		kept = append(kept, fresh)
	}
	kept, err := t.attr.Values(kept)
	if err == nil {
		t.holder[t.attr.Name] = kept // Apply drops it where nothing is left
	}
	return err
}

// one changes one value and returns it, nil where it is removed.
func (t target) one(m map[string]any, all []any) (any, error) {
	switch {
	case t.sub != "":
		if t.sub == "primary" && t.op != "remove" {
			ordinary(all)
		}
		if err := t.setPart(m); err != nil || len(m) == 0 {
			return nil, err
		}
		return m, nil
	case t.op == "remove":
		return nil, nil
	}
	v, err := t.attr.Single(t.value)
	if err != nil || v == nil {
		return nil, err
	}
	if t.op == "replace" {
		return v, nil
	}
	for key, part := range v.(map[string]any) {
		m[key] = part
	}
	return m, nil
}

// fresh makes the value that a filter did not find, where it says enough: an
// operation "add" on emails[type eq "work"].value makes an address for work. To
// replace what is not there is an error (RFC 7644, section 3.5.2.3).
func (t target) fresh() (any, error) {
	missing := resource.Invalid("noTarget", "no value of "+t.attr.Name+" is the one that is meant")
	if t.op != "add" {
		return nil, missing
	}
	m := map[string]any{}
	switch w := t.where; {
	case w == nil:
	case w.Op == filter.Equal && w.Value != nil && w.Attr.Sub == "":
		m[w.Attr.Name] = w.Value
	default:
		return nil, missing
	}
	if t.sub != "" {
		return m, t.setPart(m)
	}
	v, err := t.attr.Single(t.value)
	if err != nil {
		return nil, err
	}
	parts, _ := v.(map[string]any)
	for key, part := range parts {
		m[key] = part
	}
	return m, nil
}
