CREATE TABLE image_images (
	id TEXT PRIMARY KEY,
	name TEXT,
	owner TEXT NOT NULL,
	visibility TEXT NOT NULL,
	status TEXT NOT NULL,
	container_format TEXT,
	disk_format TEXT,
	size BIGINT,
	virtual_size BIGINT,
	checksum TEXT,
	os_hash_value TEXT,
	min_disk BIGINT NOT NULL,
	min_ram BIGINT NOT NULL,
	protected BIGINT NOT NULL,
	hidden BIGINT NOT NULL,
	blob_key TEXT NOT NULL,
	tags TEXT NOT NULL,
	properties TEXT NOT NULL,
	created BIGINT NOT NULL,
	updated BIGINT NOT NULL
);
CREATE INDEX image_images_owner ON image_images (owner);
CREATE TABLE image_members (
	image_id TEXT NOT NULL REFERENCES image_images (id) ON DELETE CASCADE,
	member_id TEXT NOT NULL,
	status TEXT NOT NULL,
	created BIGINT NOT NULL,
	updated BIGINT NOT NULL,
	PRIMARY KEY (image_id, member_id)
);
CREATE INDEX image_members_member ON image_members (member_id);
CREATE TABLE image_garbage (
	key TEXT PRIMARY KEY,
	after BIGINT NOT NULL
);
