// Package world owns searching a bounded world for what policies do: every question over principals, resources and
// contexts that are built from the schema and from what the policies compare, so that each comparison comes out in all of
// its ways. What holds there is called checked, not proved.
//
// It leaves the language to the engine that is asked (policy.Surveyor) and what an answer means to authz/decision.
//
// # The world
//
// For an action, a type of principal and a type of resource, the policies count that can concern them. A principal is one
// of the ids that those name or a fresh one, in no more than Limits.Parents of the roles and groups that they name; a
// resource likewise, in what contains it, of each type in one. An attribute that they read has each literal that it is compared with, a number
// also the ones beside it, a text also one that nobody names; a person is the principal's own or somebody else's; what
// they do not read has one value. A context likewise.
//
// Outside of the world are more parents at once, parents of parents, attributes of attributes' entities (Report.Unexplored
// lists them), and values between the literals, which no comparison tells apart.
package world

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
)

// Limits bound a search. The zero value is the default.
type Limits struct {
	Questions int // how many are asked at most; default 20,000,000
	Parents   int // of one entity; default 2
}

func (l Limits) whole() Limits {
	if l.Questions == 0 {
		l.Questions = 20_000_000
	}
	if l.Parents == 0 {
		l.Parents = 2
	}
	return l
}

// A Report says what was searched.
type Report struct {
	Questions  int            // that were asked
	Pairs      int            // of a principal and a resource
	Parents    int            // of one entity, at most
	Actions    []string       // that were asked about, sorted
	Values     map[string]int // how many values each attribute had, at most
	Unexplored []string       // attributes that policies read and the world does not vary, sorted
	Example    *Example       // a counterexample, nil where there is none
}

// An Example is a question that two sets answer differently.
type Example struct {
	Principal policy.UID        `json:"principal"`
	Action    string            `json:"action"`
	Resource  policy.UID        `json:"resource"`
	Entities  []policy.Entity   `json:"entities"`
	Varied    map[string]string `json:"context"` // the attributes of the context that matter
	Context   policy.Context    `json:"-"`
	Before    string            `json:"before"` // outcome and reasons under the old set
	After     string            `json:"after"`
}

// A search asks one or two engines the questions of one world.
type search struct {
	limits  Limits
	engines []policy.Surveyor
	surveys []policy.Survey
	filter  Filter
	report  Report
	lazy    bool // the others are asked only what the last engine allows
	// worth tells whether a pair with these policies in play is worth asking about.
	worth func(p *pair) bool
	// answer takes the results of one question, one for each engine; false ends the search.
	answer func(p *pair, q policy.Query, results []policy.Result) bool
}

// play is the policies of one engine that can concern a pair.
type play map[string]policy.Surveyed

// A pair is a principal and a resource that an action is asked of.
type pair struct {
	action              string
	principal, resource policy.Entity
	entities            []policy.Entity
	plays               []play
	varied              []dimension
}

func newSearch(l Limits, f Filter, engines ...policy.Surveyor) *search {
	s := &search{limits: l.whole(), engines: engines, filter: f}
	s.report = Report{Parents: s.limits.Parents, Values: map[string]int{}}
	for _, e := range engines {
		s.surveys = append(s.surveys, e.Survey())
	}
	return s
}

// run asks everything.
func (s *search) run(ctx context.Context) error {
	if err := s.filter.check(s.surveys[0]); err != nil {
		return err
	}
	for _, action := range slices.Sorted(maps.Keys(s.surveys[0].Actions)) {
		if !s.filter.action(action, s.surveys[0].Actions[action].Groups) {
			continue
		}
		asked := s.report.Questions
		to := s.surveys[0].Actions[action]
		for _, p := range to.Principals {
			for _, r := range to.Resources {
				if more, err := s.types(ctx, action, p, r); err != nil || !more {
					return err
				}
			}
		}
		if s.report.Questions > asked {
			s.report.Actions = append(s.report.Actions, action)
		}
	}
	return nil
}

// types asks about an action for one type of principal and one of resource.
func (s *search) types(ctx context.Context, action, principal, resource string) (more bool, err error) {
	plays := make([]play, len(s.surveys))
	all := play{}
	for i, v := range s.surveys {
		plays[i] = play{}
		for id, x := range v.Policies {
			if slices.Contains(x.Actions, action) && ofType(x.Principal, principal) && ofType(x.Resource, resource) {
				plays[i][id] = x
				all[fmt.Sprint(i, " ", id)] = x
			}
		}
	}
	b := builder{shape: s.surveys[0], pools: all.pools(), limits: s.limits, filter: s.filter, report: &s.report}
	for _, p := range b.entities("principal", principal, all, nil) {
		for _, r := range b.entities("resource", resource, all, &p) {
			x := &pair{action: action, principal: p, resource: r, entities: b.around(p, r)}
			if !s.filter.entities(p, r) {
				continue
			}
			for _, y := range plays {
				x.plays = append(x.plays, y.of(p, r))
			}
			if !s.worth(x) {
				continue
			}
			if more, err := s.pair(ctx, x); err != nil || !more {
				return more, err
			}
		}
	}
	return true, nil
}

func ofType(s policy.Scope, t string) bool {
	return (s.Type == "" || s.Type == t) && (!s.Exact || s.In.Type == t)
}

// of keeps the policies whose heads hold for two entities.
func (p play) of(principal, resource policy.Entity) play {
	out := play{}
	for id, x := range p {
		if holds(x.Principal, principal) && holds(x.Resource, resource) {
			out[id] = x
		}
	}
	return out
}

func holds(s policy.Scope, e policy.Entity) bool {
	return (s.Type == "" || s.Type == e.UID.Type) &&
		(s.In == policy.UID{} || s.In == e.UID || !s.Exact && slices.Contains(e.Parents, s.In))
}

