CREATE TABLE policy_epoch (
	number  BIGINT   NOT NULL PRIMARY KEY CHECK (number >= 1),
	version TEXT     NOT NULL REFERENCES policy_set (version),
	before  TEXT     NOT NULL,
	kind    TEXT     NOT NULL,
	request TEXT     NOT NULL,
	hash    TEXT     NOT NULL,
	signed  BIGINT   NOT NULL,
	by_whom TEXT     NOT NULL,
	why     TEXT     NOT NULL,
	at      BIGINT   NOT NULL,
	seal    {{blob}} NOT NULL
);
CREATE UNIQUE INDEX policy_epoch_request ON policy_epoch (request) WHERE request <> '';
