-- Data keys, wrapped. A row that goes takes the bytes it opened with it.
CREATE TABLE keyring (
	artifact TEXT PRIMARY KEY,
	key_id   TEXT NOT NULL,
	wrapped  {{blob}} NOT NULL,
	revision BIGINT NOT NULL
);
