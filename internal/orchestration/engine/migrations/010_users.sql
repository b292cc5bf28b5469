CREATE TABLE heat_users (
  user_id TEXT PRIMARY KEY,
  project_id TEXT NOT NULL,
  stack_id TEXT NOT NULL,
  resource_id TEXT NOT NULL
);
CREATE TABLE heat_user_projects (
  root_id TEXT PRIMARY KEY,
  project_id TEXT NOT NULL
);
CREATE INDEX heat_users_resource ON heat_users (resource_id);
ALTER TABLE heat_targets ADD COLUMN queue TEXT NOT NULL DEFAULT '';
ALTER TABLE heat_targets ADD COLUMN resource_id TEXT NOT NULL DEFAULT '';
