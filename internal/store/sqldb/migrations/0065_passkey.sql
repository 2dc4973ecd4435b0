-- By which handle authenticators know a person.
CREATE TABLE passkey_user (
	member TEXT PRIMARY KEY,
	handle {{blob}} NOT NULL UNIQUE
);
-- Passkeys: the credential record is sealed, the rest is for lists and look-ups.
CREATE TABLE passkey (
	id       TEXT PRIMARY KEY,
	hash     {{blob}} NOT NULL UNIQUE,
	member   TEXT NOT NULL,
	label    TEXT NOT NULL,
	model    TEXT NOT NULL,
	aaguid   TEXT NOT NULL,
	attested SMALLINT NOT NULL,
	backup   SMALLINT NOT NULL,
	created  BIGINT NOT NULL,
	used     BIGINT NOT NULL,
	locked   BIGINT NOT NULL,
	why      TEXT NOT NULL,
	sealed   {{blob}} NOT NULL,
	version  BIGINT NOT NULL
);
CREATE INDEX passkey_member ON passkey (member, created);
-- Ceremonies between options and response, under the hash of their handle.
CREATE TABLE passkey_ceremony (
	hash    {{blob}} PRIMARY KEY,
	kind    TEXT NOT NULL,
	member  TEXT NOT NULL,
	session TEXT NOT NULL,
	data    {{blob}} NOT NULL,
	expires BIGINT NOT NULL
);
CREATE INDEX passkey_ceremony_expires ON passkey_ceremony (expires);
