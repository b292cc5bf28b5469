// Package installed is the agent of an installed node (`tripleo-agent run`).
//
// It reads the config drive, follows the node's own metadata object by long poll, and for every change goes through the
// phases of os-refresh-config: pre-configure, configure (host settings, then the deployments in order), post-configure,
// migration. Each deployment is given to the hook of its group; its result is kept on disk and sent until it is accepted.
//
//	collect      where metadata comes from, and how it is merged
//	apply        host name, /etc/hosts, static networks
//	heatconfig   which deployments are done, results and signals
//	hooks        script, json-file; the groups' common types
//	service      the `service` hook: OpenStack services as data (docs/service-hook.md)
//	ini, host    an INI writer; the machine: files, accounts, commands
//
// All state is below /var/lib/tripleo-agent (0700), logs below /var/log/tripleo-agent. The agent may be killed at any
// moment and goes on where it was; an undercloud that is away is waited for without end.
package installed
