-- Who keeps a group: the source that made it, and the id of its record there; both are empty for those of the house.
ALTER TABLE member_group ADD COLUMN source TEXT NOT NULL DEFAULT '';
ALTER TABLE member_group ADD COLUMN external TEXT NOT NULL DEFAULT '';
UPDATE member_group SET
	source = coalesce((SELECT p.source FROM provisioned p WHERE p.kind = 'Group' AND p.gone = 0 AND p.target = member_group.name), ''),
	external = coalesce((SELECT p.id FROM provisioned p WHERE p.kind = 'Group' AND p.gone = 0 AND p.target = member_group.name), '');
