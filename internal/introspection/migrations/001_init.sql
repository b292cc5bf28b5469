CREATE TABLE introspection_nodes (
	id {{autoid}},
	uuid TEXT NOT NULL UNIQUE,
	state TEXT NOT NULL,
	finished BIGINT NOT NULL,
	started_at BIGINT NOT NULL,
	doc TEXT NOT NULL
);
CREATE INDEX introspection_nodes_started ON introspection_nodes (started_at);

-- What a ramdisk has sent and is not processed yet.
CREATE TABLE introspection_data (
	uuid TEXT PRIMARY KEY REFERENCES introspection_nodes (uuid) ON DELETE CASCADE,
	body TEXT NOT NULL
);

CREATE TABLE introspection_rules (
	id {{autoid}},
	uuid TEXT NOT NULL UNIQUE,
	doc TEXT NOT NULL
);
