package authzen

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/enforce/authzen/wire"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/plumbing/secret"
)

// custom is the type of an obligation whose meaning is Sallyport's own; under the property "sallyport" it reads as in
// sallyport.ParseObligation.
const custom = "custom"

// evaluation answers one question (section 6).
func (a *asking) evaluation(body []byte) (any, error) {
	var r wire.Request
	if err := wire.Parse(body, &r); err != nil {
		return nil, a.refused(err)
	}
	if err := r.Whole(); err != nil {
		return nil, a.refused(err)
	}
	return a.evaluate(r)
}

// evaluations answers a list of questions (section 7); without a list it is evaluation.
func (a *asking) evaluations(body []byte) (any, error) {
	var b wire.Batch
	if err := wire.Parse(body, &b); err != nil {
		return nil, a.refused(err)
	}
	if len(b.Evaluations) == 0 {
		if err := b.Whole(); err != nil {
			return nil, a.refused(err)
		}
		return a.evaluate(b.Request)
	}
	out := wire.Decisions{}
	for _, r := range b.Items() {
		var d wire.Decision
		err := r.Whole()
		if err != nil {
			d.Context = &wire.Context{Error: &wire.Problem{Status: http.StatusBadRequest, Message: sallyport.PublicText(err)}}
			err = a.note("question.invalid", nil)
		} else {
			d, err = a.evaluate(r)
		}
		if err != nil {
			return nil, err
		}
		if out.Evaluations = append(out.Evaluations, d); b.Options.Semantic.Ends(d.Decision) {
			break
		}
	}
	return out, nil
}

// A question is a request in Sallyport's words.
type question struct {
	subject sallyport.PrincipalID
	action  sallyport.Action
	on      sallyport.Ref
}

// meant reads a request in the point's words.
func (a *asking) meant(r wire.Request) (q question, ok bool) {
	var known [3]bool
	q.subject, known[0] = a.point.Words.Subject(*r.Subject)
	q.action, known[1] = a.point.Words.Action(*r.Action)
	q.on, known[2] = a.point.Words.Resource(*r.Resource, *r.Subject)
	return q, known == [3]bool{true, true, true}
}

// evaluate decides a whole question. An error means that none was decided.
func (a *asking) evaluate(r wire.Request) (wire.Decision, error) {
	q, ok := a.meant(r)
	if !ok {
		return nothing(""), a.note("word.unknown", map[string]string{"subject": word(r.Subject.Type, r.Subject.ID), "action": word("", r.Action.Name), "resource": word(r.Resource.Type, r.Resource.ID)})
	}
	by, id, err := a.may(sallyport.DecisionAsk, q.on)
	if err != nil || by == nil {
		return nothing(id), err
	}
	who, why, err := a.subject(q.subject, *r.Subject, r.Context)
	if err != nil {
		return wire.Decision{}, err
	}
	if why != "" {
		d := wire.Decision{Context: &wire.Context{Outcome: sallyport.Deny.String(), Reason: map[string]string{"401": unproved(why)}}}
		return d, a.note(why, map[string]string{"subject": string(q.subject), "asked": by.ID()})
	}
	c := a.about(q, r)
	answer, err := a.door.Guard.Ask(a.ctx, by, who, c)
	if err != nil {
		return wire.Decision{}, err
	}
	return told(answer, c), nil
}

// word is what a point called something, for the record.
func word(kind, id string) string { return sallyport.OneLine(strings.TrimPrefix(kind+":"+id, ":")) }

// nothing is the answer about what the point may not ask about, or what is not there: one and the same.
func nothing(id string) wire.Decision {
	return wire.Decision{Context: &wire.Context{ID: id, Outcome: sallyport.Deny.String(),
		Error: &wire.Problem{Status: http.StatusNotFound, Message: "nothing is known of this subject, action or resource that you may ask about"}}}
}

// about is the call that a question is about: from where, on which file and into which environment, as far as the point
// says it.
func (a *asking) about(q question, r wire.Request) guard.Call {
	c := guard.Call{Door: Name, Action: q.action, Target: q.on, CarryOut: a.carries(r.Context)}
	if ip, err := netip.ParseAddr(text(r.Context, "ip")); err == nil {
		c.IP = ip.String()
	}
	if r.Resource != nil {
		c.File = text(r.Resource.Properties, "file")
	}
	c.To = into(q.action, r)
	return c
}

// into is the environment that an action which enters one goes to: its own property "environment", or that of the context.
func into(a sallyport.Action, r wire.Request) sallyport.Environment {
	if !a.Enters() {
		return ""
	}
	said := text(r.Context, "environment")
	if r.Action != nil {
		said = cmp.Or(text(r.Action.Properties, "environment"), said)
	}
	return sallyport.Environment(said)
}

