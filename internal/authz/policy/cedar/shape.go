package cedar

import (
	"maps"
	"slices"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"sallyport/internal/authz/policy"
)

// A Shape is a schema by itself, for the engines of other languages, which read the same entities and questions. It
// never changes and is safe for concurrent use.
type Shape struct {
	engine *Engine // of a set without policies
}

// An Action is what a schema says of an action.
type Action struct {
	Groups                []string // the groups it is in, over all levels, sorted
	Principals, Resources []string // types of entities, sorted
}

// OpenShape reads a schema. Errors are of kind Invalid or TooLarge.
func OpenShape(schema string) (*Shape, error) {
	sch, _, err := readSchema(schema)
	if err != nil {
		return nil, err
	}
	e := &Engine{schema: sch, validator: validate.New(sch, validate.WithStrict())}
	e.readActions()
	e.readAdded()
	return &Shape{e}, nil
}

// Suit checks entities as Engine.Load does and returns them as the schema knows them: without what joined it later, and
// with an empty set for what is required now and was not said then. What it returns shares memory with list.
func (s *Shape) Suit(list []policy.Entity) ([]policy.Entity, error) {
	loaded, err := s.engine.Load(list)
	if err != nil {
		return nil, err
	}
	suited := slices.Clone(list)
	for i := range suited {
		e := &suited[i]
		as, _ := loaded.(*entities).Get(uidOf(e.UID))
		e.Parents = slices.DeleteFunc(slices.Clone(e.Parents), func(p policy.UID) bool { return !as.Parents.Contains(uidOf(p)) })
		for name := range s.engine.added.attrs[types.EntityType(e.UID.Type)] {
			_, has := as.Attributes.Get(name)
			if _, had := e.Attrs[string(name)]; has == had {
				continue
			}
			e.Attrs = maps.Clone(e.Attrs)
			if has {
				e.Attrs[string(name)] = policy.Value{Kind: policy.SetValue}
			} else {
				delete(e.Attrs, string(name))
			}
		}
	}
	return suited, nil
}

// Actions returns the actions that can be asked about, by name.
func (s *Shape) Actions() map[string]Action {
	all := map[string]Action{}
	for uid, a := range s.engine.schema.Actions {
		if a.AppliesTo == nil {
			continue
		}
		x := Action{Principals: texts(a.AppliesTo.Principals), Resources: texts(a.AppliesTo.Resources)}
		above := []types.EntityUID{uid}
		for i := 0; i < len(above); i++ {
			for up := range s.engine.schema.Actions[above[i]].Entity.Parents.All() {
				if !slices.Contains(above, up) {
					above = append(above, up)
					x.Groups = append(x.Groups, string(up.ID))
				}
			}
		}
		slices.Sort(x.Groups)
		all[string(uid.ID)] = x
	}
	return all
}

// Attributes returns the names of the attributes of each type of entity, sorted.
func (s *Shape) Attributes() map[string][]string {
	all := map[string][]string{}
	for kind, e := range s.engine.schema.Entities {
		all[string(kind)] = attributesOf(e)
	}
	return all
}

func attributesOf(e resolved.Entity) []string {
	names := []string{}
	for name := range e.Shape {
		names = append(names, string(name))
	}
	slices.Sort(names)
	return names
}

func texts(list []types.EntityType) []string {
	all := make([]string, len(list))
	for i, t := range list {
		all[i] = string(t)
	}
	slices.Sort(all)
	return all
}
