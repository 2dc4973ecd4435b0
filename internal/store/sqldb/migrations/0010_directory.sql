-- People and services. Rows are never deleted: a name is never recycled.
CREATE TABLE member (
	id      TEXT PRIMARY KEY,
	person  TEXT NOT NULL,
	org     TEXT NOT NULL,
	display TEXT NOT NULL,
	email   TEXT NOT NULL,
	state   TEXT NOT NULL CHECK (state IN ('active', 'suspended', 'removed')),
	created BIGINT NOT NULL,
	updated BIGINT NOT NULL
);
CREATE TABLE member_identity (
	issuer  TEXT NOT NULL,
	subject TEXT NOT NULL,
	member  TEXT NOT NULL REFERENCES member (id),
	place   BIGINT NOT NULL,
	PRIMARY KEY (issuer, subject)
);
CREATE INDEX member_identity_member ON member_identity (member);
CREATE TABLE member_group (
	name TEXT PRIMARY KEY
);
CREATE TABLE group_parent (
	name   TEXT NOT NULL REFERENCES member_group (name),
	parent TEXT NOT NULL REFERENCES member_group (name),
	PRIMARY KEY (name, parent)
);
CREATE TABLE membership (
	member     TEXT NOT NULL REFERENCES member (id),
	group_name TEXT NOT NULL REFERENCES member_group (name),
	PRIMARY KEY (member, group_name)
);
