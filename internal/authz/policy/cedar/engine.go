package cedar

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar/clause"
)

// Engine is one compiled policy set: schema, policies, index and version,
// published together and never changed. It implements policy.Engine and is safe
// for concurrent use.
type Engine struct {
	version   string
	schema    *resolved.Schema
	validator *validate.Validator
	actions   types.EntityMap // every action with its groups
	index     *index
	infos     map[string]policy.Info
	ids       []string // sorted
	warnings  []string
	budget    int            // bytes of policy text an evaluation may touch
	unknown   [2]types.Value // the device of most calls: none that is enrolled, without and with a bound key
	added     added          // which of the facts that later schemas declare this one does
	nothing   types.Value    // the history of who has none
	open      *Engine        // the set without policies for auditors
	whole     *Engine        // of an open set that lacks some: the engine that it is a part of
	withheld  map[string]bool
}

var _ policy.Engine = (*Engine)(nil)

// compiled is one policy with what is known about it.
type compiled struct {
	policy *cedar.Policy
	info   policy.Info
	levers *clause.Own // nil where it has none, and of policies for auditors
}

// publish ends compilation.
func (e *Engine) publish(policies map[string]compiled) {
	e.infos = make(map[string]policy.Info, len(policies))
	for id, p := range policies {
		e.infos[id] = p.info
	}
	for level := range e.unknown {
		e.unknown[level] = deviceOf(&policy.Device{Level: int64(level), Posture: policy.NoPosture})
	}
	e.nothing = historyOf(&policy.History{})
	e.ids = slices.Sorted(maps.Keys(policies))
	slices.Sort(e.warnings)
	e.index = e.indexOf(policies, func(policy.Info) bool { return true })
	e.publishOpen(policies)
}

// indexOf files those of the policies that it should.
func (e *Engine) indexOf(policies map[string]compiled, should func(policy.Info) bool) *index {
	return newIndex(func(yield func(entry) bool) {
		for _, id := range e.ids {
			p := policies[id]
			if should(p.info) && !yield(entry{id: cedar.PolicyID(id), policy: p.policy, size: len(p.info.Text), like: strings.Contains(p.info.Text, " like "), levers: p.levers}) {
				return
			}
		}
	})
}

// readActions takes the action entities out of the schema.
func (e *Engine) readActions() {
	e.actions = types.EntityMap{}
	for uid, a := range e.schema.Actions {
		e.actions[uid] = a.Entity
	}
}

// Version is the content hash of schema and policies: "sha256:" and 64 hex digits.
func (e *Engine) Version() string { return e.version }

// Warnings are remarks on the set that do not keep it from being used, sorted.
func (e *Engine) Warnings() []string { return slices.Clone(e.warnings) }

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
func (e *Engine) Evaluate(q policy.Query, over policy.Entities) policy.Result {
	snap, ok := e.loadedHere(over)
	if !ok {
		return fault("engine.entities")
	}
	r, ok := e.request(&q)
	if !ok {
		return fault("engine.request")
	}
	r.Context = e.contextOf(&q.Context)
	return e.evaluate(&r, snap)
}

// evaluate answers a request through the index.
func (e *Engine) evaluate(r *cedar.Request, over types.EntityGetter) policy.Result {
	if r.Principal.Type == "" || r.Action.Type == "" || r.Resource.Type == "" {
		return fault("engine.request")
	}
	list := e.index.candidates(r, over)
	if list.weight(longest(r)) > e.budget {
		return fault("engine.budget")
	}
	return authorize(list, over, r)
}

// longest is the length of the file's path, the text of a question that a
// policy's "like" may have to walk through many times.
func longest(r *cedar.Request) int {
	file, _ := r.Context.Get("file")
	text, _ := file.(types.String)
	return len(text)
}

// authorize asks cedar-go and sorts what it says: its order is that of a map.
func authorize(policies cedar.PolicyIterator, over types.EntityGetter, r *cedar.Request) policy.Result {
	decision, diag := cedar.Authorize(policies, over, *r)
	result := policy.Result{Allowed: decision == cedar.Allow}
	for _, reason := range diag.Reasons {
		result.Reasons = append(result.Reasons, string(reason.PolicyID))
	}
	for _, failed := range diag.Errors {
		result.Errors = append(result.Errors, string(failed.PolicyID))
	}
	slices.Sort(result.Reasons)
	slices.Sort(result.Errors)
	return result
}

// fault is the result for a question that was not evaluated.
func fault(id string) policy.Result { return policy.Result{Errors: []string{id}} }

func uidOf(u policy.UID) types.EntityUID {
	return types.EntityUID{Type: types.EntityType(u.Type), ID: types.String(u.ID)}
}

// contextNames is how many names a context has at most.
const contextNames = 21

// contextOf writes the context under the names of the schema.
func (e *Engine) contextOf(c *policy.Context) types.Record {
	m := make(types.RecordMap, contextNames) // room for all: growing costs more than making it
	m["now"] = types.NewDatetime(c.Now)
	m["assurance"] = types.Long(c.Assurance)
	m["authAge"] = types.Long(c.AuthAge)
	m["door"] = types.String(c.Door)
	m["file"] = types.String(c.File)
	m["granted"] = types.Boolean(c.Granted)
	m["session"] = types.Boolean(c.Session)
	m["bound"] = types.Boolean(c.Bound)
	m["client"] = types.String(c.Client)
	m["actor"] = types.String(c.Actor)
	m["purpose"] = types.String(c.Purpose)
	m["network"] = types.String(c.Network)
	m["risk"] = types.Long(c.Risk)
	m["device"] = e.device(&c.Device)
	if ip := c.IP.Unmap().WithZone(""); ip.IsValid() {
		m["ip"] = types.IPAddr(netip.PrefixFrom(ip, ip.BitLen()))
	}
	if e.added.past {
		m["working"] = types.Boolean(c.Working)
		m["country"] = types.String(c.Country)
		m["history"] = e.history(&c.History)
	}
	if e.added.to {
		m["to"] = types.String(c.To)
	}
	if e.added.probation {
		m["probation"] = types.Boolean(c.Probation)
	}
	if e.added.training {
		m["training"] = types.Long(c.Training.Age())
	}
	return types.NewRecord(m)
}

// history is the record of what somebody did; that of who did nothing is shared.
func (e *Engine) history(h *policy.History) types.Value {
	if *h == (policy.History{}) {
		return e.nothing
	}
	return historyOf(h)
}

func historyOf(h *policy.History) types.Record {
	window := func(w *policy.Window) types.Value {
		return types.NewRecord(types.RecordMap{
			"bytes": types.Long(w.Bytes), "denials": types.Long(w.Denials), "models": types.Long(w.Models), "exports": types.Long(w.Exports),
		})
	}
	return types.NewRecord(types.RecordMap{"short": window(&h.Short), "day": window(&h.Day), "month": window(&h.Month)})
}

// device is the record of a device; those of the unknown ones are shared.
func (e *Engine) device(d *policy.Device) types.Value {
	if d.Level >= 0 && d.Level < int64(len(e.unknown)) && *d == (policy.Device{Level: d.Level, Posture: policy.NoPosture}) {
		return e.unknown[d.Level]
	}
	return deviceOf(d)
}

func deviceOf(d *policy.Device) types.Record {
	return types.NewRecord(types.RecordMap{
		"class":      types.String(d.Class),
		"level":      types.Long(d.Level),
		"postureAge": types.Long(d.Posture),
		"os":         types.String(d.OS),
		"encrypted":  types.Boolean(d.Encrypted),
		"locked":     types.Boolean(d.Locked),
		"patched":    types.Boolean(d.Patched),
	})
}
