-- Keys that sign access tokens; the private key is sealed outside the store.
CREATE TABLE token_key (
	generation BIGINT PRIMARY KEY,
	id         TEXT NOT NULL UNIQUE,
	from_at    BIGINT NOT NULL,
	sealed     {{blob}} NOT NULL
);

-- One approval by one person for one client: the unit of revocation. Lists are separated by one space.
CREATE TABLE token_family (
	id        TEXT PRIMARY KEY,
	principal TEXT NOT NULL,
	person    TEXT NOT NULL,
	client    TEXT NOT NULL,
	session   TEXT NOT NULL,
	scope     TEXT NOT NULL,
	audiences TEXT NOT NULL,
	assurance SMALLINT NOT NULL,
	methods   TEXT NOT NULL,
	auth_time BIGINT NOT NULL,
	created   BIGINT NOT NULL,
	expires   BIGINT NOT NULL,
	issued    BIGINT NOT NULL,
	revoked   BIGINT NOT NULL,
	reason    TEXT NOT NULL
);
CREATE INDEX token_family_session ON token_family (session);
CREATE INDEX token_family_principal ON token_family (principal);
CREATE INDEX token_family_person ON token_family (person);
CREATE INDEX token_family_revoked ON token_family (revoked);
CREATE INDEX token_family_expires ON token_family (expires);

-- Used rows stay as long as their family: they are how theft is noticed.
CREATE TABLE token_refresh (
	hash    {{blob}} PRIMARY KEY,
	family  TEXT NOT NULL REFERENCES token_family (id),
	created BIGINT NOT NULL,
	expires BIGINT NOT NULL,
	used    BIGINT NOT NULL
);
CREATE INDEX token_refresh_family ON token_refresh (family);

CREATE TABLE token_code (
	hash      {{blob}} PRIMARY KEY,
	family    TEXT NOT NULL REFERENCES token_family (id),
	client    TEXT NOT NULL,
	redirect  TEXT NOT NULL,
	challenge TEXT NOT NULL,
	expires   BIGINT NOT NULL,
	used      BIGINT NOT NULL
);
CREATE INDEX token_code_family ON token_code (family);
CREATE INDEX token_code_expires ON token_code (expires);

CREATE TABLE token_device (
	hash      {{blob}} PRIMARY KEY,
	user_hash {{blob}} NOT NULL UNIQUE,
	client    TEXT NOT NULL,
	scope     TEXT NOT NULL,
	audiences TEXT NOT NULL,
	ip        TEXT NOT NULL,
	state     TEXT NOT NULL,
	family    TEXT NOT NULL,
	created   BIGINT NOT NULL,
	expires   BIGINT NOT NULL,
	pause     BIGINT NOT NULL,
	next_poll BIGINT NOT NULL,
	slow      SMALLINT NOT NULL
);
CREATE INDEX token_device_expires ON token_device (expires);
