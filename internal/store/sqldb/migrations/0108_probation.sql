-- What follows a hold that was lifted.
ALTER TABLE hold ADD COLUMN probation BIGINT NOT NULL DEFAULT 0; -- until when, 0 for none
ALTER TABLE hold ADD COLUMN probation_why TEXT NOT NULL DEFAULT ''; -- why there is none, or why it ended early
ALTER TABLE hold ADD COLUMN probation_by TEXT NOT NULL DEFAULT ''; -- who ended it early
