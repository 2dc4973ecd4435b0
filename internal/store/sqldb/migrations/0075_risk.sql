-- Sign-ins as the risk score needs them, made by following the trail. Addresses are kept as prefix, network and country.
CREATE TABLE risk_login (
	seq     {{rowid}},
	who     TEXT   NOT NULL,
	at      BIGINT NOT NULL,
	session TEXT   NOT NULL,
	prefix  TEXT   NOT NULL,
	asn     TEXT   NOT NULL,
	country TEXT   NOT NULL,
	agent   TEXT   NOT NULL,
	browser TEXT   NOT NULL,
	os      TEXT   NOT NULL,
	kind    TEXT   NOT NULL,
	device  TEXT   NOT NULL,
	score   BIGINT NOT NULL,
	reasons TEXT   NOT NULL
);
CREATE INDEX risk_login_failed ON risk_login (who, at) WHERE session = '';
CREATE INDEX risk_login_at ON risk_login (at);
-- What is held against a person, a session or a device, and fades.
CREATE TABLE risk_raise (
	id      TEXT PRIMARY KEY,
	target  TEXT   NOT NULL,
	points  BIGINT NOT NULL,
	why     TEXT   NOT NULL,
	from_at BIGINT NOT NULL,
	until   BIGINT NOT NULL
);
CREATE INDEX risk_raise_target ON risk_raise (target, until);
CREATE INDEX risk_raise_until ON risk_raise (until);
-- How far each follower has read the trail.
CREATE TABLE tail_cursor (
	name TEXT PRIMARY KEY,
	next BIGINT NOT NULL
);
