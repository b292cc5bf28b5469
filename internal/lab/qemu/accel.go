package qemu

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// The accelerators. Auto is KVM where it works, else TCG.
const (
	Auto = "auto"
	KVM  = "kvm"
	TCG  = "tcg"
)

// ioctls of /dev/kvm (linux/kvm.h).
const (
	kvmGetAPIVersion = 0xae00
	kvmCreateVM      = 0xae01
	kvmCreateVCPU    = 0xae41
	kvmAPIVersion    = 12
)

// ProbeKVM says why KVM cannot run an ordinary operating system here; nil when
// it can. A device that opens is not enough: KVM also exists without the
// processor's virtualization (software implementations that run only guests
// made for them), and inside virtual machines that do not pass it on.
func ProbeKVM() error {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("KVM: %w", err)
	}
	defer func() { _ = f.Close() }()
	version, err := unix.IoctlRetInt(int(f.Fd()), kvmGetAPIVersion)
	if err != nil {
		return fmt.Errorf("KVM: ask its version: %w", err)
	}
	if version != kvmAPIVersion {
		return fmt.Errorf("KVM: version %d of its interface, want %d", version, kvmAPIVersion)
	}
	vm, err := unix.IoctlRetInt(int(f.Fd()), kvmCreateVM)
	if err != nil {
		return fmt.Errorf("KVM: make a machine: %w", err)
	}
	defer func() { _ = unix.Close(vm) }()
	cpu, err := unix.IoctlRetInt(vm, kvmCreateVCPU)
	if err != nil {
		return fmt.Errorf("KVM: make a processor: %w", err)
	}
	_ = unix.Close(cpu)
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return fmt.Errorf("KVM: %w", err)
	}
	if !hardwareVirtualization(info) {
		return errors.New("KVM: the processor shows neither VMX nor SVM, so ordinary guests cannot run on it")
	}
	return nil
}

// hardwareVirtualization looks for Intel VT-x (vmx) or AMD-V (svm) among the
// flags of /proc/cpuinfo.
func hardwareVirtualization(cpuinfo []byte) bool {
	for line := range bytes.Lines(cpuinfo) {
		if !bytes.HasPrefix(line, []byte("flags")) {
			continue
		}
		for _, f := range bytes.Fields(line) {
			if string(f) == "vmx" || string(f) == "svm" {
				return true
			}
		}
	}
	return false
}

// Accelerator turns "auto" into what works here.
func Accelerator(want string) string {
	if want != Auto && want != "" {
		return want
	}
	if ProbeKVM() == nil {
		return KVM
	}
	return TCG
}
