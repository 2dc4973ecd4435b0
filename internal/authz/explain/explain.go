// Package explain owns what may be told about a decision, and to whom: clause by clause which policies bore on it, and
// every input with its source and age. There are two audiences. Who may read the log is told all of it; whom the
// decision was about is told what it looked at about themselves, and nothing of policies and attributes that are kept
// for auditors.
//
// It is pure: it reads recorded facts and asks the engine that was in force. Deciding is authz/decision's, finding the
// record the doors'.
package explain

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
)

// An Audience is whom an explanation is for.
type Audience string

// The audiences.
const (
	Asker   Audience = "asker"
	Auditor Audience = policy.Auditor
)

// The ways in which something is refused.
const (
	Forbidden    = "forbidden"     // a policy says no
	NotPermitted = "not permitted" // no policy says yes
	NotProved    = "not proved"    // permitted after stronger or fresher proof
	OnHold       = "on hold"       // somebody has to lift something
	Unknown      = "unknown"       // it does not exist, or may not be known of
	NotDecided   = "not decided"   // the question could not be decided on
)

// Of explains d, which engine made of f, to an audience. Whether they may be that audience is the door's to find out.
func Of(engine policy.Engine, f decision.Facts, d sallyport.Decision, to Audience) policy.Explanation {
	x := policy.Explanation{For: string(to), Refused: refused(engine, f, d)}
	// That somebody may ask for a right on a thing does not tell them that it is there.
	if to != Auditor && (d.Outcome != sallyport.Allow || f.Action == sallyport.GrantRequest) && !decision.Knowable(engine, f) {
		return Hidden()
	}
	explainer, ok := engine.(policy.Explainer)
	q, valid := f.Query()
	if !ok || !valid {
		return x
	}
	read := map[string]bool{}
	for i, b := range append([]*decision.Basis{f.Basis}, f.Acting...) {
		q.Principal = b.Principal
		if i > 0 {
			q.Context.Granted, q.Context.Probation = b.Granted(&f.Question), b.OnProbation(&f.Question) != ""
		}
		side := policy.Side{Who: b.PrincipalID, Policies: explainer.Explain(q, b.Loaded())}
		for _, t := range side.Policies {
			if info, _ := engine.Info(t.Policy); info.Secret && to != Auditor {
				continue
			}
			for _, c := range t.Clauses {
				for _, name := range c.Reads {
					read[name] = true
				}
			}
		}
		if to == Auditor {
			x.Sides = append(x.Sides, side)
		}
	}
	g := gatherer{facts: f, query: q}
	for _, name := range slices.Sorted(maps.Keys(read)) {
		secret := explainer.Withheld(name)
		if to != Auditor && (secret || !strings.HasPrefix(name, "context.")) {
			continue
		}
		in := g.input(name)
		in.Secret = secret
		x.Inputs = append(x.Inputs, in)
	}
	return x
}

// Hidden is the explanation of what one may not know of: the same as of what does not exist.
func Hidden() policy.Explanation { return policy.Explanation{For: string(Asker), Refused: Unknown} }

// refused says in which way d refuses.
func refused(engine policy.Engine, f decision.Facts, d sallyport.Decision) string {
	switch {
	case d.Outcome == sallyport.Allow:
		return ""
	case d.Outcome == sallyport.Hold:
		return OnHold
	case d.Outcome == sallyport.StepUp:
		return NotProved
	case f.Resource.Kind == "":
		return Unknown
	}
	for _, r := range decision.Shown(engine, d).Reasons {
		if i, ok := engine.Info(r.ID); ok && i.Effect == policy.Forbid {
			return Forbidden
		}
		if r.ID == decision.DefaultDeny || r.ID == decision.TokenScope {
			return NotPermitted
		}
	}
	return NotDecided
}

// A gatherer finds the values of attributes.
type gatherer struct {
	facts decision.Facts
	query policy.Query
}

// input finds one attribute with its source and age.
func (g *gatherer) input(name string) policy.Input {
	in := policy.Input{Name: name, Value: "(absent)", Age: g.seconds(g.facts.Staleness)}
	of, rest, _ := strings.Cut(name, ".")
	switch of {
	case "principal":
		in.Source, in.Value = "directory", g.attribute(g.facts.Principal, rest)
	case "resource":
		in.Source, in.Value = "catalog", g.attribute(g.facts.ResourceUID, rest)
	case "action":
		in.Source, in.Value, in.Age = "request", string(g.facts.Action), 0
	case "context":
		g.context(&in, rest)
	}
	return in
}

func (g *gatherer) seconds(d time.Duration) int64 { return int64(d / time.Second) }

