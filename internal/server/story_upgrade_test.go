package server_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"sallyport"
	"sallyport/examples/acme"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/authz/policy/engines"
	"sallyport/internal/authz/policy/simulate"
)

// later are the members of records and the attributes of entities that came after the first records were written.
var later = struct{ asked, attrs []string }{[]string{"wk", "co", "to", "ca", "op", "h"}, []string{"purposes", "makers", "trainedBy", "environment", "org"}}

// A remaker makes recorded decisions again by another engine than the one that made them.
type remaker struct {
	engine policy.Engine
	fill   func(*decision.Basis)
	bases  map[string][]byte
	ready  map[string]*decision.Basis // by content hash
}

func (m *remaker) basis(hash string) (*decision.Basis, error) {
	if b, ok := m.ready[hash]; ok {
		return b, nil
	}
	b, err := simulate.Recall(m.engine, m.fill, m.bases[hash])
	m.ready[hash] = b
	return b, err
}

func (m *remaker) again(ev sallyport.Event) (d sallyport.Decision, err error) {
	f := decision.Facts{}
	if f.Question, err = decision.QuestionOf(ev); err != nil {
		return d, err
	}
	if f.Basis, err = m.basis(ev.Facts); err != nil {
		return d, err
	}
	for _, hash := range decision.ActedOn(ev) {
		b, err := m.basis(hash)
		if err != nil {
			return d, err
		}
		f.Acting = append(f.Acting, b)
	}
	return decision.Decide(m.engine, f), nil
}

// alike is the same of two records that differ in nothing but when they were made: a story under load writes thousands.
func alike(ev sallyport.Event) string {
	asked := *ev.Asked
	asked.AuthTime, asked.Staleness, asked.History = 0, 0, ""
	raw, _ := json.Marshal(asked) // cannot fail: strings and numbers
	return fmt.Sprint(ev.Who, ev.Action, ev.On, ev.Facts, ev.Outcome, ev.Reasons, string(raw))
}

// older is a record as it would have been written before what is later was known.
func older(t *testing.T, ev sallyport.Event) sallyport.Event {
	t.Helper()
	raw, err := json.Marshal(ev.Asked)
	var asked map[string]any
	if err == nil {
		err = json.Unmarshal(raw, &asked)
	}
	for _, name := range later.asked {
		delete(asked, name)
	}
	if err == nil {
		raw, err = json.Marshal(asked)
	}
	ev.Asked = &sallyport.Asked{}
	if err == nil {
		err = json.Unmarshal(raw, ev.Asked)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// forget takes out of recorded facts what was not recorded once.
func forget(b *decision.Basis) {
	for i := range b.Entities {
		attrs := maps.Clone(b.Entities[i].Attrs)
		for _, name := range later.attrs {
			delete(attrs, name)
		}
		b.Entities[i].Attrs = attrs
	}
}

// AZ-14: what a running server decided is decided again, to the same outcome, after an upgrade of the schema, after one of the
// engine (acme's rules in Rego), and from a record as an older program wrote it: there a decision differs only where a
// policy reads what was not recorded then.
func TestWholeRunAZ14RecordsOutliveSchemaAndEngine(t *testing.T) {
	r := tell(t)
	for _, model := range []string{fraud, base, keel, ghost} {
		r.As("ana").Infer(model)
		r.As("ana").Pull(model)
	}
	first, bases, decided := "", map[string][]byte{}, []sallyport.Event{}
	var parts []sallyport.Event
	seen := map[string]bool{}
	for _, l := range r.wholeLog() {
		switch l.Type {
		case sallyport.EventPolicy:
			parts = append(parts, l.Event)
		case sallyport.EventFacts:
			bases[l.Facts] = l.Basis
		case sallyport.EventDecided:
			b, err := decision.Unmarshal(bases[l.Facts])
			if err != nil {
				t.Fatal(err)
			}
			if first == "" {
				first = b.Policy
			}
			if key := alike(l.Event); b.Policy == first && !seen[key] { // the set that acme ships with, and that the others are written after
				seen[key] = true
				decided = append(decided, l.Event)
			}
		}
	}
	sources, err := policy.Join(parts)
	if err != nil {
		t.Fatal(err)
	}
	was := sources[first]
	newer := strings.Replace(was.Schema, "entity User in [Group, Role] = {", "entity Desk in [Group];\nentity User in [Group, Role] = {\n  desk: Long, badges: Set<String>,", 1)
	newer = strings.Replace(newer, "entity Model in [Project, Organisation] = {", "entity Model in [Project, Organisation] = {\n  tier: Long,", 1)
	more := cloneMap(was.Policies)
	more["newer.cedar"] = `@id("tiers") @owner("o") @requirement("AZ-14") @text("High tiers stay.") forbid (principal is User, action, resource is Model) when { resource.tier > 3 && principal.desk > 2 };`
	other, err := engines.Read(acme.Files, "rego")
	if err != nil {
		t.Fatal(err)
	}
	if other.Schema == "" {
		other.Schema = cedar.Schema
	}
	compiled := func(src policy.Source) policy.Engine {
		e, err := engines.Compile(src)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	outcomes := map[string]int{}
	for what, e := range map[string]policy.Engine{"a newer schema": compiled(policy.Source{Schema: newer, Policies: more}), "another engine": compiled(other)} {
		m := &remaker{e, simulate.Filler(e), bases, map[string]*decision.Basis{}}
		for _, ev := range decided {
			d, err := m.again(ev)
			if err != nil {
				t.Fatalf("%s, %s: %v", what, ev.Decision, err)
			}
			if d.Outcome.String() != ev.Outcome {
				t.Errorf("%s: %s by %s, %s on %s: %s because of %q, now %s because of %q %q", what, ev.Decision, ev.Who, ev.Action, ev.On, ev.Outcome, ev.Reasons, d.Outcome, d.ReasonIDs(), d.Errors)
			}
			outcomes[ev.Outcome]++
		}
	}
	today := compiled(was)
	reads := map[string]bool{} // policies that read what is later
	for id, p := range today.(policy.Surveyor).Survey().Policies {
		for name := range p.Reads {
			last := name[strings.LastIndex(name, ".")+1:]
			reads[id] = reads[id] || slices.Contains(later.attrs, last) || strings.HasPrefix(name, "context.history") || slices.Contains([]string{"context.working", "context.country", "context.to"}, name)
		}
	}
	differ := 0
	m := &remaker{today, forget, bases, map[string]*decision.Basis{}}
	for _, ev := range decided {
		d, err := m.again(older(t, ev))
		if err != nil {
			t.Fatalf("an older record of %s: %v", ev.Decision, err)
		}
		if d.Outcome.String() == ev.Outcome {
			continue
		}
		differ++
		if !slices.ContainsFunc(append(d.ReasonIDs(), ev.Reasons...), func(id string) bool { return reads[id] }) {
			t.Errorf("an older record of %s by %s, %s on %s: %s because of %q, was %s because of %q", ev.Decision, ev.Who, ev.Action, ev.On, d.Outcome, d.ReasonIDs(), ev.Outcome, ev.Reasons)
		}
	}
	t.Logf("%d different decisions of one set, outcomes of both upgrades %v; %d differ where the record lacks what a policy reads", len(decided), outcomes, differ)
	if outcomes[allowed] == 0 || outcomes[denied] == 0 || differ == len(decided) {
		t.Error("nothing was made again")
	}
}
