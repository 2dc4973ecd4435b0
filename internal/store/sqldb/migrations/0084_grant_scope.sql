-- What a grant is narrowed to: obligations, one space between.
ALTER TABLE jit_grant ADD COLUMN scope TEXT NOT NULL DEFAULT '';
