package world_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/examples/acme"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cast"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/authz/policy/world"
)

// A mutant is acme with one slip in it.
type mutant struct {
	what   string
	src    policy.Source
	id     string // of the policy that changed
	engine *cedar.Engine
}

// slips are what goes wrong when people edit policies: a condition dropped, a scope widened, a number off, a rule lost.
func slips() map[string]func(statement string) []string {
	replace := func(pattern, with string) func(string) []string {
		re := regexp.MustCompile(pattern)
		return func(s string) []string {
			var out []string
			for _, at := range re.FindAllStringSubmatchIndex(s, -1) {
				out = append(out, s[:at[0]]+string(re.ExpandString(nil, with, s, at))+s[at[1]:])
			}
			return out
		}
	}
	return map[string]func(string) []string{
		"the policy is lost":            func(string) []string { return []string{""} },
		"a condition is lost":           replace(`(?s)\n?when \{.*?\}`, ""),
		"an exception is lost":          replace(`(?s)\n?unless \{.*?\}`, ""),
		"an exception for grants":       replace(`unless \{`, "unless { context.granted ||"),
		"only under a grant":            replace(`when \{`, "when { context.granted &&"),
		"anybody instead of a role":     replace(`principal in Role::"[a-z-]+"`, "principal"),
		"anybody instead of people":     replace(`principal is User`, "principal"),
		"only programs":                 replace(`principal is User`, "principal is Service"),
		"every resource":                replace(`resource (is [A-Za-z]+ )?in Environment::"[a-z]+"`, "resource"),
		"another environment":           replace(`Environment::"production"`, `Environment::"staging"`),
		"the way in is forgotten":       replace(` \|\| context\.to == "production"`, ""),
		"another class":                 replace(`"restricted"`, `"public"`),
		"and another class":             replace(`== "restricted"`, `!= "restricted"`),
		"one more":                      replace(`>= ([0-9]+)`, "> ${1}"),
		"a zero more":                   replace(`< ([0-9]+)`, "< ${1}0"),
		"less proof":                    replace(`assurance >= [0-9]`, "assurance >= 1"),
		"or instead of and":             replace(`&&`, "||"),
		"permit instead of forbid":      replace(`\nforbid \(`, "\npermit ("),
		"possession with use":           replace(`Action::"use"`, `Action::"use", Action::"possess"`),
		"another action":                replace(`Action::"model.deploy"`, `Action::"model.read"`),
		"the other one's":               replace(`== principal.person`, "!= principal.person"),
		"the principal is not in it":    replace(`\.contains\(principal\.person\)`, ".contains(principal.person) == false"),
		"an hour later":                 replace(`duration\("20h"\)`, `duration("21h")`),
		"one role more":                 replace(`principal in Role::"operator"`, `principal in Role::"model-developer"`),
		"pulling while only looking on": replace(`action in Action::"know"`, `action in [Action::"know", Action::"model.pull"]`),
	}
}

