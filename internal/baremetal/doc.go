// Package baremetal is Ironic v1: nodes, the machines behind them, and the way
// from a management controller's address to a machine that runs an image.
//
// The API (https://docs.openstack.org/api-ref/baremetal/, microversions 1.1 to
// 1.81) writes what is wanted into the store and returns. The engine, one job
// a node, carries it out: a flow is a sequence of steps, a step is in the store
// before it has an effect and may be run any number of times, and waiting is a
// row. So a restart in the middle of anything is nothing special.
//
//   - states/ is the provision state machine, drivers/ the controllers,
//     boot/ TFTP, scripts and the image cache, agentclient/ the ramdisk's API
//   - engine.go runs flows, flows.go lists them, deploy.go, network.go and
//     power.go hold the steps
//   - nodes.go, ports.go, provision.go, groups.go, allocations.go, misc.go and
//     agentapi.go are the resources of the API
//
// A node shows the engine's work as Ironic's conductor does: `reservation`
// while it is acted upon, `last_error` naming node, step and cause,
// driver_internal_info.deploy_progress in percent while the image is written.
// Topic of all changes: baremetal/node/<uuid>.
package baremetal
