-- Sessions, under the hash of their bearer value.
CREATE TABLE session (
	id        TEXT PRIMARY KEY,
	hash      {{blob}} NOT NULL UNIQUE,
	principal TEXT NOT NULL,
	person    TEXT NOT NULL,
	assurance BIGINT NOT NULL,
	methods   TEXT NOT NULL,
	auth_time BIGINT NOT NULL,
	created   BIGINT NOT NULL,
	seen      BIGINT NOT NULL,
	idle_end  BIGINT NOT NULL,
	abs_end   BIGINT NOT NULL,
	source    TEXT NOT NULL,
	agent     TEXT NOT NULL,
	revoked   BIGINT NOT NULL,
	why       TEXT NOT NULL
);
CREATE INDEX session_principal ON session (principal, created);
CREATE INDEX session_revoked ON session (revoked);
-- Sign-ins between two proofs, under the hash of their handle.
CREATE TABLE signin_flow (
	hash          {{blob}} PRIMARY KEY,
	stage         TEXT NOT NULL,
	member        TEXT NOT NULL,
	return_to     TEXT NOT NULL,
	attempts      BIGINT NOT NULL,
	chosen_hash   TEXT NOT NULL,
	chosen_alone  SMALLINT NOT NULL,
	chosen_at     BIGINT NOT NULL,
	sealed        {{blob}},
	expires       BIGINT NOT NULL
);
CREATE INDEX signin_flow_expires ON signin_flow (expires);
