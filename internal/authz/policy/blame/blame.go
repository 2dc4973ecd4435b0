// Package blame owns why one question was answered differently at two times: which part of what was decided on (the
// policies, a role, a grant, a label, the proof) is alone enough to turn the later answer into the earlier one, and which
// recorded change brought it about.
//
// It leaves reading the log to whoever has it, and deciding to authz/decision.
package blame

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/simulate"
)

// A Decision is a recorded one with what it was made from.
type Decision struct {
	Logged sallyport.Logged
	Engine policy.Engine
	Basis  []byte
	Acting [][]byte
}

// A Cause is a part of the facts that made the difference.
type Cause struct {
	Part    string   `json:"part"`    // "policies", "roles", "groups", "resource", "grants", "holds", "proof", …
	Alone   bool     `json:"alone"`   // with this part as it was before, the answer is what it was before
	Changes []string `json:"changes"` // what is different in it
	Events  []Change `json:"events"`  // recorded between the two, the last first
}

// A Change is an event that brought a cause about.
type Change struct {
	Seq       uint64                  `json:"seq"`
	What      string                  `json:"what"`
	By        sallyport.PrincipalID   `json:"by,omitempty"`
	Why       string                  `json:"why,omitempty"`
	Request   string                  `json:"request,omitempty"`
	Author    sallyport.PrincipalID   `json:"author,omitempty"` // who proposed it
	Commit    string                  `json:"commit,omitempty"`
	Approvers []sallyport.PrincipalID `json:"approvers,omitempty"`
}

// maxEvents bounds how many events of one cause are named.
const maxEvents = 20

// Between explains why next was answered differently from old. The events are all of the log up to next, in order. Decisions
// on different questions are an error of kind Invalid.
func Between(old, next Decision, events []sallyport.Logged) ([]Cause, error) {
	const op = "blame"
	a, b := old.Logged, next.Logged
	if a.Who != b.Who || a.Action != b.Action {
		return nil, sallyport.E(op, sallyport.Invalid, "these are decisions on different questions", "name two of one person and one action")
	}
	if a.Outcome == b.Outcome && slices.Equal(a.Reasons, b.Reasons) {
		return nil, nil
	}
	before, err := read(old)
	if err != nil {
		return nil, err
	}
	after, err := read(next)
	if err != nil {
		return nil, err
	}
	var causes []Cause
	for _, p := range parts() {
		changes := p.changes(before, after)
		if len(changes) == 0 {
			continue
		}
		c := Cause{Part: p.name, Changes: changes}
		if d, err := decideWith(p, before, after); err == nil {
			c.Alone = d.Outcome.String() == a.Outcome
		}
		c.Events = explaining(p, before, after, events)
		causes = append(causes, c)
	}
	slices.SortStableFunc(causes, func(x, y Cause) int {
		return map[bool]int{true: 0, false: 1}[x.Alone] - map[bool]int{true: 0, false: 1}[y.Alone]
	})
	return causes, nil
}

// state is what a decision was made from, in parts that can be exchanged.
type state struct {
	logged   sallyport.Logged
	engine   policy.Engine
	basis    *decision.Basis
	acting   [][]byte
	question decision.Question
}

func read(d Decision) (state, error) {
	q, err := decision.QuestionOf(d.Logged.Event)
	if err != nil {
		return state{}, err
	}
	b, err := decision.Unmarshal(d.Basis)
	return state{d.Logged, d.Engine, b, d.Acting, q}, err
}

// decideWith decides the later question with one part as it was before.
func decideWith(p part, before, after state) (sallyport.Decision, error) {
	x := after
	basis := *after.basis
	basis.Entities = slices.Clone(after.basis.Entities)
	x.basis = &basis
	p.put(before, &x)
	x.basis.Policy = ""
	fill := simulate.Filler(x.engine)
	fill(x.basis)
	f := decision.Facts{Question: x.question}
	var err error
	if f.Basis, err = decision.Prepare(x.engine, x.basis); err != nil {
		return sallyport.Decision{}, err
	}
	for _, text := range x.acting {
		b, err := simulate.Recall(x.engine, fill, text)
		if err != nil {
			return sallyport.Decision{}, err
		}
		f.Acting = append(f.Acting, b)
	}
	return decision.Decide(x.engine, f), nil
}

// A part can be compared, and put in the place of another's.
type part struct {
	name    string
	changes func(before, after state) []string
	put     func(before state, into *state)
}

