package cedar

import (
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"sallyport/internal/authz/policy"
)

var _ policy.Surveyor = (*Engine)(nil)

// Survey says what the policies compare, read from their syntax.
func (e *Engine) Survey() policy.Survey {
	s := policy.Survey{Policies: map[string]policy.Surveyed{}, Entities: map[string]policy.Shape{}, Actions: e.Applies()}
	for name, t := range e.schema.Entities {
		s.Entities[string(name)] = shapeOf(t)
	}
	for _, buckets := range e.index.byAction {
		for _, list := range buckets {
			for _, x := range list {
				if _, done := s.Policies[string(x.id)]; !done {
					s.Policies[string(x.id)] = e.survey((*ast.Policy)(x.policy.AST()), e.infos[string(x.id)].Effect)
				}
			}
		}
	}
	return s
}

func names(list []types.EntityType) []string {
	var out []string
	for _, t := range list {
		out = append(out, string(t))
	}
	return out
}

func shapeOf(t resolved.Entity) policy.Shape {
	s := policy.Shape{Parents: names(t.ParentTypes), Attrs: map[string]policy.Attr{}}
	for name, a := range t.Shape {
		attr := attrOf(a.Type)
		attr.Optional = a.Optional
		s.Attrs[string(name)] = attr
	}
	return s
}

func attrOf(t resolved.IsType) policy.Attr {
	switch t := t.(type) {
	case resolved.BoolType:
		return policy.Attr{Kind: policy.BoolValue}
	case resolved.LongType:
		return policy.Attr{Kind: policy.LongValue}
	case resolved.StringType:
		return policy.Attr{Kind: policy.StringValue}
	case resolved.EntityType:
		return policy.Attr{Kind: policy.EntityValue, Entity: string(t)}
	case resolved.SetType:
		of := attrOf(t.Element)
		return policy.Attr{Kind: policy.SetValue, Element: of.Kind, Entity: of.Entity}
	case resolved.RecordType:
		return policy.Attr{Kind: policy.RecordValue}
	}
	return policy.Attr{}
}

