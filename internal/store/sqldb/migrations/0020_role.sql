CREATE TABLE role (
	name        TEXT PRIMARY KEY,
	inherits    TEXT NOT NULL, -- names, separated by one space
	description TEXT NOT NULL,
	privileged  SMALLINT NOT NULL
);

CREATE TABLE role_assignment (
	id      TEXT PRIMARY KEY,
	subject TEXT NOT NULL,
	role    TEXT NOT NULL REFERENCES role (name),
	scope   TEXT NOT NULL,
	by_whom TEXT NOT NULL,
	at      BIGINT NOT NULL,
	until   BIGINT NOT NULL -- 0: no end
);
CREATE INDEX role_assignment_by_subject ON role_assignment (subject, role, scope);
