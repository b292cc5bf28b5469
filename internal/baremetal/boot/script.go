// Package boot is how a machine comes to its ramdisk: iPXE over TFTP for
// firmware that knows no better, then an iPXE script, kernel and ramdisk over
// HTTP. It knows nodes only as what a script needs; who may boot what is
// decided above.
package boot

import (
	"fmt"
	"strings"
)

// Ramdisk is what a script boots.
type Ramdisk struct {
	Kernel, Initrd string   // URLs
	Args           []string // kernel arguments
}

// Script is the iPXE script that boots a ramdisk, with a second chance after
// ten seconds when a download fails.
func Script(r Ramdisk) string {
	args := append([]string{"initrd=ramdisk"}, r.Args...)
	return fmt.Sprintf(`#!ipxe
:deploy
imgfree
kernel %s %s || goto retry
initrd --name ramdisk %s || goto retry
boot || goto retry
:retry
echo Booting the ramdisk failed, next attempt in 10 seconds.
sleep 10
goto deploy
`, r.Kernel, strings.Join(args, " "), r.Initrd)
}

// LocalScript is for a machine that is not to boot from the network: it gives
// way to the next boot device.
func LocalScript() string { return "#!ipxe\nexit\n" }

// KernelArgs are the arguments the ramdisk's agent finds the undercloud by.
type KernelArgs struct {
	APIURL        string // "" on a machine that nobody knows
	InspectionURL string // set only while inspecting
	Collectors    string
	MAC           string // of the card that boots
	Append        string // the operator's own
}

// List returns the arguments in the order Ironic writes them.
func (k KernelArgs) List() []string {
	var args []string
	if k.APIURL != "" {
		args = append(args, "ipa-api-url="+k.APIURL)
	}
	if k.InspectionURL != "" {
		args = append(args, "ipa-inspection-callback-url="+k.InspectionURL, "ipa-inspection-collectors="+k.Collectors, "ipa-collect-lldp=1")
	}
	if k.MAC != "" {
		// The form of pxelinux: hardware type 01 (Ethernet), then the address.
		args = append(args, "BOOTIF=01-"+strings.ReplaceAll(k.MAC, ":", "-"))
	}
	if k.Append != "" {
		args = append(args, k.Append)
	}
	return args
}
