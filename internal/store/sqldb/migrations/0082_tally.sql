-- What people did lately, as it was counted up to an entry of the trail.
CREATE TABLE tally (
	one  SMALLINT PRIMARY KEY CHECK (one = 1),
	next BIGINT NOT NULL,
	body {{blob}} NOT NULL
);
