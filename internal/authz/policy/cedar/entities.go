package cedar

import (
	"fmt"
	"unicode/utf8"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"sallyport"
	"sallyport/internal/authz/policy"
)

// Limits on what Load accepts.
const (
	MaxEntities = 200_000
	MaxParents  = 4_096 // of one entity
	MaxString   = 4_096 // bytes of a string or an id
	MaxElements = 4_096 // of a set or a record
	maxNesting  = 8     // sets and records within each other
)

// entities are the entities of one question, as their engine reads them.
type entities struct {
	engine *Engine
	loaded types.EntityMap
}

// Len returns how many entities were loaded, actions apart.
func (s *entities) Len() int { return len(s.loaded) }

// Get finds an entity; actions come from the schema.
func (s *entities) Get(uid types.EntityUID) (types.Entity, bool) {
	if found, ok := s.loaded[uid]; ok {
		return found, true
	}
	found, ok := s.engine.actions[uid]
	return found, ok
}

// Load checks entities against the schema and prepares them for Evaluate. Errors
// are of kind Invalid and name the entity. Ancestors need not be given: one that
// is missing has no attributes and no parents. What joined the schema after the set
// was written is left out, and what was recorded before it did is taken for nothing.
func (e *Engine) Load(list []policy.Entity) (policy.Entities, error) {
	if len(list) > MaxEntities {
		return nil, badEntity("more than %d entities", MaxEntities)
	}
	s := &entities{engine: e, loaded: make(types.EntityMap, len(list))}
	for i := range list {
		entity, err := convert(&list[i])
		if err != nil {
			return nil, err
		}
		if _, twice := s.loaded[entity.UID]; twice {
			return nil, badEntity("%v is given twice", list[i].UID)
		}
		if _, action := e.actions[entity.UID]; action || entity.UID.Type == "Action" {
			return nil, badEntity("%v is an action: those come from the schema", list[i].UID)
		}
		entity = e.added.suit(entity)
		if err := e.validator.Entity(entity); err != nil {
			return nil, badEntity("%v: %s", list[i].UID, oneLine(err))
		}
		if err := checkClass(entity); err != nil {
			return nil, err
		}
		s.loaded[entity.UID] = entity
	}
	return s, nil
}

// checkClass refuses an entity whose attribute "class" is none of the classes: a
// policy compares texts, and a misspelt class would slip past every one.
func checkClass(entity types.Entity) error {
	value, ok := entity.Attributes.Get("class")
	if !ok {
		return nil
	}
	text, isText := value.(types.String)
	if class, err := sallyport.ParseClass(string(text)); !isText || err != nil || string(class) != string(text) {
		return badEntity("%v has the class %v: use public, internal or restricted", entity.UID, value)
	}
	return nil
}

func convert(in *policy.Entity) (types.Entity, error) {
	if err := checkUID(in.UID); err != nil {
		return types.Entity{}, err
	}
	if len(in.Parents) > MaxParents || len(in.Attrs) > MaxElements {
		return types.Entity{}, badEntity("%v has more than %d parents or attributes", in.UID, MaxParents)
	}
	parents := make([]types.EntityUID, len(in.Parents))
	for i, p := range in.Parents {
		if err := checkUID(p); err != nil {
			return types.Entity{}, err
		}
		parents[i] = uidOf(p)
	}
	attrs := make(types.RecordMap, len(in.Attrs))
	for name, v := range in.Attrs {
		value, err := valueOf(&v, 0)
		if err != nil || !sound(name) {
			return types.Entity{}, badEntity("attribute %.80q of %v has no proper value: %v", name, in.UID, err)
		}
		attrs[types.String(name)] = value
	}
	return types.Entity{UID: uidOf(in.UID), Parents: cedar.NewEntityUIDSet(parents...), Attributes: types.NewRecord(attrs)}, nil
}

// checkUID refuses the empty type, which the index keeps for itself, and ids that
// would not survive being written down.
func checkUID(u policy.UID) error {
	if u.Type == "" || !sound(u.Type) || !sound(u.ID) {
		return badEntity("%.200q is no name of an entity", u.String())
	}
	return nil
}

// sound tells whether a text is short and valid UTF-8, so that it is the same
// after it was recorded and read again.
func sound(s string) bool { return len(s) <= MaxString && utf8.ValidString(s) }

// valueOf converts a value; depth counts the sets and records around it.
func valueOf(v *policy.Value, depth int) (types.Value, error) {
	if depth > maxNesting || len(v.Set) > MaxElements || len(v.Record) > MaxElements || !sound(v.String) {
		return nil, badEntity("a text, set or record that is too large")
	}
	switch v.Kind {
	case policy.BoolValue:
		return types.Boolean(v.Bool), nil
	case policy.LongValue:
		return types.Long(v.Long), nil
	case policy.StringValue:
		return types.String(v.String), nil
	case policy.EntityValue:
		return uidOf(v.Entity), checkUID(v.Entity)
	case policy.IPValue:
		return types.ParseIPAddr(v.String)
	case policy.SetValue:
		elements := make([]types.Value, len(v.Set))
		for i := range v.Set {
			element, err := valueOf(&v.Set[i], depth+1)
			if err != nil {
				return nil, err
			}
			elements[i] = element
		}
		return types.NewSet(elements...), nil
	case policy.RecordValue:
		fields := make(types.RecordMap, len(v.Record))
		for name, field := range v.Record {
			value, err := valueOf(&field, depth+1)
			if err != nil || !sound(name) {
				return nil, badEntity("field %.80q: %v", name, err)
			}
			fields[types.String(name)] = value
		}
		return types.NewRecord(fields), nil
	}
	return nil, badEntity("a value of kind %d", v.Kind)
}

func badEntity(format string, args ...any) error {
	return sallyport.E("load entities", sallyport.Invalid, fmt.Sprintf(format, args...), "")
}
