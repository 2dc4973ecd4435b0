package decision

import (
	"cmp"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/authz/policy"
)

// Limits on a search: what it may cost, and what it looks at.
const (
	maxTries      = 96      // evaluations of one search
	maxText       = 2 << 20 // bytes of policy text that they read together
	maxSituations = 16      // purposes, networks and times that are tried
	maxWays       = 3       // that are offered
	maxWait       = 31 * 24 * time.Hour
	maxTurns      = 4 // beginnings and ends of working hours that are tried
)

// A search is one question with the ways to ask it that are tried.
type search struct {
	engine policy.Engine
	open   policy.Engine // without the policies for auditors: engine where it has none
	facts  *Facts
	ip     netip.Addr
	scoped bool // the token covers the question
	held   bool // a hold stands in the way until facts.At
	levers policy.Levers
	places []place
	tried  map[way]bool // what the open policies say
	whole  map[way]bool // what all of them say
	turns  []time.Time  // of working hours, within reach
	tries  int
	most   int // tries
	found  []way
}

// A way is how a question would be asked otherwise. The zero way is as it is.
type way struct {
	level   sallyport.Assurance // just proved
	grant   bool
	bind    bool
	place   int // 1 + index of a place
	purpose string
	network string
	train   bool
	wait    int64 // microseconds since 1970
}

// The parts of a way: more of the first five permits more under policies that are written as
// the documentation says. Whether it does is tried, not presumed.
const (
	byProof = 1 << iota
	byGrant
	byKey
	byPlace
	byTraining
	byPurpose
	byNetwork
	byWait
)

// parts are the parts that a way has.
func (w way) parts() (set uint) {
	for part, has := range map[uint]bool{byProof: w.level > 0, byGrant: w.grant, byKey: w.bind, byPlace: w.place > 0, byTraining: w.train,
		byPurpose: w.purpose != "", byNetwork: w.network != "", byWait: w.wait != 0} {
		if has {
			set |= part
		}
	}
	return set
}

// only is the way without the parts that are not in set.
func (w way) only(set uint) way {
	var x way
	if set&byProof != 0 {
		x.level = w.level
	}
	x.grant, x.bind, x.train = w.grant && set&byGrant != 0, w.bind && set&byKey != 0, w.train && set&byTraining != 0
	if set&byPlace != 0 {
		x.place = w.place
	}
	if set&byPurpose != 0 {
		x.purpose = w.purpose
	}
	if set&byNetwork != 0 {
		x.network = w.network
	}
	if set&byWait != 0 {
		x.wait = w.wait
	}
	return x
}

// cost orders ways: what a person does alone and at once comes first.
func (s *search) cost(w way) int {
	n := 0
	for part, price := range map[uint]int{byProof: 2, byKey: 3, byPurpose: 3, byNetwork: 6, byTraining: 7, byGrant: 8, byWait: 9} {
		if w.parts()&part != 0 {
			n += price
		}
	}
	if w.place > 0 {
		n += s.places[w.place-1].cost
	}
	return n
}

// query is the question asked in another way, with the facts that it is asked on.
func (s *search) query(w way) (policy.Query, *Question) {
	f := *s.facts
	if w.wait != 0 {
		then := time.UnixMicro(w.wait).UTC()
		if f.Device.Posture >= 0 {
			f.Device.Posture += then.Sub(f.At)
		}
		f.Working = s.working(then)
		f.At = then
	}
	if w.level > 0 {
		f.Assurance, f.AuthTime = w.level, f.At
	}
	if w.place > 0 {
		f.Device = s.places[w.place-1].device
	}
	if w.train {
		f.Trained = f.At.Truncate(time.Second)
	}
	if w.purpose != "" {
		f.Purpose = w.purpose
	}
	if w.network != "" {
		f.Network = w.network
	}
	f.Bound = f.Bound || w.bind
	q := f.query(s.ip)
	q.Context.Granted = q.Context.Granted || w.grant
	if w.bind {
		q.Context.Device.Level = max(q.Context.Device.Level, levelBound)
	}
	return q, &f.Question
}

// evaluate asks an engine about each who acts, the principal first, and says what
// its answers mean together. A grant is the principal's: it is no actor's.
func (s *search) evaluate(engine policy.Engine, w way) sallyport.Decision {
	q, asked := s.query(w)
	return s.facts.evaluate(engine, q, asked)
}

