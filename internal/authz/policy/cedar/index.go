package cedar

import (
	"iter"
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"sallyport/internal/authz/policy/cedar/clause"
)

// An index answers one question: which policies can have a true scope for this
// request? cedar-go evaluates every policy of a set, at about a microsecond each;
// given only the policies below it evaluates a handful of ten thousand.
//
// It is sound because it errs to one side. A constraint "== U" or "in U" holds
// only where U is in the closure (the entity and its ancestors) of what is asked
// about; a constraint without UID lies under anyUID, which every query visits. So
// a policy that is not visited has a false scope, scopes cannot fail, and it would
// have added neither a reason nor an error. What is visited is still evaluated
// whole, scope included.
type index struct {
	byAction   map[types.EntityUID]map[bucketKey][]entry
	principals map[types.EntityUID]bool // that some scope names; others need no look-up
	resources  map[types.EntityUID]bool
}

// bucketKey is what a policy's scope says about principal and resource.
type bucketKey struct{ principal, resource types.EntityUID }

// entry is one policy in a bucket.
type entry struct {
	id     cedar.PolicyID
	policy *cedar.Policy
	size   int  // bytes of its text
	multi  bool // stands under several actions
	like   bool // matches patterns
	levers *clause.Own
}

// anyUID stands for "no constraint". No real entity has it: an empty type is
// refused before a question or an entity comes here.
func anyUID() types.EntityUID { return types.EntityUID{} }

// newIndex files every policy under what its scope names.
func newIndex(policies iter.Seq[entry]) *index {
	x := &index{
		byAction:   map[types.EntityUID]map[bucketKey][]entry{},
		principals: map[types.EntityUID]bool{},
		resources:  map[types.EntityUID]bool{},
	}
	for e := range policies {
		tree := (*ast.Policy)(e.policy.AST())
		key := bucketKey{keyOf(tree.Principal), keyOf(tree.Resource)}
		x.principals[key.principal], x.resources[key.resource] = true, true
		actions := actionKeys(tree.Action)
		e.multi = len(actions) > 1
		for _, a := range actions {
			if x.byAction[a] == nil {
				x.byAction[a] = map[bucketKey][]entry{}
			}
			x.byAction[a][key] = append(x.byAction[a][key], e)
		}
	}
	return x
}

// keyOf is the entity that a scope needs in the closure, anyUID where it needs
// none and where the form is not known: what is not understood is never skipped.
func keyOf(scope ast.IsScopeNode) types.EntityUID {
	switch s := scope.(type) {
	case ast.ScopeTypeEq:
		return s.Entity
	case ast.ScopeTypeIn:
		return s.Entity
	case ast.ScopeTypeIsIn:
		return s.Entity
	}
	return anyUID()
}

// actionKeys are the actions that a policy stands under. An empty list of actions
// never matches and has no key.
func actionKeys(scope ast.IsActionScopeNode) []types.EntityUID {
	if set, ok := scope.(ast.ScopeTypeInSet); ok {
		return set.Entities
	}
	return []types.EntityUID{keyOf(scope)}
}

// candidates are the policies that a request can concern, each once: a
// cedar.PolicyIterator that may be ranged over any number of times.
type candidates []entry

// candidates visits the buckets of r over the entities of get.
func (x *index) candidates(r *cedar.Request, get types.EntityGetter) candidates {
	var room [3][24]types.EntityUID
	actions := closure(room[0][:0], r.Action, get)
	principals := named(closure(room[1][:0], r.Principal, get), x.principals)
	resources := named(closure(room[2][:0], r.Resource, get), x.resources)
	list := make(candidates, 0, 16)
	var seen map[cedar.PolicyID]bool // of those that stand in several places
	for _, a := range actions {
		buckets := x.byAction[a]
		if len(buckets) == 0 {
			continue
		}
		for _, p := range principals {
			for _, r := range resources {
				for _, e := range buckets[bucketKey{p, r}] {
					if e.multi {
						if seen[e.id] {
							continue
						}
						if seen == nil {
							seen = map[cedar.PolicyID]bool{}
						}
						seen[e.id] = true
					}
					list = append(list, e)
				}
			}
		}
	}
	return list
}

// named keeps, in place, what some scope names.
func named(uids []types.EntityUID, scopes map[types.EntityUID]bool) []types.EntityUID {
	return slices.DeleteFunc(uids, func(u types.EntityUID) bool { return !scopes[u] })
}

// All yields each candidate once.
func (c candidates) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, e := range c {
			if !yield(e.id, e.policy) {
				return
			}
		}
	}
}

// weight is how much policy text the question touches, in bytes. A policy with
// "like" counts more the longer the text it may have to match: in the worst case it
// compares every byte of the pattern at every place.
func (c candidates) weight(longest int) int {
	n := 0
	for _, e := range c {
		n += e.size
		if e.like {
			n += e.size * longest / 16
		}
	}
	return n
}

// closure appends to list anyUID, uid and every ancestor of uid that get knows.
// uid belongs to it even where no such entity exists, and a cycle ends because
// nothing is visited twice.
func closure(list []types.EntityUID, uid types.EntityUID, get types.EntityGetter) []types.EntityUID {
	const linear = 32 // up to here a scan is faster than a set
	list = append(list, anyUID(), uid)
	var seen map[types.EntityUID]bool
	for i := 1; i < len(list); i++ {
		entity, ok := get.Get(list[i])
		if !ok {
			continue
		}
		for parent := range entity.Parents.All() {
			if seen == nil && len(list) > linear {
				seen = make(map[types.EntityUID]bool, 2*linear)
				for _, u := range list {
					seen[u] = true
				}
			}
			if seen != nil && !seen[parent] {
				seen[parent] = true
				list = append(list, parent)
			} else if seen == nil && !slices.Contains(list, parent) {
				list = append(list, parent)
			}
		}
	}
	return list
}
