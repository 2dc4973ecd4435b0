// Package decision owns the policy decision point (PDP, NIST SP 800-162): Decide
// turns facts into one of four outcomes with reasons, obligations and remedies.
// It is pure, total and closed by default: the same facts under the same policies
// give the same decision, whatever is missing or fails gives none that permits.
//
// It leaves gathering the facts to authz/facts, the language of policies to the
// engine, recording to audit/trail and carrying out to enforce/guard.
//
// # Order
//
// The first rule that refuses decides, in this order; its name is the reason's id:
//
//	facts.unprepared    no engine, facts that Prepare has not seen, or not those of every actor
//	action.unknown      not one of sallyport.Actions
//	question.invalid    a time, level, address or text outside its limits
//	agent.alone         an agent that acts for nobody
//	principal.inactive  suspended, or never active
//	hold:ID             a hold bears on the call: outcome Hold
//	policy.version      the facts were gathered for another policy set
//	target.missing      an action that brings something into an environment, and nobody said which
//	facts.stale         older than the resource's class allows; a door answers 503
//	token.scope         the token is not for this action on this resource
//	data.scope          the file is outside what was permitted (obligations of the kind files)
//	forbid.error        a forbid could not be evaluated, with the policy's id
//	the ids of policies that forbid, or "default.deny" where none permits
//
// A permit that cannot be evaluated does not permit; like every failing policy it
// is listed in Errors.
//
// # On behalf of somebody
//
// Where actors stand between the principal and the call (RFC 8693, section 4.1), the
// same question is asked of each of them, on their own facts: permitted is what the
// principal, every actor and the token permit. Beside the reasons for which an actor
// is refused stands "actor:" and its id. Grants are the principal's alone, and nobody
// is asked for more proof: who could give it is not there.
//
// # Outcomes of a forbid
//
// Where every forbid that applies is annotated @outcome("step-up"), and trying the
// same question after the step-up permits it, the outcome is StepUp; where at
// least one is annotated @outcome("hold") and the others are annotated too, it is
// Hold; otherwise Deny.
//
// # Obligations
//
// The obligations of all permits that apply are joined, and of each kind the
// smallest value counts: a permit without a limit does not cancel another's.
//
// # Remedies
//
// What would permit is searched for along what the policies that may bear on the question ask about (policy.Levers):
// proof, a grant, a key, a device, a purpose, a network, a time. A way out is a set of changes that were tried together
// on the same facts and permit, and of which none can be left out: each smaller set was tried, too. At most three are
// named, the least first, and beside them a lesser action on the same thing that is permitted as things are. A grant is
// named only to who may ask for one; the end of a hold only where it has one.
//
// Policies for auditors (@audience("auditor")) take no part in finding a way: it is found on the others, and named where
// it permits on all. So nothing is named that would not be named if they did not exist.
//
// A search tries at most 96 ways, fewer the more policy text one evaluation reads, and none where the policies ask nothing
// that could be changed. Judge decides without it.
package decision
