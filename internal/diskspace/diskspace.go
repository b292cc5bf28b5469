// Package diskspace keeps a little of a disk free. What is deleted on a full
// disk has to be written down first, so a disk that was filled to the last
// byte could not be emptied again.
package diskspace

import (
	"math"

	"golang.org/x/sys/unix"
)

// Of a file system this much stays free, but of a small one only that share.
const (
	reserve      = 64 << 20 // bytes
	reserveShare = 8
)

// Room is how many bytes may still be written to the file system that path is
// on, before only the reserve is left; below 0 when it has been used. What
// cannot be found out is no bound.
func Room(path string) int64 {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil || fs.Blocks == 0 {
		return math.MaxInt64
	}
	total, free := int64(fs.Blocks)*fs.Bsize, int64(fs.Bavail)*fs.Bsize //nolint:gosec // a disk has less than 2^63 bytes
	return free - min(reserve, total/reserveShare)
}
