-- Journeys to identity providers, under the hash of what comes back. No row holds what finishes one.
CREATE TABLE federation_flow (
	key       {{blob}} PRIMARY KEY,
	provider  TEXT NOT NULL,
	request   TEXT NOT NULL,
	finish    {{blob}} NOT NULL,
	return_to TEXT NOT NULL,
	fresh     SMALLINT NOT NULL,
	proved    TEXT NOT NULL,
	member    TEXT NOT NULL,
	attempts  BIGINT NOT NULL,
	begun     BIGINT NOT NULL,
	expires   BIGINT NOT NULL
);
CREATE INDEX federation_flow_expires ON federation_flow (expires);
-- Messages that count once, until they are refused for their age.
CREATE TABLE federation_seen (
	provider TEXT NOT NULL,
	message  TEXT NOT NULL,
	until    BIGINT NOT NULL,
	PRIMARY KEY (provider, message)
);
CREATE INDEX federation_seen_until ON federation_seen (until);
