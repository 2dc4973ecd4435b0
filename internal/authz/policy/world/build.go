package world

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sallyport/internal/authz/policy"

	"sallyport"
)

// A builder makes the entities of a world.
type builder struct {
	shape  policy.Survey
	pools  map[string]policy.Pool
	limits Limits
	filter Filter
	report *Report
}

// fresh is a name that no policy has.
const fresh = "~"

func text(s string) policy.Value { return policy.Value{Kind: policy.StringValue, String: s} }

func ref(u policy.UID) policy.Value { return policy.Value{Kind: policy.EntityValue, Entity: u} }

func set(all ...policy.Value) policy.Value { return policy.Value{Kind: policy.SetValue, Set: all} }

// entities are the principals or resources of a type; a resource's people are the principal's own or others.
func (b *builder) entities(variable, kind string, all play, principal *policy.Entity) []policy.Entity {
	shape := b.shape.Entities[kind]
	named := map[policy.UID]bool{}
	for _, p := range all {
		for _, u := range p.Named {
			named[u] = true
		}
	}
	for _, u := range b.filter.named() {
		named[u] = true
	}
	ids := []policy.UID{{Type: kind, ID: fresh + variable}}
	var parents []policy.UID
	for u := range named {
		if u.Type == kind {
			ids = append(ids, u)
		}
		if slices.Contains(shape.Parents, u.Type) {
			parents = append(parents, u)
		}
	}
	order := func(x, y policy.UID) int { return strings.Compare(x.String(), y.String()) }
	slices.SortFunc(ids, order)
	slices.SortFunc(parents, order)
	attrs := b.attributes(variable, kind, shape, principal)
	var out []policy.Entity
	for _, id := range ids {
		for _, in := range subsets(parents, b.limits.Parents) {
			if variable == "resource" && doubled(in) {
				continue
			}
			for _, a := range attrs {
				out = append(out, policy.Entity{UID: id, Parents: in, Attrs: a(id)})
			}
		}
	}
	return out
}

// subsets are the sets of at most k of a list, the smallest first.
func subsets(list []policy.UID, k int) [][]policy.UID {
	out := [][]policy.UID{nil}
	last := out
	for range k {
		var next [][]policy.UID
		for _, s := range last {
			from := 0
			if len(s) > 0 {
				from = slices.Index(list, s[len(s)-1]) + 1
			}
			for _, u := range list[from:] {
				next = append(next, append(slices.Clone(s), u))
			}
		}
		out, last = append(out, next...), next
	}
	return out
}

// doubled reports whether a list has two of one type: a thing stands in one environment, one project, one model.
func doubled(list []policy.UID) bool {
	for i, u := range list {
		if slices.ContainsFunc(list[:i], func(x policy.UID) bool { return x.Type == u.Type }) {
			return true
		}
	}
	return false
}

// An option is one value of an attribute for the entity that has it; no value leaves it out.
type option func(self policy.UID) (policy.Value, bool)

func always(v policy.Value) option { return func(policy.UID) (policy.Value, bool) { return v, true } }

// attributes are all combinations of the values of what policies read.
func (b *builder) attributes(variable, kind string, shape policy.Shape, principal *policy.Entity) []func(policy.UID) map[string]policy.Value {
	names := slices.Sorted(maps.Keys(shape.Attrs))
	options := make([][]option, len(names))
	for i, name := range names {
		path := variable + "." + name
		pool, read := b.pools[path]
		options[i] = b.options(shape.Attrs[name], kind, pool, principal)
		if name == "class" && variable == "resource" {
			options[i] = classes(pool, b.filter)
		}
		if !read && !(name == "class" && b.filter.wants("class")) {
			options[i] = options[i][:1]
		}
		b.report.Values[path] = max(b.report.Values[path], len(options[i]))
	}
	b.deeper(variable)
	out := []func(policy.UID) map[string]policy.Value{}
	at := make([]int, len(names))
	for {
		chosen := slices.Clone(at)
		out = append(out, func(self policy.UID) map[string]policy.Value {
			attrs := map[string]policy.Value{}
			for i, name := range names {
				if v, ok := options[i][chosen[i]](self); ok {
					attrs[name] = v
				}
			}
			return attrs
		})
		i := len(at) - 1
		for ; i >= 0; i-- {
			if at[i]++; at[i] < len(options[i]) {
				break
			}
			at[i] = 0
		}
		if i < 0 {
			return out
		}
	}
}

// deeper notes attributes of attributes' entities, which the world does not vary.
func (b *builder) deeper(variable string) {
	for path := range b.pools {
		if rest, ok := strings.CutPrefix(path, variable+"."); ok && strings.Contains(rest, ".") && !slices.Contains(b.report.Unexplored, path) {
			b.report.Unexplored = append(b.report.Unexplored, path)
		}
	}
}

// classes are those that there are and those that are compared with, the narrowest first.
func classes(pool policy.Pool, f Filter) []option {
	all := []string{string(sallyport.Restricted), string(sallyport.Internal), string(sallyport.Public)}
	for _, v := range pool.Values {
		if v.Kind == policy.StringValue && !slices.Contains(all, v.String) {
			all = append(all, v.String)
		}
	}
	var out []option
	for _, c := range all {
		if f.class(c) {
			out = append(out, always(text(c)))
		}
	}
	if len(out) == 0 {
		out = append(out, always(text(all[0])))
	}
	return out
}

