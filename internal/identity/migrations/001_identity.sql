CREATE TABLE identity_domains (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL UNIQUE,
	description TEXT,
	enabled BIGINT NOT NULL,
	extra TEXT NOT NULL
);
CREATE TABLE identity_projects (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL,
	domain_id TEXT NOT NULL REFERENCES identity_domains (id),
	parent_id TEXT NOT NULL,
	description TEXT,
	enabled BIGINT NOT NULL,
	extra TEXT NOT NULL,
	UNIQUE (domain_id, name)
);
CREATE INDEX identity_projects_parent ON identity_projects (parent_id);
CREATE TABLE identity_users (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL,
	domain_id TEXT NOT NULL REFERENCES identity_domains (id),
	default_project_id TEXT,
	description TEXT,
	enabled BIGINT NOT NULL,
	password_hash TEXT,
	extra TEXT NOT NULL,
	UNIQUE (domain_id, name)
);
CREATE TABLE identity_groups (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL,
	domain_id TEXT NOT NULL REFERENCES identity_domains (id),
	description TEXT,
	extra TEXT NOT NULL,
	UNIQUE (domain_id, name)
);
CREATE TABLE identity_group_members (
	group_id TEXT NOT NULL REFERENCES identity_groups (id) ON DELETE CASCADE,
	user_id TEXT NOT NULL REFERENCES identity_users (id) ON DELETE CASCADE,
	PRIMARY KEY (group_id, user_id)
);
CREATE INDEX identity_group_members_user ON identity_group_members (user_id);
CREATE TABLE identity_roles (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL UNIQUE,
	domain_id TEXT,
	description TEXT,
	extra TEXT NOT NULL
);
CREATE TABLE identity_implied_roles (
	prior_id TEXT NOT NULL REFERENCES identity_roles (id) ON DELETE CASCADE,
	implied_id TEXT NOT NULL REFERENCES identity_roles (id) ON DELETE CASCADE,
	PRIMARY KEY (prior_id, implied_id)
);
CREATE TABLE identity_assignments (
	actor_type TEXT NOT NULL,
	actor_id TEXT NOT NULL,
	target_type TEXT NOT NULL,
	target_id TEXT NOT NULL,
	role_id TEXT NOT NULL REFERENCES identity_roles (id) ON DELETE CASCADE,
	inherited BIGINT NOT NULL,
	PRIMARY KEY (actor_type, actor_id, target_type, target_id, role_id, inherited)
);
CREATE INDEX identity_assignments_target ON identity_assignments (target_type, target_id);
CREATE TABLE identity_regions (
	id TEXT PRIMARY KEY,
	description TEXT,
	parent_region_id TEXT,
	extra TEXT NOT NULL
);
CREATE TABLE identity_services (
	id TEXT PRIMARY KEY,
	type TEXT NOT NULL,
	name TEXT,
	description TEXT,
	enabled BIGINT NOT NULL,
	managed BIGINT NOT NULL DEFAULT 0,
	extra TEXT NOT NULL
);
CREATE TABLE identity_endpoints (
	id TEXT PRIMARY KEY,
	service_id TEXT NOT NULL REFERENCES identity_services (id) ON DELETE CASCADE,
	interface TEXT NOT NULL,
	region_id TEXT,
	url TEXT NOT NULL,
	enabled BIGINT NOT NULL,
	extra TEXT NOT NULL
);
CREATE TABLE identity_trusts (
	id TEXT PRIMARY KEY,
	trustor_user_id TEXT NOT NULL,
	trustee_user_id TEXT NOT NULL,
	project_id TEXT,
	impersonation BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	remaining_uses BIGINT,
	roles TEXT NOT NULL,
	redelegated_trust_id TEXT,
	redelegation_count BIGINT NOT NULL,
	deleted_at BIGINT NOT NULL
);
CREATE INDEX identity_trusts_trustor ON identity_trusts (trustor_user_id);
CREATE INDEX identity_trusts_trustee ON identity_trusts (trustee_user_id);
CREATE TABLE identity_app_credentials (
	id TEXT PRIMARY KEY,
	user_id TEXT NOT NULL REFERENCES identity_users (id) ON DELETE CASCADE,
	project_id TEXT NOT NULL,
	name TEXT NOT NULL,
	description TEXT,
	secret_hash TEXT NOT NULL,
	roles TEXT NOT NULL,
	expires_at BIGINT NOT NULL,
	unrestricted BIGINT NOT NULL,
	UNIQUE (user_id, name)
);
CREATE TABLE identity_credentials (
	id TEXT PRIMARY KEY,
	user_id TEXT NOT NULL,
	project_id TEXT,
	type TEXT NOT NULL,
	blob TEXT NOT NULL,
	trust_id TEXT,
	extra TEXT NOT NULL
);
CREATE INDEX identity_credentials_user ON identity_credentials (user_id, type);
CREATE TABLE identity_revocations (
	id TEXT PRIMARY KEY,
	key TEXT NOT NULL,
	issued_before BIGINT NOT NULL,
	expires_at BIGINT NOT NULL
);
