-- Streams by which partners hear of what happens to our people.
CREATE TABLE signal_stream (
	id          TEXT PRIMARY KEY,
	owner       TEXT NOT NULL,
	org         TEXT NOT NULL,
	audience    TEXT NOT NULL,
	method      TEXT NOT NULL,
	url         TEXT NOT NULL,
	header      {{blob}},
	requested   TEXT NOT NULL,
	description TEXT NOT NULL,
	status      TEXT NOT NULL CHECK (status IN ('enabled', 'paused', 'disabled')),
	reason      TEXT NOT NULL,
	created     BIGINT NOT NULL
);
CREATE TABLE signal_excluded (
	stream  TEXT NOT NULL REFERENCES signal_stream (id),
	subject TEXT NOT NULL,
	PRIMARY KEY (stream, subject)
);
-- Tokens that wait for their receivers, in order.
CREATE TABLE signal_item (
	seq    {{serial}},
	stream TEXT NOT NULL,
	id     TEXT NOT NULL,
	body   TEXT NOT NULL,
	at     BIGINT NOT NULL,
	due    BIGINT NOT NULL,
	tries  BIGINT NOT NULL,
	UNIQUE (stream, id)
);
CREATE INDEX signal_item_stream ON signal_item (stream, seq);
CREATE TABLE signal_cursor (
	one  SMALLINT PRIMARY KEY CHECK (one = 1),
	next BIGINT NOT NULL
);
INSERT INTO signal_cursor (one, next) VALUES (1, 0);
-- Tokens of partners that were taken.
CREATE TABLE signal_seen (
	issuer TEXT NOT NULL,
	id     TEXT NOT NULL,
	until  BIGINT NOT NULL,
	PRIMARY KEY (issuer, id)
);
CREATE INDEX signal_seen_until ON signal_seen (until);
CREATE TABLE signal_key (
	id     TEXT PRIMARY KEY,
	since  BIGINT NOT NULL,
	sealed {{blob}} NOT NULL
);
