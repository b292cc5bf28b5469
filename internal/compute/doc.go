// Package compute is Nova v2.1 for bare metal: flavors, key pairs and servers.
// A server is an Ironic node chosen by the scheduler (package scheduler), with
// Neutron ports and a configuration drive (package configdrive).
//
// A server goes through BUILD (task scheduling, networking, spawning) to
// ACTIVE or ERROR; a deleted one disappears once its node is free again.
//
// API reference: https://docs.openstack.org/api-ref/compute/.
package compute
