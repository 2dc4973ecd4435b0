-- What upstream providers keep here. Rows are never deleted once they came to be: ids and targets are never used again.
CREATE TABLE provisioned (
	id       TEXT PRIMARY KEY,
	source   TEXT NOT NULL,
	kind     TEXT NOT NULL CHECK (kind IN ('User', 'Group')),
	name     TEXT NOT NULL,
	name_key TEXT NOT NULL,
	target   TEXT NOT NULL UNIQUE,
	external TEXT NOT NULL,
	body     {{blob}} NOT NULL,
	version  BIGINT NOT NULL,
	created  BIGINT NOT NULL,
	modified BIGINT NOT NULL,
	gone     BIGINT NOT NULL,
	UNIQUE (source, kind, name_key)
);
CREATE INDEX provisioned_external ON provisioned (source, kind, external);
