package compute_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
)

// at is the user's client of compute with a microversion.
func (u *user) at(version string) *gophercloud.ServiceClient {
	c := *u.nova
	c.Microversion = version
	return &c
}

// ask makes a request and returns the status and what was answered.
func (u *user) ask(version, method, path string, body any) (int, map[string]any) {
	u.Helper()
	c := u.at(version)
	var out map[string]any
	opts := &gophercloud.RequestOpts{JSONResponse: &out, OkCodes: []int{200, 202, 204, 400, 403, 404, 409, 501}}
	if body != nil {
		opts.JSONBody = body
	}
	res, err := c.Request(u.Context(), method, c.ServiceURL(strings.Split(path, "/")...), opts)
	if res == nil {
		u.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode, out
}

// TestOperatorsWordsAboutHosts: what an operator says of a compute service is
// seen at its hypervisor, and counts when a machine is looked for.
func TestOperatorsWordsAboutHosts(t *testing.T) {
	t.Parallel()
	u := newUndercloud(t)
	admin := u.as(u.Admin())
	set := func(body map[string]any) {
		t.Helper()
		_, all := admin.ask("2.53", http.MethodGet, "os-services", nil)
		list, _ := all["services"].([]any)
		for _, s := range list {
			if m, _ := s.(map[string]any); m["binary"] == "nova-compute" {
				if code, out := admin.ask("2.53", http.MethodPut, "os-services/"+fmt.Sprint(m["id"]), body); code != 200 {
					t.Fatalf("%d %v", code, out)
				}
			}
		}
	}
	hypervisor := func() string {
		t.Helper()
		_, out := admin.ask("2.88", http.MethodGet, "os-hypervisors/n1", nil)
		h, _ := out["hypervisor"].(map[string]any)
		s, _ := h["service"].(map[string]any)
		return fmt.Sprint(h["state"], " ", h["status"], " ", s["disabled_reason"])
	}
	refused := func() string {
		t.Helper()
		s := must[*servers.Server](t)(servers.Create(t.Context(), admin.nova, servers.CreateOpts{Name: "s", ImageRef: imageID, FlavorRef: u.flavorNamed("f" + hypervisor()), Networks: "none"}, nil).Extract())
		for {
			now := must[*servers.Server](t)(servers.Get(t.Context(), admin.nova, s.ID).Extract())
			if now.Status != "BUILD" {
				return now.Status + ": " + now.Fault.Message
			}
		}
	}
	if got := hypervisor(); got != "up enabled <nil>" {
		t.Errorf("at first it is %s", got)
	}
	set(map[string]any{"status": "disabled", "disabled_reason": "fan"})
	if got := hypervisor(); got != "up disabled fan" {
		t.Errorf("disabled, it is %s", got)
	}
	if got := refused(); !strings.Contains(got, "disabled: fan") {
		t.Errorf("a server on a disabled host: %s", got)
	}
	set(map[string]any{"status": "enabled"})
	set(map[string]any{"forced_down": true})
	if got := hypervisor(); got != "down enabled <nil>" {
		t.Errorf("forced down, it is %s", got)
	}
	if got := refused(); !strings.Contains(got, "forced down") {
		t.Errorf("a server on a host that is forced down: %s", got)
	}
	if code, _ := admin.ask("2.88", http.MethodGet, "os-hypervisors/statistics", nil); code != 404 {
		t.Errorf("statistics at 2.88: %d, expected 404", code)
	}
	if code, _ := admin.ask("2.87", http.MethodGet, "os-hypervisors/statistics", nil); code != 200 {
		t.Errorf("statistics at 2.87: %d, expected 200", code)
	}
}

func (u *undercloud) flavorNamed(name string) string {
	u.Helper()
	disk := 10
	return must[*flavors.Flavor](u.T)(flavors.Create(u.Context(), u.as(u.Admin()).nova, flavors.CreateOpts{Name: name, RAM: 512, VCPUs: 1, Disk: &disk}).Extract()).ID
}

func TestFieldsOfUpdatesAndRebuildsAreChecked(t *testing.T) {
	t.Parallel()
	u := newUndercloud(t)
	member := u.as(u.User("m", "p1", "member"))
	id := member.boot("none")
	long := strings.Repeat("x", 256)
	for _, tc := range []struct {
		reason, version string
		update          bool
		fields          map[string]any
		want            int
	}{
		{"a name of blanks", "2.1", true, map[string]any{"name": " "}, 400},
		{"a long name", "2.1", true, map[string]any{"name": long}, 400},
		{"a long description", "2.19", true, map[string]any{"description": long}, 400},
		{"an IPv6 address as accessIPv4", "2.1", true, map[string]any{"accessIPv4": "::1"}, 400},
		{"no address", "2.1", true, map[string]any{"accessIPv6": "x"}, 400},
		{"an unknown disk configuration", "2.1", true, map[string]any{"OS-DCF:diskConfig": "none"}, 400},
		{"a hostname before 2.90", "2.89", true, map[string]any{"hostname": "h"}, 400},
		{"no hostname", "2.90", true, map[string]any{"hostname": "a.b"}, 400},
		{"a hostname", "2.90", true, map[string]any{"hostname": "h"}, 200},
		{"an address", "2.1", true, map[string]any{"accessIPv6": "FE80:0::1"}, 200},
		{"no image", "2.1", false, map[string]any{"name": "n"}, 400},
		{"a long name", "2.1", false, map[string]any{"imageRef": imageID, "name": long}, 400},
		{"metadata with a long key", "2.1", false, map[string]any{"imageRef": imageID, "metadata": map[string]any{long: "v"}}, 400},
		{"a key before 2.54", "2.53", false, map[string]any{"imageRef": imageID, "key_name": nil}, 400},
		{"user data before 2.57", "2.56", false, map[string]any{"imageRef": imageID, "user_data": "eA=="}, 400},
		{"user data that is not base64", "2.57", false, map[string]any{"imageRef": imageID, "user_data": "?"}, 400},
		{"long user data", "2.57", false, map[string]any{"imageRef": imageID, "user_data": strings.Repeat("A", 65536)}, 400},
		{"taking key and user data away", "2.57", false, map[string]any{"imageRef": imageID, "user_data": nil, "key_name": nil, "preserve_ephemeral": true}, 202},
	} {
		method, path, body := http.MethodPut, "servers/"+id, map[string]any{"server": tc.fields}
		if !tc.update {
			method, path, body = http.MethodPost, path+"/action", map[string]any{"rebuild": tc.fields}
		}
		code, out := member.ask(tc.version, method, path, body)
		if code != tc.want {
			t.Errorf("%s at %s: %d %v, expected %d", tc.reason, tc.version, code, out, tc.want)
		}
	}
	s := must[*servers.Server](t)(servers.Get(t.Context(), member.nova, id).Extract())
	if s.AccessIPv6 != "fe80::1" {
		t.Errorf("accessIPv6 is %s", s.AccessIPv6)
	}
	for u.ironic.told("/instance_info/preserve_ephemeral") == nil {
		u.Bus.Publish("baremetal/node/n1") // the job is under way
	}
	if told := u.ironic.told("/instance_info/preserve_ephemeral"); told != true {
		t.Errorf("Ironic was told preserve_ephemeral %v", told)
	}
}

func TestTheFirstSortKeyCountsMost(t *testing.T) {
	t.Parallel()
	u := newUndercloud(t)
	admin := u.as(u.Admin())
	disk := 1
	for _, f := range []flavors.CreateOpts{{Name: "c", RAM: 1, VCPUs: 2}, {Name: "a", RAM: 2, VCPUs: 1}, {Name: "b", RAM: 1, VCPUs: 1}} {
		f.Disk = &disk
		must[*flavors.Flavor](t)(flavors.Create(t.Context(), admin.nova, f).Extract())
	}
	_, out := admin.ask("2.1", http.MethodGet, "flavors", nil)
	if len(out) == 0 {
		t.Fatal("no flavors")
	}
	page, err := flavors.ListDetail(admin.nova, sorted("sort_key=memory_mb&sort_dir=asc&sort_key=vcpus&sort_dir=desc")).AllPages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range must[[]flavors.Flavor](t)(flavors.ExtractFlavors(page)) {
		names = append(names, f.Name)
	}
	if !slices.Equal(names, []string{"c", "b", "a"}) {
		t.Errorf("by memory, then falling by CPUs: %v, expected c, b, a", names)
	}
}

type sorted string

func (s sorted) ToFlavorListQuery() (string, error) { return "?" + string(s), nil }
