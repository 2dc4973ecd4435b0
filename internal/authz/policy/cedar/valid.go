package cedar

import (
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

// Validators check policies against the schema. cedar-go's makes, for each policy, the environments of every action there is
// and then drops those that the policy is not about: of ten thousand policies that is nearly all of the time and of the
// memory of compiling, and whoever decides meanwhile waits for it. Those of a few actions are made from a schema in which the
// other actions are still known and apply to nothing, so that their environments, which would be dropped, are not made.
type validators struct {
	schema *resolved.Schema
	full   *validate.Validator
	few    map[string]*validate.Validator // by the actions, sorted
}

// maxFew is how many validators of a few actions are kept; policies about more combinations than that are checked by the full one.
const maxFew = 1_000

func newValidators(s *resolved.Schema) *validators {
	return &validators{schema: s, full: validate.New(s, validate.WithStrict()), few: map[string]*validate.Validator{}}
}

// check reports what is wrong with a policy, in the words of the full validator.
func (v *validators) check(id string, tree *ast.Policy) error {
	if v.of(tree.Action).Policy(id, tree) == nil {
		return nil
	}
	return v.full.Policy(id, tree)
}

// of is the validator for the actions of a scope.
func (v *validators) of(scope ast.IsActionScopeNode) *validate.Validator {
	var named []types.EntityUID
	switch s := scope.(type) {
	case ast.ScopeTypeEq:
		named = []types.EntityUID{s.Entity}
	case ast.ScopeTypeIn:
		named = []types.EntityUID{s.Entity}
	case ast.ScopeTypeInSet:
		named = s.Entities
	}
	if len(named) == 0 {
		return v.full // about every action, or in a form that is not known
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
		v.few[key] = validate.New(v.only(named), validate.WithStrict())
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
