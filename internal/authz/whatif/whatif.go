// Package whatif owns questions that are asked without being acted on: may they,
// what can somebody do, who can do what (the access matrix). Nothing it answers permits anything.
//
// It asks authz/decision on the facts that a guard would use, and leaves showing
// and recording the answers to whoever asks.
package whatif

import (
	"cmp"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/facts"
)

// An Asker is who a question is about, and how strongly they would be proved.
type Asker struct {
	Principal sallyport.Principal
	At        time.Time
	IP        string
	// To is where an action that Enters an environment brings it; "" = as sallyport.Resource.Toward says.
	To sallyport.Environment
}

// Everything is the scope of questions about a person rather than about a token.
func Everything() sallyport.Scope { return sallyport.Scope{"*"} }

// Can answers whether the asker may do a on what r names. Of a name that does not
// resolve the decision says so.
func Can(s *facts.Snapshot, who Asker, a sallyport.Action, r sallyport.Ref) (sallyport.Decision, sallyport.Resource, error) {
	x, _ := s.Resolve(r)
	d, err := can(s, who, a, x)
	return d, x, err
}

func can(s *facts.Snapshot, who Asker, a sallyport.Action, x sallyport.Resource) (sallyport.Decision, error) {
	f, err := s.Facts(who.Principal, x, who.At, who.IP)
	if err != nil {
		return sallyport.Decision{}, err
	}
	ask(&f, who, a)
	return decision.Decide(s.Engine(), f), nil
}

// ask makes of facts the question whether the asker may do a.
func ask(f *decision.Facts, who Asker, a sallyport.Action) {
	f.Action, f.Door, f.To = a, "whatif", cmp.Or(who.To, f.Resource.Toward(a))
}

// Told is an answer of Can as the asker themselves may be told it: without policies for auditors, and about what they
// may not know of the same as about what does not exist.
func Told(s *facts.Snapshot, who Asker, d sallyport.Decision, x sallyport.Resource) (sallyport.Decision, sallyport.Resource, error) {
	if d.Outcome != sallyport.Allow {
		known, err := knows(s, who, x)
		if err != nil {
			return sallyport.Decision{}, sallyport.Resource{}, err
		}
		if !known {
			return sallyport.Decision{Policy: d.Policy, Reasons: []sallyport.Reason{{ID: "resource.unknown", Text: "there is no such thing that you may know of"}}}, sallyport.Resource{}, nil
		}
	}
	return decision.Shown(s.Engine(), d), x, nil
}

// knows reports whether the asker may know that x exists.
func knows(s *facts.Snapshot, who Asker, x sallyport.Resource) (bool, error) {
	f, err := s.Facts(who.Principal, x, who.At, who.IP)
	if err != nil {
		return false, err
	}
	f.Door = "whatif"
	return decision.Knowable(s.Engine(), f), nil
}

// A Cell is the short answer to one question.
type Cell string

// The cells of a matrix. A cell says the least that would be needed.
const (
	Allowed   Cell = "allow"
	AfterStep Cell = "step-up"
	OnHold    Cell = "hold"
	OnRequest Cell = "request" // a grant would do, with step-up or another device if need be
	OnDevice  Cell = "device"  // from an enrolled device or with a bound token, with step-up if need be
	Denied    Cell = "deny"
)

// CellOf reads the least way out from a decision's tried remedies.
func CellOf(d sallyport.Decision) Cell {
	switch d.Outcome {
	case sallyport.Allow:
		return Allowed
	case sallyport.Hold:
		return OnHold
	}
	cell := Denied
	if d.Outcome == sallyport.StepUp {
		cell = AfterStep
	}
	for _, r := range d.Remedies {
		switch r.Kind {
		case sallyport.RemedyRequest:
			return OnRequest
		case sallyport.RemedyDevice, sallyport.RemedyBind:
			cell = OnDevice
		case sallyport.RemedyStepUp:
			if cell != OnDevice {
				cell = AfterStep
			}
		}
	}
	return cell
}

// Rights returns the cell of every action that makes sense on x.
func Rights(s *facts.Snapshot, who Asker, x sallyport.Resource) (map[sallyport.Action]Cell, error) {
	cells := map[sallyport.Action]Cell{}
	for _, a := range ActionsOn(x.Kind) {
		d, err := can(s, who, a, x)
		if err != nil {
			return nil, err
		}
		cells[a] = CellOf(d)
	}
	return cells, nil
}

// Own is Rights as the asker themselves may be told them: of what they may not know of, no more than what they may do.
func Own(s *facts.Snapshot, who Asker, x sallyport.Resource) (map[sallyport.Action]Cell, error) {
	cells, err := Rights(s, who, x)
	if err != nil {
		return nil, err
	}
	known, err := knows(s, who, x)
	for a, cell := range cells {
		if !known && cell != Allowed {
			cells[a] = Denied
		}
	}
	return cells, err
}

// ActionsOn returns the actions that people ask for on a kind of resource, in the
// order of the vocabulary.
func ActionsOn(k sallyport.ResourceKind) []sallyport.Action {
	var groups []string
	switch k {
	case sallyport.ModelKind, sallyport.VersionKind:
		groups = []string{"model"}
	case sallyport.DatasetKind:
		groups = []string{"dataset"}
	case sallyport.EndpointKind:
		groups = []string{"endpoint"}
	case sallyport.SystemKind, sallyport.OrganisationKind, sallyport.ProjectKind:
		groups = []string{"policy", "identity", "system", "audit"}
	}
	var actions []sallyport.Action
	for _, a := range sallyport.Actions() {
		if slices.Contains(groups, a.Group()) {
			actions = append(actions, a)
		}
	}
	switch k {
	case sallyport.ModelKind, sallyport.VersionKind:
		actions = append(actions, sallyport.GrantApprove, sallyport.HoldPlace, sallyport.LabelChange, sallyport.AuditRead)
		actions = slices.DeleteFunc(actions, func(a sallyport.Action) bool {
			return a == sallyport.ModelList || a == sallyport.ModelRegister // of a container, not of a model
		})
	case sallyport.DatasetKind:
		actions = slices.DeleteFunc(actions, func(a sallyport.Action) bool { return a == sallyport.DatasetList })
	}
	return actions
}
