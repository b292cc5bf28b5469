// Package service is the hook of config group `service`: it makes OpenStack services so as data says. The data is described
// in docs/service-hook.md; the types in spec.go are that description's source.
//
// A run takes the services of one step in order, and for each: packages, groups, users, directories, files, databases,
// message-queue accounts, one-time commands, units, checks, later commands, catalog. Every action looks first and changes
// only what differs. What it did is reported as JSON lines on stdout. The first failure ends the run with service, action,
// target, command, exit code and the log lines of the units concerned on stderr.
//
// Two things are remembered below <StateDir>/service, so that a run that was cut off is finished by the next:
//
//   - units/…: the content with which a unit was last started. It is removed before a file of the unit changes and written
//     after the restart, so a crash between the two leads to a restart and not to a daemon with an old configuration.
//   - commands/…: one marker a finished one-time command, named after what the command is.
package service
