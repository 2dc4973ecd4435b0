// Package authz answers one question: may they?
//
// Its rooms, from the text of a policy to the answer:
//
//   - policy: policy sets as text with a version, and the contract of the engines that evaluate them
//   - policy/engines: which engine reads a set, Cedar or Rego
//   - decision: the policy decision point (PDP); pure, total, closed by default
//   - explain: what may be told about a decision, clause by clause, to whom it is about and to an auditor
//   - facts: the policy information point (PIP); gathers once a call what a decision is made from
//   - role: roles, their inheritance and who holds them on what
//   - approval: a question to named people who are not the asker
//   - approval/signed: what an approval by a passkey is, and whether it is good; pure
//   - approver: whose keys sign approvals, as a chain that anybody can walk again
//   - grant: rights for a time, on top of an approval
//   - task: whether the run, the job or the ticket is over that a right is for
//   - hold: restrictions for now, with a reason and an end
//   - label: lowering a class, which others approve
//   - breakglass: rights for an emergency, sealed, loud, over by themselves
//   - change: the policy administration point (PAP); proposes, activates and rolls back policy sets
//   - whatif: recorded questions under another policy set, and the access matrix
//
// The house holds no code itself.
package authz
