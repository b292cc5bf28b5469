CREATE TABLE objectstore_accounts (
	name {{name}} PRIMARY KEY,
	meta TEXT NOT NULL,
	created BIGINT NOT NULL
);
CREATE TABLE objectstore_containers (
	account {{name}} NOT NULL,
	name {{name}} NOT NULL,
	meta TEXT NOT NULL,
	created BIGINT NOT NULL,
	modified BIGINT NOT NULL,
	objects BIGINT NOT NULL,
	bytes BIGINT NOT NULL,
	versions BIGINT NOT NULL,
	version_bytes BIGINT NOT NULL,
	PRIMARY KEY (account, name)
);
CREATE TABLE objectstore_objects (
	account {{name}} NOT NULL,
	container {{name}} NOT NULL,
	name {{name}} NOT NULL,
	etag TEXT NOT NULL,
	size BIGINT NOT NULL,
	content_type TEXT NOT NULL,
	modified BIGINT NOT NULL,
	body_key TEXT NOT NULL,
	inline BIGINT NOT NULL,
	stored BIGINT NOT NULL,
	headers TEXT NOT NULL,
	dlo TEXT NOT NULL,
	slo TEXT NOT NULL,
	manifest_etag TEXT NOT NULL,
	link TEXT NOT NULL,
	expires BIGINT NOT NULL,
	version BIGINT NOT NULL,
	PRIMARY KEY (account, container, name)
);
CREATE INDEX objectstore_objects_expires ON objectstore_objects (expires) WHERE expires > 0;
CREATE INDEX objectstore_objects_body ON objectstore_objects (body_key) WHERE inline = 0 AND body_key <> '';
CREATE TABLE objectstore_versions (
	account {{name}} NOT NULL,
	container {{name}} NOT NULL,
	name {{name}} NOT NULL,
	etag TEXT NOT NULL,
	size BIGINT NOT NULL,
	content_type TEXT NOT NULL,
	modified BIGINT NOT NULL,
	body_key TEXT NOT NULL,
	inline BIGINT NOT NULL,
	stored BIGINT NOT NULL,
	headers TEXT NOT NULL,
	dlo TEXT NOT NULL,
	slo TEXT NOT NULL,
	manifest_etag TEXT NOT NULL,
	link TEXT NOT NULL,
	expires BIGINT NOT NULL,
	version BIGINT NOT NULL,
	PRIMARY KEY (account, container, name, version)
);
CREATE INDEX objectstore_versions_body ON objectstore_versions (body_key) WHERE inline = 0 AND body_key <> '';
CREATE TABLE objectstore_bodies (
	key TEXT PRIMARY KEY,
	body {{blob}} NOT NULL
);
CREATE TABLE objectstore_garbage (
	key TEXT PRIMARY KEY,
	after BIGINT NOT NULL
);
CREATE INDEX objectstore_garbage_after ON objectstore_garbage (after);