func parts() []part {
	return []part{
		{"policies", policies, func(b state, x *state) { x.engine = b.engine }},
		{"roles and groups", memberships, func(b state, x *state) { x.basis.Entities = principalOf(b, *x) }},
		{"resource", labels, func(b state, x *state) { x.basis.Entities = resourceOf(b, *x) }},
		{"grants", grants, func(b state, x *state) { x.basis.Grants = b.basis.Grants }},
		{"holds", holds, func(b state, x *state) { x.basis.Holds, x.basis.Probation = b.basis.Holds, b.basis.Probation }},
		{"account", account, func(b state, x *state) { x.basis.Active = b.basis.Active }},
		{"proof", proof, func(b state, x *state) {
			x.question.Assurance, x.question.Bound, x.question.Device = b.question.Assurance, b.question.Bound, b.question.Device
			if !b.question.AuthTime.IsZero() {
				x.question.AuthTime = x.question.At.Add(-b.question.At.Sub(b.question.AuthTime))
			}
		}},
		{"training", training, func(b state, x *state) { x.question.Trained = b.question.Trained }},
		{"call", call, func(b state, x *state) {
			q := b.question
			q.Trained = x.question.Trained
			q.Assurance, q.Bound, q.Device, q.At, q.AuthTime = x.question.Assurance, x.question.Bound, x.question.Device, x.question.At, x.question.AuthTime
			x.question = q
		}},
		{"time", clock, func(b state, x *state) {
			age := x.question.At.Sub(x.question.AuthTime)
			if x.question.At = b.question.At; !x.question.AuthTime.IsZero() {
				x.question.AuthTime = x.question.At.Add(-age)
			}
		}},
	}
}

func policies(before, after state) []string {
	if before.engine.Version() == after.engine.Version() {
		return nil
	}
	list := []string{fmt.Sprintf("%s, was %s", after.engine.Version(), before.engine.Version())}
	was := map[string]string{}
	for _, p := range before.engine.Policies() {
		was[p.ID] = p.Text
	}
	for _, p := range after.engine.Policies() {
		switch text, ok := was[p.ID]; {
		case !ok:
			list = append(list, p.ID+" is new")
		case text != p.Text:
			list = append(list, p.ID+" is changed")
		}
		delete(was, p.ID)
	}
	for _, id := range slices.Sorted(maps.Keys(was)) {
		list = append(list, id+" is gone")
	}
	return list
}

func find(s state, u policy.UID) policy.Entity {
	i := slices.IndexFunc(s.basis.Entities, func(e policy.Entity) bool { return e.UID == u })
	if i < 0 {
		return policy.Entity{UID: u}
	}
	return s.basis.Entities[i]
}

// gained lists what is in one list and not in another.
func gained(list, other []policy.UID, how string) []string {
	var out []string
	for _, u := range list {
		if !slices.Contains(other, u) {
			out = append(out, fmt.Sprintf("%s %s", how, u))
		}
	}
	return out
}

func memberships(before, after state) []string {
	was, is := find(before, before.basis.Principal), find(after, after.basis.Principal)
	out := append(gained(is.Parents, was.Parents, "now in"), gained(was.Parents, is.Parents, "no longer in")...)
	return append(out, attributes(was, is)...)
}

func attributes(was, is policy.Entity) []string {
	var out []string
	names := map[string]bool{}
	for name := range was.Attrs {
		names[name] = true
	}
	for name := range is.Attrs {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if x, y := was.Attrs[name], is.Attrs[name]; !reflect.DeepEqual(x, y) {
			out = append(out, fmt.Sprintf("%s is %s, was %s", name, written(y), written(x)))
		}
	}
	return out
}

func written(v policy.Value) string {
	switch v.Kind {
	case policy.StringValue:
		return v.String
	case policy.EntityValue:
		return v.Entity.String()
	case policy.SetValue:
		var all []string
		for _, x := range v.Set {
			all = append(all, written(x))
		}
		return "[" + strings.Join(all, " ") + "]"
	case policy.BoolValue:
		return fmt.Sprint(v.Bool)
	case policy.LongValue:
		return fmt.Sprint(v.Long)
	}
	return "nothing"
}

// principalOf are the later entities with the principal, and what it is in, as before.
func principalOf(before, x state) []policy.Entity {
	out := slices.DeleteFunc(slices.Clone(x.basis.Entities), func(e policy.Entity) bool { return e.UID == x.basis.Principal })
	return join(out, append([]policy.Entity{find(before, before.basis.Principal)}, before.basis.Entities...))
}

// join adds entities that are not there.
func join(list, more []policy.Entity) []policy.Entity {
	for _, e := range more {
		if !slices.ContainsFunc(list, func(x policy.Entity) bool { return x.UID == e.UID }) {
			list = append(list, e)
		}
	}
	return list
}

