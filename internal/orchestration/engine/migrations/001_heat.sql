CREATE TABLE heat_raw (
  id TEXT PRIMARY KEY,
  data {{blob}} NOT NULL,
  used_at BIGINT NOT NULL
);
CREATE TABLE heat_stacks (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  project_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  username TEXT NOT NULL,
  parent_id TEXT NOT NULL,
  parent_resource TEXT NOT NULL,
  root_id TEXT NOT NULL,
  depth BIGINT NOT NULL,
  action TEXT NOT NULL,
  status TEXT NOT NULL,
  status_reason TEXT NOT NULL,
  op BIGINT NOT NULL,
  op_started BIGINT NOT NULL,
  deadline BIGINT NOT NULL,
  cancel BIGINT NOT NULL,
  template_id TEXT NOT NULL,
  files_id TEXT NOT NULL,
  env_id TEXT NOT NULL,
  params TEXT NOT NULL,
  previous TEXT NOT NULL,
  context TEXT NOT NULL,
  description TEXT NOT NULL,
  trust_id TEXT NOT NULL,
  disable_rollback BIGINT NOT NULL,
  timeout_mins BIGINT NOT NULL,
  tags TEXT NOT NULL,
  outputs TEXT NOT NULL,
  fail TEXT NOT NULL,
  volatile BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  deleted_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX heat_stacks_name ON heat_stacks (project_id, name) WHERE deleted_at = 0 AND parent_id = '';
CREATE INDEX heat_stacks_parent ON heat_stacks (parent_id);
CREATE INDEX heat_stacks_root ON heat_stacks (root_id);
CREATE TABLE heat_resources (
  id TEXT PRIMARY KEY,
  stack_id TEXT NOT NULL,
  name TEXT NOT NULL,
  type TEXT NOT NULL,
  target TEXT NOT NULL,
  physical_id TEXT NOT NULL,
  action TEXT NOT NULL,
  status TEXT NOT NULL,
  status_reason TEXT NOT NULL,
  op BIGINT NOT NULL,
  begun BIGINT NOT NULL,
  replaced BIGINT NOT NULL,
  definition TEXT NOT NULL,
  data TEXT NOT NULL,
  attrs TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE INDEX heat_resources_stack ON heat_resources (stack_id);
CREATE INDEX heat_resources_physical ON heat_resources (physical_id);
CREATE TABLE heat_events (
  seq {{autoid}},
  id TEXT NOT NULL,
  stack_id TEXT NOT NULL,
  root_id TEXT NOT NULL,
  resource_name TEXT NOT NULL,
  resource_type TEXT NOT NULL,
  physical_id TEXT NOT NULL,
  action TEXT NOT NULL,
  status TEXT NOT NULL,
  reason TEXT NOT NULL,
  path TEXT NOT NULL,
  pos TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE INDEX heat_events_stack ON heat_events (stack_id, seq);
CREATE INDEX heat_events_root ON heat_events (root_id, seq);
CREATE TABLE heat_configs (
  id TEXT PRIMARY KEY,
  project_id TEXT NOT NULL,
  name TEXT NOT NULL,
  config_group TEXT NOT NULL,
  config TEXT NOT NULL,
  inputs TEXT NOT NULL,
  outputs TEXT NOT NULL,
  options TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE TABLE heat_deployments (
  id TEXT PRIMARY KEY,
  project_id TEXT NOT NULL,
  server_id TEXT NOT NULL,
  config_id TEXT NOT NULL,
  action TEXT NOT NULL,
  status TEXT NOT NULL,
  status_reason TEXT NOT NULL,
  inputs TEXT NOT NULL,
  outputs TEXT NOT NULL,
  stack_id TEXT NOT NULL,
  resource_id TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE INDEX heat_deployments_server ON heat_deployments (server_id);
CREATE TABLE heat_targets (
  server_id TEXT PRIMARY KEY,
  stack_id TEXT NOT NULL,
  trust_id TEXT NOT NULL,
  container TEXT NOT NULL,
  object TEXT NOT NULL,
  metadata TEXT NOT NULL,
  published TEXT NOT NULL
);
CREATE TABLE heat_inbox (
  seq {{autoid}},
  stack_id TEXT NOT NULL,
  resource_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  body TEXT NOT NULL
);
CREATE INDEX heat_inbox_stack ON heat_inbox (stack_id, seq);
CREATE TABLE heat_secrets (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
);
