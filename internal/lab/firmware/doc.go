// Package firmware is what a lab machine without CPU of its own has instead of
// a BIOS and a network boot ROM: DHCP as the PXE specification asks for it,
// TFTP for the first stage, then the conversation of iPXE (a second DHCP
// exchange as user class "iPXE", a script over HTTP, kernel and initrd). The
// scripts are interpreted, everything they name is really fetched; only the
// loader's and the kernel's own machine code is not executed.
//
// References: PXE 2.1 (options 60, 66, 67, 93, 94, 97), RFC 4578, and iPXE's
// command reference (ipxe.org/cmd).
package firmware
