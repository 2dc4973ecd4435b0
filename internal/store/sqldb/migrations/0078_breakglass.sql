-- Rights for an emergency, and each time that one was opened.
CREATE TABLE breakglass (
	name    TEXT PRIMARY KEY,
	openers TEXT   NOT NULL,
	role    TEXT   NOT NULL,
	scope   TEXT   NOT NULL,
	seconds BIGINT NOT NULL,
	why     TEXT   NOT NULL,
	by_whom TEXT   NOT NULL,
	at      BIGINT NOT NULL,
	request TEXT   NOT NULL UNIQUE,
	sealed  BIGINT NOT NULL
);
CREATE TABLE breakglass_opening (
	id          TEXT PRIMARY KEY,
	name        TEXT   NOT NULL,
	who         TEXT   NOT NULL,
	person      TEXT   NOT NULL,
	why         TEXT   NOT NULL,
	asked       BIGINT NOT NULL,
	request     TEXT   NOT NULL UNIQUE,
	state       TEXT   NOT NULL,
	from_at     BIGINT NOT NULL,
	until       BIGINT NOT NULL,
	approvers   TEXT   NOT NULL,
	assignment  TEXT   NOT NULL,
	reviewer    TEXT   NOT NULL,
	reviewed_at BIGINT NOT NULL,
	review      TEXT   NOT NULL
);
CREATE INDEX breakglass_opening_asked ON breakglass_opening (asked);
