CREATE TABLE jobs (
	kind TEXT NOT NULL,
	key TEXT NOT NULL,
	payload TEXT NOT NULL,
	run_at BIGINT NOT NULL,
	lease_until BIGINT NOT NULL,
	owner TEXT NOT NULL,
	attempt BIGINT NOT NULL,
	topics TEXT NOT NULL,
	PRIMARY KEY (kind, key)
);
CREATE INDEX jobs_due ON jobs (lease_until, run_at);
