CREATE TABLE hold (
	id            TEXT PRIMARY KEY,
	target        TEXT NOT NULL,
	kind          TEXT NOT NULL,
	why           TEXT NOT NULL,
	by_whom       TEXT NOT NULL,
	by_person     TEXT NOT NULL,
	held          TEXT NOT NULL,
	at            BIGINT NOT NULL,
	lifted_at     BIGINT NOT NULL,
	lifted_by     TEXT NOT NULL,
	lifted_person TEXT NOT NULL,
	lift_reason   TEXT NOT NULL
);
CREATE INDEX hold_active ON hold (at) WHERE lifted_at = 0;
CREATE INDEX hold_by_target ON hold (target, at);
