CREATE TABLE compute_flavor_access (
	flavor_id TEXT NOT NULL REFERENCES compute_flavors (id) ON DELETE CASCADE,
	project_id TEXT NOT NULL,
	PRIMARY KEY (flavor_id, project_id)
);
CREATE TABLE compute_groups (
	id TEXT PRIMARY KEY,
	project_id TEXT NOT NULL,
	doc TEXT NOT NULL
);
CREATE TABLE compute_aggregates (
	id {{autoid}},
	name TEXT NOT NULL UNIQUE,
	doc TEXT NOT NULL
);
CREATE TABLE compute_services (
	host TEXT PRIMARY KEY,
	doc TEXT NOT NULL
);
CREATE TABLE compute_quotas (
	scope TEXT NOT NULL,
	resource TEXT NOT NULL,
	bound BIGINT NOT NULL,
	PRIMARY KEY (scope, resource)
);
CREATE TABLE compute_actions (
	id {{autoid}},
	server_id TEXT NOT NULL,
	request_id TEXT NOT NULL,
	doc TEXT NOT NULL
);
CREATE INDEX compute_actions_server ON compute_actions (server_id, id);
CREATE TABLE compute_usage (
	server_id TEXT PRIMARY KEY,
	project_id TEXT NOT NULL,
	started_at BIGINT NOT NULL,
	ended_at BIGINT NOT NULL,
	doc TEXT NOT NULL
);
CREATE INDEX compute_usage_project ON compute_usage (project_id, started_at);
CREATE INDEX compute_servers_project ON compute_servers (project_id);