func (f *Facts) evaluate(engine policy.Engine, q policy.Query, asked *Question) sallyport.Decision {
	d := Combine(engine, engine.Evaluate(q, f.loaded))
	for _, b := range f.Acting {
		other := q
		other.Principal, other.Context.Granted, other.Context.Probation = b.Principal, b.granted(asked), len(b.probation(asked)) > 0
		d = join(engine, d, Combine(engine, engine.Evaluate(other, b.loaded)), b)
	}
	return d
}

// allows tries a way on the open policies. A search that has cost its most finds nothing more.
func (s *search) allows(w way) bool { return s.try(s.open, s.tried, w) }

// works tries a way on all policies.
func (s *search) works(w way) bool {
	if s.open == s.engine {
		return s.allows(w)
	}
	return s.try(s.engine, s.whole, w)
}

func (s *search) try(engine policy.Engine, memory map[way]bool, w way) bool {
	if known, ok := memory[w]; ok {
		return known
	}
	if s.tries >= s.most {
		return false
	}
	s.tries++
	memory[w] = s.evaluate(engine, w).Outcome == sallyport.Allow
	return memory[w]
}

// ways are the least changes that would permit the question, the cheapest first: of none could a part be left out.
// They are found on the policies that the asker may know, and offered where they permit on all of them.
func (s *search) ways() []way {
	if s.scoped && !s.held && s.open == s.engine {
		s.tried[way{}] = false // that is why we search
	}
	best := s.best()
	for _, base := range s.situations() {
		s.within(best, base)
	}
	// Cut before what is for auditors is asked: what they keep from being named brings nothing else up.
	offered := slices.DeleteFunc(s.found, func(w way) bool { return !s.least(w) })
	slices.SortStableFunc(offered, func(a, b way) int {
		return cmp.Or(cmp.Compare(s.cost(a), s.cost(b)), cmp.Compare(a.wait, b.wait))
	})
	offered = offered[:min(len(offered), maxWays)]
	return slices.DeleteFunc(offered, func(w way) bool { return !s.works(w) || w.grant && !s.mayAsk(s.engine) })
}

// situations are the purposes, networks and times at which the rest is tried.
func (s *search) situations() []way {
	list := []way{{}}
	var purposes, others []way
	if s.levers.Reads&policy.LeverPurpose != 0 && s.facts.Purpose == "" { // a token that has one keeps it
		for _, p := range s.levers.Purposes {
			purposes = append(purposes, way{purpose: p})
		}
	}
	if s.levers.Reads&policy.LeverNetwork != 0 {
		for _, n := range s.levers.Networks {
			if n != s.facts.Network {
				others = append(others, way{network: n})
			}
		}
	}
	for _, t := range s.waits() {
		others = append(others, way{wait: t.UnixMicro()})
	}
	list = append(append(list, purposes...), others...)
	for _, p := range purposes {
		for _, o := range others {
			o.purpose = p.purpose
			list = append(list, o)
		}
	}
	return list[:min(len(list), maxSituations)]
}

// working reports whether is worked at an instant to come: the hours turn from what they are at the question's.
func (s *search) working(then time.Time) bool {
	passed, at := slices.BinarySearchFunc(s.turns, then, time.Time.Compare)
	if at {
		passed++
	}
	return s.facts.Working != (passed%2 == 1)
}

// waits are the instants within reach at which a policy's answer may turn, and at which a grant begins.
func (s *search) waits() []time.Time {
	var list []time.Time
	for _, g := range s.facts.Grants {
		list = append(list, g.From)
	}
	if s.levers.Reads&policy.LeverTime != 0 {
		list = append(list, s.levers.Instants...)
		midnight := s.facts.At.Truncate(24 * time.Hour)
		for _, d := range s.levers.Days {
			at := midnight.Add(d)
			if !at.After(s.facts.At) {
				at = at.Add(24 * time.Hour)
			}
			list = append(list, at)
		}
	}
	if s.levers.Reads&policy.LeverHours != 0 {
		if s.facts.Turns == nil {
			return nil // what hours are worked then is not known
		}
		s.turns = s.facts.Turns(s.facts.At, s.facts.At.Add(maxWait))
		list = append(list, s.turns[:min(len(s.turns), maxTurns)]...)
	}
	list = slices.DeleteFunc(list, func(t time.Time) bool {
		return !t.After(s.facts.At) || t.Sub(s.facts.At) > maxWait
	})
	slices.SortFunc(list, time.Time.Compare)
	return slices.CompactFunc(list, time.Time.Equal)
}

