package decision

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/policy"
)

// newSearch prepares looking for a way out. An engine that cannot explain itself is asked about proof, a grant, a key
// and a device, whatever its policies say.
func newSearch(engine policy.Engine, f *Facts, ip netip.Addr) *search {
	s := &search{engine: engine, open: engine, facts: f, ip: ip, scoped: f.Scope.Covers(f.Action, f.Resource), tried: map[way]bool{}, whole: map[way]bool{},
		most: maxTries, levers: policy.Levers{Reads: policy.LeverProof | policy.LeverGrant | policy.LeverKey | policy.LeverDevice}}
	x, ok := engine.(policy.Explainer)
	if !ok {
		return s
	}
	q, _ := s.query(way{})
	s.open, s.levers = x.Open(), x.Levers(q, f.loaded)
	for _, b := range f.Acting {
		q.Principal = b.Principal
		more := x.Levers(q, b.loaded)
		s.levers.Reads |= more.Reads
		s.levers.Purposes = slices.Concat(s.levers.Purposes, more.Purposes)
		s.levers.Networks = slices.Concat(s.levers.Networks, more.Networks)
		s.levers.Days = slices.Concat(s.levers.Days, more.Days)
		s.levers.Instants = slices.Concat(s.levers.Instants, more.Instants)
		s.levers.Weight += more.Weight
	}
	s.most = min(maxTries, maxText/max(s.levers.Weight, 1))
	return s
}

// stepUp returns the lowest level, at least least, that would permit the question
// when proved now; 0 when none does.
func (s *search) stepUp(least sallyport.Assurance) sallyport.Assurance {
	if !s.facts.provable() {
		return 0
	}
	for l := max(least, s.lowest()); l <= sallyport.Hardware; l++ {
		if s.try(s.engine, s.whole, way{level: l}) {
			return l
		}
	}
	return 0
}

// maxAge is how old a proof of the level may be to permit the question, in seconds,
// of the ages that policies use; 0 where every age does.
func (s *search) maxAge(level sallyport.Assurance) int64 {
	q, asked := s.query(way{})
	q.Context.Assurance = level
	for _, age := range []int64{ageUnknown, 8 * 3600, 3600, 900, 300, 60} {
		q.Context.AuthAge = age - 1
		if s.facts.evaluate(s.engine, q, asked).Outcome != sallyport.Allow {
			continue
		}
		if age == ageUnknown {
			return 0
		}
		return age
	}
	return 1
}

// remedied adds to a refusal what would permit the question, the least first; what
// stands in one list is done together.
func (s *search) remedied(d sallyport.Decision) sallyport.Decision {
	var lists [][]sallyport.Remedy
	for _, w := range s.ways() {
		if d.Outcome == sallyport.StepUp && w == (way{level: w.level}) {
			w.level = max(w.level, d.Needs) // what the policy asks for
		}
		lists = append(lists, s.list(w))
	}
	if len(lists) == 0 {
		lists = append(lists, []sallyport.Remedy{s.ask(d)})
	}
	lists = append(lists, s.instead()...)
	d.Remedies, d.Otherwise = lists[0], nil
	if len(lists) > 1 {
		d.Otherwise = lists[1:]
	}
	return d
}

// list says what to do for a way, in the order in which it is done.
func (s *search) list(w way) []sallyport.Remedy {
	ref := s.facts.Resource.Ref().String()
	var list []sallyport.Remedy
	add := func(needed bool, kind sallyport.RemedyKind, command, text string) {
		if needed {
			list = append(list, sallyport.Remedy{Kind: kind, Command: command, Text: text})
		}
	}
	token := fmt.Sprintf("sallyport token --for %s@%s", s.facts.Action, ref)
	if w.purpose != "" {
		token += " --purpose " + w.purpose
	}
	then := s.facts.At
	if w.wait != 0 {
		then = time.UnixMicro(w.wait)
	}
	add(s.held || w.wait != 0, sallyport.RemedyWait, "", "wait until "+then.UTC().Format(time.RFC3339Nano))
	add(!s.scoped, sallyport.RemedyScope, token, "use a token that is for this action on this resource")
	add(w.purpose != "", sallyport.RemedyPurpose, token, "use a token for the purpose "+w.purpose)
	add(w.network != "", sallyport.RemedyNetwork, "", "come from the network "+w.network)
	if w.place > 0 {
		list = append(list, s.places[w.place-1].remedy)
	}
	add(w.bind, sallyport.RemedyBind, "sallyport run -- COMMAND", "use a token that is bound to a key of this machine")
	add(w.train, sallyport.RemedyTrain, "sallyport drill join", "be trained: by a drill, or elsewhere and have an identity administrator record it (docs/drills.md)")
	add(w.level > 0, sallyport.RemedyStepUp, "sallyport login --assurance "+w.level.String(), "prove yourself more strongly, or again")
	add(w.grant, sallyport.RemedyRequest, fmt.Sprintf(`sallyport request %s %s --for 1h --why "…"`, s.facts.Action, ref), "ask for it for a time, with a reason")
	return list
}

