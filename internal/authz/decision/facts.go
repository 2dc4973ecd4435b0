package decision

import (
	"time"

	"sallyport"
	"sallyport/internal/authz/policy"
)

// A Basis is the part of the facts that stays the same from call to call: who
// the principal is, what the resource is, and the entities, grants and holds
// that bear on the two. It is written to the trail once, under its content hash,
// and decisions refer to it. A Basis never changes after Prepare.
type Basis struct {
	Principal   policy.UID            `json:"principal"`
	PrincipalID sallyport.PrincipalID `json:"who"`
	Person      sallyport.PrincipalID `json:"person"`
	Active      bool                  `json:"active"` // the principal may act at all (not suspended)
	Resource    sallyport.Resource    `json:"resource"`
	ResourceUID policy.UID            `json:"resourceUID"`
	Entities    []policy.Entity       `json:"entities"` // closure of both, sorted by UID
	Grants      []Grant               `json:"grants,omitempty"`
	Holds       []Hold                `json:"holds,omitempty"`
	Probation   []Probation           `json:"probation,omitempty"`
	Policy      string                `json:"policy"` // version of the policy set

	hash   string
	loaded policy.Entities
}

// A Grant is a just-in-time grant of the principal that covers the resource.
type Grant struct {
	ID      string             `json:"id"`
	Actions []sallyport.Action `json:"actions"`
	From    time.Time          `json:"from"`
	Until   time.Time          `json:"until"` // exclusive
	// Obligations narrow what the grant is for: files, ranges, tokens.
	Obligations []sallyport.Obligation `json:"obligations,omitempty"`
}

// Covers reports whether the grant permits asking for action at the time at.
func (g *Grant) Covers(action sallyport.Action, at time.Time) bool {
	if at.Before(g.From) || !at.Before(g.Until) {
		return false
	}
	for _, a := range g.Actions {
		if a == action {
			return true
		}
	}
	return false
}

// A Hold is a restriction on the principal, its session or token family, or the resource.
type Hold struct {
	ID     string    `json:"id"`
	Target string    `json:"target"` // "user:ana", "agent:helper", "session:…", "family:…", "device:…", "model:acme/fraud", …
	Why    string    `json:"why"`
	Until  time.Time `json:"until,omitzero"` // when it ends by itself; zero: when somebody lifts it
}

// A Probation follows a hold that was lifted, on the same target.
type Probation struct {
	ID     string    `json:"id"` // of the hold
	Target string    `json:"target"`
	Until  time.Time `json:"until"` // exclusive
	// Obligations are what weights and data are handed out under meanwhile.
	Obligations []sallyport.Obligation `json:"obligations,omitempty"`
}

// A Question is the part of the facts that is new in each call. It is recorded
// with each decision.
type Question struct {
	Action    sallyport.Action
	At        time.Time // wall clock of the decision, microseconds UTC
	Door      string    // "hfhub", "openai", "admin", …
	IP        string    // of the caller, textual; "" when unknown
	File      string    // path inside the version, "" for the whole
	Scope     sallyport.Scope
	Assurance sallyport.Assurance
	AuthTime  time.Time // zero when unknown: older than any limit
	Session   string
	Family    string                  // token family
	Staleness time.Duration           // age of the snapshot that the basis comes from
	Client    string                  // OAuth client of the token
	Actors    []sallyport.PrincipalID // who acts on behalf of the principal, the present one first
	Bound     bool                    // the token is bound to a key that the call has proved
	Purpose   string                  // what the token was asked for
	Network   string                  // the operator's label of the address
	Risk      int                     // 0 to 100
	Device    Device                  // the zero value where no device was proved
	Working   bool                    // inside the working hours of the organisation's calendar
	Country   string                  // ISO 3166-1 of the address, "" where it is not known
	To        sallyport.Environment   // where an action that Enters one brings the resource, "" where nobody said
	History   policy.History          // of the person behind the principal, before this question
	Opinions  []Opinion               // of decision points elsewhere, where they were asked
	Trained   time.Time               // when the person behind the principal was last trained, to the second; zero: never
	Carries   string                  // kinds of obligations that the door can carry out, see Carries; "" where it was not asked for

	former bool // it was recorded before questions had a target: none is asked for
}

// A Device is what was known of the caller's device when the question was asked.
type Device struct {
	ID                         string        // "" where none was proved
	Class                      string        // "standard" or "admin"
	Level                      int           // 1 to 3, as policy.Device.Level
	Posture                    time.Duration // age of what it reported, whole seconds; below zero when it never has
	OS                         string
	Encrypted, Locked, Patched bool // as it reports itself
}

// Facts are everything a decision is made from, and all that a replay needs.
type Facts struct {
	*Basis
	Question
	// Acting are the bases of the Actors on the same resource, in their order.
	Acting []*Basis
	// Turns are the working hours to come. They are for ways out only: no answer depends on them, and no record has them.
	// nil: when is worked is not known.
	Turns Turns
}

// Turns returns the instants after from, and not after to, at which working hours begin or end, in order. It depends on
// nothing but its arguments.
type Turns func(from, to time.Time) []time.Time
