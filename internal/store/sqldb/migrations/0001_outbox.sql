-- The feed of changes: "rows of this kind changed, up to this number".
CREATE TABLE outbox (
	seq  {{serial}},
	kind TEXT NOT NULL
);

-- Rows up to the floor were pruned: whoever stopped reading below it reads everything again.
CREATE TABLE outbox_floor (
	one SMALLINT PRIMARY KEY CHECK (one = 1),
	seq BIGINT NOT NULL
);
INSERT INTO outbox_floor (one, seq) VALUES (1, 0);