// pools joins what attributes are compared with.
func (p play) pools() map[string]policy.Pool {
	all := map[string]policy.Pool{}
	for _, x := range p {
		for path, pool := range x.Reads {
			was := all[path]
			was.Values = append(was.Values, pool.Values...)
			was.Patterns = append(was.Patterns, pool.Patterns...)
			was.Instants = append(was.Instants, pool.Instants...)
			was.Spans = append(was.Spans, pool.Spans...)
			all[path] = was
		}
	}
	return all
}

// pair asks about two entities in every context.
func (s *search) pair(ctx context.Context, p *pair) (more bool, err error) {
	both := play{}
	for i, x := range p.plays {
		for id, y := range x {
			both[fmt.Sprint(i, " ", id)] = y
		}
	}
	p.varied = contexts(sallyport.Action(p.action), both.pools(), &s.report)
	loaded := make([]policy.Entities, len(s.engines))
	for i, e := range s.engines {
		if loaded[i], err = e.Load(p.entities); err != nil {
			return false, fmt.Errorf("search: %w", err)
		}
	}
	s.report.Pairs++
	at := make([]int, len(p.varied))
	results := make([]policy.Result, len(s.engines))
	for {
		if s.report.Questions++; s.report.Questions > s.limits.Questions {
			return false, sallyport.E("search", sallyport.TooLarge, fmt.Sprintf("the world of %s has more than %d questions", p.action, s.limits.Questions), "narrow it by an expression, or allow more")
		}
		if s.report.Questions%4096 == 0 && ctx.Err() != nil {
			return false, ctx.Err()
		}
		q := policy.Query{Principal: p.principal.UID, Action: policy.UID{Type: "Action", ID: p.action}, Resource: p.resource.UID, Context: p.context(at)}
		last := len(s.engines) - 1
		results[last] = s.engines[last].Evaluate(q, loaded[last])
		for i := range last {
			if s.lazy && !results[last].Allowed {
				continue
			}
			results[i] = s.engines[i].Evaluate(q, loaded[i])
		}
		if !s.answer(p, q, results) {
			return false, nil
		}
		if !advance(at, p.varied) {
			return true, nil
		}
	}
}

// advance counts on, the last digit first; false after the last.
func advance(at []int, digits []dimension) bool {
	for i := len(at) - 1; i >= 0; i-- {
		if at[i]++; at[i] < len(digits[i].values) {
			return true
		}
		at[i] = 0
	}
	return false
}

// NoWider searches for a question within a filter that next allows and old does not. The report carries it as Example.
func NoWider(ctx context.Context, old, next policy.Surveyor, f Filter, l Limits) (Report, error) {
	changed := changes(old, next)
	s := newSearch(l, f, old, next)
	s.lazy = true
	s.worth = func(p *pair) bool { // only a permit that is new or a forbid that was there and is not as it was can widen
		permits, opens := false, false
		for id, y := range p.plays[1] {
			permits = permits || y.Effect == policy.Permit
			opens = opens || y.Effect == policy.Permit && changed[id]
		}
		for id, y := range p.plays[0] {
			opens = opens || y.Effect == policy.Forbid && changed[id]
		}
		return permits && opens
	}
	s.answer = func(p *pair, q policy.Query, r []policy.Result) bool {
		if !r[1].Allowed { // what is not allowed by the engine is not allowed by any rule around it
			return true
		}
		before, after := decision.Combine(old, r[0]), decision.Combine(next, r[1])
		if after.Outcome != sallyport.Allow || before.Outcome == sallyport.Allow {
			return true
		}
		s.report.Example = p.example(q, before, after)
		return false
	}
	err := s.run(ctx)
	slices.Sort(s.report.Unexplored)
	return s.report, err
}

// changes are the ids of the policies that are not the same in two sets.
func changes(old, next policy.Engine) map[string]bool {
	texts := map[string]string{}
	for _, p := range old.Policies() {
		texts[p.ID] = p.Text
	}
	changed := map[string]bool{}
	for _, p := range next.Policies() {
		changed[p.ID] = texts[p.ID] != p.Text
		delete(texts, p.ID)
	}
	for id := range texts {
		changed[id] = true
	}
	return changed
}

// An Effect is what became of one policy in a world.
type Effect struct {
	Applied bool     // a permit was among the reasons of something allowed, a forbid of something denied
	Alone   bool     // and a permit was the only reason once
	With    []string // permits that stood beside it whenever it applied, sorted
}

// Effects says which policies do anything: a permit that never applies permits nothing, and one that never applies alone
// changes nothing.
func Effects(ctx context.Context, e policy.Surveyor, l Limits) (map[string]Effect, Report, error) {
	s := newSearch(l, Filter{}, e)
	found := map[string]Effect{}
	s.worth = func(p *pair) bool { // somebody in play is not settled yet
		for id, x := range p.plays[0] {
			if f := found[id]; x.Effect == policy.Permit && !f.Alone || x.Effect == policy.Forbid && !f.Applied {
				return true
			}
		}
		return false
	}
	s.answer = func(_ *pair, _ policy.Query, r []policy.Result) bool {
		for _, id := range r[0].Reasons {
			f := found[id]
			others := slices.DeleteFunc(slices.Clone(r[0].Reasons), func(x string) bool { return x == id })
			if r[0].Allowed {
				f.Alone = f.Alone || len(others) == 0
			}
			if f.Applied {
				others = slices.DeleteFunc(slices.Clone(f.With), func(x string) bool { return !slices.Contains(others, x) })
			}
			f.Applied, f.With = true, others
			found[id] = f
		}
		return true
	}
	err := s.run(ctx)
	slices.Sort(s.report.Unexplored)
	return found, s.report, err
}
