package orchestration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRenderedPlan deploys a plan that was rendered before, from the folder PLAN_DIR, with the test in the
// place of Nova and the nodes. It is for work on plans; the demo proves the default plan on machines.
func TestRenderedPlan(t *testing.T) {
	dir := os.Getenv("PLAN_DIR")
	if dir == "" {
		t.Skip("PLAN_DIR names no rendered plan")
	}
	files := map[string]any{}
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		files[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	u := newUndercloud(t)
	u.ctlplane()
	begun := time.Now()
	u.createStack("overcloud", map[string]any{"template": files["overcloud.yaml"], "template_file": "overcloud.yaml", "files": files,
		"environment": files["overcloud-resource-registry.yaml"].(string) + passwords(files), "parameters": map[string]any{"ControllerCount": 1, "ComputeCount": 1}})
	t.Logf("validated in %v", time.Since(begun))
	servers := u.boot(2, "ACTIVE")
	urls := map[string]bool{}
	for _, s := range servers {
		raw := metadataURL(t, s)
		urls[raw] = true
	}
	done := map[string]bool{}
	u.eventually("the end of the deployment", func() bool {
		for url := range urls {
			l, _ := u.metadata(url)["deployments"].([]any)
			for _, d := range l {
				m := d.(map[string]any)
				if id := m["id"].(string); !done[id] {
					done[id] = true
					t.Logf("%v %s %s", time.Since(begun), m["name"], m["group"])
					if input(m, "deploy_signal_id") != nil {
						u.signal(m, map[string]any{"deploy_status_code": 0})
					}
				}
			}
		}
		_, out := u.request("GET", "stacks?name=overcloud", nil)
		st := out["stacks"].([]any)[0].(map[string]any)
		return !strings.HasSuffix(st["stack_status"].(string), "IN_PROGRESS")
	})
	st := u.stack("overcloud", "CREATE_COMPLETE")
	t.Logf("created in %v\n%v", time.Since(begun), fmt.Sprint(outputsOf(st)))
}

// passwords gives every parameter without default whose name sounds like a secret a value.
func passwords(files map[string]any) string {
	out := "\nparameter_defaults:\n"
	for _, name := range []string{"RabbitPassword", "AdminPassword", "AdminToken", "KeystoneCredential0", "KeystoneCredential1", "MysqlClustercheckPassword", "RpcPassword", "NotifyPassword"} {
		for _, text := range files {
			if strings.Contains(text.(string), "  "+name+":\n") {
				out += "  " + name + ": made-up-for-the-test-000000000000000000000\n"
				break
			}
		}
	}
	return out
}
