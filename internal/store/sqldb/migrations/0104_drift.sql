-- What is meant to be, sealed, and the count of its changes.
CREATE TABLE drift_intention (
	one    BIGINT PRIMARY KEY,
	number BIGINT NOT NULL,
	body   {{blob}} NOT NULL
);
