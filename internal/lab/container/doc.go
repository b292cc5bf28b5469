// Package container makes lab machines of namespaces: a network namespace with
// one TAP, a sparse file on a loop device as disk, the firmware of package
// firmware, the ramdisk's init as PID 1 of namespaces of its own, and the
// installed system booted by systemd-nspawn from its own root partition.
//
// What a machine's software sees is that machine and nothing else: its own
// /sys (block, dmi, net, cpu), /dev with one disk, /proc/cmdline as the boot
// script said. A seccomp filter answers mount(2) in the ramdisk with EBUSY
// ("already mounted"), and the devices cgroup, where there is one, refuses
// every block device but the machine's: no agent can reach the host's disks.
//
// The package re-executes the running binary for the steps that must happen
// inside a new process (see ChildMain).
package container
