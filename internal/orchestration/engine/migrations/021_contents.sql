CREATE TABLE heat_contents (
  id TEXT PRIMARY KEY,
  used_at BIGINT NOT NULL,
  data {{blob}} NOT NULL
);
ALTER TABLE heat_configs ADD COLUMN content_id TEXT NOT NULL DEFAULT '';
CREATE INDEX heat_configs_content ON heat_configs (content_id) WHERE content_id <> '';
