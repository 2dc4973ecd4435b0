package demo

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/engines"
	"sallyport/internal/demo/people"
	"sallyport/verify"
)

// covered verifies the log's files, once their checkpoint covers everything that has happened so far.
func (s *story) covered(ctx context.Context, o verify.Options) (verify.Report, error) {
	alba, err := s.who("alba")
	if err != nil {
		return verify.Report{}, err
	}
	head, err := alba.Client.Head(ctx)
	if err != nil {
		return verify.Report{}, err
	}
	for range 600 {
		r, err := verify.Log(ctx, verify.Dir(s.server.LogDir()), s.server.LogKey(), verify.Options{Earlier: o.Earlier})
		if err != nil {
			return r, err
		}
		if r.Size >= head.Size {
			return verify.Log(ctx, verify.Dir(s.server.LogDir()), s.server.LogKey(), o)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return r, err
		}
	}
	return verify.Report{}, fmt.Errorf("after a minute no checkpoint covers %d entries", head.Size)
}

func (s *story) verifies(ctx context.Context, _ *people.Person) (seen, error) {
	r, err := s.covered(ctx, verify.Options{Earlier: [][]byte{s.firstHead}})
	if err != nil {
		return seen{}, err
	}
	if r.Earlier != 1 || r.Checked != r.Size {
		return seen{}, fmt.Errorf("%d of %d entries were checked, and %d kept checkpoints", r.Checked, r.Size, r.Earlier)
	}
	return seen{resource: "log", outcome: "verified", note: fmt.Sprintf("%d entries of %s, root %s", r.Size, r.Origin, r.Root)}, nil
}

// A record is what a log says about decisions.
type record struct {
	decided  []sallyport.Event
	facts    map[string][]byte // by content hash
	policies []sallyport.Event
	engines  map[string]policy.Engine // by version
}

// read takes one entry of the log.
func (r *record) read(_ uint64, leaf []byte) error {
	l, err := sallyport.DecodeLogged(leaf)
	if err != nil {
		return err
	}
	switch l.Type {
	case sallyport.EventDecided:
		r.decided = append(r.decided, l.Event)
	case sallyport.EventFacts:
		r.facts[l.Facts] = slices.Clone(l.Basis)
	case sallyport.EventPolicy:
		r.policies = append(r.policies, l.Event)
	}
	return nil
}

// compile makes every policy set that the log holds.
func (r *record) compile() error {
	sources, err := policy.Join(r.policies)
	if err != nil {
		return err
	}
	r.engines = map[string]policy.Engine{}
	for version, src := range sources {
		if r.engines[version], err = engines.Compile(src); err != nil {
			return err
		}
	}
	return nil
}

// again makes a decision from the record, and tells how it differs from the recorded one.
func (r *record) again(e sallyport.Event) error {
	text, ok := r.facts[e.Facts]
	if !ok {
		return fmt.Errorf("decision %s: its facts are not in the log", e.Decision)
	}
	b, err := decision.Unmarshal(text)
	if err != nil {
		return fmt.Errorf("decision %s: %w", e.Decision, err)
	}
	engine, ok := r.engines[b.Policy]
	if !ok {
		return fmt.Errorf("decision %s: its policies %.12s are not in the log", e.Decision, b.Policy)
	}
	d, err := decision.Again(engine, e, func(hash string) []byte { return r.facts[hash] })
	if err != nil {
		return fmt.Errorf("decision %s: %w", e.Decision, err)
	}
	var obligations []string
	for _, o := range d.Obligations {
		obligations = append(obligations, o.String())
	}
	if d.Outcome.String() != e.Outcome || !slices.Equal(d.ReasonIDs(), e.Reasons) || !slices.Equal(d.Errors, e.Errors) || !slices.Equal(obligations, e.Obligations) {
		return fmt.Errorf("decision %s is recorded as %s %v %v and made again as %s %v %v", e.Decision, e.Outcome, e.Reasons, e.Obligations, d.Outcome, d.ReasonIDs(), obligations)
	}
	return nil
}

// replays makes all decisions of the run again.
func (s *story) replays(ctx context.Context, _ *people.Person) (seen, error) {
	r := &record{facts: map[string][]byte{}}
	if _, err := s.covered(ctx, verify.Options{Each: r.read}); err != nil {
		return seen{}, err
	}
	if err := r.compile(); err != nil {
		return seen{}, err
	}
	outcomes := map[string]int{}
	for _, e := range r.decided {
		if err := r.again(e); err != nil {
			return seen{}, err
		}
		outcomes[e.Outcome]++
	}
	if len(r.decided) == 0 {
		return seen{}, fmt.Errorf("the log has no decisions")
	}
	return seen{resource: "log", outcome: "identical", note: fmt.Sprintf("%d decisions: %d allow, %d deny, %d step-up, %d hold; %d facts, %d policy sets", len(r.decided),
		outcomes["allow"], outcomes["deny"], outcomes["step-up"], outcomes["hold"], len(r.facts), len(r.engines))}, nil
}
