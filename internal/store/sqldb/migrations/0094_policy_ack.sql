CREATE TABLE policy_ack (
	node    TEXT   NOT NULL PRIMARY KEY,
	epoch   BIGINT NOT NULL,
	version TEXT   NOT NULL,
	at      BIGINT NOT NULL
);
