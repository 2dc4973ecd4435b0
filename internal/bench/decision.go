package bench

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
)

// mostUnindexed is the largest set that is also measured without the index.
const mostUnindexed = 1_000

// decision measures decisions under policy sets of growing size.
func (r *run) decision(ctx context.Context) error {
	var allowed, unindexed []side // unindexed: of the first sets only
	var refused side
	for _, n := range r.size.policies {
		w := cedar.NewWorkload(n, r.size.entities)
		s, err := r.deciding(w, sallyport.Allow)
		if err != nil {
			return err
		}
		if refused, err = r.deciding(w, sallyport.Deny); err != nil {
			return err
		}
		allowed = append(allowed, s)
		if n > mostUnindexed {
			continue
		}
		for file, text := range w.Source.Policies {
			w.Source.Policies[file] = withoutScopes(text)
		}
		if s, err = r.deciding(w, sallyport.Allow); err != nil {
			return fmt.Errorf("without scopes: %w", err)
		}
		unindexed = append(unindexed, s)
	}
	all, err := turns(ctx, r.size.rounds, append(slices.Concat(allowed, unindexed), refused)...)
	if err != nil {
		return err
	}
	r.decisionRows(all[:len(allowed)], all[len(allowed):len(all)-1], all[len(all)-1])
	return nil
}

func (r *run) decisionRows(allowed, unindexed [][]sample, refused []sample) {
	const group = "decision"
	means := fmt.Sprintf("the time of one decision that permits, over %d entities", r.size.entities)
	for i, n := range r.size.policies {
		p50 := of(allowed[i], micros)
		if i < len(unindexed) {
			r.add(ratio(p50, of(unindexed[i], micros), "µs", "every policy evaluated"), group, fmt.Sprintf("p50, %d policies", n),
				means+", against the same rules written so that the index cannot skip any")
		} else {
			r.add(figure(p50, "µs").atMost(10), group, fmt.Sprintf("p50, %d policies", n), means)
		}
		r.add(figure(of(allowed[i], worst), "µs"), group, fmt.Sprintf("p99, %d policies", n), "one decision in a hundred takes longer; on a shared machine this is mostly the machine")
	}
	first, last := 0, len(r.size.policies)-1
	most := r.size.policies[last]
	r.add(ratio(of(allowed[last], micros), of(allowed[first], micros), "µs", fmt.Sprintf("%d policies", r.size.policies[first])).atMost(1.5), group,
		fmt.Sprintf("p50, %d policies against %d", most, r.size.policies[first]), "how much slower a decision gets when the policy set grows a thousandfold")
	r.add(ratio(of(refused, micros), of(allowed[last], micros), "µs", "permitted"), group, fmt.Sprintf("p50 refused, %d policies", most),
		"what a refusal costs more: it is decided again for each way out, because a remedy is named only after it was tried on the same facts")
}

// questions is how many different callers and models are asked about in turn.
const questions = 4

// deciding prepares a workload and returns the side that decides on questions of
// one outcome. Each basis holds all the entities, which is more than the guard
// ever gathers for one call.
func (r *run) deciding(w cedar.Workload, outcome sallyport.Outcome) (side, error) {
	engine, err := cedar.Compile(w.Source)
	if err != nil {
		return nil, err
	}
	var ask []decision.Facts
	for i := range questions {
		f, err := factsOf(engine, w.Entities, i, outcome)
		if err != nil {
			return nil, err
		}
		ask = append(ask, f)
	}
	times := make([]time.Duration, r.size.decisions)
	return func(context.Context) (sample, error) {
		begin := time.Now()
		for i := range times {
			f := ask[i%len(ask)]
			from := time.Now()
			d := decision.Decide(engine, f)
			times[i] = time.Since(from)
			if d.Outcome != outcome {
				return sample{}, fmt.Errorf("a decision is %v because of %v, and not %v", d.Outcome, d.ReasonIDs(), outcome)
			}
		}
		return sampled(slices.Clone(times), time.Since(begin)), nil
	}, nil
}

// factsOf is the i-th question of an outcome: in every workload the fifth group may
// use the first project, and the second group may not.
func factsOf(engine policy.Engine, all []policy.Entity, i int, outcome sallyport.Outcome) (decision.Facts, error) {
	group := map[sallyport.Outcome]int{sallyport.Allow: 5, sallyport.Deny: 2}[outcome]
	user, model := fmt.Sprintf("u%d", group+100*i), fmt.Sprintf("m%d", 100*i)
	who := sallyport.PrincipalID("user:" + user)
	basis, err := decision.Prepare(engine, &decision.Basis{Principal: policy.UID{Type: "User", ID: user}, PrincipalID: who, Person: who, Active: true,
		Resource:    sallyport.Resource{Kind: sallyport.ModelKind, Org: "bench", Name: model, Class: sallyport.Internal},
		ResourceUID: policy.UID{Type: "Model", ID: "bench/" + model}, Entities: all})
	if err != nil {
		return decision.Facts{}, err
	}
	now := time.Unix(1_800_000_000, 0).UTC()
	return decision.Facts{Basis: basis, Question: decision.Question{Action: sallyport.ModelInfer, At: now, Door: "bench",
		Scope: sallyport.Scope{"*"}, Assurance: sallyport.MultiFactor, AuthTime: now.Add(-time.Minute), Session: "s", Family: "f"}}, nil
}

// withoutScopes moves the scopes of a workload's policies into their conditions.
// The rules stay the same, but nothing can be known about them without evaluating.
func withoutScopes(text string) string {
	head := regexp.MustCompile(`(?m)^(permit|forbid)\((principal[^,]*), (action(?: in \[[^\]]*\]|[^,]*)), (resource[^)]*)\)\s*when \{ (.*) \};$`)
	return head.ReplaceAllStringFunc(text, func(p string) string {
		m := head.FindStringSubmatch(p)
		conditions := ""
		for _, scope := range m[2:5] {
			switch scope {
			case "principal", "action":
			case "resource":
				continue
			default:
				conditions += scope + " && "
			}
		}
		return fmt.Sprintf("%s(principal, action, resource) when { resource is Model && %s(%s) };", m[1], conditions, m[5])
	})
}
