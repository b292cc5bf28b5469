package undercloud

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWorkflowSection(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "text")
	if err := os.WriteFile(file, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ reason, text, err string }{
		{"all of it", "allow_local: true\n  allowed_targets: [127.0.0.1/32, fd00::/8]\n  ssh_keys: " + dir + "\n  ssh_known_hosts: " + file + "\n  js_time: 3\n  js_memory: 32", ""},
		{"a network without a length", "allowed_targets: [127.0.0.1]", "expected networks such as"},
		{"no time at all", "js_time: 0", "expected a whole number from 1"},
		{"a mistyped key", "known_hosts: x", "unknown key"},
		{"no such authority", "ca: " + filepath.Join(dir, "none"), "workflow.ca"},
		{"an authority that is none", "ca: " + file, "no certificate in PEM"},
		{"no such file of hosts", "ssh_known_hosts: " + filepath.Join(dir, "none"), "workflow.ssh_known_hosts"},
		{"keys in no folder", "ssh_keys: " + file, "is no folder"},
	} {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte("workflow:\n  "+tt.text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := LoadConfig(path)
		if err == nil {
			o, stdErr := cfg.Workflow.std()
			err = stdErr
			if tt.err == "" && (!o.AllowLocal || len(o.Allowed) != 2 || o.Allowed[0] != netip.MustParsePrefix("127.0.0.1/32") ||
				o.KeyDir != dir || o.KnownHosts != file || o.JSTime != 3*time.Second || o.JSMemory != 32<<20) {
				t.Errorf("%s: got %+v", tt.reason, o)
			}
		}
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: got %v, want %s", tt.reason, err, tt.err)
		}
	}
}
