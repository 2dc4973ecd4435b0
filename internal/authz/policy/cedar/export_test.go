package cedar

import (
	"fmt"
	"math"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"sallyport/internal/authz/policy"
)

// NewBare makes an engine of policies that follow no rule of ours: no schema, no
// annotations, no budget. The corpus of the Cedar project is made of such.
func NewBare(policies map[string]*cedar.Policy) *Engine {
	e := &Engine{budget: math.MaxInt}
	set := make(map[string]compiled, len(policies))
	for id, p := range policies {
		info := policy.Info{ID: id, Effect: effectOf(p), Text: string(p.MarshalCedar())}
		set[id] = compiled{policy: p, info: info}
	}
	e.publish(set)
	return e
}

// EvaluateBare evaluates over entities that were not loaded, through the index.
func (e *Engine) EvaluateBare(r cedar.Request, over types.EntityGetter) policy.Result {
	return e.evaluate(&r, over)
}

// EvaluateFull evaluates all policies of a set, without the index.
func EvaluateFull(policies cedar.PolicyIterator, r cedar.Request, over types.EntityGetter) policy.Result {
	return authorize(policies, over, &r)
}

// FullSet returns all policies of e as a set for EvaluateFull.
func (e *Engine) FullSet() cedar.PolicyMap {
	set := cedar.PolicyMap{}
	for _, buckets := range e.index.byAction {
		for _, entries := range buckets {
			for _, p := range entries {
				set[p.id] = p.policy
			}
		}
	}
	return set
}

// Candidates returns the ids that the index yields, in two iterations.
func (e *Engine) Candidates(r cedar.Request, over types.EntityGetter) (first, second []string) {
	q := e.index.candidates(&r, over)
	for id := range q.All() {
		first = append(first, string(id))
	}
	for id := range q.All() {
		second = append(second, string(id))
	}
	return first, second
}

// RawQuery converts a question and loaded entities into what cedar-go reads.
func RawQuery(q policy.Query, over policy.Entities) (cedar.Request, types.EntityGetter) {
	snap, ok := over.(*entities)
	if !ok {
		panic(fmt.Sprintf("entities of type %T", over))
	}
	return cedar.Request{
		Principal: uidOf(q.Principal), Action: uidOf(q.Action), Resource: uidOf(q.Resource), Context: snap.engine.contextOf(&q.Context),
	}, snap
}
