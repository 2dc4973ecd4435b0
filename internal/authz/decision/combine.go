package decision

import (
	"cmp"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/authz/policy"
)

// Ids of the reasons that the decision point gives by itself, in the order in
// which the rules are tried. A hold's reason is "hold:" and its id; "actor:" and an
// id stands beside the reasons for which an actor, not the principal, was refused.
const (
	FactsUnprepared   = "facts.unprepared"
	ActionUnknown     = "action.unknown"
	QuestionInvalid   = "question.invalid"
	PrincipalInactive = "principal.inactive"
	AgentAlone        = "agent.alone"
	PolicyVersion     = "policy.version"
	TargetMissing     = "target.missing"
	FactsStale        = "facts.stale"
	TokenScope        = "token.scope"
	ForbidError       = "forbid.error"
	DefaultDeny       = "default.deny"
)

// Combine says what an engine's result means, before holds, scopes and remedies:
// permitted only where the engine allows it, every reason is a permit of the set
// and nothing failed but permits. A forbid that could not be evaluated denies,
// where the engine alone would have gone on without it.
func Combine(engine policy.Engine, r policy.Result) sallyport.Decision {
	d := sallyport.Decision{Errors: r.Errors, Policy: engine.Version()}
	if failed := failedForbids(engine, r.Errors); len(failed) > 0 {
		if !r.Allowed {
			failed = append(failed, r.Reasons...)
		}
		d.Reasons = reasons(engine, failed)
		return d
	}
	if len(r.Reasons) == 0 {
		d.Reasons = reasons(engine, []string{DefaultDeny})
		return d
	}
	d.Reasons = reasons(engine, r.Reasons)
	applied := make([]policy.Info, 0, len(r.Reasons))
	for _, id := range r.Reasons {
		i, ok := engine.Info(id)
		if !ok || (i.Effect == policy.Permit) != r.Allowed {
			return d // not a result of this engine
		}
		applied = append(applied, i)
	}
	if r.Allowed {
		d.Outcome = sallyport.Allow
		for _, p := range applied {
			d.Obligations = strictest(d.Obligations, p.Obligations)
		}
	} else {
		d.Outcome, d.Needs = mildest(applied)
	}
	return d
}

// failedForbids returns the ids among errors that are not a permit's: of forbids,
// led by ForbidError, and of what is no policy at all.
func failedForbids(engine policy.Engine, errors []string) []string {
	var ids []string
	named := false
	for _, id := range errors {
		i, ok := engine.Info(id)
		if ok && i.Effect == policy.Permit {
			continue
		}
		if ok && !named {
			ids, named = append(ids, ForbidError), true
		}
		ids = append(ids, id)
	}
	return ids
}

// mildest is the outcome of the forbids that apply: one without @outcome denies.
func mildest(forbids []policy.Info) (sallyport.Outcome, sallyport.Assurance) {
	outcome, needs := sallyport.StepUp, sallyport.NoAssurance
	for _, f := range forbids {
		switch f.Outcome {
		case sallyport.StepUp:
			needs = max(needs, f.Needs)
		case sallyport.Hold:
			outcome = sallyport.Hold
		default:
			return sallyport.Deny, sallyport.NoAssurance
		}
	}
	if outcome == sallyport.Hold {
		needs = sallyport.NoAssurance
	}
	return outcome, needs
}

// strictest joins more into all: the smallest of each kind, each one of the kinds that
// stand beside each other, sorted by kind and text.
func strictest(all, more []sallyport.Obligation) []sallyport.Obligation {
	for _, o := range more {
		at := slices.IndexFunc(all, func(x sallyport.Obligation) bool { return x.Kind == o.Kind && (!o.Kind.Several() || x == o) })
		if at < 0 {
			all = append(all, o)
		} else {
			all[at].Value = min(all[at].Value, o.Value)
		}
	}
	slices.SortFunc(all, func(a, b sallyport.Obligation) int {
		return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Text, b.Text))
	})
	return all
}

