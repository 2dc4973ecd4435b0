package rego

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// known are the built-in functions that a policy may call. Each is a function of its arguments alone, and what it
// returns is no larger than they are.
func known() []string {
	return []string{
		"eq", "equal", "neq", "lt", "lte", "gt", "gte", "assign", "internal.member_2", "internal.member_3",
		"plus", "minus", "rem", "abs", "count", "sum", "max", "min",
		"and", "or", "intersection", "union",
		"startswith", "endswith", "contains", "indexof", "lower", "upper", "split", "substring", "trim_prefix", "trim_suffix",
		"strings.any_prefix_match", "strings.any_suffix_match",
		"object.get", "object.keys",
		"is_array", "is_boolean", "is_null", "is_number", "is_object", "is_set", "is_string", "type_name",
		"net.cidr_contains", // arithmetic on two texts; the functions that ask the network are not here
	}
}

// capabilities is the language without everything that is not known.
func capabilities() *ast.Capabilities {
	all := ast.CapabilitiesForThisVersion(ast.CapabilitiesRegoVersion(ast.RegoV1))
	names := known()
	c := *all
	c.Builtins = nil
	for _, b := range all.Builtins {
		if slices.Contains(names, b.Name) {
			c.Builtins = append(c.Builtins, b)
		}
	}
	c.AllowNet = []string{} // no schema is fetched either
	c.WasmABIVersions = nil
	c.Features = slices.DeleteFunc(slices.Clone(c.Features), func(f string) bool { return f == ast.FeatureTemplateStrings || f == ast.FeatureRegoV2Import })
	return &c
}
