CREATE TABLE audit_event (
	seq      {{rowid}},
	at       BIGINT NOT NULL,
	type     TEXT   NOT NULL,
	who      TEXT   NOT NULL,
	action   TEXT   NOT NULL,
	resource TEXT   NOT NULL,
	outcome  TEXT   NOT NULL,
	decision TEXT   NOT NULL,
	facts    TEXT   NOT NULL,
	reason   TEXT   NOT NULL
);

CREATE INDEX audit_event_decision ON audit_event (decision) WHERE decision <> '';
CREATE INDEX audit_event_who ON audit_event (who, seq) WHERE who <> '';
CREATE INDEX audit_event_facts ON audit_event (facts) WHERE facts <> '';

CREATE TABLE audit_cursor (
	one  BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
	next BIGINT NOT NULL
);
