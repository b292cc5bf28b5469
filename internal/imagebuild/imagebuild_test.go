package imagebuild

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"
)

func TestRecipeKey(t *testing.T) {
	sources := Sources{"Types: deb\n"}
	base := mustProfile(t, Small).baseKey(sources)
	change := func(f func(r *Recipe)) string {
		r := mustProfile(t, Small)
		f(&r)
		return r.baseKey(sources)
	}
	reversed := func(r *Recipe) { slices.Reverse(r.Packages); slices.Reverse(r.Debconf) }
	if got := change(reversed); got != base {
		t.Error("the order of packages must not cost a rebuild")
	}
	twice := func(r *Recipe) { r.Packages = append(r.Packages, r.Packages[0]) }
	if got := change(twice); got != base {
		t.Error("a package named twice must not cost a rebuild")
	}
	for reason, f := range map[string]func(r *Recipe){
		"package":  func(r *Recipe) { r.Packages = append(r.Packages, "vim-tiny") },
		"suite":    func(r *Recipe) { r.Suite = "trixie" },
		"bootable": func(r *Recipe) { r.Bootable = true },
		"held":     func(r *Recipe) { r.Held = append(r.Held, "cron.service") },
		"debconf":  func(r *Recipe) { r.Debconf = nil },
	} {
		if change(f) == base {
			t.Errorf("a changed %s must be built", reason)
		}
	}
	if mustProfile(t, Small).baseKey(Sources{"Types: deb\nURIs: other\n"}) == base {
		t.Error("other package sources must be built")
	}
	r := mustProfile(t, Small)
	r.Packages = append(r.Packages, "--include=evil")
	if err := r.validate(); err == nil {
		t.Error("an option passed as a package name")
	}
}

func TestReadConfig(t *testing.T) {
	tests := []struct {
		reason, text string
		want         map[string][]string
		wantError    string
	}{
		{"packages of two entries add up", "disk_images:\n- {imagename: overcloud-full, packages: [a1]}\n- {imagename: overcloud-full, type: qcow2, packages: [b2]}\n",
			map[string][]string{"overcloud-full": {"a1", "b2"}}, ""},
		{"empty file", "", map[string][]string{}, ""},
		{"elements cannot be carried out", "disk_images:\n- {imagename: overcloud-full, elements: [hosts]}\n", nil, "disk_images[0].elements"},
		{"unknown image", "disk_images:\n- {imagename: overcloud-hardened}\n", nil, `"overcloud-hardened"`},
		{"the ramdisk has no packages", "disk_images:\n- {imagename: ironic-python-agent, packages: [vim]}\n", nil, "no packages"},
		{"not YAML", "disk_images: [", nil, "yaml"},
		{"too large", strings.Repeat("#", maxConfig+1), nil, "larger than"},
	}
	for _, tt := range tests {
		got, err := ReadConfig(strings.NewReader(tt.text))
		if tt.wantError != "" {
			if err == nil || !strings.Contains(err.Error(), tt.wantError) {
				t.Errorf("%s: error %v", tt.reason, err)
			}
			continue
		}
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", tt.reason, err, diff)
		}
	}
}

func TestHostSources(t *testing.T) {
	etc := fstest.MapFS{
		"sources.list": {Data: []byte("# comment\ndeb http://a/debian bookworm main # main\ndeb-src http://a/debian bookworm main\n" +
			"deb [signed-by=/k.gpg arch=amd64] http://a/security bookworm-security main contrib\ndeb http://a/debian trixie main\n")},
		"sources.list.d/debian.sources": {Data: []byte("Types: deb deb-src\nURIs: http://b/debian\nSuites: bookworm bookworm-updates bookworm-backports\nComponents: main\n" +
			"Signed-By:\n -----BEGIN PGP\n .\n abc\n\nTypes: deb\nURIs: http://b/off\nSuites: bookworm\nComponents: main\nEnabled: no\n")},
		"sources.list.d/vendor.sources": {Data: []byte("Types: deb\nURIs: http://c\nSuites: nodistro\nComponents: main\n")},
		"sources.list.d/README":         {Data: []byte("deb http://d bookworm main\n")},
	}
	got, err := HostSources(etc, "bookworm")
	if err != nil {
		t.Fatal(err)
	}
	want := Sources{
		"Types: deb\nURIs: http://a/debian\nSuites: bookworm\nComponents: main\n",
		"Types: deb\nURIs: http://a/security\nSuites: bookworm-security\nComponents: main contrib\nSigned-By: /k.gpg\nArchitectures: amd64\n",
		"Types: deb\nURIs: http://b/debian\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: \n -----BEGIN PGP\n .\n abc\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := HostSources(etc, "forky"); err == nil || !strings.Contains(err.Error(), "--mirror") {
		t.Errorf("error %v", err)
	}
}

