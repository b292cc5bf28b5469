CREATE TABLE placement_providers (
	uuid TEXT PRIMARY KEY,
	name TEXT NOT NULL UNIQUE,
	doc TEXT NOT NULL
);
CREATE TABLE placement_names (
	kind TEXT NOT NULL,
	name TEXT NOT NULL,
	PRIMARY KEY (kind, name)
);
CREATE TABLE placement_allocations (
	consumer TEXT PRIMARY KEY,
	project_id TEXT NOT NULL,
	user_id TEXT NOT NULL,
	doc TEXT NOT NULL
);