// survey reads one policy.
func (e *Engine) survey(p *ast.Policy, effect policy.Effect) policy.Surveyed {
	s := surveyor{reads: map[string]policy.Pool{}, named: map[policy.UID]bool{}}
	out := policy.Surveyed{Effect: effect, Principal: s.scope(p.Principal), Resource: s.scope(p.Resource), Actions: e.concerned(p.Action)}
	for _, c := range p.Conditions {
		s.read(c.Body, nil)
	}
	out.Reads = s.reads
	for u := range s.named {
		out.Named = append(out.Named, u)
	}
	slices.SortFunc(out.Named, func(a, b policy.UID) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// concerned are the actions whose questions a scope can concern, sorted.
func (e *Engine) concerned(scope ast.IsActionScopeNode) []string {
	var list []string
	for _, key := range actionKeys(scope) {
		for uid, a := range e.schema.Actions {
			if a.AppliesTo == nil || slices.Contains(list, string(uid.ID)) {
				continue
			}
			if _, exact := scope.(ast.ScopeTypeEq); key == anyUID() || uid == key || !exact && slices.Contains(closure(nil, uid, e.actions), key) {
				list = append(list, string(uid.ID))
			}
		}
	}
	slices.Sort(list)
	return list
}

// A surveyor gathers what one policy reads and names.
type surveyor struct {
	reads map[string]policy.Pool
	named map[policy.UID]bool
}

func (s *surveyor) scope(n ast.IsScopeNode) policy.Scope {
	var out policy.Scope
	switch n := n.(type) {
	case ast.ScopeTypeEq:
		out = policy.Scope{In: uidFrom(n.Entity), Exact: true}
	case ast.ScopeTypeIn:
		out = policy.Scope{In: uidFrom(n.Entity)}
	case ast.ScopeTypeIs:
		out = policy.Scope{Type: string(n.Type)}
	case ast.ScopeTypeIsIn:
		out = policy.Scope{Type: string(n.Type), In: uidFrom(n.Entity)}
	}
	if out.In != (policy.UID{}) {
		s.named[out.In] = true
	}
	return out
}

func uidFrom(u types.EntityUID) policy.UID { return policy.UID{Type: string(u.Type), ID: string(u.ID)} }

// A comparison is what stands on the sides of one operator.
type comparison struct {
	paths []string
	pool  policy.Pool
}

// read walks an expression. Inside of a comparison every literal belongs to every attribute that stands there with it.
func (s *surveyor) read(n ast.IsNode, in *comparison) {
	if path, ok := pathOf(n); ok {
		s.mention(path, in)
		return
	}
	switch n := n.(type) {
	case ast.NodeTypeAnd, ast.NodeTypeOr, ast.NodeTypeNot, ast.NodeTypeIfThenElse:
		for _, child := range children(n) {
			s.read(child, in)
		}
		return
	case ast.NodeTypeHas:
		if path, ok := pathOf(n.Arg); ok {
			s.mention(path+"."+string(n.Value), in)
			return
		}
	case ast.NodeValue:
		s.literal(n.Value, in)
		return
	case ast.NodeTypeExtensionCall:
		if s.constructed(n, in) {
			return
		}
	case ast.NodeTypeLike:
		own := comparison{pool: policy.Pool{Patterns: []string{strings.Trim(string(n.Value.MarshalCedar()), `"`)}}}
		s.read(n.Arg, &own)
		s.link(own)
		return
	}
	own := in
	if own == nil {
		own = &comparison{}
	}
	for _, child := range children(n) {
		s.read(child, own)
	}
	if in == nil {
		s.link(*own)
	}
}

// children are the operands of a node.
func children(n ast.IsNode) []ast.IsNode {
	var list []ast.IsNode
	first := true
	ast.Inspect(ast.NewNode(n), func(x ast.IsNode) bool {
		if first {
			first = false
			return true
		}
		list = append(list, x)
		return false
	})
	return list
}

// pathOf reads "context.device.level".
func pathOf(n ast.IsNode) (string, bool) {
	switch n := n.(type) {
	case ast.NodeTypeVariable:
		return string(n.Name), n.Name != "action"
	case ast.NodeTypeAccess:
		path, ok := pathOf(n.Arg)
		return path + "." + string(n.Value), ok
	}
	return "", false
}

func (s *surveyor) mention(path string, in *comparison) {
	if !strings.Contains(path, ".") { // the entity itself: what it is compared with is named
		return
	}
	if in != nil {
		in.paths = append(in.paths, path)
	}
	if _, ok := s.reads[path]; !ok {
		s.reads[path] = policy.Pool{}
	}
}

func (s *surveyor) literal(v types.Value, in *comparison) {
	var p *policy.Pool
	if in != nil {
		p = &in.pool
	} else {
		p = new(policy.Pool)
	}
	switch v := v.(type) {
	case types.Boolean:
		p.Values = append(p.Values, policy.Value{Kind: policy.BoolValue, Bool: bool(v)})
	case types.Long:
		p.Values = append(p.Values, policy.Value{Kind: policy.LongValue, Long: int64(v)})
	case types.String:
		p.Values = append(p.Values, policy.Value{Kind: policy.StringValue, String: string(v)})
	case types.EntityUID:
		if u := uidFrom(v); u.Type != "Action" {
			s.named[u] = true
			p.Values = append(p.Values, policy.Value{Kind: policy.EntityValue, Entity: u})
		}
	case types.IPAddr:
		p.Values = append(p.Values, policy.Value{Kind: policy.IPValue, String: v.String()})
	case types.Datetime:
		p.Instants = append(p.Instants, v.Time().UTC())
	case types.Duration:
		if d, err := v.Duration(); err == nil {
			p.Spans = append(p.Spans, d)
		}
	case types.Set:
		for x := range v.All() {
			s.literal(x, in)
		}
	}
}

// constructed reads a literal that is written as a call, such as duration("6h").
func (s *surveyor) constructed(n ast.NodeTypeExtensionCall, in *comparison) bool {
	if len(n.Args) != 1 {
		return false
	}
	arg, ok := n.Args[0].(ast.NodeValue)
	text, isText := arg.Value.(types.String)
	if !ok || !isText {
		return false
	}
	var v types.Value
	var err error
	switch n.Name {
	case "duration":
		v, err = types.ParseDuration(string(text))
	case "datetime":
		v, err = types.ParseDatetime(string(text))
	case "ip":
		v, err = types.ParseIPAddr(string(text))
	default:
		return false
	}
	if err == nil {
		s.literal(v, in)
	}
	return true
}

// link gives each attribute of a comparison its literals, and those of the attributes beside it.
func (s *surveyor) link(c comparison) {
	for _, path := range c.paths {
		p := s.reads[path]
		p.Values = append(p.Values, c.pool.Values...)
		p.Patterns = append(p.Patterns, c.pool.Patterns...)
		p.Instants = append(p.Instants, c.pool.Instants...)
		p.Spans = append(p.Spans, c.pool.Spans...)
		s.reads[path] = p
	}
}

// Applies implements policy.Lister.
func (e *Engine) Applies() map[string]policy.AppliesTo {
	all := map[string]policy.AppliesTo{}
	for uid, a := range e.schema.Actions {
		if a.AppliesTo != nil {
			to := policy.AppliesTo{Principals: names(a.AppliesTo.Principals), Resources: names(a.AppliesTo.Resources)}
			for _, u := range closure(nil, uid, e.actions)[2:] {
				to.Groups = append(to.Groups, string(u.ID))
			}
			slices.Sort(to.Groups)
			all[string(uid.ID)] = to
		}
	}
	return all
}
