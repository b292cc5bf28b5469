CREATE TABLE heat_snapshots (
  id TEXT PRIMARY KEY,
  stack_id TEXT NOT NULL,
  name TEXT NOT NULL,
  status TEXT NOT NULL,
  status_reason TEXT NOT NULL,
  definition TEXT NOT NULL,
  data TEXT NOT NULL,
  doomed BIGINT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE INDEX heat_snapshots_stack ON heat_snapshots (stack_id);
CREATE TABLE heat_copies (
  snapshot_id TEXT NOT NULL,
  path TEXT NOT NULL,
  type TEXT NOT NULL,
  data TEXT NOT NULL,
  PRIMARY KEY (snapshot_id, path)
);
CREATE TABLE heat_outbox (
  seq {{autoid}},
  root_id TEXT NOT NULL,
  queue TEXT NOT NULL,
  ttl BIGINT NOT NULL,
  body TEXT NOT NULL
);
CREATE INDEX heat_outbox_root ON heat_outbox (root_id, seq);
CREATE INDEX heat_stacks_list ON heat_stacks (project_id, created_at);
