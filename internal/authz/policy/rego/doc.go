// Package rego owns the engine for policies written in Rego (a PDP's language side; Rego v1 as OPA reads it): it
// compiles a set of .rego modules and .json documents into an Engine that only computes. It leaves what an answer means
// to authz/decision, the entities to authz/facts, and the schema, which is the same text as for Cedar, to
// authz/policy/cedar. docs/policy-rego.md is for those who write policies.
//
// # A set
//
// The package "sallyport" holds two sets of ids, "permit" and "forbid"; every other package is a helper. policies.json
// declares each id with its effect and the annotations of policy.NewInfo, and may carry a "scope" of any form for rules
// that read it. NAME.json is the document data.NAME.
//
//	package sallyport
//
//	permit contains "reader.know" if {
//		input.principal.in.Role.reader
//		input.action.in.Action.know
//	}
//
//	{"reader.know": {"effect": "permit", "owner": "ml-platform", "requirement": "AZ-5"}}
//
// # The question
//
//	input.principal, action, resource   {"type", "id", "attrs": {…}, "in": {TYPE: {ID: true}}}; what it is in over all
//	                                    levels, itself included. An action is in the groups of its schema.
//	input.entities[TYPE][ID]            every entity that was gathered, in the same form
//	input.context                       the members of policy.Context under the names of its comments; now is in
//	                                    nanoseconds since 1970, clock is the same as {"hour", "minute", "second",
//	                                    "weekday"} in UTC, Sunday being 0; ip is a text and absent where unknown
//
// A value that is an entity is {"type", "id"}; a set is a sorted array.
//
// # What is closed
//
// Only built-ins of a list are known: none reads a clock, a network, a file, a name or chance, print is erased, and none
// makes much out of little (texts and numbers do not grow). References to data and input that cannot exist are refused
// when a set is compiled. A built-in that fails is an error of the policies that needed it and never just undefined:
// each id is then asked about by itself. A rule that is undefined does not apply: write forbids so that what is missing
// does not let through. An id that is not declared, or for the other effect, is a fault of the engine, and means deny.
//
// # Bounded work
//
// OPA asks a Cancel before each step of an evaluation; ours counts instead of looking at a clock, so that an evaluation
// ends after Budget steps on every machine alike. What one step may do is bounded by the sizes of the set and of the
// question, which Compile and Load limit, as long as rules do not put a value into another twice, again and again: work
// inside one comparison of such values, or of their types by OPA's compiler, is not counted. Sets in Rego are proposed by
// people who are trusted with that; those in Cedar are bounded whatever they say.
package rego
