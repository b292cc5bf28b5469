package baremetal_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"

	"github.com/tripleo/tripleo/internal/baremetal/baremetaltest"
)

// mediaNode is a machine that boots by virtual media.
func (h *harness) mediaNode() (m *baremetaltest.Machine, id string) {
	h.t.Helper()
	m, id = h.enroll()
	h.must("PATCH", "/v1/nodes/"+id, `[{"op": "replace", "path": "/boot_interface", "value": "redfish-virtual-media"}]`, 200)
	return m, id
}

// code is the status of a request to the node listener.
func (h *harness) code(url string) int {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// TestVirtualMediaDeployment: the ramdisk comes on a CD, whose URL nobody can
// guess and which is gone afterwards.
func TestVirtualMediaDeployment(t *testing.T) {
	h := newHarness(t, nil)
	m, id := h.mediaNode()
	h.prepareDeploy(id)
	h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "active"}`, 202)
	h.untilState(id, "active")
	s := m.Seen()
	if s.Ramdisks != 1 || len(s.Disk) == 0 || s.Args["ipa-api-url"] == "" || s.Args["BOOTIF"] != "" {
		t.Errorf("%d ramdisks with arguments %v, %d bytes on the disk", s.Ramdisks, s.Args, len(s.Disk))
	}
	if s.Boot["BootSourceOverrideTarget"] != "Hdd" {
		t.Errorf("the instance boots from %v", s.Boot)
	}
	if now := m.Media(); now != "" {
		t.Errorf("in the drive of the instance is still %s", now)
	}
	files, err := filepath.Glob(filepath.Join(h.dir, "cache", "media", "*"))
	if err != nil || len(files) != 0 {
		t.Errorf("left of the CD: %v, %v", files, err)
	}
	if n := h.must("GET", "/v1/nodes/"+id, "", 200); strings.Contains(fmt.Sprint(n), "media_token") {
		t.Error("the node shows the token of its CD")
	}
}

// TestVirtualMediaOfTheOperator: deploy_iso is served as it is, or named as it is.
func TestVirtualMediaOfTheOperator(t *testing.T) {
	h := newHarness(t, nil)
	m, id := h.mediaNode()
	h.prepareDeploy(id)
	iso := filepath.Join(h.dir, "own.iso")
	if err := os.WriteFile(iso, []byte("LABEL x\n  APPEND ipa-api-url="+h.node.URL+"/baremetal\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.must("PATCH", "/v1/nodes/"+id, `[{"op": "add", "path": "/driver_info/deploy_iso", "value": "file://`+iso+`"}]`, 200)
	hold := make(chan struct{})
	m.Spoil(func(s *baremetaltest.Spoil) { s.Hold = hold })
	h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "active"}`, 202)
	h.untilState(id, "wait call-back")
	url := m.Media()
	if got := h.code(url); got != 200 {
		t.Errorf("the CD in use: %d", got)
	}
	if got := h.code(url[:strings.LastIndex(url, "/")] + "/guess.iso"); got != 404 {
		t.Errorf("a guessed name: %d, want 404", got)
	}
	close(hold)
	h.untilState(id, "active")
	if got := h.code(url); got != 404 {
		t.Errorf("the CD afterwards: %d, want 404", got)
	}
	h.must("PATCH", "/v1/nodes/"+id, `[{"op": "replace", "path": "/driver_info/deploy_iso", "value": "http://192.0.2.9/ipa.iso"}]`, 200)
	m.Spoil(func(s *baremetaltest.Spoil) { s.Hold = nil })
	h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "rebuild"}`, 202)
	h.until(id, "the operator's CD in the drive", func(*nodes.Node) bool { return m.Media() == "http://192.0.2.9/ipa.iso" })
}

// TestVirtualMediaOfAnInstance: boot_iso stays in the drive, and can be read, for as long as the instance is there.
func TestVirtualMediaOfAnInstance(t *testing.T) {
	h := newHarness(t, nil)
	m, id := h.mediaNode()
	iso := filepath.Join(h.dir, "live.iso")
	if err := os.WriteFile(iso, []byte("a live system"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.prepareDeploy(id)
	h.must("PATCH", "/v1/nodes/"+id, `[{"op": "replace", "path": "/deploy_interface", "value": "ramdisk"},
		{"op": "add", "path": "/instance_info/boot_iso", "value": "file://`+iso+`"}]`, 200)
	h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "active"}`, 202)
	h.untilState(id, "active")
	s := m.Seen()
	if s.Boot["BootSourceOverrideTarget"] != "Cd" || s.Boot["BootSourceOverrideEnabled"] != "Continuous" || s.Media == "" {
		t.Errorf("the instance boots from %v with %q in the drive", s.Boot, s.Media)
	}
	if got := h.code(s.Media); got != 200 {
		t.Errorf("the CD of the instance: %d", got)
	}
	h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "deleted"}`, 202)
	h.untilState(id, "available")
	if now := m.Media(); now != "" || h.code(s.Media) != 404 {
		t.Errorf("after the instance %q is in the drive, and its CD answers %d", now, h.code(s.Media))
	}
}
