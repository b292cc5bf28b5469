CREATE TABLE baremetal_nodes (
	id {{autoid}},
	uuid TEXT NOT NULL UNIQUE,
	name TEXT UNIQUE,
	instance_uuid TEXT UNIQUE,
	chassis_uuid TEXT NOT NULL,
	driver TEXT NOT NULL,
	resource_class TEXT NOT NULL,
	provision_state TEXT NOT NULL,
	maintenance BIGINT NOT NULL,
	fault TEXT NOT NULL,
	conductor_group TEXT NOT NULL,
	owner TEXT NOT NULL,
	lessee TEXT NOT NULL,
	retired BIGINT NOT NULL,
	description TEXT NOT NULL,
	running BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	doc TEXT NOT NULL
);
CREATE INDEX baremetal_nodes_state ON baremetal_nodes (provision_state);
CREATE INDEX baremetal_nodes_running ON baremetal_nodes (running);

CREATE TABLE baremetal_ports (
	id {{autoid}},
	uuid TEXT NOT NULL UNIQUE,
	address TEXT NOT NULL UNIQUE,
	node_uuid TEXT NOT NULL REFERENCES baremetal_nodes (uuid) ON DELETE CASCADE,
	portgroup_uuid TEXT NOT NULL,
	doc TEXT NOT NULL
);
CREATE INDEX baremetal_ports_node ON baremetal_ports (node_uuid);

CREATE TABLE baremetal_portgroups (
	id {{autoid}},
	uuid TEXT NOT NULL UNIQUE,
	name TEXT UNIQUE,
	address TEXT UNIQUE,
	node_uuid TEXT NOT NULL REFERENCES baremetal_nodes (uuid) ON DELETE CASCADE,
	doc TEXT NOT NULL
);

CREATE TABLE baremetal_chassis (
	id {{autoid}},
	uuid TEXT NOT NULL UNIQUE,
	doc TEXT NOT NULL
);

CREATE TABLE baremetal_allocations (
	id {{autoid}},
	uuid TEXT NOT NULL UNIQUE,
	name TEXT UNIQUE,
	node_uuid TEXT UNIQUE,
	state TEXT NOT NULL,
	doc TEXT NOT NULL
);

CREATE TABLE baremetal_history (
	id {{autoid}},
	uuid TEXT NOT NULL UNIQUE,
	node_uuid TEXT NOT NULL REFERENCES baremetal_nodes (uuid) ON DELETE CASCADE,
	doc TEXT NOT NULL
);
CREATE INDEX baremetal_history_node ON baremetal_history (node_uuid, id);

-- What is large and seldom read: the config drive and the inventory of a node.
CREATE TABLE baremetal_bodies (
	node_uuid TEXT NOT NULL REFERENCES baremetal_nodes (uuid) ON DELETE CASCADE,
	kind TEXT NOT NULL,
	body TEXT NOT NULL,
	PRIMARY KEY (node_uuid, kind)
);
