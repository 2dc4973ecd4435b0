-- What people were told of their accounts, and what is on its way to them.
CREATE TABLE notice (
	id   TEXT PRIMARY KEY,
	who  TEXT   NOT NULL,
	kind TEXT   NOT NULL,
	at   BIGINT NOT NULL,
	text TEXT   NOT NULL,
	link TEXT   NOT NULL,
	seq  BIGINT NOT NULL,
	seen BIGINT NOT NULL
);
CREATE INDEX notice_who ON notice (who, at);
CREATE INDEX notice_at ON notice (at);
CREATE TABLE notice_delivery (
	notice  TEXT   NOT NULL REFERENCES notice (id) ON DELETE CASCADE,
	channel TEXT   NOT NULL,
	tries   BIGINT NOT NULL,
	due     BIGINT NOT NULL,
	done    BIGINT NOT NULL,
	lost    SMALLINT NOT NULL,
	why     TEXT   NOT NULL,
	PRIMARY KEY (notice, channel)
);
CREATE INDEX notice_delivery_due ON notice_delivery (due) WHERE done = 0;
