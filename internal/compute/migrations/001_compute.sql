CREATE TABLE compute_flavors (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL UNIQUE,
	doc TEXT NOT NULL
);
CREATE TABLE compute_keypairs (
	user_id TEXT NOT NULL,
	name TEXT NOT NULL,
	doc TEXT NOT NULL,
	PRIMARY KEY (user_id, name)
);
CREATE TABLE compute_servers (
	id TEXT PRIMARY KEY,
	project_id TEXT NOT NULL,
	name TEXT NOT NULL,
	status TEXT NOT NULL,
	node_id TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	doc TEXT NOT NULL
);
CREATE INDEX compute_servers_node ON compute_servers (node_id);
