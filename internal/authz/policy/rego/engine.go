package rego

import (
	"errors"
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
)

// Budget is how many steps one evaluation may take: tens of milliseconds.
const Budget = 100_000

// Engine is one compiled policy set, published as a whole and never changed. It implements policy.Engine and is safe
// for concurrent use. It does not explain itself (policy.Explainer).
type Engine struct {
	version  string
	shape    *cedar.Shape
	actions  map[string]action
	compiler *ast.Compiler
	store    storage.Store
	whole    ast.Body // both sets
	forbids  bool     // whether the set has any forbid
	infos    map[string]policy.Info
	ids      []string // sorted
	budget   int
	names    names
}

// An action is what the schema says of one, ready for a question.
type action struct {
	cedar.Action
	term *ast.Term
}

var _ policy.Engine = (*Engine)(nil)

// Compile parses and checks a policy set. What is not understood, is declared twice or not at all, or refers to what
// cannot exist is refused. Errors are of kind Invalid or TooLarge and name the file.
func Compile(src policy.Source) (e *Engine, err error) {
	defer func() {
		if p := recover(); p != nil { // the compiler is not ours: a set on which it fails is no set
			e, err = nil, refuse("the set", errors.New("the compiler cannot read it"))
		}
	}()
	shape, err := cedar.OpenShape(src.Schema)
	if err != nil {
		return nil, err
	}
	s, err := read(src.Policies)
	if err != nil {
		return nil, err
	}
	if err := s.prepare(); err != nil {
		return nil, err
	}
	e = &Engine{version: src.Version(), shape: shape, infos: s.infos, ids: slices.Sorted(maps.Keys(s.infos)), budget: Budget, names: newNames()}
	if e.compiler, err = s.compile(s.modules, shapeOf(shape)); err != nil {
		return nil, err
	}
	e.store = s.store()
	e.actions = map[string]action{}
	for id, a := range shape.Actions() {
		e.actions[id] = action{a, e.names.action(id, a.Groups)}
	}
	return e, e.question()
}

// compile compiles modules against what a question may have and the documents that there are.
func (s *set) compile(modules map[string]*ast.Module, question map[string]any) (*ast.Compiler, error) {
	schemas := ast.NewSchemaSet()
	schemas.Put(ast.SchemaRootRef, question)
	c := ast.NewCompiler().WithCapabilities(capabilities()).WithSchemas(schemas).WithStrict(true).WithDefaultRegoVersion(ast.RegoV1)
	if c.Compile(modules); c.Failed() {
		return nil, refuse("the set", c.Errors)
	}
	return c, s.checkData(c)
}

// store holds the documents.
func (s *set) store() storage.Store {
	return inmem.NewFromObjectWithOpts(s.documents, inmem.OptRoundTripOnWrite(false), inmem.OptReturnASTValuesOnRead(true))
}

// question compiles the question for both sets.
func (e *Engine) question() error {
	body := ast.NewBody()
	for _, set := range []string{"permit", "forbid"} {
		ref := ast.MustParseRef("data." + home + "." + set)
		if len(e.compiler.GetRules(ref)) > 0 {
			body.Append(ast.Equality.Expr(ast.VarTerm(set), ast.NewTerm(ref)))
			e.forbids = e.forbids || set == "forbid"
		}
	}
	var err error
	if e.whole, err = e.compiler.QueryCompiler().Compile(body); err != nil {
		return refuse("the set", err)
	}
	return nil
}

// Version is the content hash of schema and files: "sha256:" and 64 hex digits.
func (e *Engine) Version() string { return e.version }

// Info returns the policy called id.
func (e *Engine) Info(id string) (policy.Info, bool) {
	i, ok := e.infos[id]
	return i, ok
}

// Policies lists all policies, sorted by id.
func (e *Engine) Policies() []policy.Info {
	list := make([]policy.Info, len(e.ids))
	for i, id := range e.ids {
		list[i] = e.infos[id]
	}
	return list
}

// Evaluate answers q over entities that this engine has loaded.
func (e *Engine) Evaluate(q policy.Query, over policy.Entities) (result policy.Result) {
	defer func() {
		if p := recover(); p != nil { // the evaluator is not ours: a question on which it fails is refused
			result = fault("engine.failure")
		}
	}()
	snap, ok := over.(*entities)
	if !ok || snap == nil || snap.engine != e {
		return fault("engine.entities")
	}
	a, known := e.actions[q.Action.ID]
	if !known || q.Action.Type != "Action" || !slices.Contains(a.Principals, q.Principal.Type) || !slices.Contains(a.Resources, q.Resource.Type) {
		return fault("engine.request")
	}
	run := run{store: e.store, compiler: e.compiler, input: ast.NewTerm(e.input(&q, snap, a.term)), now: q.Context.Now, meter: &meter{left: e.budget}}
	permits, forbids, err := run.all(e)
	switch {
	case run.meter.left < 0:
		return fault("engine.budget")
	case err != nil:
		return run.oneByOne(e)
	}
	return e.judge(permits, forbids, nil)
}

// judge makes a result of the ids that apply.
func (e *Engine) judge(permits, forbids, failed []string) policy.Result {
	for effect, ids := range map[policy.Effect][]string{policy.Permit: permits, policy.Forbid: forbids} {
		for _, id := range ids {
			if i, ok := e.infos[id]; !ok || i.Effect != effect {
				return fault("engine.policy")
			}
		}
	}
	if len(forbids) > 0 {
		return policy.Result{Reasons: forbids, Errors: failed}
	}
	return policy.Result{Allowed: len(permits) > 0, Reasons: permits, Errors: failed}
}

// fault is the result for a question that was not evaluated.
func fault(id string) policy.Result { return policy.Result{Errors: []string{id}} }

// Applies implements policy.Lister.
func (e *Engine) Applies() map[string]policy.AppliesTo {
	all := map[string]policy.AppliesTo{}
	for name, a := range e.shape.Actions() {
		all[name] = policy.AppliesTo{Principals: a.Principals, Resources: a.Resources, Groups: a.Groups}
	}
	return all
}
