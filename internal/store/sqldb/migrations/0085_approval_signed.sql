-- What a signature over a vote is made on. Requests of before have none of it, and their hash is the one of before.
ALTER TABLE approval ADD COLUMN quorums TEXT NOT NULL DEFAULT 'null'; -- JSON: how many of which groups
ALTER TABLE approval ADD COLUMN policy TEXT NOT NULL DEFAULT '';
ALTER TABLE approval ADD COLUMN nonce TEXT NOT NULL DEFAULT '';
