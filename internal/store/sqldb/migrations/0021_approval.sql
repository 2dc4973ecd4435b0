CREATE TABLE approval (
	id           TEXT PRIMARY KEY,
	topic        TEXT NOT NULL,
	asker        TEXT NOT NULL,
	asker_person TEXT NOT NULL,
	subject      TEXT NOT NULL,
	canonical    {{blob}} NOT NULL,
	hash         TEXT NOT NULL,
	need         BIGINT NOT NULL CHECK (need >= 1),
	approvers    TEXT NOT NULL,
	created      BIGINT NOT NULL,
	expires      BIGINT NOT NULL,
	state        TEXT NOT NULL,
	decided      BIGINT NOT NULL,
	votes        TEXT NOT NULL -- JSON, in order
);
CREATE INDEX approval_by_age ON approval (created);
CREATE INDEX approval_by_person ON approval (asker_person, created);
