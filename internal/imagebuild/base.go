package imagebuild

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// customizeScript runs at the end of mmdebstrap with the root directory as $1: it holds the services and takes
// away what must differ from machine to machine.
func customizeScript(r Recipe) string {
	var b strings.Builder
	b.WriteString("set -eu\n")
	for _, u := range r.Held {
		fmt.Fprintf(&b, "chroot \"$1\" systemctl disable --quiet %s 2>/dev/null || true\n", u)
	}
	for _, u := range r.Enabled {
		fmt.Fprintf(&b, "chroot \"$1\" systemctl enable --quiet %s\n", u)
	}
	b.WriteString(`chroot "$1" passwd --lock root >/dev/null
rm -f "$1"/etc/ssh/ssh_host_* "$1/usr/sbin/policy-rc.d" "$1/var/lib/dbus/machine-id" "$1/etc/hostname"
rm -f "$1/var/lib/rabbitmq/.erlang.cookie" "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/var/lib/systemd/random-seed"
rm -rf "$1"/var/cache/debconf/*-old "$1"/var/log/* "$1"/run/* "$1"/usr/share/doc-base "$1/var/cache/man"
rm -rf "$1"/var/cache/apt/*.bin "$1"/var/cache/apt/archives/*.deb
find "$1/var/lib/apt/lists" -type f -delete
mkdir -p "$1/var/log/journal"
: >"$1/etc/machine-id"
: >"$1/etc/resolv.conf"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' >"$1/etc/hosts"
printf '# the root file system is given by the kernel command line\n' >"$1/etc/fstab"
`)
	// Daemons expect their log directories, which the packages made.
	b.WriteString(`for d in "mysql mysql:adm 2750" "rabbitmq rabbitmq:rabbitmq 0755" "keystone keystone:adm 0750" "chrony _chrony:_chrony 0755" \
  "glance glance:adm 0750" "placement placement:adm 0750" "nova nova:adm 0750" "neutron neutron:adm 0750" "heat heat:adm 0750" "cinder cinder:adm 0750" \
  "swift swift:adm 0750" "horizon horizon:adm 0750" "apache2 root:adm 0750" "libvirt root:root 0700"; do
  set -- "$1" $d
  if chroot "$1" id -u "${3%%:*}" >/dev/null 2>&1; then
    mkdir -p "$1/var/log/$2"; chroot "$1" chown "$3" "/var/log/$2"; chmod "$4" "$1/var/log/$2"
  fi
done
`)
	return b.String()
}

// mmdebstrapArgs are the arguments for a root file system of the recipe in directory dir.
func mmdebstrapArgs(r Recipe, dir string, aptOptions []string) []string {
	args := []string{
		"--mode=root", "--variant=minbase", "--format=directory",
		`--aptopt=Apt::Install-Recommends "false"`, `--aptopt=Acquire::Languages "none"`,
		// The cache folder may be closed to apt's own user.
		`--aptopt=APT::Sandbox::User "root"`,
		"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-include=/usr/share/doc/*/copyright",
		"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/info/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/lintian/*",
		"--dpkgopt=force-unsafe-io",
		"--include=" + strings.Join(r.packages(), ","),
	}
	for _, o := range aptOptions {
		args = append(args, "--aptopt="+o)
	}
	if r.Bootable {
		for _, m := range foreignModules() {
			args = append(args, "--dpkgopt=path-exclude="+m)
		}
	}
	if len(r.Debconf) > 0 {
		args = append(args, fmt.Sprintf("--essential-hook=printf '%%s\\n' %s | chroot \"$1\" debconf-set-selections", shellQuote(r.Debconf...)))
	}
	args = append(args,
		`--essential-hook=printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d"; chmod 755 "$1/usr/sbin/policy-rc.d"`,
		"--customize-hook="+customizeScript(r))
	return append(args, r.Suite, dir, "-")
}

func shellQuote(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}

