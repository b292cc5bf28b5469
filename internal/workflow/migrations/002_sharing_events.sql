CREATE TABLE workflow_members (
	id TEXT PRIMARY KEY,
	resource_id TEXT NOT NULL,
	resource_type TEXT NOT NULL,
	project_id TEXT NOT NULL,
	member_id TEXT NOT NULL,
	status TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	UNIQUE (resource_id, resource_type, member_id)
);

CREATE TABLE workflow_event_triggers (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL,
	project_id TEXT NOT NULL,
	scope TEXT NOT NULL,
	workflow_id TEXT NOT NULL,
	input TEXT NOT NULL,
	params TEXT NOT NULL,
	exchange TEXT NOT NULL,
	topic TEXT NOT NULL,
	event TEXT NOT NULL,
	caller TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	UNIQUE (exchange, topic, event, workflow_id, project_id)
);

-- events that have not been given to all triggers yet
CREATE TABLE workflow_events (
	id TEXT PRIMARY KEY,
	project_id TEXT NOT NULL,
	exchange TEXT NOT NULL,
	topic TEXT NOT NULL,
	event TEXT NOT NULL,
	publisher TEXT NOT NULL,
	payload TEXT NOT NULL,
	created_at BIGINT NOT NULL
);

-- how far the queues that triggers listen to have been read
CREATE TABLE workflow_queue_marks (
	trigger_id TEXT PRIMARY KEY,
	marker TEXT NOT NULL
);

-- actions that come with the program are rows too, so that lists are one query
ALTER TABLE workflow_definitions ADD COLUMN is_system BIGINT NOT NULL DEFAULT 0;
ALTER TABLE workflow_crons ADD COLUMN first_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX workflow_executions_state ON workflow_executions (state, finished_at);
CREATE INDEX workflow_actions_list ON workflow_actions (project_id, created_at);
