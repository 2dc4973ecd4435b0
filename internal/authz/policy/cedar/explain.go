package cedar

import (
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar/clause"
)

var _ policy.Explainer = (*Engine)(nil)

// Open is the set without the policies for auditors only.
func (e *Engine) Open() policy.Engine { return e.open }

// publishOpen makes the set without the policies for auditors, which shares everything else with e.
func (e *Engine) publishOpen(policies map[string]compiled) {
	e.open = e
	if !slices.ContainsFunc(e.ids, func(id string) bool { return e.infos[id].Secret }) {
		return
	}
	open := *e
	open.whole = e
	open.index = e.indexOf(policies, func(i policy.Info) bool { return !i.Secret })
	e.open = &open
}

// request is q as cedar-go reads it; ok is false where the schema does not know such a question.
func (e *Engine) request(q *policy.Query) (r cedar.Request, ok bool) {
	r = cedar.Request{Principal: uidOf(q.Principal), Action: uidOf(q.Action), Resource: uidOf(q.Resource)}
	action, known := e.schema.Actions[r.Action]
	if !known || action.AppliesTo == nil ||
		!slices.Contains(action.AppliesTo.Principals, r.Principal.Type) || !slices.Contains(action.AppliesTo.Resources, r.Resource.Type) {
		return r, false
	}
	return r, true
}

// loadedHere returns the entities that this engine, or the one that it is a part of, has loaded.
func (e *Engine) loadedHere(over policy.Entities) (*entities, bool) {
	snap, ok := over.(*entities)
	return snap, ok && snap != nil && (snap.engine == e || e.whole != nil && snap.engine == e.whole)
}

// Explain lists the policies that bear on q, clause by clause.
func (e *Engine) Explain(q policy.Query, over policy.Entities) []policy.Trace {
	snap, mine := e.loadedHere(over)
	r, ok := e.request(&q)
	if !mine || !ok {
		return nil
	}
	list := e.index.candidates(&r, snap)
	if list.weight(len(q.Context.File)) > e.budget {
		return nil
	}
	env := eval.Env{Entities: snap, Principal: r.Principal, Action: r.Action, Resource: r.Resource, Context: e.contextOf(&q.Context)}
	var traces []policy.Trace
	for _, c := range list {
		tree := (*ast.Policy)(c.policy.AST())
		if !clause.InScope(tree, env) {
			continue
		}
		t := policy.Trace{Policy: string(c.id), Effect: e.infos[string(c.id)].Effect}
		t.Applies, t.Clauses = clause.Trace(tree, env)
		traces = append(traces, t)
	}
	slices.SortFunc(traces, func(a, b policy.Trace) int {
		if settles := func(t policy.Trace) bool { return t.Applies != policy.False }; settles(a) != settles(b) {
			if settles(a) {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Policy, b.Policy)
	})
	return traces[:min(len(traces), policy.MaxTraces)]
}

// Levers says what the policies that may bear on q ask that somebody could change.
func (e *Engine) Levers(q policy.Query, over policy.Entities) policy.Levers {
	var all policy.Levers
	snap, mine := e.loadedHere(over)
	r, ok := e.request(&q)
	if !mine || !ok {
		return all
	}
	declared := false
	list := e.index.candidates(&r, snap)
	all.Weight = list.weight(len(q.Context.File))
	for _, c := range list {
		if c.levers == nil { // for auditors, or asking nothing
			continue
		}
		clause.Join(&all, c.levers)
		declared = declared || c.levers.Declared
	}
	if declared && !e.Withheld("resource.purposes") {
		resource, _ := snap.Get(r.Resource)
		declares, _ := resource.Attributes.Get("purposes")
		if set, isSet := declares.(types.Set); isSet {
			var more clause.Own
			for v := range set.All() {
				more.Purpose(v)
			}
			clause.Join(&all, &more)
		}
	}
	if e.Withheld("context.purpose") {
		all.Purposes = nil
	}
	if e.Withheld("context.network") {
		all.Networks = nil
	}
	return all
}

// Withheld tells whether an attribute is for auditors only.
func (e *Engine) Withheld(attribute string) bool {
	of, rest, _ := strings.Cut(attribute, ".")
	path := of
	for name := range strings.SplitSeq(rest, ".") {
		if path += "." + name; e.withheld[path] || of != "context" && e.withheld["."+name] {
			return true
		}
	}
	return false
}

// readAudience finds what the schema keeps for auditors: of the context by its path, of entities by the attribute's
// name, whatever type has it.
func (e *Engine) readAudience() {
	e.withheld = map[string]bool{}
	secret := func(a resolved.Attribute) bool { return a.Annotations["audience"] == policy.Auditor }
	var record func(path string, r resolved.RecordType)
	record = func(path string, r resolved.RecordType) {
		for name, a := range r {
			at := path + "." + string(name)
			if secret(a) {
				e.withheld[at] = true
			}
			if inner, ok := a.Type.(resolved.RecordType); ok {
				record(at, inner)
			}
		}
	}
	for _, a := range e.schema.Actions {
		if a.AppliesTo != nil {
			record("context", a.AppliesTo.Context)
		}
	}
	for _, entity := range e.schema.Entities {
		for name, a := range entity.Shape {
			if secret(a) {
				e.withheld["."+string(name)] = true
			}
		}
	}
}
