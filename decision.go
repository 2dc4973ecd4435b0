package sallyport

import (
	"fmt"
)

// An Outcome is one of the four answers there are. The zero value is Deny.
type Outcome uint8

// The outcomes.
const (
	Deny   Outcome = iota // not permitted
	Allow                 // permitted, under the obligations
	StepUp                // permitted after stronger proof
	Hold                  // restricted for now; a person lifts it
)

// String returns "deny", "allow", "step-up" or "hold".
func (o Outcome) String() string {
	names := [...]string{"deny", "allow", "step-up", "hold"}
	if int(o) < len(names) {
		return names[o]
	}
	return "deny"
}

// ParseOutcome reads what String writes; anything else is an error.
func ParseOutcome(s string) (Outcome, error) {
	for o := Deny; o <= Hold; o++ {
		if o.String() == s {
			return o, nil
		}
	}
	return Deny, E("parse outcome", Invalid, fmt.Sprintf("no outcome is called %q", clip(s)), "use allow, deny, step-up or hold")
}

// ExitCode is the exit code of a command whose answer was o: 0, 2, 3 or 4.
func (o Outcome) ExitCode() int { return [...]int{2, 0, 3, 4}[o&3] }

// A Reason is one cause of a decision, in a form that stays the same from run to
// run: a policy by its id, or a rule of the decision point by its name, such as
// "default.deny", "token.scope", "hold", "forbid.error".
type Reason struct {
	ID   string `json:"id"`             // policy id or rule name
	Text string `json:"text,omitempty"` // for people; never compared, never recorded
}

// A Remedy is something that would have turned a refusal into a permission: it
// was tried on the same facts before it is named.
type Remedy struct {
	Kind    RemedyKind `json:"kind"`
	Command string     `json:"command"` // what to type
	Text    string     `json:"text"`    // one sentence
}

// A RemedyKind names a way out.
type RemedyKind string

// The remedies there are.
const (
	RemedyStepUp  RemedyKind = "step-up" // prove yourself more strongly
	RemedyRequest RemedyKind = "request" // ask for a grant
	RemedyScope   RemedyKind = "scope"   // use a token of a wider scope
	RemedyBind    RemedyKind = "bind"    // use a token that is bound to a key
	RemedyDevice  RemedyKind = "device"  // come from an enrolled device, or have the device report how it is
	RemedyPurpose RemedyKind = "purpose" // use a token that was asked for with a purpose
	RemedyNetwork RemedyKind = "network" // come from another network
	RemedyTrain   RemedyKind = "train"   // be trained
	RemedyWait    RemedyKind = "wait"    // ask again at a time
	RemedyAction  RemedyKind = "action"  // do something else with the same thing, which is permitted
	RemedyAsk     RemedyKind = "ask"     // nothing automatic helps: whom to ask
)

// A Decision is the answer to one question. It is a value: the same facts under
// the same policies give the same decision (texts apart).
type Decision struct {
	Outcome     Outcome
	Reasons     []Reason     // sorted by id, at least one
	Errors      []string     // ids of policies that could not be evaluated, sorted
	Obligations []Obligation // sorted; only with Allow
	Remedies    []Remedy     // only without Allow: one way out, all of it together; the least of those there are
	Otherwise   [][]Remedy   // other ways out, each by itself
	Needs       Assurance    // with StepUp: the level that would do
	MaxAge      int64        // with StepUp: how old the proof may then be, in seconds; 0 = of any age
	Policy      string       // version (content hash) of the policy set
}

// ReasonIDs returns the ids of the reasons, in order.
func (d Decision) ReasonIDs() []string {
	ids := make([]string, len(d.Reasons))
	for i, r := range d.Reasons {
		ids[i] = r.ID
	}
	return ids
}
