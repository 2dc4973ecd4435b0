-- Which session here began with which session there.
CREATE TABLE federation_tie (
	session  TEXT PRIMARY KEY,
	provider TEXT NOT NULL,
	subject  TEXT NOT NULL,
	upstream TEXT NOT NULL,
	until    BIGINT NOT NULL
);
CREATE INDEX federation_tie_subject ON federation_tie (provider, subject);
CREATE INDEX federation_tie_upstream ON federation_tie (provider, upstream);
CREATE INDEX federation_tie_until ON federation_tie (until);
