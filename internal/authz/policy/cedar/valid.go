package cedar

import (
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"sallyport"
)

// Validators check policies against the schema. cedar-go's makes, for each policy, the environments of every action there is
// and then drops those that the policy is not about: of ten thousand policies that is nearly all of the time and of the
// memory of compiling, and whoever decides meanwhile waits for it. Those of a few actions are made from a schema in which the
// other actions are still known and apply to nothing, so that their environments, which would be dropped, are not made.
type validators struct {
	schema *resolved.Schema
	wide   *breadth
	full   *validator
	few    map[string]*validator // by the actions, sorted
	left   int                   // work that may still be done
}

// A validator checks policies about some actions.
type validator struct {
	*validate.Validator
	actions, environments int // that it goes through for each policy
}

// maxFew is how many validators of a few actions are kept; policies about more combinations than that are checked by the full one.
const maxFew = 1_000

// maxWork bounds what checking a set costs, in steps of some ten nanoseconds: ten thousand policies of usual heads take a
// third of it.
const maxWork = 500_000_000

func newValidators(s *resolved.Schema, wide *breadth) *validators {
	v := &validators{schema: s, wide: wide, few: map[string]*validator{}, left: maxWork}
	v.full = v.over(s)
	return v
}

func (v *validators) over(s *resolved.Schema) *validator {
	x := &validator{Validator: validate.New(s, validate.WithStrict())}
	for _, a := range s.Actions {
		if a.AppliesTo != nil {
			x.actions++
			x.environments += len(a.AppliesTo.Principals) * len(a.AppliesTo.Resources)
		}
	}
	return x
}

// check reports what is wrong with a policy, in the words of the full validator. One whose check would take the set beyond
// maxWork is not checked.
func (v *validators) check(id, text string, tree *ast.Policy) error {
	named := namedBy(tree.Action)
	x := v.of(named)
	v.left -= x.environments*v.eachTime(text) + x.actions*v.wide.widest + v.wide.types*v.wide.typeParents + 8*len(named)*v.wide.actions
	if v.left < 0 {
		return sallyport.E("policy", sallyport.TooLarge, "with policy "+id+" the set takes too long to check",
			"name actions in the heads of policies, ask less often with has, or write fewer policies")
	}
	err := x.Policy(id, tree)
	if err != nil && x != v.full {
		err = v.full.Policy(id, tree)
	}
	if err != nil {
		return sallyport.E("policy", sallyport.Invalid, oneLine(err), "correct policy "+id+" or the schema")
	}
	return nil
}

// eachTime is what it costs to check a policy for one principal with one resource: its text is read, each has in it is held
// against all those before it, and types that are compared or could be one or the other are gone through whole.
func (v *validators) eachTime(text string) int {
	count := func(words ...string) (n int) {
		for _, w := range words {
			n += strings.Count(text, w)
		}
		return n
	}
	has, whole := count(" has ", ".hasTag("), count("if ", "==", "!=", ",", ".contains")-2 // two commas are the head's
	return 10 + len(text)/8*(1+(v.wide.widest+v.wide.typeParents)/32) + 4*max(whole, 0)*v.wide.widest + has*has*has/8
}

// namedBy are the actions of a scope; none where it is about every action, or in a form that is not known.
func namedBy(scope ast.IsActionScopeNode) []types.EntityUID {
	switch s := scope.(type) {
	case ast.ScopeTypeEq:
		return []types.EntityUID{s.Entity}
	case ast.ScopeTypeIn:
		return []types.EntityUID{s.Entity}
	case ast.ScopeTypeInSet:
		return s.Entities
	}
	return nil
}

// of is the validator for the actions of a scope.
func (v *validators) of(named []types.EntityUID) *validator {
	if len(named) == 0 {
		return v.full
	}
	texts := make([]string, len(named))
	for i, u := range named {
		texts[i] = u.String()
	}
	slices.Sort(texts)
	key := strings.Join(texts, " ")
	if v.few[key] == nil {
		if len(v.few) >= maxFew {
			return v.full
		}
		v.left -= v.wide.actions * (1 + v.wide.groups)
		v.few[key] = v.over(v.only(named))
	}
	return v.few[key]
}

// only is the schema in which no actions apply to anything but those that are named, or are in what is named.
func (v *validators) only(named []types.EntityUID) *resolved.Schema {
	s := *v.schema
	s.Actions = maps.Clone(s.Actions)
	for uid, a := range s.Actions {
		if !v.within(uid, named) {
			a.AppliesTo = nil
			s.Actions[uid] = a
		}
	}
	return &s
}

// within reports whether an action is one of those that are named, or in one, over any number of levels.
func (v *validators) within(uid types.EntityUID, named []types.EntityUID) bool {
	above := []types.EntityUID{uid}
	for i := 0; i < len(above); i++ {
		if slices.Contains(named, above[i]) {
			return true
		}
		for up := range v.schema.Actions[above[i]].Entity.Parents.All() {
			if !slices.Contains(above, up) {
				above = append(above, up)
			}
		}
	}
	return false
}
