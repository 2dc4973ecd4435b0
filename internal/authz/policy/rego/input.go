package rego

import (
	"slices"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"sallyport/internal/authz/policy"
)

// entities are the entities of one question, as their engine reads them.
type entities struct {
	engine *Engine
	loaded map[policy.UID]*ast.Term
	all    *ast.Term // by type and id
}

// Len returns how many entities were loaded.
func (s *entities) Len() int { return len(s.loaded) }

// Load checks entities against the schema and prepares them for Evaluate; errors are those of cedar.Shape.
func (e *Engine) Load(list []policy.Entity) (policy.Entities, error) {
	list, err := e.shape.Suit(list)
	if err != nil {
		return nil, err
	}
	parents := make(map[policy.UID][]policy.UID, len(list))
	for i := range list {
		parents[list[i].UID] = list[i].Parents
	}
	s := &entities{engine: e, loaded: make(map[policy.UID]*ast.Term, len(list))}
	kinds := map[string][][2]*ast.Term{}
	for i := range list {
		uid := list[i].UID
		t := e.names.entity(uid, e.names.attributes(list[i].Attrs), closure(uid, parents))
		s.loaded[uid] = t
		kinds[uid.Type] = append(kinds[uid.Type], [2]*ast.Term{ast.StringTerm(uid.ID), t})
	}
	var all [][2]*ast.Term
	for kind, members := range kinds {
		all = append(all, [2]*ast.Term{ast.StringTerm(kind), ast.ObjectTerm(members...)})
	}
	s.all = ast.ObjectTerm(all...)
	return s, nil
}

// closure is an entity and all that it is in.
func closure(uid policy.UID, parents map[policy.UID][]policy.UID) []policy.UID {
	list := []policy.UID{uid}
	seen := map[policy.UID]bool{uid: true}
	for i := 0; i < len(list); i++ {
		for _, p := range parents[list[i]] {
			if !seen[p] {
				seen[p] = true
				list = append(list, p)
			}
		}
	}
	return list
}

// get finds an entity; one that was not loaded has no attributes and is in nothing.
func (s *entities) get(uid policy.UID) *ast.Term {
	if t, ok := s.loaded[uid]; ok {
		return t
	}
	return s.engine.names.entity(uid, ast.ObjectTerm(), []policy.UID{uid})
}

// names are the keys of a question, made once.
type names map[string]*ast.Term

func newNames() names {
	n := names{}
	for _, name := range []string{"type", "id", "attrs", "in", "principal", "action", "resource", "context", "entities",
		"now", "clock", "hour", "minute", "second", "weekday", "assurance", "authAge", "ip", "door", "file", "granted", "session", "bound", "client",
		"actor", "purpose", "network", "risk", "device", "class", "level", "postureAge", "os", "encrypted", "locked", "patched",
		"working", "country", "to", "probation", "training", "history", "short", "day", "month", "bytes", "denials", "models", "exports"} {
		n[name] = ast.StringTerm(name)
	}
	return n
}

// pair is a member of an object.
func (n names) pair(name string, t *ast.Term) [2]*ast.Term { return [2]*ast.Term{n[name], t} }

func number(i int64) *ast.Term { return ast.NewTerm(ast.Number(strconv.FormatInt(i, 10))) }

// entity writes an entity with what it is in.
func (n names) entity(uid policy.UID, attrs *ast.Term, in []policy.UID) *ast.Term {
	kinds := map[string][][2]*ast.Term{}
	for _, u := range in {
		kinds[u.Type] = append(kinds[u.Type], [2]*ast.Term{ast.StringTerm(u.ID), ast.InternedTerm(true)})
	}
	within := make([][2]*ast.Term, 0, len(kinds))
	for kind, members := range kinds {
		within = append(within, [2]*ast.Term{ast.StringTerm(kind), ast.ObjectTerm(members...)})
	}
	return ast.ObjectTerm(n.pair("type", ast.StringTerm(uid.Type)), n.pair("id", ast.StringTerm(uid.ID)), n.pair("attrs", attrs), n.pair("in", ast.ObjectTerm(within...)))
}

// action writes an action with its groups.
func (n names) action(id string, groups []string) *ast.Term {
	in := []policy.UID{{Type: "Action", ID: id}}
	for _, g := range groups {
		in = append(in, policy.UID{Type: "Action", ID: g})
	}
	return n.entity(in[0], ast.ObjectTerm(), in)
}

