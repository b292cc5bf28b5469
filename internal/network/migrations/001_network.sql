CREATE TABLE network_networks (
	id TEXT PRIMARY KEY,
	project_id TEXT NOT NULL,
	name TEXT NOT NULL,
	doc TEXT NOT NULL
);
CREATE TABLE network_subnets (
	id TEXT PRIMARY KEY,
	network_id TEXT NOT NULL REFERENCES network_networks (id),
	project_id TEXT NOT NULL,
	name TEXT NOT NULL,
	cidr TEXT NOT NULL,
	last_address TEXT NOT NULL,
	doc TEXT NOT NULL
);
CREATE INDEX network_subnets_network ON network_subnets (network_id);
CREATE TABLE network_ports (
	id TEXT PRIMARY KEY,
	network_id TEXT NOT NULL REFERENCES network_networks (id),
	project_id TEXT NOT NULL,
	name TEXT NOT NULL,
	mac TEXT NOT NULL,
	device_id TEXT NOT NULL,
	doc TEXT NOT NULL
);
CREATE UNIQUE INDEX network_ports_mac ON network_ports (network_id, mac);
CREATE INDEX network_ports_device ON network_ports (device_id);
CREATE TABLE network_addresses (
	subnet_id TEXT NOT NULL REFERENCES network_subnets (id),
	address TEXT NOT NULL,
	port_id TEXT NOT NULL REFERENCES network_ports (id),
	PRIMARY KEY (subnet_id, address)
);
CREATE INDEX network_addresses_port ON network_addresses (port_id);
