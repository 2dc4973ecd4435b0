package decision

import (
	"fmt"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/authz/policy"
)

// A search is one question with the ways to ask it that are tried: as it is,
// after a step-up, under a grant, with a wider token.
type search struct {
	engine policy.Engine
	facts  *Facts
	query  policy.Query
	scoped bool // the token covers the question
}

// decide evaluates the question as it is and, where it is refused, looks for a way out.
func (s *search) decide() sallyport.Decision {
	if !s.scoped {
		d := refuse(s.engine, sallyport.Deny, TokenScope)
		d.Remedies = s.remedies(d)
		return d
	}
	d := s.evaluate(s.query)
	if d.Outcome == sallyport.Allow {
		return d
	}
	if d.Outcome == sallyport.StepUp {
		// Only after trying it: a step-up that leads to a denial is a prompt for nothing.
		if level := s.stepUp(false, d.Needs); level > 0 {
			d.Needs = level
		} else {
			d.Outcome, d.Needs = sallyport.Deny, sallyport.NoAssurance
		}
	}
	d.Remedies = s.remedies(d)
	return d
}

// evaluate asks the engine and says what its answer means.
func (s *search) evaluate(q policy.Query) sallyport.Decision {
	return Combine(s.engine, s.engine.Evaluate(q, s.facts.loaded))
}

// allows tries the question with a grant and, above zero, at a level just proved.
func (s *search) allows(grant bool, level sallyport.Assurance) bool {
	q := s.query
	q.Context.Granted = q.Context.Granted || grant
	if level > 0 {
		q.Context.Assurance, q.Context.AuthAge = level, 0
	}
	return s.evaluate(q).Outcome == sallyport.Allow
}

// stepUp returns the lowest level, at least least, that would permit the question
// when proved now; 0 when none does. Only a person can prove more.
func (s *search) stepUp(grant bool, least sallyport.Assurance) sallyport.Assurance {
	if s.facts.PrincipalID.Kind() != sallyport.User {
		return 0
	}
	for level := max(least, s.query.Context.Assurance, sallyport.SingleFactor); level <= sallyport.Hardware; level++ {
		if s.allows(grant, level) {
			return level
		}
	}
	return 0
}

// remedies names what would permit the question, the least first; together they do.
func (s *search) remedies(d sallyport.Decision) []sallyport.Remedy {
	grant, level, found := s.wayOut()
	if !found {
		return []sallyport.Remedy{s.ask(d)}
	}
	ref := s.facts.Resource.Ref().String()
	var list []sallyport.Remedy
	if !s.scoped {
		list = append(list, sallyport.Remedy{Kind: sallyport.RemedyScope,
			Command: fmt.Sprintf("sallyport token --for %s@%s", s.facts.Action, ref),
			Text:    "use a token that is for this action on this resource"})
	}
	if level > 0 {
		list = append(list, sallyport.Remedy{Kind: sallyport.RemedyStepUp,
			Command: "sallyport login --assurance " + level.String(),
			Text:    "prove yourself more strongly, or again"})
	}
	if grant {
		list = append(list, sallyport.Remedy{Kind: sallyport.RemedyRequest,
			Command: fmt.Sprintf(`sallyport request %s %s --for 1h --why "…"`, s.facts.Action, ref),
			Text:    "ask for it for a time, with a reason"})
	}
	return list
}

// wayOut tries what could be changed, the least first: nothing but the token,
// proof, a grant, a grant and proof.
func (s *search) wayOut() (grant bool, level sallyport.Assurance, found bool) {
	for _, grant := range []bool{false, true} {
		if grant && s.query.Context.Granted {
			break
		}
		if s.allows(grant, 0) {
			return grant, 0, true
		}
		if level := s.stepUp(grant, 0); level > 0 {
			return grant, level, true
		}
	}
	return false, 0, false
}

// ask says whom to ask: who a forbid names, else the resource's owners, else an
// administrator. There is always a next step.
func (s *search) ask(d sallyport.Decision) sallyport.Remedy {
	r := sallyport.Remedy{Kind: sallyport.RemedyAsk, Text: "nothing you can do permits this"}
	for _, reason := range d.Reasons {
		i, _ := s.engine.Info(reason.ID)
		if text := i.Annotations["remedy"]; text != "" {
			r.Text = text
		}
		if contact := i.Annotations["contact"]; contact != "" {
			r.Text += "; ask " + contact
			return r
		}
	}
	if owners := s.owners(); len(owners) > 0 {
		r.Text += "; ask " + strings.Join(owners, ", ")
		return r
	}
	r.Text += "; ask an administrator"
	return r
}

// owners are the ids of the resource's owners, as many as fit a sentence.
func (s *search) owners() []string {
	const most = 3
	at := slices.IndexFunc(s.facts.Entities, func(e policy.Entity) bool { return e.UID == s.facts.ResourceUID })
	if at < 0 {
		return nil
	}
	var owners []string
	for _, o := range s.facts.Entities[at].Attrs["owners"].Set {
		if len(owners) < most {
			owners = append(owners, "user:"+o.Entity.ID)
		}
	}
	slices.Sort(owners)
	return owners
}
