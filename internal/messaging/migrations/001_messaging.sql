CREATE TABLE messaging_queues (
	project TEXT NOT NULL,
	name TEXT NOT NULL,
	metadata TEXT NOT NULL,
	created BIGINT NOT NULL,
	PRIMARY KEY (project, name)
);
CREATE TABLE messaging_messages (
	seq {{autoid}},
	id TEXT NOT NULL UNIQUE,
	project TEXT NOT NULL,
	queue TEXT NOT NULL,
	client TEXT NOT NULL,
	body TEXT NOT NULL,
	ttl BIGINT NOT NULL,
	created BIGINT NOT NULL,
	visible BIGINT NOT NULL,
	expires BIGINT NOT NULL,
	claim_id TEXT NOT NULL,
	claim_expires BIGINT NOT NULL
);
CREATE INDEX messaging_messages_queue ON messaging_messages (project, queue, seq);
CREATE INDEX messaging_messages_expires ON messaging_messages (expires);
CREATE INDEX messaging_messages_claim ON messaging_messages (claim_id) WHERE claim_id <> '';
CREATE TABLE messaging_claims (
	id TEXT PRIMARY KEY,
	project TEXT NOT NULL,
	queue TEXT NOT NULL,
	ttl BIGINT NOT NULL,
	grace BIGINT NOT NULL,
	updated BIGINT NOT NULL,
	expires BIGINT NOT NULL
);
CREATE TABLE messaging_subscriptions (
	id TEXT PRIMARY KEY,
	project TEXT NOT NULL,
	queue TEXT NOT NULL,
	subscriber TEXT NOT NULL,
	ttl BIGINT NOT NULL,
	options TEXT NOT NULL,
	confirmed BIGINT NOT NULL,
	created BIGINT NOT NULL,
	expires BIGINT NOT NULL,
	UNIQUE (project, queue, subscriber)
);
CREATE TABLE messaging_deliveries (
	seq {{autoid}},
	subscription TEXT NOT NULL REFERENCES messaging_subscriptions (id) ON DELETE CASCADE,
	body TEXT NOT NULL,
	attempts BIGINT NOT NULL
);
CREATE INDEX messaging_deliveries_subscription ON messaging_deliveries (subscription, seq);
CREATE TABLE messaging_pools (
	name TEXT PRIMARY KEY,
	uri TEXT NOT NULL,
	weight BIGINT NOT NULL,
	flavor TEXT NOT NULL,
	options TEXT NOT NULL
);
CREATE TABLE messaging_flavors (
	project TEXT NOT NULL,
	name TEXT NOT NULL,
	pool_list TEXT NOT NULL,
	capabilities TEXT NOT NULL,
	PRIMARY KEY (project, name)
);
