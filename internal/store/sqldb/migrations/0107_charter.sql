-- Who answers for what: a model, a dataset, an endpoint, or a project or an organisation for all that it contains.
CREATE TABLE catalog_charter (
	resource  TEXT PRIMARY KEY,
	owner     TEXT NOT NULL, -- '' for models and datasets, whose owners stand with themselves
	approver  TEXT NOT NULL, -- subjects, separated by one space
	monitor   TEXT NOT NULL,
	responder TEXT NOT NULL
);
