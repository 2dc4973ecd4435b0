-- When a device made its last signed report, by its own clock: none counts that is not later.
ALTER TABLE device_posture ADD COLUMN stated BIGINT NOT NULL DEFAULT 0;