// carries is what the point carries out: what it is registered with, unless it says that it cannot now.
func (a *asking) carries(context map[string]any) []sallyport.ObligationKind {
	said, ok := context["supported_obligations"]
	if !ok {
		return a.point.Obligations
	}
	list, _ := said.([]any)
	for _, x := range list {
		if x == custom {
			return a.point.Obligations
		}
	}
	return nil
}

// unproved says, by reason, why who a point named is not believed to ask.
func unproved(why string) string {
	switch why {
	case "subject.unproved":
		return "the subject is not proved: send an access token of theirs for this decision point as context.subject_token"
	case "subject.token":
		return "the subject's token proves nobody here"
	case "subject.mismatch":
		return "the subject's token proves somebody else"
	}
	return "what is said of the subject is not understood"
}

// subject is who asks, or the reason why that is not proved.
func (a *asking) subject(id sallyport.PrincipalID, e wire.Entity, context map[string]any) (p sallyport.Principal, why string, err error) {
	if token := text(context, "subject_token"); token != "" {
		c := guard.Call{Door: Name, IP: a.call.IP, Proof: guard.Proof{Bearer: secret.NewText(token), Audience: a.call.Proof.Audience, IP: a.call.IP}}
		p, err = a.door.Guard.Identify(a.ctx, &c)
		switch {
		case sallyport.KindOf(err) == sallyport.Unknown:
			return p, "subject.token", nil
		case err == nil && p.ID != id:
			return p, "subject.mismatch", nil
		}
		return p, "", err
	}
	if !a.point.Believed {
		return p, "subject.unproved", nil
	}
	p, ok := a.named(id, e, context)
	if !ok {
		return p, "subject.invalid", nil
	}
	return p, "", nil
}

// namedFor is how long somebody who was named stays so: the length of a request.
const namedFor = time.Minute

// named is who a believed point says that asks. What it says of them narrows, or is worth what it is registered with.
func (a *asking) named(id sallyport.PrincipalID, e wire.Entity, context map[string]any) (sallyport.Principal, bool) {
	now := a.door.Guard.Clock()
	p := sallyport.Principal{ID: id, Person: id, Scope: sallyport.Scope{"*"}, Expires: now.Add(namedFor), Purpose: text(context, "purpose")}
	if m, ok := a.door.Facts.Snapshot().Member(id); ok {
		p.Person = m.Person
	}
	if acr := text(e.Properties, "acr"); acr != "" {
		level, err := sallyport.ParseAssurance(acr)
		if err != nil {
			return p, false
		}
		p.Assurance = min(level, a.point.Assurance)
	}
	if at, ok := e.Properties["auth_time"].(float64); ok && p.Assurance > 0 && at > 0 && at < 1<<40 {
		p.AuthTime = time.Unix(int64(at), 0).UTC()
	}
	return p, actors(&p, e.Properties["act"])
}

// actors reads who acts on behalf of the subject, the present one first: ids, as in "agent:helper".
func actors(p *sallyport.Principal, v any) bool {
	if v == nil {
		return true
	}
	list, ok := v.([]any)
	if !ok || len(list) > maxActors {
		return false
	}
	for _, x := range list {
		s, _ := x.(string)
		id, err := sallyport.ParsePrincipalID(s)
		if err != nil || string(id) != s {
			return false
		}
		p.Actors = append(p.Actors, id)
	}
	return true
}

const maxActors = 4

// text is a member that is a text, "" where it is not.
func text(m map[string]any, name string) string {
	s, _ := m[name].(string)
	return s
}

// told is a decision as the point may pass it on to whom it is about.
func told(a guard.Answer, c guard.Call) wire.Decision {
	d := wire.Decision{Decision: a.Outcome == sallyport.Allow, Context: &wire.Context{ID: a.ID}}
	if d.Decision {
		for i, o := range a.Obligations {
			d.Context.Obligations = append(d.Context.Obligations, wire.Obligation{ID: "ob-" + strconv.Itoa(i+1), Type: custom, Properties: map[string]string{"sallyport": o.String()}})
		}
		return d
	}
	x := d.Context
	x.Outcome = a.Outcome.String()
	if a.Hidden {
		x.Outcome = sallyport.Deny.String()
		x.Reason = map[string]string{"404": guard.Sentence(a, c)}
		return d
	}
	x.Reason = map[string]string{strconv.Itoa(http.StatusForbidden): guard.Sentence(a, c)}
	if a.Outcome == sallyport.StepUp {
		x.ACR = a.Needs.String()
	}
	for _, r := range a.Remedies {
		x.Remedies = append(x.Remedies, wire.Remedy{Kind: fmt.Sprint(r.Kind), Command: r.Command, Text: r.Text})
	}
	return d
}
