-- What each device last reported of itself.
CREATE TABLE device_posture (
	device    TEXT PRIMARY KEY,
	at        BIGINT NOT NULL,
	os        TEXT NOT NULL,
	updated   BIGINT NOT NULL,
	patched   SMALLINT NOT NULL,
	encrypted SMALLINT NOT NULL,
	locked    SMALLINT NOT NULL
);
