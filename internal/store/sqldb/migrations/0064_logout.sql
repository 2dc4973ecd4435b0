-- Clients that must be told that a session ended (OpenID Connect Back-Channel Logout), until they have answered.
CREATE TABLE logout_notice (
	session   TEXT NOT NULL,
	client    TEXT NOT NULL,
	principal TEXT NOT NULL,
	uri       TEXT NOT NULL,
	created   BIGINT NOT NULL,
	due       BIGINT NOT NULL,
	tries     BIGINT NOT NULL,
	state     TEXT NOT NULL,
	PRIMARY KEY (session, client)
);
CREATE INDEX logout_notice_due ON logout_notice (state, due);
