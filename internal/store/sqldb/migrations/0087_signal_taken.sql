-- Whether a partner's token was acted on: until then it is only claimed, and comes again where whoever claimed it died.
ALTER TABLE signal_seen ADD COLUMN taken SMALLINT NOT NULL DEFAULT 1;
