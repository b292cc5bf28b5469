-- what may hold secrets is encrypted, and so not a part of the documents
ALTER TABLE workflow_tasks ADD COLUMN published_global TEXT NOT NULL DEFAULT '';
ALTER TABLE workflow_actions ADD COLUMN base_input TEXT NOT NULL DEFAULT '';
