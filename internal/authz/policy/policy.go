// Package policy owns the contract of a policy engine (the language side of a
// policy decision point, PDP): policy sets as text with a version, the entities
// and questions an engine reads, and the Engine that evaluates them.
//
// It leaves the language to its subpackages (cedar), what an answer means to
// authz/decision, and which set is in force to authz/change and the server.
package policy

import (
	"net/netip"
	"time"

	"sallyport"
)

// A UID names an entity of the policy schema, for example {"User", "ana"}.
type UID struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

// String writes Type::"ID" without escaping; it is for messages and sorting.
func (u UID) String() string { return u.Type + `::"` + u.ID + `"` }

// A Value is an attribute's value. Exactly one field is used, chosen by Kind.
// Records nest; sets hold values of one kind.
type Value struct {
	Kind   ValueKind        `json:"k"`
	Bool   bool             `json:"b,omitempty"`
	Long   int64            `json:"l,omitempty"`
	String string           `json:"s,omitempty"` // also the text of IP
	Entity UID              `json:"e,omitzero"`
	Set    []Value          `json:"set,omitempty"`
	Record map[string]Value `json:"r,omitempty"`
}

// A ValueKind says which field of a Value is used.
type ValueKind uint8

// The kinds of values. The zero kind is no value and is refused.
const (
	BoolValue ValueKind = iota + 1
	LongValue
	StringValue
	EntityValue
	SetValue
	RecordValue
	IPValue
)

// An Entity is a node of the hierarchy that policies speak about.
type Entity struct {
	UID     UID              `json:"uid"`
	Parents []UID            `json:"in,omitempty"`
	Attrs   map[string]Value `json:"attrs,omitempty"`
}

// Entities is a set of entities in the form that the engine which loaded it
// evaluates against. It is immutable and safe for concurrent use.
type Entities interface {
	Len() int
}

// A Query is one question to an engine.
type Query struct {
	Principal UID
	Action    UID // {"Action", "model.infer"}
	Resource  UID
	Context   Context
}

// A Context is what a policy may ask about the call itself. It is the same for
// every action; the schema declares it under the names in the comments.
type Context struct {
	Now       time.Time           // now, UTC, to the millisecond
	Assurance sallyport.Assurance // assurance, 0 to 4
	AuthAge   int64               // authAge, seconds
	IP        netip.Addr          // ip; absent where it is the zero Addr
	Door      string              // door
	File      string              // file
	Granted   bool                // granted: a just-in-time grant covers the action
	Session   bool                // session: a signed-in session stands behind the call
	Bound     bool                // bound: the token is bound to a key that the call has proved
	Client    string              // client: the OAuth client of the token
	Actor     string              // actor: who acts on behalf of the principal, "" when it acts itself
	Purpose   string              // purpose
	Network   string              // network: the operator's label of the address, "" where it has none
	Risk      int64               // risk, 0 to 100
	Device    Device              // device
	Working   bool                // working: inside the working hours of the organisation's calendar
	Country   string              // country: ISO 3166-1 of the address, "" where it is not known
	To        string              // to: the environment that the action brings the resource into, "" where it brings it into none
	Probation bool                // probation: a hold that was lifted of late bore on the principal or the resource
	History   History             // history: of the person behind the principal
	Training  Training            // training: of the person behind the principal
}

// A Training is how long ago somebody was last trained to see through fraud. The zero Training is never.
type Training struct {
	Held bool
	Days int64 // whole days ago, where Held
}

// NoTraining is the age of a training that there is not, in days.
const NoTraining = 1 << 40

// Age is what policies read: days, NoTraining where there was none.
func (t Training) Age() int64 {
	if !t.Held {
		return NoTraining
	}
	return max(t.Days, 0)
}

// A History is what a policy may ask about what somebody did before.
type History struct {
	Short Window // short: the last 10 minutes
	Day   Window // day: the last 24 hours
	Month Window // month: the last 30 days
}

// A Window counts what happened in a span of time. No count is below zero.
type Window struct {
	Bytes   int64 // bytes: of weights and data that were delivered
	Denials int64 // denials: decisions that were not to allow
	Models  int64 // models: different models that were used, read or taken
	Exports int64 // exports: permitted exports of models and data
}

// A Device is what a policy may ask about the device that makes a call. The zero
// Device is none that is enrolled.
type Device struct {
	Class     string // class: "" unknown, "standard" or "admin"
	Level     int64  // level: 0 nothing, 1 a bound key, 2 a certificate over a key in software, 3 over a key attested to be in hardware
	Posture   int64  // postureAge: seconds since the device reported; NoPosture when it never has
	OS        string // os: "linux 6.1", as reported
	Encrypted bool   // encrypted: its disk is encrypted
	Locked    bool   // locked: its screen locks by itself
	Patched   bool   // patched: its system is at the patch level the operator asks for
}

// NoPosture is the age of a posture that there is not, in seconds.
const NoPosture = 1 << 40

// An Effect is what a policy does when it applies.
type Effect uint8

// The effects. A policy has one of them.
const (
	Forbid Effect = iota
	Permit
)

// String returns "forbid" or "permit".
func (e Effect) String() string {
	if e == Permit {
		return "permit"
	}
	return "forbid"
}

// MarshalText writes what String returns.
func (e Effect) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText reads what MarshalText writes; whatever else it reads is a forbid.
func (e *Effect) UnmarshalText(text []byte) error {
	*e = Forbid
	if string(text) == "permit" {
		*e = Permit
	}
	return nil
}

// A Result is what an engine found. It is not a decision: what a failing policy
// means is decided in authz/decision. Ids that are no policy's name a fault of
// the question or of the engine, such as "engine.budget"; they mean deny.
type Result struct {
	Allowed bool     // some permit applies and no forbid does, errors aside
	Reasons []string // ids of the policies that determined it, sorted
	Errors  []string // ids of the policies that could not be evaluated, sorted
}

// An Engine is one policy set, compiled with its schema and published as a
// whole. It never changes and is safe for concurrent use without locks.
type Engine interface {
	// Version is the content hash of schema and policies: "sha256:" and 64 hex digits.
	Version() string
	// Load checks entities against the schema and prepares them for Evaluate. An
	// entity of an unknown type, a missing or mistyped attribute is an error.
	Load(entities []Entity) (Entities, error)
	// Evaluate answers q over entities that the same engine has loaded. It is
	// pure and total. Entities of another engine, an action that the schema does
	// not know, or more work than the engine's budget yield an error id that
	// begins with "engine." and nothing allowed.
	Evaluate(q Query, over Entities) Result
	// Info returns the policy called id.
	Info(id string) (Info, bool)
	// Policies lists all policies, sorted by id.
	Policies() []Info
}

// A Source is a policy set as text: what is hashed, stored and replayed.
type Source struct {
	Schema   string            // the schema in the engine's language
	Policies map[string]string // file name -> text
}
