package rego

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"

	"sallyport/internal/authz/policy"
)

// A run is one evaluation.
type run struct {
	compiler *ast.Compiler
	store    storage.Store
	input    *ast.Term
	now      time.Time
	meter    *meter
}

// A meter ends an evaluation after so many steps. OPA asks it before each one, from one goroutine.
type meter struct{ left int }

// Cancel is not used: nobody else knows the meter.
func (m *meter) Cancel() {}

// Cancelled counts a step.
func (m *meter) Cancelled() bool {
	m.left--
	return m.left < 0
}

// all asks for both sets at once.
func (r *run) all(e *Engine) (permits, forbids []string, err error) {
	err = r.query(e.whole, func(found topdown.QueryResult) error {
		if permits, err = idsOf(found["permit"]); err == nil {
			forbids, err = idsOf(found["forbid"])
		}
		return err
	})
	return permits, forbids, err
}

// oneByOne asks for each id by itself, so that an error is one of the policies that needed what failed.
func (r *run) oneByOne(e *Engine) policy.Result {
	ids := map[policy.Effect][]string{}
	var failed []string
	for _, id := range e.ids {
		effect := e.infos[id].Effect
		if effect == policy.Forbid && !e.forbids {
			continue
		}
		ref := ast.Ref{ast.DefaultRootDocument, ast.StringTerm(home), ast.StringTerm(effect.String()), ast.StringTerm(id)}
		applies := false
		err := r.query(ast.NewBody(ast.NewExpr(ast.NewTerm(ref))), func(topdown.QueryResult) error {
			applies = true
			return nil
		})
		switch {
		case r.meter.left < 0:
			return fault("engine.budget")
		case err != nil:
			failed = append(failed, id)
		case applies:
			ids[effect] = append(ids[effect], id)
		}
	}
	if len(failed) == 0 {
		return fault("engine.failure") // together they fail, and each alone does not
	}
	return e.judge(ids[policy.Permit], ids[policy.Forbid], failed)
}

// query evaluates a body. Neither clock nor chance reach it.
func (r *run) query(body ast.Body, found func(topdown.QueryResult) error) error {
	txn, err := r.store.NewTransaction(metered{})
	if err != nil {
		return err
	}
	defer r.store.Abort(metered{}, txn)
	return topdown.NewQuery(body).WithCompiler(r.compiler).WithStore(r.store).WithTransaction(txn).
		WithInput(r.input).WithTime(r.now).WithSeed(nothing{}).WithCancel(r.meter).WithStrictBuiltinErrors(true).
		WithIndexing(true).WithEarlyExit(true).Iter(metered{}, found)
}

// metered is the context of every evaluation: none of a caller's can end one, its meter does.
type metered struct{}

var _ context.Context = metered{}

func (metered) Deadline() (time.Time, bool) { return time.Time{}, false }
func (metered) Done() <-chan struct{}       { return nil }
func (metered) Err() error                  { return nil }
func (metered) Value(any) any               { return nil }

// nothing is a source of chance that has none.
type nothing struct{}

// Read has nothing to give.
func (nothing) Read([]byte) (int, error) { return 0, io.EOF }

// idsOf reads a set of ids, sorted.
func idsOf(t *ast.Term) ([]string, error) {
	if t == nil {
		return nil, nil
	}
	set, ok := t.Value.(ast.Set)
	if !ok {
		return nil, errors.New("this is no set")
	}
	var ids []string
	for _, x := range set.Slice() {
		id, ok := x.Value.(ast.String)
		if !ok {
			id = "?" // no policy is called so
		}
		ids = append(ids, string(id))
	}
	slices.Sort(ids)
	return ids, nil
}
