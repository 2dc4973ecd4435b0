# The policies of acme in Rego, beside those in Cedar: policies.json says whom and what each is about, this file how that
# is read. A policy with "when": true in its scope has its condition in conditions.rego. The tests of this directory ask
# both sets the same questions.
package sallyport

import data.conditions

permit contains id if {
	some id in candidates(data.prepared.index.permit)
	applies(id, data.policies[id].scope)
}

forbid contains id if {
	some id in candidates(data.prepared.index.forbid)
	applies(id, data.policies[id].scope)
}

# candidates are the policies about the action whose principal is one that the principal of the question is in.
candidates(index) := {id |
	some action in actions
	table := index[action]
	some type, members in input.principal["in"]
	some name, _ in members
	some id in table[type][name]
} | {id |
	some action in actions
	some id in index[action]["*"]["*"]
}

actions := object.keys(input.action.in.Action) | {"*"}

applies(id, scope) if {
	entity(object.get(scope, "principal", {}), input.principal)
	entity(object.get(scope, "resource", {}), input.resource)
	meets(id, scope)
}

# {"is": TYPE} and {"in": [TYPE, ID]}, both, one or neither.
entity(want, x) if {
	object.get(want, "is", x.type) == x.type
	inside(object.get(want, "in", [x.type, x.id]), x)
}

inside([type, id], x) if x["in"][type][id]

meets(_, scope) if not scope.when

meets(id, scope) if {
	scope.when
	conditions.hold(id)
}
