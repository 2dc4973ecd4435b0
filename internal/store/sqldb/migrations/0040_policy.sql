CREATE TABLE policy_set (
	version   TEXT   NOT NULL PRIMARY KEY,
	source    TEXT   NOT NULL,
	by_whom   TEXT   NOT NULL,
	why       TEXT   NOT NULL,
	activated BIGINT NOT NULL
);

CREATE TABLE policy_active (
	one     BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
	version TEXT   NOT NULL REFERENCES policy_set (version)
);
