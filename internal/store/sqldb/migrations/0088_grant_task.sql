-- What a grant ends with, before its time, and when that was last seen to go on.
ALTER TABLE jit_grant ADD COLUMN task TEXT NOT NULL DEFAULT '';
ALTER TABLE jit_grant ADD COLUMN seen BIGINT NOT NULL DEFAULT 0;
