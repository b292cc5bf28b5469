package orchestration_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/image"
)

// TestWebImage has Glance fetch an image from the web, changes it, and learns of an address that has none.
func TestWebImage(t *testing.T) {
	u := newUndercloud(t)
	blobs, err := blob.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	glance, err := image.New(image.Config{DB: u.DB, Bus: u.Bus, Jobs: u.Jobs, Log: u.Log, Auth: u.Tokens, Blob: blobs, BaseURL: u.URL + "/image", ImportFromPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	u.Mount("/image", glance.Handler())
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/disk.raw" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(make([]byte, 4096))
	}))
	defer web.Close()
	template := func(path, more string) map[string]any {
		return map[string]any{"template": fmt.Sprintf("heat_template_version: wallaby\nresources:\n  i: {type: OS::Glance::WebImage, properties: {name: disk, disk_format: raw, container_format: bare, location: %q%s}}\n"+
			"outputs: {show: {value: {get_attr: [i, show]}}}", web.URL+path, more)}
	}
	id := u.createStack("image", template("/disk.raw", ", tags: [a], extra_properties: {os_distro: debian}"))
	made, _ := outputsOf(u.stack("image", "CREATE_COMPLETE"))["show"].(map[string]any)
	if made["status"] != "active" || made["size"] != 4096.0 || made["os_distro"] != "debian" || fmt.Sprint(made["tags"]) != "[a]" {
		t.Errorf("image %v", made)
	}
	if code, out := u.request("PUT", "stacks/image/"+id, template("/disk.raw", ", tags: [b], extra_properties: {os_distro: ubuntu}")); code != 202 {
		t.Fatal(code, out)
	}
	changed, _ := outputsOf(u.stack("image", "UPDATE_COMPLETE"))["show"].(map[string]any)
	if changed["id"] != made["id"] || changed["os_distro"] != "ubuntu" || fmt.Sprint(changed["tags"]) != "[b]" {
		t.Errorf("changed image %v, before %v", changed, made)
	}
	u.createStack("absent", template("/absent.raw", ""))
	if st := u.stack("absent", "CREATE_FAILED"); !strings.Contains(fmt.Sprint(st["stack_status_reason"]), web.URL+"/absent.raw") {
		t.Errorf("reason %v", st["stack_status_reason"])
	}
	if code, out := u.request("DELETE", "stacks/image/"+id, nil); code != 204 {
		t.Fatal(code, out)
	}
	u.stack("image", "DELETE_COMPLETE")
}

// TestSwiftSignalCount waits for several signals to one handle, which the object's versions keep, and for one
// that tells of a failure.
func TestSwiftSignalCount(t *testing.T) {
	u := newUndercloud(t)
	const template = `heat_template_version: wallaby
resources:
  h: {type: OS::Heat::SwiftSignalHandle}
  w: {type: OS::Heat::SwiftSignal, properties: {handle: {get_resource: h}, timeout: 60, count: 3}}
outputs:
  data: {value: {get_attr: [w, data]}}
  url: {value: {get_resource: h}}
`
	address := func(name, id string) string {
		var url string
		u.eventually("the handle of "+name, func() bool {
			_, out := u.request("GET", "stacks/"+name+"/"+id, nil)
			url, _ = outputsOf(out["stack"].(map[string]any))["url"].(string)
			return strings.HasPrefix(url, "http")
		})
		return url
	}
	put := func(url, body string) {
		t.Helper()
		if code, out := u.fetch("PUT", url, body); code/100 != 2 {
			t.Fatalf("signal: %d %s", code, out)
		}
	}
	id := u.createStack("three", map[string]any{"template": template})
	url := address("three", id)
	put(url, `{"id": "a", "status": "SUCCESS", "data": "first"}`)
	put(url, `{"id": "a", "status": "SUCCESS", "data": "again"}`) // the same id counts once
	put(url, `{"id": "b", "data": "second"}`)
	if _, out := u.request("GET", "stacks/three/"+id, nil); out["stack"].(map[string]any)["stack_status"] != "CREATE_IN_PROGRESS" {
		t.Errorf("after two of three: %v", out)
	}
	put(url, "")
	data := fmt.Sprint(outputsOf(u.stack("three", "CREATE_COMPLETE"))["data"])
	if !strings.Contains(data, `"again"`) || !strings.Contains(data, `"second"`) || strings.Contains(data, "first") {
		t.Errorf("data %s", data)
	}
	id = u.createStack("fails", map[string]any{"template": template})
	put(address("fails", id), `{"status": "FAILURE", "reason": "no power"}`)
	if st := u.stack("fails", "CREATE_FAILED"); !strings.Contains(fmt.Sprint(st["stack_status_reason"]), "no power") {
		t.Errorf("reason %v", st["stack_status_reason"])
	}
	for _, name := range []string{"three", "fails"} {
		if code, out := u.request("DELETE", "stacks/"+name, nil); code != 204 && code != 302 {
			t.Fatal(code, out)
		}
		u.stack(name, "DELETE_COMPLETE")
	}
}
