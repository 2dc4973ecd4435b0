package policy

import "sallyport"

// An Explanation is what one audience is told of a decision; see authz/explain.
type Explanation struct {
	For     string  `json:"for"`
	Refused string  `json:"refused,omitempty"` // one of authz/explain's ways; "" where it was allowed
	Sides   []Side  `json:"sides,omitempty"`   // of each who acts, the principal first; for auditors
	Inputs  []Input `json:"inputs,omitempty"`  // sorted by name
}

// A Side is how the policies bear on one of those who act.
type Side struct {
	Who      sallyport.PrincipalID `json:"who"`
	Policies []Trace               `json:"policies"`
}

// An Input is one attribute that a policy read.
type Input struct {
	Name   string `json:"name"`  // "context.assurance", "resource.class", "principal"
	Value  string `json:"value"` // in short; "(absent)" where it has none
	Source string `json:"source"`
	Age    int64  `json:"age"`              // seconds since it was so; below zero where nobody can tell
	Secret bool   `json:"secret,omitempty"` // whom the decision was about is not told
}
