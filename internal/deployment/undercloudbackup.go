package deployment

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/tripleo/tripleo/internal/yaml11"
)

const (
	leastFree  = 1 << 30 // bytes that must be free for a backup
	maxBackup  = 4 << 30 // bytes of the tarball of a backup
	stackHome  = "/home/stack/"
	backupName = "UC-backup-"
)

// freeSpace is an error unless the actions' folder has a gibibyte free: the text of how much there is.
func freeSpace(r *run, _ input) (any, error) {
	if err := r.onlyAdmin("tripleo.undercloud.get_free_space"); err != nil {
		return nil, err
	}
	work, err := r.workDir()
	if err != nil {
		return nil, err
	}
	free, _, err := diskSpace(work)
	if err != nil {
		return nil, err
	}
	if free < leastFree {
		return nil, fmt.Errorf("there is not enough space for a backup: %d MiB are free in %s, %d are needed", free>>20, work, leastFree>>20)
	}
	return yaml11.MapOf("msg", fmt.Sprintf("There are %d MiB free in %s", free>>20, work)), nil
}

// diskSpace returns the free and all bytes of the file system of a folder.
func diskSpace(dir string) (free, total int64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil //nolint:gosec // file systems are smaller than 8 EiB
}

// backupPath is a folder that makeTempDir made, or a file in one.
func (r *run) backupPath(in input, key, action string) (string, error) {
	if err := r.onlyAdmin(action); err != nil {
		return "", err
	}
	path, err := r.inside(in.str(key))
	if err != nil {
		return "", err
	}
	for _, p := range []string{path, filepath.Dir(path)} {
		if tempDirName.MatchString(filepath.Base(p)) {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s was not made by tripleo.undercloud.create_backup_dir", in.str(key))
}

// databaseBackup writes a consistent copy of the undercloud's database into the folder.
func databaseBackup(r *run, in input) (any, error) {
	dir, err := r.backupPath(in, "path", "tripleo.undercloud.create_database_backup")
	if err != nil {
		return nil, err
	}
	if r.cfg.BackUpDatabase == nil {
		return nil, errors.New("this undercloud does not tell its actions how to copy its database")
	}
	file, err := r.cfg.BackUpDatabase(r.ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("copy of the database: %w", err)
	}
	return yaml11.MapOf("msg", "Database dump created in "+file), nil
}

// fileSystemBackup packs the sources (a list of paths with commas) without those of exclude_path, and what is in the folder,
// which is the copy of the database, into one tarball: {path}.
func fileSystemBackup(r *run, in input) (any, error) {
	dir, err := r.backupPath(in, "path", "tripleo.undercloud.create_file_system_backup")
	if err != nil {
		return nil, err
	}
	excluded, err := backupPaths(in, "exclude_path", r.cfg.Undercloud.DataDir)
	if err != nil {
		return nil, err
	}
	sources, err := backupPaths(in, "sources_path", r.cfg.Undercloud.DataDir)
	if err != nil {
		return nil, err
	}
	sources = slices.DeleteFunc(sources, func(s string) bool {
		return slices.ContainsFunc(excluded, func(x string) bool { return s == x || strings.HasPrefix(s, strings.TrimSuffix(x, "/")+"/") })
	})
	path := filepath.Join(dir, backupName+r.ac.Started.UTC().Format("20060102150405")+".tar")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	w := &backupWriter{r: r, own: r.cfg.WorkDir, excluded: excluded}
	w.gz = gzip.NewWriter(f)
	w.tar = tar.NewWriter(w.gz)
	for _, s := range append(sources, dir) {
		if err = w.add(s, path, s == dir); err != nil {
			break
		}
	}
	err = errors.Join(err, w.tar.Close(), w.gz.Close(), f.Close())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("backup of %s: %w", strings.Join(sources, ", "), err), os.Remove(path))
	}
	return yaml11.MapOf("msg", "File system backup created in "+path, "path", path), nil
}

