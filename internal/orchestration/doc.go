// Package orchestration is the orchestration service: Heat v1.
//
// hot/ is the language (pure), engine/ the durable run of the graph, resources/ the resource types; this
// package is the REST API: decode, call the engine, encode. Beyond Heat's own fields an event carries
// resource_path and position (file:line:column), and a failed resource's reason names that place.
//
// API reference: https://docs.openstack.org/api-ref/orchestration/v1/
package orchestration
