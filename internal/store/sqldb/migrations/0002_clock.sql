-- The newest time that any node has seen.
CREATE TABLE store_clock (
	one  SMALLINT PRIMARY KEY CHECK (one = 1),
	seen BIGINT NOT NULL
);
INSERT INTO store_clock (one, seen) VALUES (1, 0);
