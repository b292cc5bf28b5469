package oac

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// TemplatesDir is where the templates are; a template's path below it is the path of the file.
const TemplatesDir = "/usr/libexec/os-apply-config/templates"

const (
	controlSuffix = ".oac"
	maxTemplate   = 16 << 20
)

// Applier renders the templates of one machine.
type Applier struct {
	Host      *host.Host
	Templates string // "" is TemplatesDir
	Output    string // where the paths of files begin; "" is "/"
}

// file is a rendered template.
type file struct {
	path       string
	body       []byte
	mode       fs.FileMode // 0 keeps that of the file that is there
	uid, gid   int         // -1 keeps
	allowEmpty bool
}

// Render renders every template over config and returns the files, in the order of their paths.
func (a Applier) render(ctx context.Context, config map[string]any) ([]file, error) {
	root := a.Templates
	if root == "" {
		root = TemplatesDir
	}
	real := a.Host.Path(root)
	var files []file
	err := filepath.WalkDir(real, func(p string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && p == real {
			return fs.SkipAll
		}
		if err != nil || e.IsDir() || strings.HasSuffix(p, controlSuffix) {
			return err
		}
		rel, err := filepath.Rel(real, p)
		if err != nil {
			return err
		}
		f, err := a.one(ctx, p, config)
		if err != nil {
			return fmt.Errorf("template %s: %w", path.Join(root, rel), err)
		}
		f.path = path.Join("/", a.Output, rel)
		files = append(files, f)
		return nil
	})
	return files, err
}

func (a Applier) one(ctx context.Context, name string, config map[string]any) (file, error) {
	f := file{uid: -1, gid: -1, allowEmpty: true}
	info, err := os.Stat(name)
	if err != nil {
		return f, err
	}
	if info.Mode()&0o111 != 0 {
		res, err := a.Host.Run.Run(ctx, host.Command{Args: []string{name}, Stdin: []byte(text(config)), Limit: maxTemplate})
		if err != nil {
			return f, err
		}
		if res.Code != 0 {
			return f, fmt.Errorf("it ended with exit code %d: %s", res.Code, strings.TrimSpace(string(res.Stdout)+string(res.Stderr)))
		}
		f.body = res.Stdout
	} else {
		if info.Size() > maxTemplate {
			return f, fmt.Errorf("larger than %d bytes", maxTemplate)
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return f, err
		}
		out, err := Render(string(src), config)
		if err != nil {
			return f, err
		}
		f.body = []byte(out)
	}
	control, err := os.ReadFile(name + controlSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err == nil {
		err = a.control(&f, control)
	}
	if err != nil {
		return f, fmt.Errorf("%s%s: %w", path.Base(name), controlSuffix, err)
	}
	return f, nil
}

// control reads how a file has to be.
func (a Applier) control(f *file, data []byte) error {
	doc, _, err := yaml11.Parse("control", data, yaml11.Limits{})
	if err != nil {
		return err
	}
	value := doc.Value()
	if value == nil {
		return nil
	}
	m, ok := yaml11.Plain(value).(map[string]any)
	if !ok {
		return fmt.Errorf("expected a map of mode, owner, group and allow_empty, got %T", value)
	}
	for k, v := range m {
		switch k {
		case "allow_empty":
			if f.allowEmpty, ok = v.(bool); !ok {
				return fmt.Errorf("allow_empty: expected true or false, got %q", fmt.Sprint(v))
			}
		case "mode":
			n, ok := integer(v)
			if !ok || n < 0 || n > 0o777 {
				return fmt.Errorf("mode: expected a number from 0 to 0777, got %q", fmt.Sprint(v))
			}
			f.mode = fs.FileMode(n)
		case "owner", "group":
			if _, isText := v.(string); !isText {
				if _, isNumber := integer(v); !isNumber {
					return fmt.Errorf("%s: expected a name or a number, got %q", k, fmt.Sprint(v))
				}
			}
			if k == "owner" {
				account, err := a.Host.Account(fmt.Sprint(v))
				if err != nil {
					return fmt.Errorf("owner: %w", err)
				}
				f.uid = account.UID
			} else if f.gid, err = a.Host.GroupID(fmt.Sprint(v)); err != nil {
				return fmt.Errorf("group: %w", err)
			}
		default:
			return fmt.Errorf("unknown key %q, expected mode, owner, group or allow_empty", k)
		}
	}
	return nil
}

func integer(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case int:
		return int64(v), true
	}
	return 0, false
}

// Apply makes the files so and tells what it changed, one sentence each. With validate nothing is written.
func (a Applier) Apply(ctx context.Context, config map[string]any, validate bool) (changes []string, err error) {
	files, err := a.render(ctx, config)
	if err != nil || validate {
		return nil, err
	}
	for _, f := range files {
		done, err := a.put(f)
		if err != nil {
			return changes, fmt.Errorf("file %s: %w", f.path, err)
		}
		if done != "" {
			changes = append(changes, f.path+" "+done)
		}
	}
	return changes, nil
}

// put writes one file unless it is so already. What the control file does not say stays as it is.
func (a Applier) put(f file) (string, error) {
	name := a.Host.Path(f.path)
	info, err := os.Stat(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	there := err == nil
	if len(f.body) == 0 && !f.allowEmpty {
		if !there {
			return "", nil
		}
		return "removed, because it is empty", os.Remove(name)
	}
	mode, uid, gid := fs.FileMode(0o644), -1, -1
	if there {
		if info.IsDir() {
			return "", errors.New("a directory is in its place")
		}
		mode = info.Mode().Perm()
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			uid, gid = int(st.Uid), int(st.Gid)
		}
	}
	want := f
	if want.mode == 0 {
		want.mode = mode
	}
	if want.uid < 0 {
		want.uid = uid
	}
	if want.gid < 0 {
		want.gid = gid
	}
	if there && want.mode == mode && want.uid == uid && want.gid == gid {
		if old, err := os.ReadFile(name); err == nil && bytes.Equal(old, f.body) {
			return "", nil
		}
	}
	return "written", replace(name, want)
}

// replace puts a complete file in place of the old one.
func replace(name string, f file) (err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
		}
	}()
	if err = tmp.Chown(f.uid, f.gid); err != nil {
		return err
	}
	if err = tmp.Chmod(f.mode); err != nil {
		return err
	}
	if _, err = tmp.Write(f.body); err != nil {
		return err
	}
	if err = tmp.Sync(); err != nil {
		return err
	}
	if err = tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), name)
}