func labels(before, after state) []string {
	was, is := find(before, before.basis.ResourceUID), find(after, after.basis.ResourceUID)
	var out []string
	if before.basis.ResourceUID != after.basis.ResourceUID {
		out = append(out, fmt.Sprintf("%s, was %s", after.basis.Resource, before.basis.Resource))
	}
	out = append(out, append(gained(is.Parents, was.Parents, "now in"), gained(was.Parents, is.Parents, "no longer in")...)...)
	return append(out, attributes(was, is)...)
}

// resourceOf are the later entities with the resource as before; its name stays.
func resourceOf(before, x state) []policy.Entity {
	was := find(before, before.basis.ResourceUID)
	was.UID = x.basis.ResourceUID
	out := slices.DeleteFunc(slices.Clone(x.basis.Entities), func(e policy.Entity) bool { return e.UID == x.basis.ResourceUID })
	return join(append(out, was), before.basis.Entities)
}

func grants(before, after state) []string {
	var out []string
	names := func(s state) map[string]bool {
		all := map[string]bool{}
		for _, g := range s.basis.Grants {
			if !s.question.At.Before(g.From) && s.question.At.Before(g.Until) {
				all[g.ID] = true
			}
		}
		return all
	}
	was, is := names(before), names(after)
	for _, id := range slices.Sorted(maps.Keys(is)) {
		if !was[id] {
			out = append(out, "now under "+id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(was)) {
		if !is[id] {
			out = append(out, "no longer under "+id)
		}
	}
	return out
}

func holds(before, after state) []string {
	var out []string
	has := func(s state, id string) bool {
		return slices.ContainsFunc(s.basis.Holds, func(h decision.Hold) bool { return h.ID == id })
	}
	for _, h := range after.basis.Holds {
		if !has(before, h.ID) {
			out = append(out, fmt.Sprintf("now held by %s: %s", h.ID, h.Why))
		}
	}
	for _, h := range before.basis.Holds {
		if !has(after, h.ID) {
			out = append(out, "no longer held by "+h.ID)
		}
	}
	return out
}

func account(before, after state) []string {
	if before.basis.Active == after.basis.Active {
		return nil
	}
	return []string{map[bool]string{true: "active again", false: "not active any more"}[after.basis.Active]}
}

func proof(before, after state) []string {
	var out []string
	a, b := before.question, after.question
	if a.Assurance != b.Assurance {
		out = append(out, fmt.Sprintf("proved at %s, was %s", b.Assurance, a.Assurance))
	}
	if a.Bound != b.Bound {
		out = append(out, fmt.Sprintf("bound to a key: %v, was %v", b.Bound, a.Bound))
	}
	if a.Device != b.Device {
		out = append(out, "another device, or another state of it")
	}
	if x, y := a.At.Sub(a.AuthTime), b.At.Sub(b.AuthTime); !a.AuthTime.IsZero() && !b.AuthTime.IsZero() && x != y {
		out = append(out, fmt.Sprintf("proved %s before, was %s", y, x))
	}
	return out
}

func call(before, after state) []string {
	var out []string
	a, b := before.question, after.question
	for _, x := range []struct {
		name     string
		was, now any
	}{{"door", a.Door, b.Door}, {"file", a.File, b.File}, {"address", a.IP, b.IP}, {"scope", a.Scope.String(), b.Scope.String()}, {"client", a.Client, b.Client},
		{"purpose", a.Purpose, b.Purpose}, {"network", a.Network, b.Network}, {"risk", a.Risk, b.Risk}, {"country", a.Country, b.Country}, {"target", a.To, b.To},
		{"working hours", a.Working, b.Working}, {"history", a.History, b.History}, {"acting", fmt.Sprint(a.Actors), fmt.Sprint(b.Actors)}} {
		if !reflect.DeepEqual(x.was, x.now) {
			out = append(out, fmt.Sprintf("%s is %v, was %v", x.name, x.now, x.was))
		}
	}
	return out
}

func training(before, after state) []string {
	day := func(t time.Time) string {
		if t.IsZero() {
			return "never"
		}
		return t.Format(time.DateOnly)
	}
	if before.question.Trained.Equal(after.question.Trained) {
		return nil
	}
	return []string{fmt.Sprintf("last trained %s, was %s", day(after.question.Trained), day(before.question.Trained))}
}

func clock(before, after state) []string {
	return []string{fmt.Sprintf("%s, was %s", after.question.At.Format("2006-01-02 15:04:05"), before.question.At.Format("2006-01-02 15:04:05"))}
}
