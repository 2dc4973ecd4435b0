CREATE TABLE policy_proposal (
	request    TEXT   NOT NULL PRIMARY KEY,
	version    TEXT   NOT NULL,
	base       TEXT   NOT NULL,
	source     TEXT   NOT NULL,
	by_whom    TEXT   NOT NULL,
	why        TEXT   NOT NULL,
	origin     TEXT   NOT NULL, -- commit
	repository TEXT   NOT NULL,
	at         BIGINT NOT NULL
);
CREATE INDEX policy_proposal_by_age ON policy_proposal (at);
