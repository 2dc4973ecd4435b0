-- Whose keys sign approvals: a chain, each entry of which names the one before by its hash.
CREATE TABLE approver (
	n     BIGINT PRIMARY KEY, -- 0, 1, …
	entry TEXT NOT NULL       -- JSON
);