// mutants are all that compile and differ from acme.
func mutants(t *testing.T) []mutant {
	src := acmePolicies(t)
	id := regexp.MustCompile(`@id\("([^"]+)"\)`)
	var out []mutant
	all := slips()
	for file, text := range src.Policies {
		parts := strings.Split(text, "\n@id(")
		for i := 1; i < len(parts); i++ {
			statement := "\n@id(" + parts[i]
			for what, slip := range all {
				for n, s := range slip(statement) {
					if s == statement {
						continue
					}
					next := policy.Source{Schema: src.Schema, Policies: map[string]string{}}
					for name, x := range src.Policies {
						next.Policies[name] = x
					}
					next.Policies[file] = strings.Join(parts[:i], "\n@id(") + s + strings.Join(append([]string{""}, parts[i+1:]...), "\n@id(")
					out = append(out, mutant{fmt.Sprintf("%s: %s %d", id.FindStringSubmatch(statement)[1], what, n), next, id.FindStringSubmatch(statement)[1], nil})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b mutant) int { return strings.Compare(a.what, b.what) })
	return out
}

// An oracle asks about the people and things of acme, in some contexts: what it finds wider is wider.
type oracle struct {
	t      *testing.T
	old    *cedar.Engine
	survey policy.Survey
	pairs  []*decision.Basis
}

func newOracle(t *testing.T, old *cedar.Engine) *oracle {
	text, err := acme.Files.ReadFile("acme.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := cast.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	o := &oracle{t: t, old: old, survey: old.Survey()}
	for _, who := range c.Principals() {
		for _, x := range c.Resources() {
			b, err := c.Basis(string(who), x)
			if err != nil {
				t.Fatal(err)
			}
			o.pairs = append(o.pairs, b)
		}
	}
	return o
}

func oracleContexts() []policy.Context {
	var out []policy.Context
	for _, level := range []sallyport.Assurance{sallyport.SingleFactor, sallyport.Hardware} {
		for _, granted := range []bool{false, true} {
			for _, hour := range []int{12, 20} {
				for _, risk := range []int64{0, 90} {
					out = append(out, policy.Context{Now: time.Date(2026, 3, 4, hour, 30, 0, 0, time.UTC), Assurance: level, Granted: granted, Session: true, Risk: risk, Working: true,
						Device: policy.Device{Posture: policy.NoPosture}})
				}
			}
		}
	}
	return out
}

// wider finds a question of acme that the mutant allows and the original does not.
func (o *oracle) wider(m mutant) string {
	o.t.Helper()
	actions := map[string]bool{}
	for _, s := range []policy.Survey{o.survey, m.engine.Survey()} {
		for _, a := range s.Policies[m.id].Actions {
			actions[a] = true
		}
	}
	contexts := oracleContexts()
	for _, b := range o.pairs {
		was, err := o.old.Load(b.Entities)
		if err != nil {
			o.t.Fatal(err)
		}
		is, err := m.engine.Load(b.Entities)
		if err != nil {
			o.t.Fatal(err)
		}
		for a := range actions {
			to := o.survey.Actions[a]
			if !slices.Contains(to.Principals, b.Principal.Type) || !slices.Contains(to.Resources, b.ResourceUID.Type) {
				continue
			}
			for _, c := range contexts {
				q := policy.Query{Principal: b.Principal, Action: policy.UID{Type: "Action", ID: a}, Resource: b.ResourceUID, Context: c}
				q.Context.To = string(b.Resource.Toward(sallyport.Action(a)))
				if m.engine.Evaluate(q, is).Allowed && !o.old.Evaluate(q, was).Allowed {
					return fmt.Sprintf("%s %s %s at %v, granted %v, risk %d", b.PrincipalID, a, b.Resource, c.Assurance, c.Granted, c.Risk)
				}
			}
		}
	}
	return ""
}

// GV-3: of seeded slips in acme's policies, every one that lets anybody at acme do more is caught by the search, with an
// example that is one. SALLYPORT_MUTANTS=all tries all of them; some, evenly chosen, otherwise.
func TestGV3WideningMutantsAreCaught(t *testing.T) {
	old := compiled(t, acmePolicies(t))
	all := mutants(t)
	step := 1
	if os.Getenv("SALLYPORT_MUTANTS") != "all" { // some of those that are quickly asked about
		all = slices.DeleteFunc(all, func(m mutant) bool { return len(old.Survey().Policies[m.id].Actions) > 2 })
		step = len(all) / 6
	}
	o := newOracle(t, old)
	tried, widening, more, most := 0, 0, 0, 0
	for i := 0; i < len(all); i += step {
		m := all[i]
		var err error
		if m.engine, err = cedar.Compile(m.src); err != nil { // a slip that no server takes
			continue
		}
		tried++
		seen := o.wider(m)
		r, err := world.NoWider(t.Context(), old, m.engine, world.Filter{}, world.Limits{})
		most = max(most, r.Questions)
		switch {
		case err != nil:
			t.Errorf("%s: %v", m.what, err)
		case seen != "" && r.Example == nil:
			t.Errorf("%s: not caught, although %s is allowed now", m.what, seen)
		case r.Example != nil:
			o.confirm(m, r.Example)
		}
		if seen != "" {
			widening++
		} else if r.Example != nil {
			more++
		}
	}
	t.Logf("%d mutants: %d let somebody at acme do more, all caught; %d more are wider for somebody who might come; at most %d questions", tried, widening, more, most)
	if step == 1 && tried < 200 {
		t.Errorf("%d mutants, want at least 200", tried)
	}
	if widening == 0 || step == 1 && widening < 100 {
		t.Errorf("only %d mutants are wider: the test would show little", widening)
	}
}

// confirm asks the example anew.
func (o *oracle) confirm(m mutant, x *world.Example) {
	o.t.Helper()
	q := policy.Query{Principal: x.Principal, Action: policy.UID{Type: "Action", ID: x.Action}, Resource: x.Resource, Context: x.Context}
	was, err := o.old.Load(x.Entities)
	if err != nil {
		o.t.Fatal(err)
	}
	is, err := m.engine.Load(x.Entities)
	if err != nil {
		o.t.Fatal(err)
	}
	if o.old.Evaluate(q, was).Allowed || !m.engine.Evaluate(q, is).Allowed {
		o.t.Errorf("%s: the example is none: %+v", m.what, x)
	}
}
