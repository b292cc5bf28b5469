// Package introspection is ironic-inspector v1: it has Ironic boot a node into
// the ramdisk, takes what the ramdisk found, and makes node properties and
// ports of it.
//
// The way of one introspection, each stage in the store before it is acted on:
//
//	starting    POST /v1/introspection/<node>; Ironic is asked to inspect
//	waiting     Ironic boots the ramdisk; its POST /v1/continue ends this
//	processing  hooks/ and rules/ (pure), changes to the node and its ports
//	            through Ironic's API, data into Swift container
//	            "ironic-inspector"
//	finishing   Ironic is told the end (POST /v1/continue_inspection); the node
//	            goes back to manageable or to inspect failed
//	finished / error
//
// An introspection always ends: every stage has the same deadline.
//
// API reference: https://docs.openstack.org/api-ref/baremetal-introspection/
package introspection
