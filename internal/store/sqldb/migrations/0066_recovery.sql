-- Recovery codes, hashed; each row is one that was not used.
CREATE TABLE recovery_code (
	member TEXT NOT NULL,
	hash   {{blob}} NOT NULL,
	made   BIGINT NOT NULL,
	PRIMARY KEY (member, hash)
);
-- Requests to get back in after the last factor was lost.
CREATE TABLE recovery_request (
	id       TEXT PRIMARY KEY,
	member   TEXT NOT NULL,
	asker    TEXT NOT NULL,
	why      TEXT NOT NULL,
	state    TEXT NOT NULL,
	asked    BIGINT NOT NULL,
	ready    BIGINT NOT NULL,
	ends     BIGINT NOT NULL,
	votes    TEXT NOT NULL,
	closed   TEXT NOT NULL,
	version  BIGINT NOT NULL
);
CREATE INDEX recovery_request_member ON recovery_request (member, state);
