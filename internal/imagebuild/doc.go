// Package imagebuild builds the images of a deployment: overcloud-full, the operating system of the nodes, and
// ironic-python-agent, kernel and initramfs of the deployment ramdisk.
//
// A root file system comes from mmdebstrap with the package sources of the machine that builds; a whole-disk
// image is made of it without mounting anything (mke2fs -d), and the initramfs is a cpio archive with the
// static agent as /init. Everything is cached by the hash of what it is made from, in three layers: the
// package set (minutes), the disk with the agent in it (seconds), the finished file (nothing). A new agent only
// costs the second.
package imagebuild
