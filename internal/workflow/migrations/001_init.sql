CREATE TABLE workflow_workbooks (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL,
	namespace TEXT NOT NULL,
	project_id TEXT NOT NULL,
	scope TEXT NOT NULL,
	definition TEXT NOT NULL,
	tags TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	UNIQUE (name, namespace, project_id)
);

-- kind: workflow or action
CREATE TABLE workflow_definitions (
	id TEXT PRIMARY KEY,
	kind TEXT NOT NULL,
	name TEXT NOT NULL,
	namespace TEXT NOT NULL,
	project_id TEXT NOT NULL,
	scope TEXT NOT NULL,
	workbook TEXT NOT NULL,
	description TEXT NOT NULL,
	input TEXT NOT NULL,
	tags TEXT NOT NULL,
	definition TEXT NOT NULL,
	spec_id TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	UNIQUE (kind, name, namespace, project_id)
);
CREATE INDEX workflow_definitions_scope ON workflow_definitions (kind, scope, name);

-- the text that running executions follow, whatever becomes of the definition
CREATE TABLE workflow_specs (
	id TEXT PRIMARY KEY,
	workbook TEXT NOT NULL,
	name TEXT NOT NULL,
	definition TEXT NOT NULL
);

CREATE TABLE workflow_executions (
	id TEXT PRIMARY KEY,
	workflow_name TEXT NOT NULL,
	workflow_id TEXT NOT NULL,
	namespace TEXT NOT NULL,
	description TEXT NOT NULL,
	spec_id TEXT NOT NULL,
	project_id TEXT NOT NULL,
	state TEXT NOT NULL,
	state_info TEXT NOT NULL,
	finalized BIGINT NOT NULL,
	parent_task_id TEXT NOT NULL,
	parent_id TEXT NOT NULL,
	root_id TEXT NOT NULL,
	item BIGINT NOT NULL,
	accepted BIGINT NOT NULL,
	version BIGINT NOT NULL,
	input TEXT NOT NULL,
	params TEXT NOT NULL,
	context TEXT NOT NULL,
	output TEXT NOT NULL,
	doc TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	finished_at BIGINT NOT NULL
);
CREATE INDEX workflow_executions_parent ON workflow_executions (parent_task_id);
CREATE INDEX workflow_executions_root ON workflow_executions (root_id);
CREATE INDEX workflow_executions_list ON workflow_executions (project_id, created_at);

CREATE TABLE workflow_tasks (
	id TEXT PRIMARY KEY,
	execution_id TEXT NOT NULL REFERENCES workflow_executions (id) ON DELETE CASCADE,
	rank BIGINT NOT NULL,
	name TEXT NOT NULL,
	type TEXT NOT NULL,
	state TEXT NOT NULL,
	processed BIGINT NOT NULL,
	doc TEXT NOT NULL,
	in_context TEXT NOT NULL,
	published TEXT NOT NULL,
	result TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	started_at BIGINT NOT NULL,
	finished_at BIGINT NOT NULL
);
CREATE INDEX workflow_tasks_execution ON workflow_tasks (execution_id, rank);

CREATE TABLE workflow_actions (
	id TEXT PRIMARY KEY,
	task_id TEXT NOT NULL,
	execution_id TEXT NOT NULL,
	project_id TEXT NOT NULL,
	name TEXT NOT NULL,
	state TEXT NOT NULL,
	state_info TEXT NOT NULL,
	accepted BIGINT NOT NULL,
	item BIGINT NOT NULL,
	attempt BIGINT NOT NULL,
	input TEXT NOT NULL,
	output TEXT NOT NULL,
	doc TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	started_at BIGINT NOT NULL,
	finished_at BIGINT NOT NULL
);
CREATE INDEX workflow_actions_task ON workflow_actions (task_id);
CREATE INDEX workflow_actions_execution ON workflow_actions (execution_id);

CREATE TABLE workflow_environments (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL,
	project_id TEXT NOT NULL,
	scope TEXT NOT NULL,
	description TEXT NOT NULL,
	variables TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	UNIQUE (name, project_id)
);

CREATE TABLE workflow_crons (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL,
	project_id TEXT NOT NULL,
	scope TEXT NOT NULL,
	workflow_name TEXT NOT NULL,
	workflow_id TEXT NOT NULL,
	input TEXT NOT NULL,
	params TEXT NOT NULL,
	pattern TEXT NOT NULL,
	remaining BIGINT NOT NULL,
	next_at BIGINT NOT NULL,
	caller TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	UNIQUE (name, project_id)
);
