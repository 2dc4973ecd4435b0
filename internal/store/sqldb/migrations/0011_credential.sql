-- Authenticators: hashes and sealed secrets only.
CREATE TABLE credential (
	member         TEXT PRIMARY KEY,
	password_hash  TEXT NOT NULL,
	password_alone SMALLINT NOT NULL,
	password_set   BIGINT NOT NULL,
	totp_sealed    {{blob}},
	totp_step      BIGINT NOT NULL,
	totp_set       BIGINT NOT NULL
);
-- One enrolment link a person, under the hash of its token.
CREATE TABLE enrolment_link (
	member  TEXT PRIMARY KEY,
	hash    {{blob}} NOT NULL UNIQUE,
	expires BIGINT NOT NULL
);
-- How often a thing was guessed in a row.
CREATE TABLE attempts (
	what     TEXT PRIMARY KEY,
	failures BIGINT NOT NULL,
	last     BIGINT NOT NULL,
	until    BIGINT NOT NULL
);
