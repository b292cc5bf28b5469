// Package workflow is Mistral v2: workbooks, workflows and actions as DSL v2
// text, their executions, environments and cron triggers.
//
// The rooms below it: dsl (the language, pure), expr (YAQL in its strings and
// Mistral's functions), engine (the durable run, see there for the states),
// actions (what an action is, std.* and the OpenStack actions). This package is
// the REST API (https://docs.openstack.org/mistral/latest/api/v2.html) and the
// composition of the rest.
//
// An execution acts for its caller by a trust that is made when it starts and
// deleted when it has ended; a caller that comes with a trust is served by that
// one.
package workflow
