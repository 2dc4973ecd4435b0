CREATE TABLE log_checkpoint (
	origin TEXT     NOT NULL PRIMARY KEY,
	signed {{blob}} NOT NULL
);
