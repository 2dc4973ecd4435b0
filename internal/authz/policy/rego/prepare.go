package rego

import (
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"sallyport"
)

// ready is the package whose rules follow from the documents alone. They are evaluated once, when a set is compiled, and
// become the document of that name: an index over many policies is written as a rule and costs nothing afterwards.
const ready = "prepared"

// prepareBudget is how many steps the preparation of a set may take: some thousand policies. What OPA does to build a
// large object out of a rule grows with the square of its size; more is to be written as a document.
const prepareBudget = 500_000

// maxPrepared is how many values the document may have, each counted wherever it stands: one that holds another twice is
// short as long as nobody writes it out.
const maxPrepared = 1 << 20

// prepare evaluates the package "prepared" and puts a document in its place.
func (s *set) prepare() error {
	rules := map[string]*ast.Module{}
	for file, m := range s.modules {
		if path := m.Package.Path; len(path) > 1 && path[1].Equal(ast.StringTerm(ready)) {
			rules[file] = m
			delete(s.modules, file)
		}
	}
	if len(rules) == 0 {
		return nil
	}
	c, err := s.compile(rules, object(map[string]any{"nothing": text()}))
	if err != nil {
		return err
	}
	run := run{compiler: c, store: s.store(), input: ast.ObjectTerm(), now: time.Unix(0, 0), meter: &meter{left: prepareBudget}}
	body := ast.NewBody(ast.Equality.Expr(ast.VarTerm(ready), ast.NewTerm(ast.MustParseRef("data."+ready))))
	var value any
	left := maxPrepared
	err = run.query(body, func(found topdown.QueryResult) (err error) {
		if !fits(found[ready], &left) {
			return nil
		}
		value, err = ast.JSON(found[ready].Value)
		return err
	})
	switch {
	case run.meter.left < 0 || left < 0:
		return sallyport.E(op, sallyport.TooLarge, "the package prepared takes too long, or is too large", "prepare less, or write it as a document")
	case err != nil:
		return refuse("the package prepared", err)
	}
	s.documents[ready] = value
	return nil
}

// fits counts the values in one, and stops where there are more than are left.
func fits(t *ast.Term, left *int) bool {
	if *left--; *left < 0 {
		return false
	}
	each := func(t *ast.Term) bool { return !fits(t, left) } // until one does not
	switch v := t.Value.(type) {
	case *ast.Array:
		return !v.Until(each)
	case ast.Set:
		return !v.Until(each)
	case ast.Object:
		return !v.Until(func(k, v *ast.Term) bool { return each(k) || each(v) })
	}
	return true
}
