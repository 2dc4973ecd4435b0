-- Trust rules: which proof of another issuer proves which service or agent.
CREATE TABLE trust_rule (
	name        TEXT PRIMARY KEY,
	kind        TEXT NOT NULL,
	issuer      TEXT NOT NULL,
	audience    TEXT NOT NULL,
	matches     TEXT NOT NULL, -- JSON object of texts
	any_subject SMALLINT NOT NULL,
	keys        TEXT NOT NULL, -- JWKS, or empty
	keys_url    TEXT NOT NULL,
	principal   TEXT NOT NULL,
	scope       TEXT NOT NULL,
	life        BIGINT NOT NULL, -- microseconds
	clients     TEXT NOT NULL, -- JSON array of texts
	by_whom     TEXT NOT NULL,
	created     BIGINT NOT NULL
);
