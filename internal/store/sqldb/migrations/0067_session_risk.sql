-- What a session came from: upstream provider, device, network, and the risk seen in it.
ALTER TABLE session ADD COLUMN idp TEXT NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN idp_sid TEXT NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN idp_sub TEXT NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN device TEXT NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN network TEXT NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN country TEXT NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN risk BIGINT NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN risk_reasons TEXT NOT NULL DEFAULT '';
CREATE INDEX session_idp ON session (idp, idp_sub);
CREATE INDEX session_risk ON session (risk);
ALTER TABLE signin_flow ADD COLUMN rating TEXT NOT NULL DEFAULT '';
