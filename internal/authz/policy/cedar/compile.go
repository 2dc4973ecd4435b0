package cedar

import (
	_ "embed"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"sallyport"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar/clause"
)

// Schema is the schema that the product's entities follow, in Cedar's schema language.
//
//go:embed sallyport.cedarschema
var Schema string

// Limits on a policy set; one that exceeds them is refused.
const (
	MaxFiles     = 1_000
	MaxPolicies  = 20_000
	MaxSetBytes  = 16 << 20 // all policies
	MaxFileBytes = 8 << 20
	MaxStatement = 16 << 10 // one policy with the comments before it
	MaxDepth     = 48       // brackets within brackets
	MaxSchema    = 1 << 20
)

// Budget is how many bytes of policy text one evaluation may touch: some
// thousands of policies of usual size, a few milliseconds. Policies with "like"
// count more, by the length of the path that is asked about.
const Budget = 1 << 20

const op = "compile policy"

// Compile parses, validates strictly and indexes a policy set. Every policy must
// carry @id (unique), @owner and @requirement; unknown annotations, attributes
// that the schema does not have and conditions that may not evaluate are
// refused. Errors are of kind Invalid or TooLarge and name file and policy.
func Compile(src policy.Source) (*Engine, error) {
	sch, wide, err := readSchema(src.Schema)
	if err != nil {
		return nil, err
	}
	if err := checkSize(src.Policies); err != nil {
		return nil, err
	}
	e := &Engine{version: src.Version(), schema: sch, validator: validate.New(sch, validate.WithStrict()), budget: Budget}
	e.readActions()
	e.readAdded()
	e.readAudience()
	c := compiler{engine: e, valid: newValidators(sch, wide), policies: map[string]compiled{}, files: map[string]string{}}
	for _, file := range slices.Sorted(maps.Keys(src.Policies)) {
		if err := c.file(file, src.Policies[file]); err != nil {
			return nil, err
		}
	}
	e.publish(c.policies)
	return e, nil
}

func readSchema(text string) (*resolved.Schema, *breadth, error) {
	if len(text) > MaxSchema || !utf8.ValidString(text) {
		return nil, nil, sallyport.E(op, sallyport.TooLarge, "the schema is no UTF-8 text of a usual size", fmt.Sprintf("use at most %d bytes", MaxSchema))
	}
	if err := checkNesting(text, MaxSchema); err != nil {
		return nil, nil, refuse("schema", err)
	}
	var s schema.Schema
	s.SetFilename("schema")
	if err := s.UnmarshalCedar([]byte(text)); err != nil {
		return nil, nil, refuse("schema", err)
	}
	wide, err := breadthOf(s.AST())
	if err != nil {
		return nil, nil, refuse("schema", err)
	}
	r, err := s.Resolve()
	if err != nil {
		return nil, nil, refuse("schema", err)
	}
	return r, wide, nil
}

func checkSize(files map[string]string) error {
	total := 0
	for name, text := range files {
		if name == "" || len(name) > 200 || !utf8.ValidString(name) || !utf8.ValidString(text) {
			return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the file %.80q is no UTF-8 text with a name of at most 200 bytes", name), "")
		}
		if len(text) > MaxFileBytes {
			return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("%s has more than %d bytes", name, MaxFileBytes), "split the file")
		}
		total += len(text)
	}
	if len(files) > MaxFiles || total > MaxSetBytes {
		return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("more than %d files or %d bytes", MaxFiles, MaxSetBytes), "say more with fewer policies")
	}
	return nil
}

// A compiler gathers the policies of one set.
type compiler struct {
	engine   *Engine
	valid    *validators
	policies map[string]compiled
	files    map[string]string // policy id -> file
}

// file compiles one file.
func (c *compiler) file(name, text string) error {
	if err := checkNesting(text, MaxStatement); err != nil {
		return refuse(name, err)
	}
	list, err := cedar.NewPolicyListFromBytes(name, []byte(text))
	if err != nil {
		return refuse(name, err)
	}
	if len(c.policies)+len(list) > MaxPolicies {
		return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("more than %d policies", MaxPolicies), "write roles and groups instead of single grants")
	}
	for _, p := range list {
		if err := c.policy(p); err != nil {
			return refuse(fmt.Sprintf("%s:%d", name, p.Position().Line), err)
		}
		runtime.Gosched() // ten thousand policies take seconds, and whoever decides on the same processors goes first
	}
	return nil
}

// policy checks one policy and adds it to the set.
func (c *compiler) policy(p *cedar.Policy) error {
	notes := map[string]string{}
	for k, v := range p.Annotations() {
		notes[string(k)] = string(v)
	}
	info, err := policy.NewInfo(effectOf(p), notes, string(p.MarshalCedar()))
	if err != nil {
		return err
	}
	if file, twice := c.files[info.ID]; twice {
		return sallyport.E("policy", sallyport.Invalid, fmt.Sprintf("the id %s is taken by a policy in %s", info.ID, file), "give each policy its own @id")
	}
	tree := (*ast.Policy)(p.AST())
	if set, ok := tree.Action.(ast.ScopeTypeInSet); ok && len(set.Entities) == 0 {
		return sallyport.E("policy", sallyport.Invalid, "policy "+info.ID+" says action in []: it can never apply", "name the actions, or write action alone")
	}
	if err := c.valid.check(info.ID, info.Text, tree); err != nil {
		return err
	}
	if unscoped(tree) {
		c.engine.warnings = append(c.engine.warnings,
			fmt.Sprintf("%s: policy %s has no principal and no resource scope: it is evaluated for every question about its actions", p.Position().Filename, info.ID))
	}
	done := compiled{policy: p, info: info}
	if levers := clause.Levers(tree); !info.Secret && levers.Reads != 0 {
		done.levers = levers
	}
	c.policies[info.ID] = done
	c.files[info.ID] = p.Position().Filename
	return nil
}

// unscoped tells whether the policy's head names neither principal nor resource.
func unscoped(p *ast.Policy) bool {
	return keyOf(p.Principal) == anyUID() && keyOf(p.Resource) == anyUID()
}

func effectOf(p *cedar.Policy) policy.Effect {
	if p.Effect() == cedar.Permit {
		return policy.Permit
	}
	return policy.Forbid
}

// refuse is an error about a place in the set. The text of the cause is public: it
// speaks of the author's own text.
func refuse(place string, cause error) error {
	if own, ok := cause.(*sallyport.Error); ok {
		return sallyport.E(op, own.Kind, place+": "+own.Message, own.Hint)
	}
	return sallyport.E(op, sallyport.Invalid, place+": "+oneLine(cause), "correct it and run 'sallyport policy check'")
}

// oneLine shortens an engine's error for a message.
func oneLine(err error) string {
	const most = 400
	s := strings.ReplaceAll(err.Error(), "\n", "; ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
