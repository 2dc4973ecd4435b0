package policy

import "time"

// Auditor is the audience of what only those learn who may read the log: of a policy by the annotation
// @audience("auditor"), of an attribute by the same annotation in the schema.
const Auditor = "auditor"

// An Explainer is an Engine that can say, clause by clause, how it came to an answer, and on what an answer depends
// that somebody could change. It is as pure and as safe for concurrent use as the engine.
type Explainer interface {
	Engine
	// Explain lists the policies that bear on q (their scope holds), sorted by id, at most MaxTraces: first those
	// that apply or fail. It evaluates every clause by itself, and is for people, not for decisions.
	Explain(q Query, over Entities) []Trace
	// Levers says what the policies ask that may bear on q, those for auditors left out. It evaluates none.
	Levers(q Query, over Entities) Levers
	// Open is the set without the policies for auditors only: the engine itself where it has none. It evaluates over
	// the entities that the engine has loaded.
	Open() Engine
	// Withheld tells whether an attribute is for auditors only: "context.risk", "context.device.os", "resource.owners".
	Withheld(attribute string) bool
}

// MaxTraces is how many policies an explanation names.
const MaxTraces = 200

// A Truth is what a clause came to.
type Truth string

// The truths. A clause is skipped where one before it in the same condition already settled that.
const (
	True    Truth = "true"
	False   Truth = "false"
	Failed  Truth = "error"
	Skipped Truth = "skipped"
)

// A Trace is one policy as it bears on one question.
type Trace struct {
	Policy  string   `json:"policy"`
	Effect  Effect   `json:"effect"`
	Applies Truth    `json:"applies"` // never Skipped
	Clauses []Clause `json:"clauses"`
}

// A Clause is a part of a policy's condition. What stands under "when" must be true for the policy to apply, what stands
// under "unless" false.
type Clause struct {
	Under string   `json:"under"` // "scope", "when" or "unless"
	Text  string   `json:"text"`  // in the engine's language
	Value Truth    `json:"value"`
	Reads []string `json:"reads,omitempty"` // attributes, sorted: "context.assurance", "resource.class", "principal"
}

// Bars reports whether the clause, as it stands, keeps its policy from applying.
func (c Clause) Bars() bool { return c.Value == Failed || (c.Value == True) == (c.Under == "unless") }

// A Lever is a part of a question that somebody could change.
type Lever uint16

// The levers.
const (
	LeverProof    Lever = 1 << iota // assurance, authAge
	LeverGrant                      // granted
	LeverKey                        // bound, and the level of a device that comes with it
	LeverDevice                     // device
	LeverPurpose                    // purpose
	LeverNetwork                    // network
	LeverTime                       // now
	LeverHours                      // working
	LeverTraining                   // training
)

// Levers are what the answers to a question can depend on. The lists are sorted, without repetition and short.
type Levers struct {
	Reads    Lever
	Purposes []string        // texts that purpose is compared with
	Networks []string        // texts that network is compared with
	Days     []time.Duration // times of day, UTC, at which a comparison turns
	Instants []time.Time     // instants at which a comparison turns
	Weight   int             // bytes of policy text that one evaluation reads: what asking again costs
}
