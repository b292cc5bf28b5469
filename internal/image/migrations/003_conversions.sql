DROP TABLE image_conversions;
CREATE TABLE image_conversions (
	source_key TEXT PRIMARY KEY,
	raw_key TEXT NOT NULL,
	message TEXT NOT NULL,
	size BIGINT NOT NULL,
	md5 TEXT NOT NULL,
	sha512 TEXT NOT NULL,
	chunks {{blob}} NOT NULL
);
