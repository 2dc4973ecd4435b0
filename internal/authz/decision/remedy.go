package decision

import (
	"fmt"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/authz/policy"
)

// A search is one question with the ways to ask it that are tried: as it is,
// after a step-up, under a grant, with a wider or bound token, from a device.
type search struct {
	engine policy.Engine
	facts  *Facts
	query  policy.Query
	scoped bool // the token covers the question
}

// A way is how a question would be asked otherwise. The zero way is as it is.
type way struct {
	grant bool
	level sallyport.Assurance // just proved; 0 as it is
	place place
}

// A place is from where and with which key a question would be asked.
type place struct {
	bind   bool
	device *policy.Device // nil as it is
	remedy sallyport.Remedy
}

// decide evaluates the question as it is and, where it is refused, looks for a way out.
func (s *search) decide() sallyport.Decision {
	if !s.scoped {
		d := refuse(s.engine, sallyport.Deny, TokenScope)
		d.Remedies = s.remedies(d)
		return d
	}
	d := s.evaluate(&s.query)
	if d.Outcome == sallyport.Allow {
		return d
	}
	if d.Outcome == sallyport.StepUp {
		// Only after trying it: a step-up that leads to a denial is a prompt for nothing.
		if level := s.stepUp(way{}, d.Needs); level > 0 {
			d.Needs, d.MaxAge = level, s.maxAge(level)
		} else {
			d.Outcome, d.Needs = sallyport.Deny, sallyport.NoAssurance
		}
	}
	d.Remedies = s.remedies(d)
	return d
}

// evaluate asks the engine about each who acts, the principal first, and says what
// its answers mean together.
func (s *search) evaluate(q *policy.Query) sallyport.Decision {
	d := Combine(s.engine, s.engine.Evaluate(*q, s.facts.loaded))
	for _, b := range s.facts.Acting {
		other := *q
		other.Principal, other.Context.Granted = b.Principal, b.granted(&s.facts.Question)
		d = join(s.engine, d, Combine(s.engine, s.engine.Evaluate(other, b.loaded)), b)
	}
	return d
}

// allows tries the question in another way. A grant is the principal's: it is no
// actor's.
func (s *search) allows(w way) bool {
	q := s.query
	c := &q.Context
	c.Granted = c.Granted || w.grant
	if w.level > 0 {
		c.Assurance, c.AuthAge = w.level, 0
	}
	if w.place.bind {
		c.Bound, c.Device.Level = true, max(c.Device.Level, levelBound)
	}
	if w.place.device != nil {
		c.Device = *w.place.device
	}
	return s.evaluate(&q).Outcome == sallyport.Allow
}

// provable reports whether somebody is there who can prove more: only a person who
// acts for themselves.
func (s *search) provable() bool {
	return s.facts.PrincipalID.Kind() == sallyport.User && len(s.facts.Actors) == 0
}

// stepUp returns the lowest level, at least least, that would permit the question
// when proved now and asked in the way w; 0 when none does.
func (s *search) stepUp(w way, least sallyport.Assurance) sallyport.Assurance {
	if !s.provable() {
		return 0
	}
	for w.level = max(least, s.query.Context.Assurance, sallyport.SingleFactor); w.level <= sallyport.Hardware; w.level++ {
		if s.allows(w) {
			return w.level
		}
	}
	return 0
}

// maxAge is how old a proof of the level may be to permit the question, in seconds,
// of the ages that policies use; 0 where every age does.
func (s *search) maxAge(level sallyport.Assurance) int64 {
	q := s.query
	q.Context.Assurance = level
	for _, age := range []int64{ageUnknown, 8 * 3600, 3600, 900, 300, 60} {
		q.Context.AuthAge = age - 1
		if s.evaluate(&q).Outcome != sallyport.Allow {
			continue
		}
		if age == ageUnknown {
			return 0
		}
		return age
	}
	return 1
}

// remedies names what would permit the question, the least first; together they do.
func (s *search) remedies(d sallyport.Decision) []sallyport.Remedy {
	w, found := s.wayOut()
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
	if w.place.device != nil {
		list = append(list, w.place.remedy)
	}
	if w.place.bind {
		list = append(list, sallyport.Remedy{Kind: sallyport.RemedyBind, Command: "sallyport run -- COMMAND",
			Text: "use a token that is bound to a key of this machine"})
	}
	if w.level > 0 {
		list = append(list, sallyport.Remedy{Kind: sallyport.RemedyStepUp,
			Command: "sallyport login --assurance " + w.level.String(),
			Text:    "prove yourself more strongly, or again"})
	}
	if w.grant {
		list = append(list, sallyport.Remedy{Kind: sallyport.RemedyRequest,
			Command: fmt.Sprintf(`sallyport request %s %s --for 1h --why "…"`, s.facts.Action, ref),
			Text:    "ask for it for a time, with a reason"})
	}
	return list
}

// wayOut tries what could be changed, the least first: nothing but the token,
// proof, a grant, both; then the same from other places. Those are tried one by one
// only where the best of everything would do, so that a plain refusal stays cheap.
func (s *search) wayOut() (way, bool) {
	if w, found := s.from(place{}); found {
		return w, true
	}
	places := s.places()
	if len(places) == 0 {
		return way{}, false
	}
	best := way{grant: true, place: places[len(places)-1]}
	if s.provable() {
		best.level = sallyport.Hardware
	}
	if !s.allows(best) {
		return way{}, false
	}
	for _, p := range places {
		if w, found := s.from(p); found {
			return w, true
		}
	}
	return way{}, false
}

// from tries what could be changed besides the place.
func (s *search) from(p place) (way, bool) {
	for _, grant := range []bool{false, true} {
		if grant && s.query.Context.Granted {
			break
		}
		w := way{grant: grant, place: p}
		if s.allows(w) {
			return w, true
		}
		if w.level = s.stepUp(w, 0); w.level > 0 {
			return w, true
		}
	}
	return way{}, false
}

// places are the other keys and devices from which the question could be asked, the
// most that can be had last.
func (s *search) places() []place {
	now := s.query.Context
	sound := func(class string, level int64, command, text string) place {
		return place{device: &policy.Device{Class: class, Level: level, OS: now.Device.OS, Encrypted: true, Locked: true, Patched: true},
			remedy: sallyport.Remedy{Kind: sallyport.RemedyDevice, Command: command, Text: text}}
	}
	const enrol = "sallyport device enroll"
	var list []place
	if s.facts.Device.ID != "" {
		list = append(list, sound(now.Device.Class, now.Device.Level, "sallyport agent", "have this device report that it is encrypted, locked and patched"))
	}
	if now.Device.Level < levelSoftware {
		list = append(list, sound("standard", levelSoftware, enrol, "enrol this device"))
	}
	if now.Device.Level < levelHardware {
		list = append(list, sound("standard", levelHardware, enrol, "enrol this device with a key in its hardware"))
	}
	if now.Device.Class != "admin" {
		list = append(list, sound("admin", levelHardware, "", "do this from a device of class admin"))
	}
	if now.Bound {
		return list
	}
	bound := []place{{bind: true}}
	for _, p := range list {
		p.bind = true
		bound = append(bound, p)
	}
	return append(list, bound...)
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
