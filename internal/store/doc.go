// Package store answers one question: where does state live?
//
// Its rooms:
//
//   - sqldb: the Stores of all rooms on SQLite (the embedded default) and PostgreSQL, and the feed of changes
//   - storetest: the conformance suite that both engines pass
//
// The house holds no code itself. What a row means is the business of the room
// that owns it: a WHERE clause is not a policy.
package store
