package policy

import "time"

// A Surveyor is an engine that says what its policies compare. Not every engine can.
type Surveyor interface {
	Engine
	Survey() Survey
}

// A Lister is an engine that says which actions its schema asks of what. Every language can, because the schema is one.
type Lister interface {
	Engine
	Applies() map[string]AppliesTo // by name, such as "model.pull"
}

// A Survey says what a policy set compares with what, so that a world can be built in which every comparison comes out
// both ways. It never changes.
type Survey struct {
	Policies map[string]Surveyed  // by id
	Entities map[string]Shape     // by type
	Actions  map[string]AppliesTo // by name, such as "model.pull"
}

// A Surveyed is what one policy compares.
type Surveyed struct {
	Effect    Effect
	Principal Scope
	Resource  Scope
	Actions   []string        // whose questions it can concern, sorted
	Reads     map[string]Pool // by what it reads: "context.device.level", "principal.person", "resource.class"
	Named     []UID           // entities that it names anywhere
}

// A Scope is what the head of a policy says about the principal or the resource.
type Scope struct {
	Type  string // "" = any
	In    UID    // the zero UID = anywhere
	Exact bool   // it is In, not only in it
}

// A Pool is what an attribute is compared with.
type Pool struct {
	Values   []Value
	Patterns []string // of "like", with "*"
	Instants []time.Time
	Spans    []time.Duration
}

// An AppliesTo is which types an action is asked of.
type AppliesTo struct {
	Principals, Resources []string
	Groups                []string // of actions that it is in, such as "possess", sorted
}

// A Shape is what entities of a type have.
type Shape struct {
	Parents []string // types that it can be in
	Attrs   map[string]Attr
}

// An Attr is the type of an attribute.
type Attr struct {
	Kind     ValueKind
	Entity   string // with EntityValue, or of the elements of a set: the type
	Element  ValueKind
	Optional bool
}
