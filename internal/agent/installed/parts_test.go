package installed

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

// phaseTree is a folder of scripts that write down their names and what they see of the environment.
func phaseTree(t *testing.T, dir, log string, fails ...string) {
	t.Helper()
	put := func(name, text string, mode fs.FileMode) {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"pre-configure.d/20-b", "pre-configure.d/9-first", "pre-configure.d/100-last", "pre-configure.d/20-a", "pre-configure.d/nonumber", "pre-configure.d/Nonumber",
		"pre-configure.d/-5_minus", "pre-configure.d/007-bond", "pre-configure.d/20-b.orig", "pre-configure.d/20-b~", "pre-configure.d/.hidden", "pre-configure.d/18446744073709551617-large",
		"configure.d/50-x", "post-configure.d/99-done", "migration.d/1", "error.d/1-tell", "error.d/2-more", "other.d/1", "configure.d/sub/10-deep"} {
		text := "#!/bin/sh\necho \"" + name + " ${FROM_FILE:-} ${NOT_EXPORTED:-}\" >>" + log + "\n"
		for _, f := range fails {
			if f == name {
				text += "exit 3\n"
			}
		}
		put(name, text, 0o755)
	}
	put("configure.d/60-not-executable", "#!/bin/sh\necho wrong >>"+log+"\n", 0o644)
	put("shared/script", "#!/bin/sh\necho \"link $FROM_FILE\" >>"+log+"\n", 0o755)
	if err := os.Symlink("../shared/script", filepath.Join(dir, "configure.d/70-link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "configure.d/80-dangling")); err != nil {
		t.Fatal(err)
	}
	put("environment.d/20-two.sh", "export FROM_FILE=$FROM_FILE+two\nNOT_EXPORTED=x\n", 0o644)
	put("environment.d/10-one", "export FROM_FILE=one\n", 0o644)
	put("environment.d/30 with space", "export FROM_FILE=wrong\n", 0o644)
	put("environment.d/3_three", "export FROM_FILE=$FROM_FILE+three\n", 0o644)
}

// TestPhasesAsOsRefreshConfig: which scripts run, in which order, with which environment, and what a failure does. The real program of
// Debian, where it is installed, runs the same folders.
func TestPhasesAsOsRefreshConfig(t *testing.T) {
	const env = " one+two+three \n"
	pre := []string{"-5_minus", "Nonumber", "nonumber", "007-bond", "9-first", "20-a", "20-b", "100-last", "18446744073709551617-large"}
	lines := func(phase string, names ...string) string {
		var sb strings.Builder
		for _, n := range names {
			sb.WriteString(phase + n + env)
		}
		return sb.String()
	}
	for _, tt := range []struct {
		name  string
		fails []string
		want  string
	}{
		{"all well", nil, lines("pre-configure.d/", pre...) + lines("configure.d/", "50-x") + "link one+two+three\n" + lines("post-configure.d/", "99-done") + lines("migration.d/", "1")},
		{"a failure", []string{"pre-configure.d/20-a", "error.d/1-tell"}, lines("pre-configure.d/", pre[:6]...) + lines("error.d/", "1-tell")},
		{"a failure late", []string{"migration.d/1"}, lines("pre-configure.d/", pre...) + lines("configure.d/", "50-x") + "link one+two+three\n" + lines("post-configure.d/", "99-done") +
			lines("migration.d/", "1") + lines("error.d/", "1-tell", "2-more")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			log := filepath.Join(root, "log")
			dir := filepath.Join(root, phaseDir)
			phaseTree(t, dir, log, tt.fails...)
			a, err := newAgent(Options{Host: host.NewReal(root)})
			if err != nil {
				t.Fatal(err)
			}
			if err := a.refresh(t.Context()); (err == nil) != (len(tt.fails) == 0) {
				t.Errorf("refresh: %v", err)
			}
			got, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if _, err := exec.LookPath("os-refresh-config"); err != nil || testing.Short() {
				t.Log("NOT COMPARED WITH THE REAL PROGRAM: os-refresh-config is not installed, or this is a short run")
				return
			}
			if err := os.Remove(log); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "os-refresh-config", "--lockfile", filepath.Join(root, "lock"))
			cmd.Env = append(os.Environ(), "OS_REFRESH_CONFIG_BASE_DIR="+dir)
			out, err := cmd.CombinedOutput()
			if (err == nil) != (len(tt.fails) == 0) {
				t.Errorf("the real one: %v\n%s", err, out)
			}
			if got, err = os.ReadFile(log); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("-want +real\n%s\n%s", diff, out)
			}
		})
	}
}
