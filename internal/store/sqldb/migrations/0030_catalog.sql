-- What is protected. Rows are never deleted: a name is never recycled.
CREATE TABLE catalog_org (
	name    TEXT PRIMARY KEY,
	created BIGINT NOT NULL
);
CREATE TABLE catalog_project (
	org     TEXT NOT NULL REFERENCES catalog_org (name),
	name    TEXT NOT NULL,
	created BIGINT NOT NULL,
	PRIMARY KEY (org, name)
);
CREATE TABLE catalog_model (
	org     TEXT NOT NULL REFERENCES catalog_org (name),
	name    TEXT NOT NULL,
	project TEXT NOT NULL, -- '' = none
	class   TEXT NOT NULL, -- '' counts as restricted
	owners  TEXT NOT NULL, -- separated by one space
	created BIGINT NOT NULL,
	PRIMARY KEY (org, name)
);
CREATE TABLE catalog_version (
	id          TEXT PRIMARY KEY,
	org         TEXT NOT NULL,
	model       TEXT NOT NULL,
	number      BIGINT NOT NULL CHECK (number > 0),
	digest      TEXT NOT NULL UNIQUE, -- of the manifest, which holds a random salt
	manifest    TEXT NOT NULL, -- blob of the sealed manifest: digests of plain bytes stand nowhere else
	class       TEXT NOT NULL,
	environment TEXT NOT NULL,
	pushed_by   TEXT NOT NULL,
	created     BIGINT NOT NULL,
	lineage     TEXT NOT NULL, -- JSON
	retired     SMALLINT NOT NULL,
	UNIQUE (org, model, number),
	FOREIGN KEY (org, model) REFERENCES catalog_model (org, name)
);
CREATE TABLE catalog_alias (
	org    TEXT NOT NULL,
	model  TEXT NOT NULL,
	alias  TEXT NOT NULL,
	number BIGINT NOT NULL,
	PRIMARY KEY (org, model, alias),
	FOREIGN KEY (org, model, number) REFERENCES catalog_version (org, model, number)
);
CREATE TABLE catalog_file (
	version TEXT NOT NULL REFERENCES catalog_version (id),
	path    TEXT NOT NULL,
	size    BIGINT NOT NULL,
	kind    TEXT NOT NULL,
	blob    TEXT NOT NULL,
	PRIMARY KEY (version, path)
);
CREATE TABLE catalog_dataset (
	org     TEXT NOT NULL REFERENCES catalog_org (name),
	name    TEXT NOT NULL,
	project TEXT NOT NULL,
	class   TEXT NOT NULL,
	owners  TEXT NOT NULL,
	created BIGINT NOT NULL,
	PRIMARY KEY (org, name)
);
CREATE TABLE catalog_endpoint (
	org         TEXT NOT NULL REFERENCES catalog_org (name),
	name        TEXT NOT NULL,
	project     TEXT NOT NULL,
	model       TEXT NOT NULL, -- '' = several
	class       TEXT NOT NULL,
	environment TEXT NOT NULL,
	created     BIGINT NOT NULL,
	PRIMARY KEY (org, name)
);
