// Package sqldb owns the tables of all rooms, on SQLite and on PostgreSQL with
// one SQL text, the migrations that make them, and the feed that says which kind
// of them changed. It leaves to the rooms what a row means and which rows may be
// written: no statement here decides who may do what.
//
// # Adding a room
//
// Migrations stand in migrations/NNNN_name.sql, in the order of their numbers. A
// migration that has been applied anywhere is never edited. For the two engines
// to read one text:
//
//   - {{serial}} is a primary key that counts by itself, {{rowid}} one that is given, {{blob}} is bytes
//   - TEXT sorts by bytes on both engines (the loader adds the collation)
//   - times are BIGINT, Unix microseconds, 0 for none; truth is SMALLINT 0 or 1
//   - parameters are $1, $2; ON CONFLICT and RETURNING work, FROM (VALUES …) does not
//
// A room's file NAME.go has the method func (db *DB) Name() name.Store, and
// implements the room's Store with the helpers of rows.go: queryAll and queryOne
// over db.reader, db.write for every change. Its conformance test stands in
// storetest/NAME_test.go and runs on both engines.
//
// # Writing
//
// One transaction writes at a time, on both engines and over all nodes (on
// PostgreSQL an advisory lock sees to it). A room's transaction therefore reads
// and writes as if it were alone, and the order of the feed is the order of the
// commits. In return transactions are short: no network, no hashing of passwords
// in them, and never a db.write inside a db.write.
package sqldb
