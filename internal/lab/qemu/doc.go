// Package qemu runs lab machines as virtual machines: real firmware (SeaBIOS
// with its iPXE option ROM, or OVMF), real kernels, disks as files, NICs that
// are ports of the lab's switch. A machine's power is its QEMU process; what a
// BMC does goes to it over QMP (QEMU's docs/interop/qmp-spec.txt and
// qemu-qmp-ref).
//
// A boot is a process: a reset from inside ends it, and the next one starts
// with the boot order of that moment. Processes do not die with the lab: its
// successor finds them by their pid file and their sockets in the machine's
// folder and takes them over, Sweep ends them.
package qemu
