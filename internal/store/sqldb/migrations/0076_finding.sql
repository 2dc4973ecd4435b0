-- What was found in the trail, and what was done about it.
CREATE TABLE finding (
	id       TEXT PRIMARY KEY,
	rule     TEXT   NOT NULL,
	severity TEXT   NOT NULL,
	who      TEXT   NOT NULL,
	at       BIGINT NOT NULL,
	text     TEXT   NOT NULL,
	subject  TEXT   NOT NULL,
	evidence TEXT   NOT NULL,
	detail   TEXT   NOT NULL,
	state    TEXT   NOT NULL,
	did      TEXT   NOT NULL,
	closed   BIGINT NOT NULL,
	closer   TEXT   NOT NULL,
	verdict  TEXT   NOT NULL,
	why      TEXT   NOT NULL
);
CREATE INDEX finding_at ON finding (at);
CREATE INDEX finding_state ON finding (state, at);
-- A hold may end by itself.
ALTER TABLE hold ADD COLUMN until BIGINT NOT NULL DEFAULT 0;
