package rego

import (
	"fmt"
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"sallyport"
	"sallyport/internal/authz/policy/cedar"
)

// checkData refuses references to data that lead nowhere: what is undefined would silently not apply.
func (s *set) checkData(c *ast.Compiler) error {
	var bad ast.Ref
	look := func(r ast.Ref) bool {
		if bad == nil && len(r) > 0 && r[0].Equal(ast.DefaultRootDocument) && !s.leads(c, r) {
			bad = r
		}
		return bad != nil
	}
	for _, file := range slices.Sorted(maps.Keys(c.Modules)) {
		for _, r := range c.Modules[file].Rules {
			ast.WalkRefs(r, look)
		}
	}
	if bad == nil {
		return nil
	}
	return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%s: %.200s leads to no rule and no document", place(bad), bad.String()), "correct the name, or add the document NAME.json")
}

func place(r ast.Ref) string {
	if at := r[0].Location; at != nil && at.File != "" {
		return fmt.Sprintf("%s:%d", at.File, at.Row)
	}
	return "a rule"
}

// leads follows a reference as far as its names are constant.
func (s *set) leads(c *ast.Compiler, r ast.Ref) bool {
	if len(r) < 2 {
		return false // the whole of data
	}
	if _, constant := r[1].Value.(ast.String); !constant {
		return false
	}
	if len(c.GetRules(r.ConstantPrefix())) > 0 {
		return true
	}
	var at any = s.documents
	for _, step := range r[1:] {
		name, constant := step.Value.(ast.String)
		if !constant {
			return true
		}
		members, ok := at.(map[string]any)
		if !ok {
			return false
		}
		if at, ok = members[string(name)]; !ok {
			return false
		}
	}
	return true
}

// shapeOf is the JSON schema of a question, so that OPA's compiler refuses what a question cannot have.
func shapeOf(shape *cedar.Shape) map[string]any {
	attributes := shape.Attributes()
	within, entities := map[string]any{"Action": object(nil)}, map[string]any{}
	for kind := range attributes {
		within[kind], entities[kind] = object(nil), object(nil)
	}
	of := func(kinds map[string]bool) map[string]any {
		attrs := map[string]any{}
		for kind := range kinds {
			for _, name := range attributes[kind] {
				attrs[name] = map[string]any{}
			}
		}
		return object(map[string]any{"type": text(), "id": text(), "attrs": object(attrs), "in": object(within)})
	}
	principals, resources := map[string]bool{}, map[string]bool{}
	for _, a := range shape.Actions() {
		for _, kind := range a.Principals {
			principals[kind] = true
		}
		for _, kind := range a.Resources {
			resources[kind] = true
		}
	}
	return object(map[string]any{"principal": of(principals), "resource": of(resources), "action": of(nil), "context": contextShape(), "entities": object(entities)})
}

func contextShape() map[string]any {
	number, flag := map[string]any{"type": "integer"}, map[string]any{"type": "boolean"}
	window := object(map[string]any{"bytes": number, "denials": number, "models": number, "exports": number})
	return object(map[string]any{
		"now": number, "clock": object(map[string]any{"hour": number, "minute": number, "second": number, "weekday": number}),
		"assurance": number, "authAge": number, "ip": text(), "door": text(), "file": text(),
		"granted": flag, "session": flag, "bound": flag, "client": text(), "actor": text(), "purpose": text(), "network": text(), "risk": number,
		"device":  object(map[string]any{"class": text(), "level": number, "postureAge": number, "os": text(), "encrypted": flag, "locked": flag, "patched": flag}),
		"working": flag, "country": text(), "to": text(), "probation": flag, "training": number, "history": object(map[string]any{"short": window, "day": window, "month": window}),
	})
}

func object(properties map[string]any) map[string]any {
	o := map[string]any{"type": "object"}
	if len(properties) > 0 {
		o["properties"] = properties
		o["additionalProperties"] = false
	}
	return o
}

func text() map[string]any { return map[string]any{"type": "string"} }
