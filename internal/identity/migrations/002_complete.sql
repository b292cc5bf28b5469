ALTER TABLE identity_users ADD COLUMN password_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE identity_users ADD COLUMN failures BIGINT NOT NULL DEFAULT 0;
ALTER TABLE identity_users ADD COLUMN failed_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE identity_users ADD COLUMN must_change BIGINT NOT NULL DEFAULT 0;
CREATE TABLE identity_password_history (
	user_id TEXT NOT NULL REFERENCES identity_users (id) ON DELETE CASCADE,
	hash TEXT NOT NULL,
	set_at BIGINT NOT NULL
);
CREATE INDEX identity_password_history_user ON identity_password_history (user_id, set_at);
CREATE TABLE identity_totp_used (
	credential_id TEXT NOT NULL,
	step BIGINT NOT NULL,
	PRIMARY KEY (credential_id, step)
);
CREATE TABLE identity_access_rules (
	id TEXT PRIMARY KEY,
	user_id TEXT NOT NULL REFERENCES identity_users (id) ON DELETE CASCADE,
	service TEXT NOT NULL,
	method TEXT NOT NULL,
	path TEXT NOT NULL,
	UNIQUE (user_id, service, method, path)
);
ALTER TABLE identity_app_credentials ADD COLUMN access_rules TEXT;
CREATE TABLE identity_policies (
	id TEXT PRIMARY KEY,
	type TEXT NOT NULL,
	blob TEXT NOT NULL,
	extra TEXT NOT NULL
);
CREATE TABLE identity_policy_associations (
	policy_id TEXT NOT NULL REFERENCES identity_policies (id) ON DELETE CASCADE,
	endpoint_id TEXT NOT NULL,
	service_id TEXT NOT NULL,
	region_id TEXT NOT NULL,
	PRIMARY KEY (endpoint_id, service_id, region_id)
);
CREATE TABLE identity_registered_limits (
	id TEXT PRIMARY KEY,
	service_id TEXT NOT NULL REFERENCES identity_services (id),
	region_id TEXT,
	resource_name TEXT NOT NULL,
	description TEXT,
	extra TEXT NOT NULL
);
CREATE UNIQUE INDEX identity_registered_limits_key ON identity_registered_limits (service_id, COALESCE(region_id, ''), resource_name);
CREATE TABLE identity_limits (
	id TEXT PRIMARY KEY,
	project_id TEXT,
	domain_id TEXT,
	service_id TEXT NOT NULL REFERENCES identity_services (id),
	region_id TEXT,
	resource_name TEXT NOT NULL,
	description TEXT,
	extra TEXT NOT NULL
);
CREATE UNIQUE INDEX identity_limits_key ON identity_limits (COALESCE(project_id, ''), COALESCE(domain_id, ''), service_id, COALESCE(region_id, ''), resource_name);
CREATE TABLE identity_endpoint_groups (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL,
	description TEXT,
	extra TEXT NOT NULL
);
CREATE TABLE identity_project_endpoints (
	project_id TEXT NOT NULL REFERENCES identity_projects (id) ON DELETE CASCADE,
	endpoint_id TEXT NOT NULL REFERENCES identity_endpoints (id) ON DELETE CASCADE,
	PRIMARY KEY (project_id, endpoint_id)
);
CREATE TABLE identity_project_endpoint_groups (
	project_id TEXT NOT NULL REFERENCES identity_projects (id) ON DELETE CASCADE,
	endpoint_id TEXT NOT NULL REFERENCES identity_endpoint_groups (id) ON DELETE CASCADE,
	PRIMARY KEY (project_id, endpoint_id)
);
CREATE TABLE identity_domain_config (
	domain_id TEXT PRIMARY KEY REFERENCES identity_domains (id) ON DELETE CASCADE,
	config TEXT NOT NULL
);
CREATE TABLE identity_consumers (
	id TEXT PRIMARY KEY,
	description TEXT,
	secret TEXT NOT NULL,
	extra TEXT NOT NULL
);
CREATE TABLE identity_providers (
	id TEXT PRIMARY KEY,
	domain_id TEXT,
	description TEXT,
	enabled BIGINT NOT NULL,
	extra TEXT NOT NULL
);
CREATE TABLE identity_mappings (
	id TEXT PRIMARY KEY,
	extra TEXT NOT NULL
);
CREATE TABLE identity_protocols (
	id TEXT NOT NULL,
	idp_id TEXT NOT NULL REFERENCES identity_providers (id) ON DELETE CASCADE,
	mapping_id TEXT NOT NULL,
	extra TEXT NOT NULL,
	PRIMARY KEY (idp_id, id)
);
CREATE TABLE identity_service_providers (
	id TEXT PRIMARY KEY,
	auth_url TEXT NOT NULL,
	sp_url TEXT NOT NULL,
	description TEXT,
	enabled BIGINT NOT NULL,
	relay_state_prefix TEXT,
	extra TEXT NOT NULL
);
