// Package ramdisk is tripleo-agent inside the deployment ramdisk: it speaks ironic-python-agent's protocol both
// ways, so that the original Ironic can use it and our Ironic can use the original agent.
//
//   - inspection: with ipa-inspection-callback-url among the kernel arguments it posts the inventory there
//   - lookup: GET {ipa-api-url}/v1/lookup?addresses=… until a node is found
//   - heartbeat: POST {ipa-api-url}/v1/heartbeat/{uuid}, every third of the timeout and when a command ended
//   - commands: its own API on port 9999, /v1/commands; one command at a time, another one gets 409
//
// Run is the agent; Main surrounds it with what the first process of a machine must do (mounts, modules,
// addresses, reboot). References: ironic-python-agent's api/app.py, agent.py and extensions/.
package ramdisk