// join is the decision for two who act in one call, of which actor is the second:
// what both permit, under what both are obliged to. The reasons for a refusal are of
// those who are refused.
func join(engine policy.Engine, d, other sallyport.Decision, actor *Basis) sallyport.Decision {
	errors := slices.Concat(d.Errors, other.Errors)
	slices.Sort(errors)
	errors = slices.Compact(errors)
	if other.Outcome != sallyport.Allow {
		other = blamed(engine, other, actor)
	}
	switch {
	case d.Outcome == sallyport.Allow && other.Outcome != sallyport.Allow:
		d = other
	case d.Outcome == sallyport.Allow || other.Outcome != sallyport.Allow:
		d.Outcome = gravest(d.Outcome, other.Outcome)
		d.Reasons = merged(d.Reasons, other.Reasons)
		d.Obligations = strictest(d.Obligations, other.Obligations)
		d.Needs = max(d.Needs, other.Needs)
	}
	if d.Outcome != sallyport.StepUp {
		d.Needs = sallyport.NoAssurance
	}
	d.Errors = errors
	return d
}

// gravest is the outcome that remains of two.
func gravest(a, b sallyport.Outcome) sallyport.Outcome {
	for _, o := range []sallyport.Outcome{sallyport.Deny, sallyport.Hold, sallyport.StepUp} {
		if a == o || b == o {
			return o
		}
	}
	return sallyport.Allow
}

// blamed adds to a refusal whom of several it concerns.
func blamed(engine policy.Engine, d sallyport.Decision, actor *Basis) sallyport.Decision {
	d.Reasons = merged(d.Reasons, reasons(engine, []string{"actor:" + string(actor.PrincipalID)}))
	return d
}

// merged is both lists, sorted, each reason once.
func merged(a, b []sallyport.Reason) []sallyport.Reason {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(x, y sallyport.Reason) int { return strings.Compare(x.ID, y.ID) })
	return slices.Compact(all)
}

// reasons sorts ids and adds their texts; each id stands once.
func reasons(engine policy.Engine, ids []string) []sallyport.Reason {
	list := make([]sallyport.Reason, len(ids))
	for i, id := range ids {
		list[i] = sallyport.Reason{ID: id, Text: textOf(engine, id)}
	}
	slices.SortFunc(list, func(a, b sallyport.Reason) int { return strings.Compare(a.ID, b.ID) })
	return slices.Compact(list)
}

// textOf is a reason for people.
func textOf(engine policy.Engine, id string) string {
	if engine != nil {
		if i, ok := engine.Info(id); ok {
			return i.Annotations["text"]
		}
	}
	switch id {
	case FactsUnprepared:
		return "the question reached the decision point without its facts"
	case ActionUnknown:
		return "this action does not exist"
	case QuestionInvalid:
		return "the question is not well formed"
	case PrincipalInactive:
		return "this account may not act"
	case AgentAlone:
		return "an agent acts only on behalf of somebody"
	case PolicyVersion:
		return "the policies changed while the question was asked; ask again"
	case FactsStale:
		return "what is known is too old to decide on; try again"
	case DataScope:
		return "this file is outside what was permitted"
	case TokenScope:
		return "the token is not for this action on this resource"
	case ForbidError:
		return "a policy that may forbid this could not be evaluated"
	case DefaultDeny:
		return "no policy permits this"
	}
	switch {
	case strings.HasPrefix(id, opinionReason):
		return "the decision point " + strings.TrimPrefix(id, opinionReason) + " refuses it"
	case strings.HasPrefix(id, "engine."):
		return "the policies could not be evaluated"
	case strings.HasPrefix(id, "actor:"):
		return strings.TrimPrefix(id, "actor:") + ", who acts for the principal, may not do this"
	case strings.HasPrefix(id, "hold:"):
		return "this is locked until somebody else lifts the lock"
	}
	return ""
}
