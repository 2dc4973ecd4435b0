// Package cedar owns the Cedar engine (a PDP's language side; Cedar 4 as cedar-go
// reads it): it compiles policy sets as text into an Engine with an index over
// the scopes of the policies, and keeps the schema that the product's policies
// are written against. It leaves what an answer means to authz/decision, and
// building the entities to authz/facts.
//
// # Names of entities
//
// The types are those of the schema (see Schema). The ids are the names of the
// vocabulary:
//
//	User::"ana"                 Service::"trainer"        System::"sallyport"
//	Group::"acme/risk-team"     Role::"evaluator"         Environment::"production"
//	Organisation::"acme"        Project::"acme/risk"      Model::"acme/fraud"
//	Version::"acme/fraud@v3"    Dataset::"acme/claims"    Endpoint::"acme/chat"
//	Action::"model.infer", and the groups Action::"know", "use", "possess", "make",
//	"release", "serve", "data", "secrets", "jobs", "govern"
//
// # Parents
//
//   - Group: the groups that contain it.
//   - User, Service: their groups, and those roles whose assignment covers the
//     resource of the question, because entities are gathered for one principal
//     and one resource: principal in Role::"evaluator" means "holds that role
//     here". A role held on another project is not a parent.
//   - Role: the roles that it inherits, so that an "operator" who is in
//     Role::"reader" may do what readers may.
//   - Version: its Model, and the Environment where it stands.
//   - Model: its Project, or its Organisation where it belongs to no project.
//   - Project: its Organisation. Organisation, Environment, System: none.
//   - Dataset: its Project or Organisation. Endpoint: the same and its Environment.
//
// # Attributes
//
//   - User: name (String, the name of the id), person (User: itself, or the main
//     account of an alias), org (Organisation, optional).
//   - Service: owner (User).
//   - Model, Dataset: class (String: "public", "internal" or "restricted"),
//     owners (set of User, may be empty).
//   - Version: class, owners (both as its model), number (String, "v3"), digest
//     (String, 64 hex digits), pushedBy (User, optional: the person behind the
//     push, for a service its owner).
//   - Endpoint: class, model (Model, optional).
//   - The others have none.
//
// An attribute that the schema does not declare is an error of Load, and so are
// action entities: the engine adds those of the schema by itself.
//
// # Bounded work
//
// No clock is read. A policy set is bounded when it is compiled, by its size, by what
// its schema declares and by what checking it costs, so that a proposed set cannot
// take the memory or the processors of those that decide. An evaluation
// stops before it reads more policy text than Budget, so that a set of policies
// cannot be written that makes a decision slow.
package cedar