// options are the values of one attribute, the one that it has when nobody reads it first.
func (b *builder) options(a policy.Attr, kind string, pool policy.Pool, principal *policy.Entity) []option {
	var out []option
	if a.Optional {
		out = append(out, func(policy.UID) (policy.Value, bool) { return policy.Value{}, false })
	}
	switch a.Kind {
	case policy.BoolValue:
		return append(out, always(policy.Value{Kind: policy.BoolValue}), always(policy.Value{Kind: policy.BoolValue, Bool: true}))
	case policy.LongValue:
		for _, n := range around(pool, 0, 1<<40) {
			out = append(out, always(policy.Value{Kind: policy.LongValue, Long: n}))
		}
	case policy.StringValue:
		for _, s := range texts(pool) {
			out = append(out, always(text(s)))
		}
	case policy.EntityValue:
		for _, f := range people(a.Entity, kind, pool, principal) {
			out = append(out, func(self policy.UID) (policy.Value, bool) { return ref(f(self)), true })
		}
	case policy.SetValue:
		out = append(out, always(set()))
		if a.Element == policy.StringValue {
			for _, s := range texts(pool)[1:] {
				out = append(out, always(set(text(s))))
			}
		}
		if a.Element == policy.EntityValue {
			for _, f := range people(a.Entity, kind, pool, principal) {
				out = append(out, func(self policy.UID) (policy.Value, bool) { return set(ref(f(self))), true })
			}
		}
	default:
		out = append(out, always(policy.Value{Kind: a.Kind, Record: map[string]policy.Value{}}))
	}
	return out
}

// people are the entities of a type that an attribute may name: itself, the principal's person, a stranger, and those that
// policies name.
func people(of, kind string, pool policy.Pool, principal *policy.Entity) []func(policy.UID) policy.UID {
	var out []func(policy.UID) policy.UID
	fixed := func(u policy.UID) { out = append(out, func(policy.UID) policy.UID { return u }) }
	if of == kind {
		out = append(out, func(self policy.UID) policy.UID { return self })
	}
	if principal != nil {
		switch {
		case principal.Attrs["person"].Entity.Type == of:
			fixed(principal.Attrs["person"].Entity)
		case principal.Attrs["owner"].Entity.Type == of:
			fixed(principal.Attrs["owner"].Entity)
		}
	}
	fixed(policy.UID{Type: of, ID: fresh + "other"})
	for _, v := range pool.Values {
		if v.Kind == policy.EntityValue && v.Entity.Type == of {
			fixed(v.Entity)
		}
	}
	return out
}

// around are numbers on all sides of those compared with, the least first.
func around(pool policy.Pool, least, most int64) []int64 {
	list := []int64{least}
	for _, v := range pool.Values {
		if v.Kind == policy.LongValue {
			list = append(list, v.Long-1, v.Long, v.Long+1)
		}
	}
	list = slices.DeleteFunc(list, func(n int64) bool { return n < least || n > most })
	slices.Sort(list)
	return slices.Compact(list)
}

// texts are those compared with, "" first, one that nobody names, and one for each way that a pattern can be filled.
func texts(pool policy.Pool) []string {
	list := []string{"", fresh}
	for _, v := range pool.Values {
		if v.Kind == policy.StringValue {
			list = append(list, v.String)
		}
	}
	for _, p := range pool.Patterns {
		list = append(list, strings.ReplaceAll(p, "*", ""), strings.ReplaceAll(p, "*", fresh))
	}
	slices.Sort(list[2:])
	return slices.Compact(list)
}

// around are all entities of a pair: both, and what they name.
func (b *builder) around(p, r policy.Entity) []policy.Entity {
	out := []policy.Entity{p, r}
	known := map[policy.UID]bool{p.UID: true, r.UID: true}
	named := slices.Concat(p.Parents, r.Parents)
	for _, e := range []policy.Entity{p, r} {
		for _, v := range e.Attrs {
			named = append(named, v.Entity)
			for _, x := range v.Set {
				named = append(named, x.Entity)
			}
		}
	}
	for _, u := range named {
		if u == (policy.UID{}) || known[u] {
			continue
		}
		known[u] = true
		out = append(out, policy.Entity{UID: u, Attrs: b.defaults(u)})
	}
	return out
}

// defaults are the attributes of an entity that is only named.
func (b *builder) defaults(u policy.UID) map[string]policy.Value {
	attrs := map[string]policy.Value{}
	for name, a := range b.shape.Entities[u.Type].Attrs {
		if a.Optional {
			continue
		}
		v, _ := b.options(a, u.Type, policy.Pool{}, nil)[0](u)
		if name == "class" {
			v = text(string(sallyport.Restricted))
		}
		attrs[name] = v
	}
	return attrs
}

// example is a question for people.
func (p *pair) example(q policy.Query, before, after sallyport.Decision) *Example {
	x := &Example{Principal: q.Principal, Action: p.action, Resource: q.Resource, Entities: p.entities, Context: q.Context, Varied: map[string]string{},
		Before: said(before), After: said(after)}
	for _, d := range p.varied {
		x.Varied[d.path] = d.read(q.Context)
	}
	return x
}

func said(d sallyport.Decision) string {
	return fmt.Sprintf("%s by %s", d.Outcome, strings.Join(d.ReasonIDs(), " "))
}
