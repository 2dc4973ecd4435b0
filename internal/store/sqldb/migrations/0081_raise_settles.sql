-- The level of proof that a session which began later must have for a raise not to count against it; 0 = none does.
ALTER TABLE risk_raise ADD COLUMN settles BIGINT NOT NULL DEFAULT 0;
