// Package clause owns reading one Cedar policy part by part: its clauses with what each came to for a question, the
// attributes that they read, and the levers that they ask about.
//
// It leaves choosing the policies and reading entities to the engine (authz/policy/cedar), and it decides nothing: what
// it evaluates is for people.
package clause

import (
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	publicast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"sallyport/internal/authz/policy"
)

// maxClauses is how many clauses of one policy are told; what is left stands in the last one.
const maxClauses = 64

// Trace says what a policy came to in env, clause by clause. The conditions are taken apart where a single part settles
// them: "when" at its conjunctions, "unless" at its disjunctions.
func Trace(p *ast.Policy, env eval.Env) (applies policy.Truth, clauses []policy.Clause) {
	applies = truth(eval.PolicyToNode(p).AsIsNode(), env)
	settled := false
	add := func(under string, n ast.IsNode) {
		c := policy.Clause{Under: under, Text: text(n), Reads: Reads(n), Value: truth(n, env)}
		if settled && c.Value == policy.Failed {
			c.Value = policy.Skipped
		}
		settled = settled || c.Value != policy.Skipped && c.Bars()
		clauses = append(clauses, c)
	}
	for _, n := range scope(p) {
		add("scope", n)
	}
	for _, c := range p.Conditions {
		under, parts := "when", split(c.Body, maxClauses-len(clauses), conjunction)
		if c.Condition == ast.ConditionUnless {
			under, parts = "unless", split(c.Body, maxClauses-len(clauses), disjunction)
		}
		for _, n := range parts {
			add(under, n)
		}
	}
	return applies, clauses
}

// InScope tells whether the head of a policy holds in env.
func InScope(p *ast.Policy, env eval.Env) bool {
	for _, n := range scope(p) {
		if truth(n, env) != policy.True {
			return false
		}
	}
	return true
}

// scope are the constraints of the head that constrain.
func scope(p *ast.Policy) []ast.IsNode {
	var nodes []ast.IsNode
	for i, s := range [...]ast.IsScopeNode{p.Principal, p.Action, p.Resource} {
		if _, all := s.(ast.ScopeTypeAll); all {
			continue
		}
		one := ast.Permit()
		switch i {
		case 0:
			one.Principal = p.Principal
		case 1:
			one.Action = p.Action
		default:
			one.Resource = p.Resource
		}
		n := eval.PolicyToNode(one).AsIsNode() // true, and what constrains
		for {
			and, ok := n.(ast.NodeTypeAnd)
			if !ok {
				break
			}
			if v, isValue := and.Left.(ast.NodeValue); isValue && v.Value == types.Boolean(true) {
				n = and.Right
			} else {
				n = and.Left
			}
		}
		nodes = append(nodes, n)
	}
	return nodes
}

func conjunction(n ast.IsNode) (ast.IsNode, ast.IsNode, bool) {
	a, ok := n.(ast.NodeTypeAnd)
	return a.Left, a.Right, ok
}

func disjunction(n ast.IsNode) (ast.IsNode, ast.IsNode, bool) {
	o, ok := n.(ast.NodeTypeOr)
	return o.Left, o.Right, ok
}

// split takes an expression apart, into at most most parts and at least one.
func split(n ast.IsNode, most int, at func(ast.IsNode) (ast.IsNode, ast.IsNode, bool)) []ast.IsNode {
	left, right, ok := at(n)
	if !ok || most < 2 {
		return []ast.IsNode{n}
	}
	parts := split(left, most-1, at)
	return append(parts, split(right, most-len(parts), at)...)
}

// truth evaluates a condition.
func truth(n ast.IsNode, env eval.Env) policy.Truth {
	v, err := eval.Eval(n, env)
	b, ok := v.(types.Boolean)
	switch {
	case err != nil || !ok:
		return policy.Failed
	case bool(b):
		return policy.True
	}
	return policy.False
}

// text writes a condition in Cedar's language, on one line.
func text(n ast.IsNode) string {
	whole := string(cedar.NewPolicyFromAST((*publicast.Policy)(ast.Permit().When(ast.NewNode(n)))).MarshalCedar())
	_, s, _ := strings.Cut(whole, "when {")
	return strings.Join(strings.Fields(strings.TrimSuffix(strings.TrimSpace(s), "};")), " ")
}

// Reads returns the attributes that an expression reads, sorted: "context.device.level", "resource.class", and
// "principal" where it asks what the principal is or belongs to.
func Reads(n ast.IsNode) []string {
	var names []string
	ast.Inspect(ast.NewNode(n), func(n ast.IsNode) bool {
		name := chain(n)
		if name != "" {
			names = append(names, name)
		}
		return name == ""
	})
	slices.Sort(names)
	return slices.Compact(names)
}

// chain is the dotted name of an expression that only reads an attribute, "" of another.
func chain(n ast.IsNode) string {
	var arg ast.IsNode
	var name types.String
	switch x := n.(type) {
	case ast.NodeTypeVariable:
		return string(x.Name)
	case ast.NodeTypeAccess:
		arg, name = x.Arg, x.Value
	case ast.NodeTypeHas:
		arg, name = x.Arg, x.Value
	default:
		return ""
	}
	if of := chain(arg); of != "" {
		return of + "." + string(name)
	}
	return ""
}
