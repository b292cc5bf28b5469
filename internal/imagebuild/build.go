package imagebuild

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Options of Build. OutputDir and CacheDir are made if they are missing.
type Options struct {
	Images    []string // names; empty means overcloud-full and the ramdisk
	OutputDir string
	CacheDir  string
	Agent     string // the static tripleo-agent binary
	Recipe    Recipe
	// NoSkip rebuilds everything, the package set included: the way to get updates.
	NoSkip bool
	// AptDir is /etc/apt.
	AptDir fs.FS
	// MinimalPackages are further packages for overcloud-minimal.
	MinimalPackages []string
	// Mirror replaces the machine's own package sources.
	Mirror string
	// Report gets a line of progress.
	Report func(line string)
	Now    func() time.Time
}

type builder struct {
	o   Options
	log *os.File
}

func (b *builder) say(format string, args ...any) { b.o.Report(fmt.Sprintf(format, args...)) }

// Build makes the images that are not up to date. It needs root and an amd64 machine with mmdebstrap and mke2fs.
// One build at a time uses a cache directory; others wait.
func Build(ctx context.Context, o Options) error {
	if err := check(&o); err != nil {
		return err
	}
	for _, dir := range []string{o.OutputDir, o.CacheDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil { // images are no secret
			return err
		}
	}
	unlock, err := lock(ctx, filepath.Join(o.CacheDir, "lock"), o.Report)
	if err != nil {
		return err
	}
	defer unlock()
	log, err := os.Create(filepath.Join(o.CacheDir, "build.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	b := &builder{o: o, log: log}
	if err := b.clean(); err != nil {
		return err
	}
	agentKey, err := fileHash(o.Agent)
	if err != nil {
		return fmt.Errorf("the agent: %w", err)
	}
	sources, err := b.sources()
	if err != nil {
		return err
	}
	var failed []error
	if slices.Contains(o.Images, Ramdisk) {
		failed = append(failed, wrap(Ramdisk, b.ramdisk(ctx, agentKey, sources)))
	}
	if slices.Contains(o.Images, Guest) && ctx.Err() == nil {
		failed = append(failed, wrap(Guest, b.guest(ctx, sources)))
	}
	if slices.Contains(o.Images, OvercloudFull) && ctx.Err() == nil {
		failed = append(failed, wrap(OvercloudFull, b.overcloud(ctx, agentKey, sources, o.Recipe)))
	}
	if slices.Contains(o.Images, OvercloudMinimal) && ctx.Err() == nil {
		minimal := MinimalRecipe()
		minimal.Suite, minimal.Packages = o.Recipe.Suite, append(minimal.Packages, o.MinimalPackages...)
		failed = append(failed, wrap(OvercloudMinimal, b.overcloud(ctx, agentKey, sources, minimal)))
	}
	if err := errors.Join(failed...); err != nil {
		return err
	}
	return ctx.Err()
}

func wrap(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("image %s: %w", name, err)
}

func check(o *Options) error {
	if len(o.Images) == 0 {
		o.Images = []string{Ramdisk, OvercloudFull}
	}
	for _, name := range o.Images {
		if !slices.Contains(Names(), name) {
			return fmt.Errorf("image %q is unknown: %s can be built", name, strings.Join(Names(), ", "))
		}
	}
	if err := o.Recipe.validate(); err != nil {
		return err
	}
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("images are built for amd64 on amd64, not on %s", runtime.GOARCH)
	}
	if os.Geteuid() != 0 {
		return errors.New("building an image needs root: it makes files of other users")
	}
	info, err := os.Stat(o.Agent)
	if err != nil {
		return fmt.Errorf("the agent binary: %w (build it with \"make build\", or name it with --agent-binary)", err)
	}
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("the agent binary %s is not an executable file", o.Agent)
	}
	return nil
}

// lock waits for other builds; the lock goes with the process.
func lock(ctx context.Context, name string, report func(string)) (func(), error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644) // empty
	if err != nil {
		return nil, err
	}
	for told := false; ; {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(err, f.Close())
		}
		if !told {
			report("another build uses the cache; waiting for it")
			told = true
		}
		t := time.NewTimer(500 * time.Millisecond)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-t.C:
		}
	}
}

// keepVersions is how many cached versions of each kind stay.
const keepVersions = 4

// clean removes what an interrupted build left and all but the newest cached versions.
func (b *builder) clean() error {
	entries, err := os.ReadDir(b.o.CacheDir)
	if err != nil {
		return err
	}
	kinds := map[string][]fs.FileInfo{}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, "tmp-") || strings.HasPrefix(name, "mmdebstrap.") {
			if err := removeTree(filepath.Join(b.o.CacheDir, name)); err != nil {
				return err
			}
			continue
		}
		for _, kind := range []string{"rootfs-", "kernel-", "guest-"} {
			if info, err := e.Info(); err == nil && strings.HasPrefix(name, kind) {
				kinds[kind] = append(kinds[kind], info)
			}
		}
	}
	for _, infos := range kinds {
		slices.SortFunc(infos, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
		for i, info := range infos {
			if i >= keepVersions {
				if err := removeTree(filepath.Join(b.o.CacheDir, info.Name())); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (b *builder) sources() (Sources, error) {
	if b.o.Mirror != "" {
		return MirrorSources(b.o.Mirror, b.o.Recipe.Suite), nil
	}
	return HostSources(b.o.AptDir, b.o.Recipe.Suite)
}

func (b *builder) ramdisk(ctx context.Context, agentKey string, sources Sources) error {
	key := hashOf(builderVersion, agentKey, b.o.Recipe.Suite, sources.Text(), ramdiskModules())
	if !b.o.NoSkip && b.upToDate(Ramdisk, key, Ramdisk+".kernel") {
		b.say("%s: up to date", Ramdisk)
		return nil
	}
	if err := b.forget("kernel-"); err != nil {
		return err
	}
	dir, err := b.kernelDir(ctx, b.o.Recipe.Suite, sources)
	if err != nil {
		return err
	}
	return b.buildRamdisk(ctx, dir, key)
}

func (b *builder) overcloud(ctx context.Context, agentKey string, sources Sources, r Recipe) error {
	overlay, err := overlayHash()
	if err != nil {
		return err
	}
	key := hashOf(r.baseKey(sources), overlay, agentKey, r.Bootable, builderVersion)
	if !b.o.NoSkip && b.upToDate(r.Name, key) {
		b.say("%s: up to date", r.Name)
		return nil
	}
	if err := b.forget("rootfs-"); err != nil {
		return err
	}
	dir, err := b.rootFS(ctx, r, sources)
	if err != nil {
		return err
	}
	return b.assemble(ctx, dir, key, r)
}

// forget removes what is cached of a kind when everything is to be built anew.
func (b *builder) forget(kind string) error {
	if !b.o.NoSkip {
		return nil
	}
	old, err := filepath.Glob(filepath.Join(b.o.CacheDir, kind+"*"))
	if err != nil {
		return err
	}
	for _, dir := range old {
		if err := removeTree(dir); err != nil {
			return err
		}
	}
	return nil
}

func fileHash(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
