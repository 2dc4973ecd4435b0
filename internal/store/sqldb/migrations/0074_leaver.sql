-- Orders to leave that are not carried out yet.
CREATE TABLE leaving (
	who    TEXT PRIMARY KEY,
	ordered_by TEXT NOT NULL,
	why    TEXT NOT NULL,
	state  TEXT NOT NULL CHECK (state IN ('suspended', 'removed')),
	extent TEXT NOT NULL CHECK (extent IN ('pause', 'departure')),
	begun  BIGINT NOT NULL
);
-- What those who left had answered for, until somebody takes it.
CREATE TABLE charge (
	thing     TEXT PRIMARY KEY,
	org       TEXT NOT NULL,
	from_whom TEXT NOT NULL,
	since     BIGINT NOT NULL,
	due       BIGINT NOT NULL,
	stopped   SMALLINT NOT NULL
);
