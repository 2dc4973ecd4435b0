-- Who was last trained when, and on whose word.
CREATE TABLE training (
	who     TEXT PRIMARY KEY,
	at      BIGINT NOT NULL,
	by_whom TEXT NOT NULL,
	why     TEXT NOT NULL,
	kept    BIGINT NOT NULL
);

-- Who takes part in drills by their own word.
CREATE TABLE drill_volunteer (
	who   TEXT PRIMARY KEY,
	since BIGINT NOT NULL
);

-- Drills, and what was sent to whom in each. A link is kept by its hash; answer is '' until there is one.
CREATE TABLE drill (
	id      TEXT PRIMARY KEY,
	kind    TEXT NOT NULL,
	by_whom TEXT NOT NULL,
	begun   BIGINT NOT NULL,
	ends    BIGINT NOT NULL
);
CREATE TABLE drill_lure (
	link     TEXT PRIMARY KEY,
	drill    TEXT NOT NULL REFERENCES drill (id),
	who      TEXT NOT NULL,
	prompts  BIGINT NOT NULL,
	due      BIGINT NOT NULL,
	answer   TEXT NOT NULL,
	answered BIGINT NOT NULL,
	learned  BIGINT NOT NULL,
	UNIQUE (drill, who)
);
CREATE INDEX drill_lure_who ON drill_lure (who, answered);
