# What follows from policies.json alone, computed once when the set is compiled: index[EFFECT][ACTION][TYPE][ID] are the
# policies about an action, or a group of actions, whose principal is, or is in, TYPE::ID. "*" stands for every one.
package prepared

index[p.effect][action][key[0]][key[1]] contains id if {
	some id, p in data.policies
	some action in object.get(p.scope, "action", ["*"])
	key := object.get(object.get(p.scope, "principal", {}), "in", ["*", "*"])
}
