// Package sim plays bare-metal machines in one process, thousands of them. A
// simulated machine has the real conversation with the undercloud over HTTP and
// no bytes on a disk: it fetches its boot script, kernel and ramdisk are only
// touched, the ramdisk agent posts its inventory, looks its node up, sends
// heartbeats and answers ironic-python-agent's commands, and the installed
// system reads its config drive, follows its metadata by long poll and signals
// every deployment.
//
// What it leaves out, on purpose: DHCP and TFTP (there is no network), and an
// image's checksum (only the first byte of the image is fetched to see that
// its address works; the checksum must be well formed). Times are those of
// ordinary hardware divided by Config.Speed; everything random comes from a
// seed and the machine's index, so that a run can be repeated.
package sim