// best are the most that can be had of the first five parts, as far as a policy asks about them.
func (s *search) best() way {
	var w way
	if s.levers.Reads&policy.LeverProof != 0 && s.facts.provable() {
		w.level = sallyport.Hardware
	}
	w.bind = s.levers.Reads&policy.LeverKey != 0 && !s.facts.Bound
	if s.levers.Reads&policy.LeverDevice != 0 {
		s.places = s.facts.places()
		w.place = len(s.places)
	}
	w.train = s.levers.Reads&policy.LeverTraining != 0 && s.facts.PrincipalID.Kind() == sallyport.User && !s.facts.fresh()
	w.grant = s.levers.Reads&policy.LeverGrant != 0 && !s.facts.Basis.granted(&s.facts.Question) && s.mayAsk(s.open)
	return w
}

// mayAsk reports whether the policies of an engine let the principal ask for a grant on the resource.
func (s *search) mayAsk(engine policy.Engine) bool {
	if s.tries >= s.most {
		return false
	}
	q, _ := s.query(way{})
	q.Action.ID, q.Context.Session, q.Context.Actor, q.Context.To = string(sallyport.GrantRequest), true, "", ""
	s.tries++
	o := Combine(engine, engine.Evaluate(q, s.facts.loaded)).Outcome
	return o == sallyport.Allow || o == sallyport.StepUp
}

// provable reports whether somebody is there who can prove more: only a person who
// acts for themselves.
func (f *Facts) provable() bool { return f.PrincipalID.Kind() == sallyport.User && len(f.Actors) == 0 }

// fresh reports whether the person was trained today: doing it again changes nothing.
func (f *Facts) fresh() bool { return f.training() == policy.Training{Held: true} }

// within finds the least ways that begin with base.
func (s *search) within(best, base way) {
	all := best
	all.purpose, all.network, all.wait = base.purpose, base.network, base.wait
	if !s.allows(all) {
		return
	}
	can, begun := best.parts(), base.parts()
	masks := make([]uint, 0, 16)
	for set := uint(0); set <= byProof|byGrant|byKey|byPlace|byTraining; set++ {
		if set&^can == 0 {
			masks = append(masks, set)
		}
	}
	slices.SortStableFunc(masks, func(a, b uint) int { return bits.OnesCount(a) - bits.OnesCount(b) })
	for _, set := range masks {
		w := all.only(set | begun)
		if s.covered(w) || !s.allows(w) {
			continue
		}
		if w = s.lowered(w); !s.covered(w) {
			s.found = append(s.found, w)
		}
	}
}

// covered reports whether a part of w was found already.
func (s *search) covered(w way) bool {
	for _, f := range s.found {
		if f.parts()&^w.parts() == 0 && f.purpose == w.only(f.parts()).purpose && f.network == w.only(f.parts()).network && (f.wait == 0 || f.wait <= w.wait) {
			return true
		}
	}
	return false
}

// lowered is w with the lowest level and the place that is had most easily.
func (s *search) lowered(w way) way {
	if w.place > 0 {
		x := w
		for x.place = 1; x.place < w.place && !s.allows(x); x.place++ {
		}
		w = x
	}
	if w.level > 0 {
		x := w
		for x.level = s.lowest(); x.level < w.level && !s.allows(x); x.level++ {
		}
		w = x
	}
	return w
}

// lowest is the level below which a fresh proof changes nothing.
func (s *search) lowest() sallyport.Assurance {
	return max(s.facts.Assurance, sallyport.SingleFactor)
}

// least reports whether no part of w can be left out.
func (s *search) least(w way) bool {
	all := w.parts()
	for set := all; set != 0; {
		set = (set - 1) & all
		if s.allows(w.only(set)) {
			return false
		}
	}
	return s.tries < s.most // else something was not tried
}
