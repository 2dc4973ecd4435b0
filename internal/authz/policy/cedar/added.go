package cedar

import (
	"slices"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
)

// added says how facts of one version of the program meet a schema of another. A
// policy set keeps the schema that it was written against: a set of before an
// attribute is given entities without it, and a newer set is given nothing for what
// facts of before do not say, so that both load and decide as their authors meant.
type added struct {
	past bool // the context has working, country or history
	to   bool // the context has to
	// probation says whether the context has it.
	probation bool
	training  bool // the context has training
	attrs     map[types.EntityType]map[types.String]change
	// placed says whether a dataset may stand in an environment.
	placed bool
}

// A change is what Load does about one attribute.
type change struct {
	drop bool        // the schema does not declare it
	fill types.Value // it is declared and required: what it is where nothing is said
}

// later are the attributes that joined the schema, with what they are where nothing
// is said; nil where they are optional.
func later() map[types.EntityType]map[types.String]types.Value {
	none := types.NewSet()
	return map[types.EntityType]map[types.String]types.Value{
		"Model":   {"purposes": none},
		"Version": {"purposes": none, "makers": none, "trainedBy": nil},
		"Dataset": {"purposes": none},
		"Service": {"environment": nil},
		"Agent":   {"environment": nil},
	}
}

// readAdded looks up in the schema what joined it.
func (e *Engine) readAdded() {
	e.added.attrs = map[types.EntityType]map[types.String]change{}
	for kind, attrs := range later() {
		shape := e.schema.Entities[kind].Shape
		e.added.attrs[kind] = map[types.String]change{}
		for name, none := range attrs {
			declared, ok := shape[name]
			c := change{drop: !ok}
			if ok && !declared.Optional {
				c.fill = none
			}
			e.added.attrs[kind][name] = c
		}
	}
	e.added.placed = slices.Contains(e.schema.Entities["Dataset"].ParentTypes, "Environment")
	for _, a := range e.schema.Actions {
		if a.AppliesTo != nil {
			e.added.past = e.added.past || declaresAny(a.AppliesTo.Context, "working", "country", "history")
			e.added.to = e.added.to || declaresAny(a.AppliesTo.Context, "to")
			e.added.probation = e.added.probation || declaresAny(a.AppliesTo.Context, "probation")
			e.added.training = e.added.training || declaresAny(a.AppliesTo.Context, "training")
		}
	}
}

func declaresAny(r resolved.RecordType, names ...types.String) bool {
	return slices.ContainsFunc(names, func(name types.String) bool { _, ok := r[name]; return ok })
}

// suit returns the entity as the engine's schema knows it.
func (a *added) suit(e types.Entity) types.Entity {
	if !a.placed && e.UID.Type == "Dataset" {
		e.Parents = without(e.Parents, "Environment")
	}
	var m types.RecordMap
	for name, c := range a.attrs[e.UID.Type] {
		_, has := e.Attributes.Get(name)
		if has == !c.drop || !has && c.fill == nil {
			continue
		}
		if m == nil {
			m = e.Attributes.Map()
		}
		if c.drop {
			delete(m, name)
		} else {
			m[name] = c.fill
		}
	}
	if m != nil {
		e.Attributes = types.NewRecord(m)
	}
	return e
}

func without(all types.EntityUIDSet, kind types.EntityType) types.EntityUIDSet {
	var kept []types.EntityUID
	for uid := range all.All() {
		if uid.Type != kind {
			kept = append(kept, uid)
		}
	}
	return types.NewEntityUIDSet(kept...)
}
