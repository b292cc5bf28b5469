package baremetal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"

	"github.com/tripleo/tripleo/internal/baremetal"
	"github.com/tripleo/tripleo/internal/baremetal/baremetaltest"
)

// TestLogsOfAFailedRamdisk: what the ramdisk logged is there after a failure, for whoever runs the undercloud only, and the
// node's history says where; the oldest archives go.
func TestLogsOfAFailedRamdisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	h := newHarness(t, func(c *baremetal.Config) { c.LogsDir = dir })
	m, id := h.enroll()
	m.Spoil(func(s *baremetaltest.Spoil) { s.Logs = []byte("archive of the ramdisk") })
	explode := func() {
		t.Helper()
		h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "clean", "clean_steps": [{"interface": "deploy", "step": "explode"}]}`, 202)
		h.untilState(id, "clean failed")
		h.until(id, "the machine is off", func(*nodes.Node) bool { return m.Seen().Power == "Off" })
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range 210 { // of earlier years, and a file of somebody else
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s_2001-01-01-00-%02d-%02d.tar.gz", id, i/60, i%60)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "readme"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	explode()
	found, err := filepath.Glob(filepath.Join(dir, id+"_20[^0]*.tar.gz"))
	if err != nil || len(found) != 1 {
		t.Fatalf("archives %v, %v", found, err)
	}
	text, err := os.ReadFile(found[0])
	info, err2 := os.Stat(found[0])
	if err != nil || err2 != nil || string(text) != "archive of the ramdisk" || info.Mode().Perm() != 0o600 {
		t.Errorf("%q, mode %v, %v, %v", text, info, err, err2)
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 201 {
		t.Errorf("%d files are left, expected the newest 200 archives and what is none, %v", len(all), err)
	}
	if _, err := os.Stat(filepath.Join(dir, id+"_2001-01-01-00-00-10.tar.gz")); err == nil {
		t.Error("an old archive is left")
	}
	told := false
	list, _ := h.must("GET", "/v1/nodes/"+id+"/history?detail=true", "", 200)["history"].([]any)
	for _, e := range list {
		event, _ := e.(map[string]any)
		told = told || strings.Contains(fmt.Sprint(event["event"]), found[0])
	}
	if !told {
		t.Errorf("the history does not name the file: %v", list)
	}
	// A ramdisk that has none to give, or is dead, changes nothing of the failure.
	h.verb(id, nodes.TargetManage)
	m.Spoil(func(s *baremetaltest.Spoil) { s.Logs = nil; s.DieAt = "log.collect_system_logs" })
	explode()
	if n := h.get(id); !strings.Contains(n.LastError, "it exploded") {
		t.Errorf("last error %q", n.LastError)
	}
}
