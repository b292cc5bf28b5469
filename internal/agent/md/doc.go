// Package md makes Linux software RAID without mdadm: it plans partitions and arrays from Ironic's target_raid_config,
// writes version 1 superblocks, finds arrays again by them, and has the kernel assemble and stop them.
//
// The layout of a superblock is struct mdp_superblock_1 of the kernel's include/uapi/linux/raid/md_p.h; the ioctls are
// those of md_u.h. Superblocks of version 1.2 are 4 KiB after the start of a member; those of 1.0 are at its end, so
// that a firmware which knows nothing of RAID reads such a member as if it were a plain partition.
package md