// backupPaths are the clean paths of an input with commas; the original's default means the undercloud's data.
func backupPaths(in input, key, data string) ([]string, error) {
	var out []string
	for _, s := range strings.Split(in.str(key), ",") {
		s = strings.TrimSpace(s)
		switch {
		case s == stackHome || s+"/" == stackHome:
			s = data
		case s != "" && !filepath.IsAbs(s):
			return nil, fmt.Errorf("%s: %s is no absolute path", key, s)
		}
		if s == "" {
			continue
		}
		if s = filepath.Clean(s); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out, nil
}

type backupWriter struct {
	r        *run
	own      string   // the actions' folder: left out of the data folder, but for the backup's own
	excluded []string // clean paths that are left out with what is below them
	gz       *gzip.Writer
	tar      *tar.Writer
	size     int64
}

// add packs a path with what is below it. The live database is left out: its consistent copy is in the backup's folder.
func (w *backupWriter) add(root, not string, copies bool) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && path != root:
			return nil // deleted meanwhile
		case err != nil:
			return err
		case w.r.ctx.Err() != nil:
			return w.r.ctx.Err()
		case d.IsDir() && root != path && (path == w.own || slices.Contains(w.excluded, path)):
			return fs.SkipDir
		case root != path && slices.Contains(w.excluded, path):
			return nil
		case path == not || !d.Type().IsRegular() || liveDatabase(d.Name()) && !copies:
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if w.size += info.Size(); w.size > maxBackup {
			return fmt.Errorf("more than %d bytes", int64(maxBackup))
		}
		return w.file(path, info)
	})
}

func liveDatabase(name string) bool {
	return strings.HasSuffix(name, ".db") || strings.HasSuffix(name, ".db-wal") || strings.HasSuffix(name, ".db-shm")
}

func (w *backupWriter) file(path string, info fs.FileInfo) error {
	f, err := os.Open(path) //nolint:gosec // an administrator names what is to be kept
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	h, err := tar.FileInfoHeader(info, "")
	if err != nil {
		return err
	}
	h.Name = strings.TrimPrefix(path, "/")
	if err := w.tar.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(w.tar, io.LimitReader(f, h.Size)) // it may grow meanwhile
	if err == nil && n < h.Size {
		_, err = w.tar.Write(bytes.Repeat([]byte{0}, int(h.Size-n)))
	}
	return err
}

// uploadBackup puts a tarball into a container, in segments, where it is deleted after expire seconds.
func uploadBackup(r *run, in input) (any, error) {
	path, err := r.backupPath(in, "backup_path", "tripleo.undercloud.upload_backup_to_swift")
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() { // the original names the folder
		found, _ := filepath.Glob(filepath.Join(path, backupName+"*.tar"))
		if len(found) == 0 {
			return nil, fmt.Errorf("%s holds no %s*.tar", path, backupName)
		}
		path = found[len(found)-1]
	}
	expire, err := in.integer("expire", 86400)
	if err != nil {
		return nil, err
	}
	container := firstText(in.str("container"), "undercloud-backups")
	if err := r.uploadSegments(container, filepath.Base(path), path, expire); err != nil {
		return nil, err
	}
	return yaml11.MapOf("msg", "Backup uploaded to Swift: "+container+"/"+filepath.Base(path), "container", container, "object", filepath.Base(path)), nil
}

const segmentSize = 64 << 20 // bytes of an object's segment that goes through memory

// uploadSegments uploads a file: as one object, or when it is large as segments with a manifest (DLO).
func (r *run) uploadSegments(container, object, path string, expire int) error {
	f, err := os.Open(path) //nolint:gosec // below the actions' folder
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := r.createContainer(container, nil); err != nil {
		return err
	}
	headers := map[string]string{"X-Delete-After": fmt.Sprint(expire)}
	buf := make([]byte, segmentSize)
	for i := 0; ; i++ {
		n, err := io.ReadFull(f, buf)
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return err
		}
		if i == 0 && last {
			_, _, err = r.swift("PUT", container, object, "", buf[:n], headers, 201)
			return err
		}
		if n > 0 {
			if err := r.createContainer(container+"_segments", nil); err != nil {
				return err
			}
			if _, _, err := r.swift("PUT", container+"_segments", fmt.Sprintf("%s/%08d", object, i), "", buf[:n], headers, 201); err != nil {
				return err
			}
		}
		if last {
			headers["X-Object-Manifest"] = container + "_segments/" + object + "/"
			_, _, err = r.swift("PUT", container, object, "", []byte{}, headers, 201)
			return err
		}
	}
}