func FuzzStanzas(f *testing.F) {
	f.Add("Types: deb\nSuites: bookworm\n", "deb [a=b] x bookworm y")
	f.Add(" leading\n\n", "deb [")
	f.Fuzz(func(_ *testing.T, deb822, list string) {
		stanzas(deb822, "bookworm")
		lines(list, "bookworm")
	})
}

func TestLayout(t *testing.T) {
	for _, bootable := range []bool{false, true} {
		l := newLayout(1_000_000_000, bootable)
		if l.ESPStart+l.ESPSize > l.BIOSStart || l.BIOSStart+l.BIOSSize > l.RootStart || l.RootStart+l.RootSize >= l.Total {
			t.Errorf("partitions overlap: %+v", l)
		}
		for _, n := range []int64{l.ESPStart, l.BIOSStart, l.RootStart, l.RootSize, l.Total} {
			if n%mib != 0 {
				t.Errorf("%d is not a whole number of MiB: %+v", n, l)
			}
		}
		if l.RootSize < 1_000_000_000+rootSlack {
			t.Errorf("root of %d bytes has no room", l.RootSize)
		}
		f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(l.Total); err != nil {
			t.Fatal(err)
		}
		if err := l.writeTable(f); err != nil {
			t.Fatal(err)
		}
		if err := l.writeESP(f, map[string][]byte{"/EFI/BOOT/BOOTX64.EFI": []byte("loader"), "/loader/loader.conf": []byte("timeout 1\n")}); err != nil {
			t.Fatal(err)
		}
		fsys, err := fat32.Read(file.New(f, true), l.ESPSize, l.ESPStart, sectorBytes)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := fs.ReadFile(fsys, "EFI/BOOT/BOOTX64.EFI"); err != nil || string(b) != "loader" {
			t.Errorf("%q, %v", b, err)
		}
		if bootable {
			checkBootsByBIOS(t, f, l)
		}
		checkWithTools(t, f, l)
	}
}

// checkBootsByBIOS: code in the first sector that leaves the protective partition entry alone, and syslinux's own
// boot sector on the partition that is marked for it.
func checkBootsByBIOS(t *testing.T, f *os.File, l layout) {
	t.Helper()
	if _, err := exec.LookPath("syslinux"); err != nil {
		t.Log("SKIPPED: syslinux is not installed; run `make deps`")
		return
	}
	before, after := make([]byte, sectorBytes), make([]byte, sectorBytes)
	read := func(b []byte, off int64) {
		if _, err := f.ReadAt(b, off); err != nil {
			t.Fatal(err)
		}
	}
	read(before, 0)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	b := &builder{o: Options{CacheDir: t.TempDir()}, log: log}
	if err := b.bootBIOS(t.Context(), f, l); err != nil {
		t.Fatal(err)
	}
	read(after, 0)
	if bytes.Equal(before[:maxBootCode], after[:maxBootCode]) || !bytes.Equal(before[maxBootCode:], after[maxBootCode:]) {
		t.Error("the first sector must get code, and nothing else of it may change")
	}
	sector := make([]byte, sectorBytes)
	read(sector, l.ESPStart)
	if string(sector[3:11]) != "SYSLINUX" {
		t.Errorf("the EFI system partition's boot sector is %q's, want syslinux's", sector[3:11])
	}
}

