package deployment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/yaml11"
)

const (
	maxTree    = 1 << 30   // bytes of a folder that an action keeps or reads
	maxTarball = 200 << 20 // bytes of a tarball that goes through memory
	maxEntries = 50000     // files of a folder
)

// tempDirName is what the tripleo.files actions accept: the original's pattern.
var tempDirName = regexp.MustCompile(`^file-mistral-action[A-Za-z0-9_]{6,}$`)

// workDir is the folder of this undercloud's actions; it is made with mode 0700 because what is in it holds secrets.
func (r *run) workDir() (string, error) {
	if r.cfg.WorkDir == "" {
		return "", errors.New("this undercloud gives its actions no folder to work in")
	}
	return r.cfg.WorkDir, os.MkdirAll(r.cfg.WorkDir, 0o700)
}

// onlyAdmin refuses callers without the role admin: what runs or reads files on the undercloud itself is not for
// every user of its APIs.
func (r *run) onlyAdmin(what string) error {
	c, err := r.s.Identity()
	if err != nil {
		return err
	}
	resp, err := c.Request(r.ctx, http.MethodGet, c.ServiceURL("auth", "tokens"), tokenCheck(r.s.Provider.Token()))
	if err != nil {
		return faultOf(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := readLimited(resp.Body, maxBody)
	if err != nil {
		return err
	}
	out, err := yaml11.DecodeJSON(data)
	if err != nil {
		return err
	}
	roles, _ := dig(out, "token", "roles").([]any)
	for _, role := range roles {
		if text(role, "name") == "admin" {
			return nil
		}
	}
	return fmt.Errorf("%s works on the undercloud itself and needs the role admin", what)
}

// inside returns the absolute form of a path that must lie below the work folder.
func (r *run) inside(path string) (string, error) {
	work, err := r.workDir()
	if err != nil {
		return "", err
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(work, path)
	}
	path = filepath.Clean(path)
	if rel, err := filepath.Rel(work, path); err != nil || rel == "." || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return "", fmt.Errorf("%s is not below the folder of the actions, %s", path, work)
	}
	return path, nil
}

// makeTempDir makes a folder of its own for a workflow: {path}.
func makeTempDir(r *run, _ input) (any, error) {
	if err := r.onlyAdmin("tripleo.files.make_temp_dir"); err != nil {
		return nil, err
	}
	work, err := r.workDir()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(work, "file-mistral-action")
	if err != nil {
		return nil, err
	}
	return yaml11.MapOf("path", dir), nil
}

// tempDir is a folder that makeTempDir made.
func (r *run) tempDir(in input, action string) (string, error) {
	if err := r.onlyAdmin(action); err != nil {
		return "", err
	}
	dir, err := r.inside(in.str("path"))
	if err == nil && !tempDirName.MatchString(filepath.Base(dir)) {
		err = fmt.Errorf("the path %s was not made by tripleo.files.make_temp_dir", in.str("path"))
	}
	return dir, err
}

func removeTempDir(r *run, in input) (any, error) {
	dir, err := r.tempDir(in, "tripleo.files.remove_temp_dir")
	if err != nil {
		return nil, err
	}
	return yaml11.MapOf("msg", "Deleted directory "+dir), os.RemoveAll(dir)
}

// saveTempDir replaces the content of a container by one tarball of a folder.
func saveTempDir(r *run, in input) (any, error) {
	dir, err := r.tempDir(in, "tripleo.files.save_temp_dir_to_swift")
	if err != nil {
		return nil, err
	}
	data, err := tarDir(dir)
	if err != nil {
		return nil, err
	}
	container := in.str("container")
	names, err := r.listObjects(container)
	if err != nil {
		return nil, err
	}
	object := "temporary_dir-" + r.ac.Started.UTC().Format("20060102150405") + ".tar.gz"
	if err := r.putObject(container, object, data); err != nil {
		return nil, err
	}
	for _, n := range names { // the old ones last, so that there is always one
		if n == object {
			continue
		}
		if err := r.deleteObject(container, n); err != nil {
			return nil, err
		}
	}
	return yaml11.MapOf("msg", "Saved tarball of directory: "+dir+" in Swift container: "+container), nil
}

// restoreTempDir unpacks the one tarball of a container into a folder; a container without one restores nothing.
func restoreTempDir(r *run, in input) (any, error) {
	dir, err := r.tempDir(in, "tripleo.files.restore_temp_dir_from_swift")
	if err != nil {
		return nil, err
	}
	container := in.str("container")
	names, err := r.listObjects(container)
	if err != nil {
		return nil, err
	}
	switch len(names) {
	case 0:
		return yaml11.MapOf("msg", "Swift container: "+container+" has no object to restore"), nil
	case 1:
	default:
		return nil, fmt.Errorf("container %s must hold one tarball and has %d objects", container, len(names))
	}
	data, err := r.getObject(container, names[0])
	if err != nil {
		return nil, err
	}
	return yaml11.MapOf("msg", "Swift container: "+container+" has been restored to directory: "+dir), untarDir(data, dir)
}

// fileExists tells whether a file is there on the undercloud.
func fileExists(r *run, in input) (any, error) {
	if err := r.onlyAdmin("tripleo.files.file_exists"); err != nil {
		return nil, err
	}
	if _, err := os.Stat(in.str("path")); err != nil { //nolint:gosec // an administrator asks, and learns no more than yes or no
		return nil, fmt.Errorf("the path %s does not exist or cannot be read", in.str("path"))
	}
	return yaml11.MapOf("msg", "The path "+in.str("path")+" exists"), nil
}

// treeSize is how many bytes a folder holds.
func treeSize(dir string) (int64, error) {
	var size int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}

// tarDir packs a folder; symbolic links and special files are left out.
func tarDir(dir string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	size, err := treeSize(dir)
	if err != nil {
		return nil, err
	}
	if size > maxTarball {
		return nil, fmt.Errorf("%s holds %d bytes, more than the %d that fit a tarball", dir, size, maxTarball)
	}
	return tarTree(root.FS())
}

// untarDir unpacks a tarball below a folder and nowhere else.
func untarDir(data []byte, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	return untar(data, func(name string, content []byte) error {
		if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		return root.WriteFile(name, content, 0o600)
	})
}

// command runs a program of the undercloud for at most limit and returns its output and exit code.
// An error means that it could not be run; a program that ends with another code than 0 is none.
func (r *run) command(limit time.Duration, dir string, env []string, out *boundedBuffer, name string, args ...string) (int, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return 0, fmt.Errorf("%s is not installed on this undercloud", name)
	}
	ctx, cancel := context.WithTimeout(r.ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, out, out
	cmd.WaitDelay = 10 * time.Second
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil && r.ctx.Err() == nil:
		return 0, fmt.Errorf("%s did not end within %s", name, limit)
	case errors.As(err, &exit):
		return exit.ExitCode(), nil
	}
	return 0, err
}

// boundedBuffer keeps the end of what is written to it and hands all of it to each.
type boundedBuffer struct {
	limit int
	data  []byte
	each  func(p []byte)
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.each != nil {
		b.each(p)
	}
	b.data = append(b.data, p...)
	if over := len(b.data) - b.limit; over > 0 {
		b.data = slices.Delete(b.data, 0, over)
	}
	return len(p), nil
}

func (b *boundedBuffer) String() string { return strings.ToValidUTF8(string(b.data), "") }
