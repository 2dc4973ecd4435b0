// Package simulate owns what another policy set would have decided: recorded decisions made again on their recorded
// facts, under a set that was not in force, and which of them flip.
//
// It leaves reading the log to whoever has it, and deciding to authz/decision.
package simulate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
)

// A Group is the flips of one person on one resource by one action, from one outcome to another.
type Group struct {
	Person   sallyport.PrincipalID `json:"person"`
	Resource string                `json:"resource"`
	Action   sallyport.Action      `json:"action"`
	From     string                `json:"from"`
	To       string                `json:"to"`
	Exposure bool                  `json:"exposure"` // allowed now and not then
	Times    int                   `json:"times"`
	First    time.Time             `json:"first"`
	Last     time.Time             `json:"last"`
	Decision string                `json:"decision"` // the last of them
	Because  []string              `json:"because"`  // reasons of the last of them under the new set
}

// A Report is what a simulation found.
type Report struct {
	Version   string         `json:"version"` // of the set that was tried
	Decisions int            `json:"decisions"`
	Flips     int            `json:"flips"`
	Exposures int            `json:"exposures"`
	Unasked   int            `json:"unasked"` // decisions that cannot be made again under this set
	Why       map[string]int `json:"why"`     // how often each reason for that was met
	Groups    []Group        `json:"groups"`  // new exposure first, the most frequent first
}

// A Simulation takes recorded decisions. It is not safe for concurrent use.
type Simulation struct {
	engine policy.Engine
	fill   func(*decision.Basis)
	report Report
	groups map[string]*Group
	bases  map[string]*decision.Basis // prepared, by content hash
}

// maxWhy bounds how many reasons for not asking are told apart, maxBases how many prepared bases are kept.
const (
	maxWhy   = 50
	maxBases = 20_000
)

// New returns a simulation of a set.
func New(engine policy.Engine) *Simulation {
	return &Simulation{engine: engine, fill: Filler(engine), report: Report{Version: engine.Version(), Why: map[string]int{}}, groups: map[string]*Group{}, bases: map[string]*decision.Basis{}}
}

// Take makes a recorded decision again. Text returns the text of a basis by its content hash, nil where there is none. What
// is no decision is passed over.
func (s *Simulation) Take(e sallyport.Event, text func(hash string) []byte) {
	if e.Type != sallyport.EventDecided || e.Asked == nil {
		return
	}
	s.report.Decisions++
	f, err := s.facts(e, text)
	if err != nil {
		s.report.Unasked++
		if why := sallyport.PublicText(err); len(s.report.Why) < maxWhy || s.report.Why[why] > 0 {
			s.report.Why[why]++
		}
		return
	}
	d := decision.Decide(s.engine, f)
	if d.Outcome.String() != e.Outcome {
		s.flip(e, f.Person, d)
	}
}

func (s *Simulation) flip(e sallyport.Event, person sallyport.PrincipalID, d sallyport.Decision) {
	s.report.Flips++
	g := Group{Person: person, Resource: e.On, Action: e.Action, From: e.Outcome, To: d.Outcome.String(), Exposure: d.Outcome == sallyport.Allow, First: e.Time()}
	if g.Exposure {
		s.report.Exposures++
	}
	key := strings.Join([]string{string(g.Person), g.Resource, string(g.Action), g.From, g.To}, "\x00")
	if s.groups[key] == nil {
		s.groups[key] = &g
	}
	x := s.groups[key]
	x.Times++
	x.Last, x.Decision, x.Because = e.Time(), e.Decision, d.ReasonIDs()
}

// facts are the recorded facts, prepared for the other set.
func (s *Simulation) facts(e sallyport.Event, text func(string) []byte) (decision.Facts, error) {
	q, err := decision.QuestionOf(e)
	if err != nil {
		return decision.Facts{}, err
	}
	f := decision.Facts{Question: q}
	if f.Basis, err = s.basis(e.Facts, text); err != nil {
		return f, err
	}
	for _, hash := range decision.ActedOn(e) {
		b, err := s.basis(hash, text)
		if err != nil {
			return f, err
		}
		f.Acting = append(f.Acting, b)
	}
	return f, nil
}

func (s *Simulation) basis(hash string, text func(string) []byte) (*decision.Basis, error) {
	if b, ok := s.bases[hash]; ok {
		return b, nil
	}
	b, err := Recall(s.engine, s.fill, text(hash))
	if err == nil {
		if len(s.bases) >= maxBases {
			clear(s.bases)
		}
		s.bases[hash] = b
	}
	return b, err
}

// Recall prepares a recorded basis for a set that was not in force when it was written.
func Recall(engine policy.Engine, fill func(*decision.Basis), text []byte) (*decision.Basis, error) {
	if text == nil {
		return nil, sallyport.E("simulate", sallyport.NotFound, "the log does not hold its facts", "")
	}
	b, err := decision.Unmarshal(text)
	if err != nil {
		return nil, err
	}
	b.Policy = ""
	fill(b)
	return decision.Prepare(engine, b)
}

// Filler returns what brings recorded entities to the schema of an engine: what the schema has asked for since is empty,
// what it does not know any more is left out. An engine that does not say what its schema is gets them as they were.
func Filler(engine policy.Engine) func(*decision.Basis) {
	s, ok := engine.(policy.Surveyor)
	if !ok {
		return func(*decision.Basis) {}
	}
	shapes := s.Survey().Entities
	return func(b *decision.Basis) {
		for i, e := range b.Entities {
			shape, known := shapes[e.UID.Type]
			if !known {
				continue
			}
			attrs := map[string]policy.Value{}
			for name, v := range e.Attrs {
				if _, declared := shape.Attrs[name]; declared {
					attrs[name] = v
				}
			}
			for name, a := range shape.Attrs {
				if _, has := attrs[name]; !has && !a.Optional && a.Kind != policy.EntityValue {
					attrs[name] = policy.Value{Kind: a.Kind}
				}
			}
			b.Entities[i].Attrs = attrs
		}
	}
}

// Report returns what was found so far.
func (s *Simulation) Report() Report {
	r := s.report
	r.Groups = []Group{}
	for _, g := range s.groups {
		r.Groups = append(r.Groups, *g)
	}
	slices.SortFunc(r.Groups, func(a, b Group) int {
		if a.Exposure != b.Exposure {
			return map[bool]int{true: -1, false: 1}[a.Exposure]
		}
		return cmp.Or(cmp.Compare(b.Times, a.Times), strings.Compare(string(a.Person), string(b.Person)), strings.Compare(a.Resource, b.Resource),
			strings.Compare(string(a.Action), string(b.Action)), strings.Compare(a.From+a.To, b.From+b.To))
	})
	return r
}

// String is a group in one line.
func (g Group) String() string {
	return fmt.Sprintf("%s %s on %s: %s, was %s, %d times", g.Person, g.Action, g.Resource, g.To, g.From, g.Times)
}
