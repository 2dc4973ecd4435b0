-- Enrolled devices. A key is bound to at most one live device.
CREATE TABLE device (
	id        TEXT PRIMARY KEY,
	owner     TEXT NOT NULL,
	name      TEXT NOT NULL,
	class     TEXT NOT NULL,
	level     BIGINT NOT NULL,
	spki      TEXT NOT NULL,
	jkt       TEXT NOT NULL,
	hardware  TEXT NOT NULL,
	serial    TEXT NOT NULL,
	expires   BIGINT NOT NULL,
	against   TEXT NOT NULL,
	state     TEXT NOT NULL,
	created   BIGINT NOT NULL,
	seen      BIGINT NOT NULL,
	ended     BIGINT NOT NULL,
	why       TEXT NOT NULL
);
CREATE UNIQUE INDEX device_key ON device (spki) WHERE state = 'active';
CREATE INDEX device_jkt ON device (jkt);
CREATE INDEX device_owner ON device (owner, created);
-- Every certificate that was issued and may not have ended yet.
CREATE TABLE device_certificate (
	serial  TEXT PRIMARY KEY,
	device  TEXT NOT NULL,
	expires BIGINT NOT NULL
);
CREATE INDEX device_certificate_expires ON device_certificate (expires);
-- Enrolments between their two steps, under the hash of their id.
CREATE TABLE device_enrolment (
	hash    {{blob}} PRIMARY KEY,
	owner   TEXT NOT NULL,
	name    TEXT NOT NULL,
	device  TEXT NOT NULL,
	nonce   {{blob}} NOT NULL,
	ak      {{blob}},
	secret  {{blob}} NOT NULL,
	ek      TEXT NOT NULL,
	trusted SMALLINT NOT NULL,
	expires BIGINT NOT NULL
);
CREATE INDEX device_enrolment_owner ON device_enrolment (owner, expires);
-- The authority that signs device certificates: roots (parent '') and intermediates, keys sealed.
CREATE TABLE device_authority (
	id          TEXT PRIMARY KEY,
	parent      TEXT NOT NULL,
	certificate {{blob}} NOT NULL,
	private     {{blob}} NOT NULL,
	made        BIGINT NOT NULL,
	retired     BIGINT NOT NULL
);