// lesser are the actions that may do instead of another, and give less: use instead of possession, a look instead of a copy.
func lesser(a sallyport.Action) []sallyport.Action {
	switch a {
	case sallyport.ModelPull:
		return []sallyport.Action{sallyport.ModelInfer}
	case sallyport.ModelExport:
		return []sallyport.Action{sallyport.ModelPull, sallyport.ModelInfer}
	case sallyport.DatasetExport:
		return []sallyport.Action{sallyport.DatasetRead}
	case sallyport.ModelDelete:
		return []sallyport.Action{sallyport.ModelRetire}
	}
	return nil
}

// instead names one other action on the same thing that is permitted as things are.
func (s *search) instead() [][]sallyport.Remedy {
	for _, a := range lesser(s.facts.Action) {
		if s.held || !s.facts.Scope.Covers(a, s.facts.Resource) || s.tries >= s.most {
			continue
		}
		other := *s.facts
		other.Action = a
		q := other.query(s.ip)
		s.tries++
		if other.evaluate(s.open, q, &other.Question).Outcome != sallyport.Allow {
			continue
		}
		if s.open != s.engine && other.evaluate(s.engine, q, &other.Question).Outcome != sallyport.Allow {
			return nil // not the next one: that would tell of what is for auditors
		}
		return [][]sallyport.Remedy{{{Kind: sallyport.RemedyAction, Command: fmt.Sprintf("sallyport token --for %s@%s", a, s.facts.Resource.Ref()),
			Text: "use " + string(a) + " instead"}}}
	}
	return nil
}

// A place is from what device a question would be asked.
type place struct {
	device Device
	cost   int
	remedy sallyport.Remedy
}

// places are the devices from which the question could be asked, the most that can be had last.
func (f *Facts) places() []place {
	now := f.Device
	var list []place
	add := func(cost int, device Device, command, text string) {
		device.OS, device.Posture, device.Encrypted, device.Locked, device.Patched = now.OS, 0, true, true, true
		list = append(list, place{device: device, cost: cost, remedy: sallyport.Remedy{Kind: sallyport.RemedyDevice, Command: command, Text: text}})
	}
	const enrol = "sallyport device enroll"
	if now.ID != "" {
		add(3, now, "sallyport agent", "have this device report that it is encrypted, locked and patched")
	}
	if now.Level < levelSoftware {
		add(4, Device{ID: "new", Class: "standard", Level: levelSoftware}, enrol, "enrol this device")
	}
	if now.Level < levelHardware {
		add(5, Device{ID: "new", Class: "standard", Level: levelHardware}, enrol, "enrol this device with a key in its hardware")
	}
	if now.Class != "admin" {
		add(11, Device{ID: "new", Class: "admin", Level: levelHardware}, "", "do this from a device of class admin")
	}
	return list
}

// ask says whom to ask: who a forbid names, else the resource's owners, else an
// administrator. There is always a next step.
func (s *search) ask(d sallyport.Decision) sallyport.Remedy {
	r := sallyport.Remedy{Kind: sallyport.RemedyAsk, Text: "nothing you can do permits this"}
	for _, reason := range d.Reasons {
		i, _ := s.engine.Info(reason.ID)
		if i.Secret {
			continue
		}
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
	if x, ok := s.engine.(policy.Explainer); ok && x.Withheld("resource.owners") {
		return nil
	}
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
