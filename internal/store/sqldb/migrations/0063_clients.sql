-- Whether a client asked by authorization_details (RFC 9396), and is answered in this form.
ALTER TABLE token_family ADD COLUMN detailed SMALLINT NOT NULL DEFAULT 0;
ALTER TABLE token_device ADD COLUMN detailed SMALLINT NOT NULL DEFAULT 0;

-- Programs that may ask for tokens. A removed one keeps its row: its id is never given to another.
CREATE TABLE token_client (
	id      TEXT PRIMARY KEY,
	spec    TEXT NOT NULL,
	created BIGINT NOT NULL,
	removed BIGINT NOT NULL
);

-- Client assertions (RFC 7523) that were used, until they would have expired.
CREATE TABLE token_assertion (
	client  TEXT NOT NULL,
	id      TEXT NOT NULL,
	expires BIGINT NOT NULL,
	PRIMARY KEY (client, id)
);
CREATE INDEX token_assertion_expires ON token_assertion (expires);

-- Authorization requests that clients pushed (RFC 9126).
CREATE TABLE token_pushed (
	hash    {{blob}} PRIMARY KEY,
	client  TEXT NOT NULL,
	request TEXT NOT NULL,
	key_id  TEXT NOT NULL,
	created BIGINT NOT NULL,
	expires BIGINT NOT NULL,
	used    BIGINT NOT NULL
);
CREATE INDEX token_pushed_expires ON token_pushed (expires);

-- What people have allowed clients for good, until they take it back.
CREATE TABLE token_consent (
	principal TEXT NOT NULL,
	client    TEXT NOT NULL,
	scope     TEXT NOT NULL,
	audiences TEXT NOT NULL,
	openid    SMALLINT NOT NULL,
	given     BIGINT NOT NULL,
	PRIMARY KEY (principal, client)
);
