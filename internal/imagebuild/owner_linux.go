package imagebuild

import (
	"io/fs"
	"os"
	"syscall"
)

// copyOwner gives a new directory owner and mode of the original; the owner first, since changing it clears the
// set-id bits.
func copyOwner(name string, info fs.FileInfo) error {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		if err := os.Lchown(name, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	return os.Chmod(name, info.Mode().Perm()|info.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky))
}
