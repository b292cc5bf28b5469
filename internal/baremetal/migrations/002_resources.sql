CREATE TABLE baremetal_deploy_templates (
	id {{autoid}},
	uuid TEXT NOT NULL UNIQUE,
	name TEXT NOT NULL UNIQUE,
	doc TEXT NOT NULL
);

CREATE TABLE baremetal_volume_connectors (
	id {{autoid}},
	uuid TEXT NOT NULL UNIQUE,
	node_uuid TEXT NOT NULL REFERENCES baremetal_nodes (uuid) ON DELETE CASCADE,
	type TEXT NOT NULL,
	connector_id TEXT NOT NULL,
	doc TEXT NOT NULL,
	UNIQUE (type, connector_id)
);
CREATE INDEX baremetal_volume_connectors_node ON baremetal_volume_connectors (node_uuid);

CREATE TABLE baremetal_volume_targets (
	id {{autoid}},
	uuid TEXT NOT NULL UNIQUE,
	node_uuid TEXT NOT NULL REFERENCES baremetal_nodes (uuid) ON DELETE CASCADE,
	boot_index BIGINT NOT NULL,
	doc TEXT NOT NULL,
	UNIQUE (node_uuid, boot_index)
);

-- The processes that work on nodes; one is alive while it renews its row.
CREATE TABLE baremetal_conductors (
	id {{autoid}},
	hostname TEXT NOT NULL UNIQUE,
	conductor_group TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL
);

ALTER TABLE baremetal_nodes ADD COLUMN shard TEXT NOT NULL DEFAULT '';
ALTER TABLE baremetal_nodes ADD COLUMN parent_node TEXT NOT NULL DEFAULT '';
CREATE INDEX baremetal_nodes_shard ON baremetal_nodes (shard);
