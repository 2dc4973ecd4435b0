-- Who is not forever: services and agents with a purpose and an end, guests with a sponsor, records kept elsewhere.
ALTER TABLE member ADD COLUMN purpose TEXT NOT NULL DEFAULT '';
ALTER TABLE member ADD COLUMN ends BIGINT NOT NULL DEFAULT 0;
ALTER TABLE member ADD COLUMN guest SMALLINT NOT NULL DEFAULT 0;
ALTER TABLE member ADD COLUMN sponsor TEXT NOT NULL DEFAULT '';
ALTER TABLE member ADD COLUMN source TEXT NOT NULL DEFAULT '';
ALTER TABLE member ADD COLUMN external TEXT NOT NULL DEFAULT '';
ALTER TABLE member_group ADD COLUMN guests SMALLINT NOT NULL DEFAULT 0;
CREATE INDEX member_ends ON member (ends);
CREATE INDEX member_external ON member (source, external);
-- Services that are there already get the longest term, from when they were made.
UPDATE member SET purpose = 'not stated', ends = created + 31536000000000 WHERE id LIKE 'service:%' OR id LIKE 'agent:%';