// context finds an attribute of the call.
func (g *gatherer) context(in *policy.Input, path string) {
	c, q := &g.query.Context, &g.facts.Question
	first, field, _ := strings.Cut(path, ".")
	set := func(source string, age int64, value any) {
		in.Source, in.Age, in.Value = source, age, cmp.Or(fmt.Sprint(value), `""`)
	}
	switch first {
	case "now":
		set("clock", 0, c.Now.UTC().Format(time.RFC3339Nano))
	case "assurance":
		set("session"+with(q.Session), c.AuthAge, fmt.Sprintf("%d (%s)", c.Assurance, c.Assurance))
	case "authAge":
		set("session"+with(q.Session), 0, c.AuthAge)
	case "session":
		set("session"+with(q.Session), 0, c.Session)
	case "ip":
		if c.IP.IsValid() {
			set("connection", 0, c.IP)
		}
	case "door":
		set("request", 0, c.Door)
	case "file":
		set("request", 0, c.File)
	case "to":
		set("request", 0, c.To)
	case "probation":
		set("holds"+with(g.facts.Basis.OnProbation(&g.facts.Question)), in.Age, c.Probation)
	case "granted":
		set("grants"+with(g.grants()), in.Age, c.Granted)
	case "bound", "client", "actor", "purpose":
		set("token"+with(q.Family), 0, map[string]any{"bound": c.Bound, "client": c.Client, "actor": c.Actor, "purpose": c.Purpose}[first])
	case "network":
		set("configuration", 0, c.Network)
	case "country":
		set("table of addresses", -1, c.Country)
	case "working":
		set("calendar", 0, c.Working)
	case "risk":
		set("session"+with(q.Session), in.Age, c.Risk)
	case "training":
		set("training", in.Age, c.Training.Age())
	case "history":
		set("audit trail", in.Age, history(&c.History, field))
	case "device":
		age := c.Device.Posture
		if age == policy.NoPosture {
			age = -1
		}
		if field == "class" || field == "level" {
			age = in.Age
		}
		set("device"+with(q.Device.ID), age, device(&c.Device, field))
	}
}

// grants are the grants that cover the question.
func (g *gatherer) grants() string {
	var ids []string
	for _, x := range g.facts.Grants {
		if x.Covers(g.facts.Action, g.facts.At) {
			ids = append(ids, x.ID)
		}
	}
	return strings.Join(ids, ", ")
}

func with(id string) string {
	if id == "" {
		return ""
	}
	return " " + id
}

func device(d *policy.Device, field string) any {
	fields := map[string]any{"class": d.Class, "level": d.Level, "postureAge": d.Posture, "os": d.OS, "encrypted": d.Encrypted, "locked": d.Locked, "patched": d.Patched}
	if v, ok := fields[field]; ok {
		return v
	}
	return fmt.Sprintf("class %q, level %d", d.Class, d.Level)
}

func history(h *policy.History, path string) any {
	span, count, _ := strings.Cut(path, ".")
	w := map[string]policy.Window{"short": h.Short, "day": h.Day, "month": h.Month}[span]
	counts := map[string]int64{"bytes": w.Bytes, "denials": w.Denials, "models": w.Models, "exports": w.Exports}
	if n, ok := counts[count]; ok {
		return n
	}
	return fmt.Sprintf("%d bytes, %d denials, %d models, %d exports", w.Bytes, w.Denials, w.Models, w.Exports)
}

// attribute follows a path of attributes from an entity; without one it is what the entity is in.
func (g *gatherer) attribute(uid policy.UID, path string) string {
	at := slices.IndexFunc(g.facts.Entities, func(e policy.Entity) bool { return e.UID == uid })
	if path == "" {
		text := uid.String()
		if at >= 0 && len(g.facts.Entities[at].Parents) > 0 {
			var in []string
			for _, p := range g.facts.Entities[at].Parents {
				in = append(in, p.String())
			}
			text += " in " + strings.Join(in, ", ")
		}
		return text
	}
	if at < 0 {
		return "(absent)"
	}
	name, rest, more := strings.Cut(path, ".")
	v, ok := g.facts.Entities[at].Attrs[name]
	if !ok {
		return "(absent)"
	}
	if more && v.Kind == policy.EntityValue {
		return g.attribute(v.Entity, rest)
	}
	return text(v)
}

// text writes a value in short.
func text(v policy.Value) string {
	switch v.Kind {
	case policy.BoolValue:
		return fmt.Sprint(v.Bool)
	case policy.LongValue:
		return fmt.Sprint(v.Long)
	case policy.EntityValue:
		return v.Entity.String()
	case policy.SetValue:
		list := make([]string, len(v.Set))
		for i, e := range v.Set {
			list[i] = text(e)
		}
		return "[" + strings.Join(list, ", ") + "]"
	case policy.RecordValue:
		return "{" + strings.Join(slices.Sorted(maps.Keys(v.Record)), ", ") + "}"
	}
	return v.String
}
