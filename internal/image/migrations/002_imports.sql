CREATE TABLE image_tasks (
	id TEXT PRIMARY KEY,
	image_id TEXT NOT NULL,
	owner TEXT NOT NULL,
	user_id TEXT NOT NULL,
	request_id TEXT NOT NULL,
	type TEXT NOT NULL,
	status TEXT NOT NULL,
	message TEXT NOT NULL,
	input TEXT NOT NULL,
	created BIGINT NOT NULL,
	updated BIGINT NOT NULL,
	expires BIGINT NOT NULL
);
CREATE INDEX image_tasks_image ON image_tasks (image_id);
CREATE TABLE image_conversions (
	source_key TEXT PRIMARY KEY,
	raw_key TEXT NOT NULL,
	size BIGINT NOT NULL,
	md5 TEXT NOT NULL,
	sha512 TEXT NOT NULL
);
CREATE TABLE image_namespaces (
	namespace TEXT PRIMARY KEY,
	owner TEXT NOT NULL,
	visibility TEXT NOT NULL,
	protected BIGINT NOT NULL,
	body TEXT NOT NULL,
	created BIGINT NOT NULL,
	updated BIGINT NOT NULL
);
CREATE TABLE image_metadefs (
	namespace TEXT NOT NULL REFERENCES image_namespaces (namespace) ON DELETE CASCADE ON UPDATE CASCADE,
	kind TEXT NOT NULL,
	name TEXT NOT NULL,
	body TEXT NOT NULL,
	created BIGINT NOT NULL,
	updated BIGINT NOT NULL,
	PRIMARY KEY (namespace, kind, name)
);
