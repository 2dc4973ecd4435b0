package decision

import (
	"slices"

	"sallyport"
	"sallyport/internal/authz/policy"
)

// Shown is a decision as whom it is about may see it: policies for auditors are neither among its reasons nor among
// those that failed, and a refusal that has no other reason looks like one that no policy permits. Remedies are of
// Remedies, which knows nothing of those policies either.
func Shown(engine policy.Engine, d sallyport.Decision) sallyport.Decision {
	open := func(id string) bool { i, _ := engine.Info(id); return !i.Secret }
	if slices.ContainsFunc(d.Errors, func(id string) bool { return !open(id) }) {
		d.Errors = slices.DeleteFunc(slices.Clone(d.Errors), func(id string) bool { return !open(id) })
	}
	if !slices.ContainsFunc(d.Reasons, func(r sallyport.Reason) bool { return !open(r.ID) }) {
		return d
	}
	d.Reasons = slices.DeleteFunc(slices.Clone(d.Reasons), func(r sallyport.Reason) bool { return !open(r.ID) })
	if failed := failedForbids(engine, d.Errors); len(failed) == 0 {
		d.Reasons = slices.DeleteFunc(d.Reasons, func(r sallyport.Reason) bool { return r.ID == ForbidError })
	}
	if len(d.Reasons) == 0 && d.Outcome != sallyport.Allow {
		d.Reasons = reasons(engine, []string{DefaultDeny})
	}
	return d
}

// Query is the question as an engine reads it, of the principal; ok is false where it is not well formed.
func (f *Facts) Query() (q policy.Query, ok bool) {
	ip, ok := f.wellFormed()
	if !ok || !f.prepared() {
		return policy.Query{}, false
	}
	return f.query(ip), true
}

// Loaded are the entities of a prepared basis, as its engine evaluates them.
func (b *Basis) Loaded() policy.Entities { return b.loaded }

// Granted reports whether a grant of the basis covers the question.
func (b *Basis) Granted(q *Question) bool { return b.granted(q) }

// Knowable reports whether whom the facts are about could read about the resource, and may therefore know that it
// exists. Holds do not count: those on a resource are on everybody, and must not tell those who may not know of it what
// is held.
func Knowable(engine policy.Engine, f Facts) bool {
	if f.Resource.Kind == sallyport.SystemKind {
		return true
	}
	if f.Basis == nil {
		return false
	}
	if slices.ContainsFunc(sallyport.Actions(), func(a sallyport.Action) bool { return f.Scope.Covers(a, f.Resource) }) {
		f.Scope = sallyport.Scope{"*"} // a token that is for something on it tells nothing new to who holds it
	}
	f.Basis, f.Acting, f.Action = free(f.Basis), slices.Clone(f.Acting), knowing(f.Resource.Kind)
	for i, b := range f.Acting {
		f.Acting[i] = free(b)
	}
	return Judge(engine, f).Outcome != sallyport.Deny
}

// free is a basis without its holds.
func free(b *Basis) *Basis {
	c := *b
	c.Holds = nil
	return &c
}

func knowing(k sallyport.ResourceKind) sallyport.Action {
	switch k {
	case sallyport.DatasetKind:
		return sallyport.DatasetRead
	case sallyport.EndpointKind:
		return sallyport.EndpointUse
	case sallyport.OrganisationKind, sallyport.ProjectKind:
		return sallyport.ModelList
	}
	return sallyport.ModelRead
}