func (n names) attributes(attrs map[string]policy.Value) *ast.Term {
	members := make([][2]*ast.Term, 0, len(attrs))
	for name, v := range attrs {
		members = append(members, [2]*ast.Term{ast.StringTerm(name), n.value(&v)})
	}
	return ast.ObjectTerm(members...)
}

// value writes a value that Load has checked: a set as a sorted array, an entity by type and id.
func (n names) value(v *policy.Value) *ast.Term {
	switch v.Kind {
	case policy.BoolValue:
		return ast.InternedTerm(v.Bool)
	case policy.LongValue:
		return number(v.Long)
	case policy.EntityValue:
		return ast.ObjectTerm(n.pair("type", ast.StringTerm(v.Entity.Type)), n.pair("id", ast.StringTerm(v.Entity.ID)))
	case policy.SetValue:
		elements := make([]*ast.Term, len(v.Set))
		for i := range v.Set {
			elements[i] = n.value(&v.Set[i])
		}
		slices.SortFunc(elements, func(a, b *ast.Term) int { return ast.Compare(a, b) })
		return ast.ArrayTerm(slices.CompactFunc(elements, func(a, b *ast.Term) bool { return ast.Compare(a, b) == 0 })...)
	case policy.RecordValue:
		return n.attributes(v.Record)
	}
	return ast.StringTerm(strings.Clone(v.String))
}

// input writes the question.
func (e *Engine) input(q *policy.Query, s *entities, action *ast.Term) ast.Object {
	n := e.names
	return ast.NewObject(n.pair("principal", s.get(q.Principal)), n.pair("action", action), n.pair("resource", s.get(q.Resource)),
		n.pair("context", n.context(&q.Context)), n.pair("entities", s.all))
}

func (n names) context(c *policy.Context) *ast.Term {
	now := c.Now.UTC()
	device := ast.ObjectTerm(
		n.pair("class", ast.StringTerm(c.Device.Class)), n.pair("level", number(c.Device.Level)), n.pair("postureAge", number(c.Device.Posture)),
		n.pair("os", ast.StringTerm(c.Device.OS)), n.pair("encrypted", ast.InternedTerm(c.Device.Encrypted)),
		n.pair("locked", ast.InternedTerm(c.Device.Locked)), n.pair("patched", ast.InternedTerm(c.Device.Patched)))
	clock := ast.ObjectTerm(n.pair("hour", number(int64(now.Hour()))), n.pair("minute", number(int64(now.Minute()))),
		n.pair("second", number(int64(now.Second()))), n.pair("weekday", number(int64(now.Weekday()))))
	list := [][2]*ast.Term{
		n.pair("now", number(now.UnixMilli()*1_000_000)), n.pair("clock", clock),
		n.pair("assurance", number(int64(c.Assurance))), n.pair("authAge", number(c.AuthAge)),
		n.pair("door", ast.StringTerm(c.Door)), n.pair("file", ast.StringTerm(c.File)),
		n.pair("granted", ast.InternedTerm(c.Granted)), n.pair("session", ast.InternedTerm(c.Session)), n.pair("bound", ast.InternedTerm(c.Bound)),
		n.pair("client", ast.StringTerm(c.Client)), n.pair("actor", ast.StringTerm(c.Actor)), n.pair("purpose", ast.StringTerm(c.Purpose)),
		n.pair("network", ast.StringTerm(c.Network)), n.pair("risk", number(c.Risk)), n.pair("device", device),
		n.pair("working", ast.InternedTerm(c.Working)), n.pair("country", ast.StringTerm(c.Country)), n.pair("to", ast.StringTerm(c.To)), n.pair("probation", ast.InternedTerm(c.Probation)),
		n.pair("history", n.history(&c.History)), n.pair("training", number(c.Training.Age())),
	}
	if ip := c.IP.Unmap().WithZone(""); ip.IsValid() {
		list = append(list, n.pair("ip", ast.StringTerm(ip.String())))
	}
	return ast.ObjectTerm(list...)
}

func (n names) history(h *policy.History) *ast.Term {
	window := func(w *policy.Window) *ast.Term {
		return ast.ObjectTerm(n.pair("bytes", number(w.Bytes)), n.pair("denials", number(w.Denials)), n.pair("models", number(w.Models)), n.pair("exports", number(w.Exports)))
	}
	return ast.ObjectTerm(n.pair("short", window(&h.Short)), n.pair("day", window(&h.Day)), n.pair("month", window(&h.Month)))
}
