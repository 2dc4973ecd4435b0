-- What a thing may be used for, names separated by one space; where data stands; who had a hand in a version.
ALTER TABLE catalog_model ADD COLUMN purposes TEXT NOT NULL DEFAULT '';
ALTER TABLE catalog_dataset ADD COLUMN purposes TEXT NOT NULL DEFAULT '';
ALTER TABLE catalog_dataset ADD COLUMN environment TEXT NOT NULL DEFAULT '';
ALTER TABLE catalog_version ADD COLUMN trained_by TEXT NOT NULL DEFAULT '';
ALTER TABLE catalog_version ADD COLUMN makers TEXT NOT NULL DEFAULT '';
-- Where a service or an agent runs.
ALTER TABLE member ADD COLUMN environment TEXT NOT NULL DEFAULT '';
