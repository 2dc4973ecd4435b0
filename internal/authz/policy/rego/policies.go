package rego

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"sallyport"
	"sallyport/internal/authz/policy"
)

// declare reads policies.json: each id with its effect and annotations.
func (s *set) declare() error {
	const file = declared + ".json"
	all, ok := s.documents[declared].(map[string]any)
	if !ok || len(all) == 0 {
		return sallyport.E(op, sallyport.Invalid, "the set declares no policy", `write policies.json: {"ID": {"effect": "permit", "owner": "…", "requirement": "…"}}`)
	}
	if len(all) > MaxPolicies {
		return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("%s: more than %d policies", file, MaxPolicies), "write roles and groups instead of single grants")
	}
	for _, id := range slices.Sorted(maps.Keys(all)) {
		info, err := infoOf(id, all[id])
		if err != nil {
			return refuse(file, err)
		}
		s.infos[id] = info
	}
	return s.checkRules()
}

// infoOf reads one declaration. Texts are annotations; the effect and the scope are not.
func infoOf(id string, declaration any) (policy.Info, error) {
	members, ok := declaration.(map[string]any)
	if !ok {
		return policy.Info{}, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%.80q is declared by no object", id), "")
	}
	notes := map[string]string{"id": id}
	var effect policy.Effect
	for name, v := range members {
		text, isText := v.(string)
		switch {
		case name == "scope":
		case name == "effect" && (text == "permit" || text == "forbid"):
			_ = effect.UnmarshalText([]byte(text)) // it reads every text
		case name == "effect" || name == "id" || !isText:
			return policy.Info{}, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%q of %.80q is not understood", name, id),
				`"effect" is "permit" or "forbid", "scope" anything, and the annotations are texts`)
		case name == "audience":
			return policy.Info{}, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("policy %.80q is for some people only, which this engine cannot keep", id), "write such policies in Cedar")
		default:
			notes[name] = text
		}
	}
	if _, ok := members["effect"]; !ok {
		return policy.Info{}, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("policy %.80q has no effect", id), `say "permit" or "forbid"`)
	}
	text, err := json.MarshalIndent(map[string]any{id: declaration}, "", "  ")
	if err != nil {
		return policy.Info{}, err
	}
	return policy.NewInfo(effect, notes, string(text))
}

// checkRules holds rules and declarations against each other: every rule that names an id names a declared one of its
// effect, and every declared id can be the answer of some rule.
func (s *set) checkRules() error {
	open := map[policy.Effect]bool{} // there are rules that find ids in data
	texts := map[string][]string{}
	for _, file := range slices.Sorted(maps.Keys(s.modules)) {
		m := s.modules[file]
		if err := s.checkPackage(m); err != nil {
			return refuse(file, err)
		}
		for _, r := range m.Rules {
			effect, answers := answer(m, r)
			if !answers {
				continue
			}
			id, constant, err := s.checkAnswer(r, effect)
			if err != nil {
				return refuse(fmt.Sprintf("%s:%d", file, r.Location.Row), err)
			}
			if constant {
				texts[id] = append(texts[id], string(r.Location.Text))
			} else {
				open[effect] = true
			}
		}
	}
	for id, info := range s.infos {
		if own := texts[id]; len(own) > 0 {
			info.Text = strings.Join(own, "\n\n")
			s.infos[id] = info
		} else if !open[info.Effect] {
			return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("policy %s is declared, and no rule can give it", id), fmt.Sprintf("write %s contains %q if { … }", info.Effect, id))
		}
	}
	return nil
}

// checkPackage refuses modules that would hide a document.
func (s *set) checkPackage(m *ast.Module) error {
	path := m.Package.Path
	first, ok := path[min(1, len(path)-1)].Value.(ast.String)
	if _, taken := s.documents[string(first)]; !ok || taken {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the package %q has the name of a document", string(first)), "give one of them another name")
	}
	return nil
}

// answer tells whether the rule adds to one of the two sets.
func answer(m *ast.Module, r *ast.Rule) (policy.Effect, bool) {
	if len(m.Package.Path) != 2 || !m.Package.Path[1].Equal(ast.StringTerm(home)) {
		return policy.Forbid, false
	}
	switch name, _ := r.Head.Ref()[0].Value.(ast.Var); name {
	case "permit":
		return policy.Permit, true
	case "forbid":
		return policy.Forbid, true
	}
	return policy.Forbid, false
}

// checkAnswer reads the head of a rule of the two sets.
func (s *set) checkAnswer(r *ast.Rule, effect policy.Effect) (id string, constant bool, err error) {
	if r.Head.RuleKind() != ast.MultiValue || len(r.Head.Ref()) != 1 || r.Default || len(r.Head.Args) > 0 || r.Head.Key == nil {
		return "", false, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%s is a set of ids", effect), fmt.Sprintf(`write %s contains "ID" if { … }`, effect))
	}
	switch key := r.Head.Key.Value.(type) {
	case ast.Var:
		return "", false, nil
	case ast.String:
		if info, known := s.infos[string(key)]; !known || info.Effect != effect {
			return "", false, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%.80q is not declared as a %s", string(key), effect), "declare it in policies.json")
		}
		return string(key), true, nil
	}
	return "", false, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("what %s contains is no id", effect), "use a text, or a variable that takes ids from data")
}
