// Package lab is the virtual lab: bare metal where there is none. A lab has
// machines with BMCs (IPMI 2.0 and Redfish, both on every machine), disks and
// NICs on a VLAN switch; all of it lives in network namespaces of its own, and
// nothing of it in the host's.
//
// Up starts a lab as a daemon (the same binary, re-executed in a mount
// namespace of its own), Down ends it and removes every trace, also of one
// that crashed; Client talks to it over the unix socket lab.sock in its folder.
//
// Backends: "container" (package container) runs real software, "sim" (package
// sim) plays thousands of machines in one process.
//
// A test binary that uses Up calls ChildMain from TestMain.
package lab