// rootFS returns the directory of the recipe's root file system, built if it is not cached.
func (b *builder) rootFS(ctx context.Context, r Recipe, sources Sources) (string, error) {
	dir := filepath.Join(b.o.CacheDir, "rootfs-"+r.baseKey(sources))
	return dir, b.cached(ctx, dir, "root file system", func(tmp string) error {
		b.say("installing %d packages and what they need (minutes, once)", len(r.packages()))
		return b.run(ctx, sources, "mmdebstrap", mmdebstrapArgs(r, tmp, hostProxies(ctx))...)
	})
}

// cached makes the directory by fill, in a temporary place first, unless it is there.
func (b *builder) cached(ctx context.Context, dir, what string, fill func(tmp string) error) error {
	if _, err := os.Stat(dir); err == nil {
		b.say("%s: cached", what)
		now := b.o.Now()
		return os.Chtimes(dir, now, now) // the newest are kept when the cache is cleaned
	}
	start := b.o.Now()
	tmp := filepath.Join(b.o.CacheDir, "tmp-"+filepath.Base(dir))
	if err := removeTree(tmp); err != nil {
		return err
	}
	if err := fill(tmp); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return errors.Join(fmt.Errorf("%s: %w", what, err), removeTree(tmp))
	}
	if err := os.Rename(tmp, dir); err != nil {
		return err
	}
	b.say("%s: built in %s", what, b.o.Now().Sub(start).Round(100*time.Millisecond))
	return nil
}

// run starts a tool with the sources on its standard input, in a mount namespace of its own: whatever it mounts
// and for whatever reason it dies, nothing stays mounted. Its output goes to the log file; the end of it is
// part of the error.
func (b *builder) run(ctx context.Context, stdin Sources, name string, args ...string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("%s is not installed: apt-get install %s", name, toolPackage(name))
	}
	cmd := exec.CommandContext(ctx, path, args...) // tools by name, arguments of our own
	cmd.Stdin = strings.NewReader(stdin.Text())
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "TMPDIR="+b.o.CacheDir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	tail := &tailWriter{}
	cmd.Stdout = io.MultiWriter(b.log, tail)
	cmd.Stderr = cmd.Stdout
	if _, err := fmt.Fprintf(b.log, "\n$ %s %s\n", name, shellQuote(args...)); err != nil {
		return err
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w (full log: %s)\n%s", name, err, b.log.Name(), tail.String())
	}
	return nil
}

func toolPackage(tool string) string {
	switch tool {
	case "mke2fs":
		return "e2fsprogs"
	case "syslinux":
		return "syslinux mtools"
	case "chroot":
		return "coreutils"
	}
	return tool
}

// tailWriter keeps the last lines of a tool's output for its error.
type tailWriter struct{ buf []byte }

const tailBytes = 1500

// Write implements io.Writer.
func (t *tailWriter) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if len(t.buf) > 8*tailBytes {
		t.buf = append([]byte(nil), t.buf[len(t.buf)-tailBytes:]...)
	}
	return len(p), nil
}

func (t *tailWriter) String() string {
	b := t.buf
	if len(b) > tailBytes {
		b = b[len(b)-tailBytes:]
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			b = b[i+1:]
		}
	}
	return strings.TrimSpace(string(b))
}

// hostProxies passes the machine's apt proxy settings on; where packages come from is the machine's business.
func hostProxies(ctx context.Context) []string {
	out, err := exec.CommandContext(ctx, "apt-config", "dump").Output()
	if err != nil {
		return nil // no apt here: nothing to pass on
	}
	var opts []string
	for line := range strings.Lines(string(out)) {
		key, _, _ := strings.Cut(line, " ")
		if strings.HasPrefix(key, "Acquire::http") && strings.HasSuffix(key, "::Proxy") {
			opts = append(opts, strings.TrimSuffix(strings.TrimSpace(line), ";"))
		}
	}
	return opts
}

// removeTree removes a directory of the cache, but never through a mount: a foreign file system below it means
// that something is wrong.
func removeTree(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) > 4 && (f[4] == dir || strings.HasPrefix(f[4], dir+"/")) {
			return fmt.Errorf("%s has something mounted below it (%s): unmount it first", dir, f[4])
		}
	}
	return os.RemoveAll(dir)
}
