-- The key that an approval is bound to ("jkt:…" or "x5t:…", "" for none), who acts in it, what for, and whether its
-- client learns who the person is (OpenID Connect).
ALTER TABLE token_family ADD COLUMN key_id TEXT NOT NULL DEFAULT '';
ALTER TABLE token_family ADD COLUMN actors TEXT NOT NULL DEFAULT '';
ALTER TABLE token_family ADD COLUMN purpose TEXT NOT NULL DEFAULT '';
ALTER TABLE token_family ADD COLUMN openid SMALLINT NOT NULL DEFAULT 0;

ALTER TABLE token_code ADD COLUMN key_id TEXT NOT NULL DEFAULT '';
ALTER TABLE token_code ADD COLUMN nonce TEXT NOT NULL DEFAULT '';

ALTER TABLE token_device ADD COLUMN openid SMALLINT NOT NULL DEFAULT 0;
ALTER TABLE token_device ADD COLUMN purpose TEXT NOT NULL DEFAULT '';
