// Package disk puts an operating system image on a disk: it streams the image to the device while hashing what
// was downloaded, leaves zero blocks to the kernel, moves the partition table's backup to the real end of the
// disk, grows the partition that asks for it and appends the config drive.
//
// A disk never boots half written: the first chunk of the image, which holds the partition table and the boot
// sector, is kept back in memory and reaches the disk last, after the checksum was found right. On any error
// both ends of the disk are wiped.
//
// The package works on Device, so a sparse file stands for a disk in tests.
package disk
