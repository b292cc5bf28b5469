CREATE TABLE network_switch_ports (
	switch TEXT NOT NULL,
	port TEXT NOT NULL,
	aggregate BIGINT NOT NULL,
	wanted TEXT NOT NULL,
	version BIGINT NOT NULL,
	applied BIGINT NOT NULL,
	attempts BIGINT NOT NULL,
	failing_since BIGINT NOT NULL,
	failed BIGINT NOT NULL,
	failure TEXT NOT NULL,
	PRIMARY KEY (switch, port)
);
CREATE TABLE network_cables (
	port_id TEXT NOT NULL REFERENCES network_resources (id) ON DELETE CASCADE,
	switch TEXT NOT NULL,
	port TEXT NOT NULL,
	since BIGINT NOT NULL,
	PRIMARY KEY (port_id, switch, port)
);
CREATE INDEX network_cables_end ON network_cables (switch, port);
