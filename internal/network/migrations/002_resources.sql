CREATE TABLE network_resources (
	id TEXT PRIMARY KEY,
	kind TEXT NOT NULL,
	project_id TEXT NOT NULL,
	name TEXT NOT NULL,
	parent_id TEXT REFERENCES network_resources (id),
	mac TEXT,
	device_id TEXT,
	doc TEXT NOT NULL
);
INSERT INTO network_resources (id, kind, project_id, name, doc)
	SELECT id, 'network', project_id, name, doc FROM network_networks;
INSERT INTO network_resources (id, kind, project_id, name, parent_id, doc)
	SELECT id, 'subnet', project_id, name, network_id, doc FROM network_subnets;
INSERT INTO network_resources (id, kind, project_id, name, parent_id, mac, device_id, doc)
	SELECT id, 'port', project_id, name, network_id, mac, device_id, doc FROM network_ports;
CREATE INDEX network_resources_kind ON network_resources (kind, project_id);
CREATE INDEX network_resources_name ON network_resources (kind, name);
CREATE INDEX network_resources_parent ON network_resources (parent_id, kind);
CREATE UNIQUE INDEX network_resources_mac ON network_resources (parent_id, mac);
CREATE INDEX network_resources_macs ON network_resources (mac);
CREATE INDEX network_resources_device ON network_resources (device_id);
CREATE TABLE network_refs (
	from_id TEXT NOT NULL REFERENCES network_resources (id) ON DELETE CASCADE,
	role TEXT NOT NULL,
	to_id TEXT NOT NULL REFERENCES network_resources (id),
	PRIMARY KEY (from_id, role, to_id)
);
CREATE INDEX network_refs_to ON network_refs (to_id);
CREATE TABLE network_cursors (
	subnet_id TEXT PRIMARY KEY REFERENCES network_resources (id) ON DELETE CASCADE,
	last_address TEXT NOT NULL
);
INSERT INTO network_cursors (subnet_id, last_address) SELECT id, last_address FROM network_subnets;
CREATE TABLE network_allocations (
	subnet_id TEXT NOT NULL REFERENCES network_resources (id),
	address TEXT NOT NULL,
	port_id TEXT NOT NULL REFERENCES network_resources (id) DEFERRABLE INITIALLY DEFERRED,
	PRIMARY KEY (subnet_id, address)
);
CREATE INDEX network_allocations_port ON network_allocations (port_id);
CREATE INDEX network_allocations_address ON network_allocations (address);
INSERT INTO network_allocations (subnet_id, address, port_id) SELECT subnet_id, address, port_id FROM network_addresses;
CREATE TABLE network_segments (
	physical_network TEXT NOT NULL,
	segmentation_id BIGINT NOT NULL,
	segment_id TEXT NOT NULL REFERENCES network_resources (id) ON DELETE CASCADE,
	PRIMARY KEY (physical_network, segmentation_id)
);
CREATE TABLE network_quotas (
	project_id TEXT NOT NULL,
	resource TEXT NOT NULL,
	bound BIGINT NOT NULL,
	PRIMARY KEY (project_id, resource)
);
DROP TABLE network_addresses;
DROP TABLE network_ports;
DROP TABLE network_subnets;
DROP TABLE network_networks;
CREATE TABLE network_defaults (
	project_id TEXT PRIMARY KEY,
	group_id TEXT NOT NULL
);