// checkWithTools asks programs that nobody here wrote.
func checkWithTools(t *testing.T, f *os.File, l layout) {
	t.Helper()
	if _, err := exec.LookPath("sgdisk"); err != nil {
		t.Log("sgdisk is not installed: the partition table is only checked by go-diskfs")
	} else if out, err := exec.CommandContext(t.Context(), "sgdisk", "--verify", f.Name()).CombinedOutput(); err != nil || !strings.Contains(string(out), "No problems found") {
		t.Errorf("sgdisk: %v\n%s", err, out)
	}
	if _, err := exec.LookPath("fsck.vfat"); err != nil {
		t.Log("fsck.vfat is not installed: the EFI system partition is only checked by go-diskfs")
		return
	}
	esp := filepath.Join(t.TempDir(), "esp")
	data := make([]byte, l.ESPSize)
	if _, err := f.ReadAt(data, l.ESPStart); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(esp, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "fsck.vfat", "-n", esp).CombinedOutput(); err != nil {
		t.Errorf("fsck.vfat: %v\n%s", err, out)
	}
}

func writeAgent(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "tripleo-agent")
	if err := os.WriteFile(name, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

// The cached tree shares its files with the one an image is made of: nothing may be written through.
func TestOverlayLeavesTheCacheAlone(t *testing.T) {
	base := filepath.Join(t.TempDir(), "base")
	for _, dir := range []string{"usr/bin", "etc", "secret"} {
		if err := os.MkdirAll(filepath.Join(base, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(base, "secret"), 0o1770); err == nil {
		err = os.Chmod(filepath.Join(base, "secret"), 0o770|fs.ModeSticky)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(base, agentPath), []byte("old agent"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/nowhere", filepath.Join(base, "etc/link")); err != nil {
		t.Fatal(err)
	}
	tree := filepath.Join(t.TempDir(), "tree")
	size, err := linkTree(base, tree)
	if err != nil || size < 4096 {
		t.Fatalf("%d bytes, %v", size, err)
	}
	for range 2 { // twice is as once
		if err := applyOverlay(tree, writeAgent(t, "new agent")); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) string {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
	if got := read(filepath.Join(base, agentPath)); got != "old agent" {
		t.Errorf("the cache now has %q", got)
	}
	if got := read(filepath.Join(tree, agentPath)); got != "new agent" {
		t.Errorf("the tree has %q", got)
	}
	info, err := os.Stat(filepath.Join(tree, agentPath))
	if err != nil || info.Mode() != 0o755 {
		t.Errorf("agent mode %v, %v", info.Mode(), err)
	}
	for link, target := range overlayLinks() {
		if got, err := os.Readlink(filepath.Join(tree, link)); err != nil || got != target {
			t.Errorf("%s -> %q, %v", link, got, err)
		}
		if _, err := os.Stat(filepath.Join(tree, target)); err != nil {
			t.Errorf("%s points nowhere: %v", link, err)
		}
	}
	dir, err := os.Stat(filepath.Join(tree, "secret"))
	if err != nil || dir.Mode() != fs.ModeDir|fs.ModeSticky|0o770 {
		t.Errorf("directory mode %v, %v", dir.Mode(), err)
	}
	if got, err := os.Readlink(filepath.Join(tree, "etc/link")); err != nil || got != "/nowhere" {
		t.Errorf("link %q, %v", got, err)
	}
}

func TestInitramfs(t *testing.T) {
	kernel := fstest.MapFS{"release": {Data: []byte("6.1.0-test\n")}, "modules/modules.dep": {Data: []byte("a.ko:\n")}, "modules/kernel/a.ko": {Data: []byte("ELF")}, "vmlinuz": {Data: []byte("kernel")}}
	agent := writeAgent(t, "agent binary")
	var first, second bytes.Buffer
	if err := WriteInitramfs(&first, agent, kernel); err != nil {
		t.Fatal(err)
	}
	if err := WriteInitramfs(&second, agent, kernel); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same input gives two archives")
	}
	z, err := zstd.NewReader(&first)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	err = cpio.ForEachRecord(cpio.Newc.Reader(bytes.NewReader(data)), func(r cpio.Record) error {
		var content []byte
		if r.ReaderAt != nil && r.FileSize > 0 {
			content = make([]byte, r.FileSize)
			if _, err := r.ReadAt(content, 0); err != nil {
				return err
			}
		}
		got[r.Name] = string(content)
		if r.Name == "dev/console" && (r.Rmajor != 5 || r.Rminor != 1) {
			t.Errorf("console %d:%d", r.Rmajor, r.Rminor)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"init": "bin/tripleo-agent", "bin/tripleo-agent": "agent binary", "lib/modules/6.1.0-test/kernel/a.ko": "ELF", "dev/console": ""} {
		if content, ok := got[name]; !ok || content != want {
			t.Errorf("%s: %q, present %v", name, content, ok)
		}
	}
	if _, ok := got["vmlinuz"]; ok {
		t.Error("the kernel has no place in the initramfs")
	}
}

func TestHeldAndEnabledUnitsAreInTheScript(t *testing.T) {
	r := mustProfile(t, Small)
	script := customizeScript(r)
	for _, u := range r.Held {
		if !strings.Contains(script, "disable --quiet "+u) {
			t.Errorf("%s would start by itself", u)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "sh", "-n", "-c", script).CombinedOutput(); err != nil {
		t.Errorf("%v: %s\n%s", err, out, script)
	}
}

func TestInstalled(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "var/lib/dpkg"), 0o755); err != nil {
		t.Fatal(err)
	}
	status := "Package: a\nStatus: install ok installed\nVersion: 1:2-3\nDescription: x\n Version: 9\n\nPackage: b\nStatus: deinstall ok config-files\nVersion: 1\n"
	if err := os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), []byte(status), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := installed(root)
	if diff := cmp.Diff([]Package{{"a", "1:2-3"}}, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

// newBuild is a builder's options with everything in temporary directories.
func newBuild(t *testing.T) (Options, *[]string) {
	t.Helper()
	report := &[]string{}
	return Options{OutputDir: filepath.Join(t.TempDir(), "out"), CacheDir: filepath.Join(t.TempDir(), "cache"), Agent: writeAgent(t, "agent"),
		Recipe: mustProfile(t, Small), AptDir: os.DirFS("/etc/apt"), Now: time.Now,
		Report: func(line string) { *report = append(*report, line); t.Log(line) }}, report
}

func TestBuildChecks(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, not root: a build refuses at once")
	}
	tests := []struct {
		reason    string
		change    func(o *Options)
		wantError string
	}{
		{"unknown image", func(o *Options) { o.Images = []string{"x"} }, `image "x" is unknown`},
		{"no agent", func(o *Options) { o.Agent = "/nonexistent" }, "--agent-binary"},
		{"agent is a directory", func(o *Options) { o.Agent = t.TempDir() }, "not an executable"},
		{"no sources for the suite", func(o *Options) { o.AptDir = fstest.MapFS{} }, "--mirror"},
	}
	for _, tt := range tests {
		o, _ := newBuild(t)
		tt.change(&o)
		if err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), tt.wantError) {
			t.Errorf("%s: %v", tt.reason, err)
		}
	}
}

// What is cached is used, what an interrupted build left is removed, and a failing tool's words are in the error.
func TestCache(t *testing.T) {
	o, report := newBuild(t)
	if err := os.MkdirAll(filepath.Join(o.CacheDir, "tmp-left", "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(o.CacheDir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	b := &builder{o: o, log: log}
	if err := b.clean(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(o.CacheDir, "tmp-left")); !os.IsNotExist(err) {
		t.Errorf("left over: %v", err)
	}
	dir, fills := filepath.Join(o.CacheDir, "kernel-1"), 0
	fill := func(tmp string) error { fills++; return os.MkdirAll(tmp, 0o755) }
	for range 2 {
		if err := b.cached(t.Context(), dir, "kernel", fill); err != nil {
			t.Fatal(err)
		}
	}
	if fills != 1 || !strings.Contains(strings.Join(*report, "\n"), "kernel: cached") {
		t.Errorf("filled %d times, report %v", fills, *report)
	}
	bad := filepath.Join(o.CacheDir, "kernel-2")
	err = b.cached(t.Context(), bad, "kernel", func(tmp string) error {
		if err := os.MkdirAll(tmp, 0o755); err != nil {
			return err
		}
		return b.run(t.Context(), nil, "sh", "-c", "echo cannot find the package >&2; exit 3")
	})
	if err == nil || !strings.Contains(err.Error(), "cannot find the package") || !strings.Contains(err.Error(), log.Name()) {
		t.Errorf("error %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(o.CacheDir, "*kernel-2*")); len(left) > 0 {
		t.Errorf("a failed build left %v", left)
	}
	for i, name := range []string{"rootfs-a", "rootfs-b", "rootfs-c", "rootfs-d", "rootfs-e"} {
		if err := os.Mkdir(filepath.Join(o.CacheDir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(int64(1000*(i+1)), 0)
		if err := os.Chtimes(filepath.Join(o.CacheDir, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.clean(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(o.CacheDir, "rootfs-*")); len(left) != keepVersions || strings.HasSuffix(left[0], "-a") {
		t.Errorf("kept %v, want the newest", left)
	}
}

func TestToolStopsWithTheContext(t *testing.T) {
	o, _ := newBuild(t)
	if err := os.MkdirAll(o.CacheDir, 0o755); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(o.CacheDir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := (&builder{o: o, log: log}).run(ctx, nil, "sh", "-c", "sleep 30"); err == nil {
		t.Error("no error")
	}
	if time.Since(start) > 15*time.Second {
		t.Error("the tool was not stopped")
	}
}

// TestBuildRamdisk builds the real thing: Debian's kernel, its modules and the agent's binary.
func TestBuildRamdisk(t *testing.T) {
	switch _, err := exec.LookPath("mmdebstrap"); {
	case testing.Short():
		t.Skip("SKIPPED by -short: no real ramdisk is built")
	case err != nil:
		t.Skip("SKIPPED, mmdebstrap is not installed: no real ramdisk is built")
	case os.Geteuid() != 0:
		t.Skip("SKIPPED, not root: no real ramdisk is built")
	}
	o, report := newBuild(t)
	o.Images = []string{Ramdisk}
	if _, err := HostSources(o.AptDir, DefaultSuite); err != nil {
		t.Skipf("SKIPPED, %v: no real ramdisk is built", err)
	}
	if err := Build(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	kernel, err := os.ReadFile(filepath.Join(o.OutputDir, Ramdisk+".kernel"))
	if err != nil || len(kernel) < mib || string(kernel[0x202:0x206]) != "HdrS" {
		t.Errorf("no Linux kernel (%d bytes, %v)", len(kernel), err)
	}
	m, err := ReadManifest(o.OutputDir, Ramdisk)
	if err != nil || m.Size < 4*mib || m.Size > MaxRamdisk {
		t.Errorf("manifest %+v, %v", m, err)
	}
	*report = nil
	if err := Build(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{Ramdisk + ": up to date"}, *report); diff != "" {
		t.Errorf("a second build: %s", diff)
	}
	// A new agent costs an archive, not a download.
	if err := os.WriteFile(o.Agent, []byte("another agent"), 0o755); err != nil {
		t.Fatal(err)
	}
	*report = nil
	if err := Build(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if len(*report) != 2 || (*report)[0] != "kernel: cached" {
		t.Errorf("a new agent: %v", *report)
	}
}

func mustProfile(t *testing.T, name string) Recipe {
	t.Helper()
	r, err := ProfileRecipe(name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestProfiles(t *testing.T) {
	small, full := mustProfile(t, Small), mustProfile(t, Full)
	for _, p := range small.Packages {
		if !slices.Contains(full.Packages, p) {
			t.Errorf("package %s is in %s but not in %s", p, Small, Full)
		}
	}
	if !slices.Contains(full.Packages, "nova-compute") || slices.Contains(small.Packages, "nova-compute") {
		t.Error("nova-compute belongs to the full profile only")
	}
	if err := full.validate(); err != nil {
		t.Error(err)
	}
	if _, err := ProfileRecipe("huge"); err == nil {
		t.Error("an unknown profile was taken")
	}
}
