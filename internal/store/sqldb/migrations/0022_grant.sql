CREATE TABLE jit_grant (
	id          TEXT PRIMARY KEY,
	request     TEXT NOT NULL UNIQUE,
	principal   TEXT NOT NULL,
	person      TEXT NOT NULL,
	actions     TEXT NOT NULL, -- separated by one space
	ref         TEXT NOT NULL,
	begins      BIGINT NOT NULL,
	ends        BIGINT NOT NULL,
	why         TEXT NOT NULL,
	approved_by TEXT NOT NULL, -- people, separated by one space
	revoked_at  BIGINT NOT NULL,
	revoked_by  TEXT NOT NULL
);
CREATE INDEX jit_grant_by_end ON jit_grant (ends);
CREATE INDEX jit_grant_by_principal ON jit_grant (principal, begins);
CREATE INDEX jit_grant_by_person ON jit_grant (person, ends);
