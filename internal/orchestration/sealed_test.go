package orchestration_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/auth/seal"
	"github.com/tripleo/tripleo/internal/orchestration"
	"github.com/tripleo/tripleo/internal/store"
)

const secretive = `heat_template_version: wallaby
parameters:
  password: {type: string, hidden: true}
  pin: {type: string}
  shared: {type: string, hidden: true}
resources:
  value: {type: OS::Heat::Value, properties: {value: {list_join: ["-", [{get_param: password}, {get_param: pin}, {get_param: shared}]]}}}
  test: {type: OS::Heat::TestResource, properties: {value: {get_attr: [value, value]}}}
  config: {type: OS::Heat::SoftwareConfig, properties: {config: {get_param: password}, inputs: [{name: x, default: {get_param: pin}}]}}
  nested: {type: nested.yaml, properties: {password: {get_param: password}}}
outputs:
  all: {value: {get_attr: [value, value]}}
`

const secretiveNested = `heat_template_version: wallaby
parameters: {password: {type: string, hidden: true}}
resources: {r: {type: OS::Heat::ResourceGroup, properties: {count: 1, resource_def: {type: OS::Heat::Value, properties: {value: {get_param: password}}}}}}
outputs: {o: {value: {get_param: password}}}
`

// TestSecretsAtRest makes stacks with hidden parameters and looks for their values in every table and in the answers.
func TestSecretsAtRest(t *testing.T) {
	u := newUndercloudWith(t, func(cfg *orchestration.Config) {
		keys, err := seal.OpenKeys(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		cfg.DB.Protect(keys)
	})
	env := "parameters: {pin: 'pin-hunter2'}\nparameter_defaults: {shared: shared-hunter2}\nencrypted_param_names: [pin]\n"
	body := map[string]any{"template": secretive, "files": map[string]any{"nested.yaml": secretiveNested, "e.yaml": env}, "environment_files": []any{"e.yaml"}, "parameters": map[string]any{"password": "pw-hunter2"}}
	id := u.createStack("s", body)
	st := u.stack("s", "CREATE_COMPLETE")
	if o := outputsOf(st); o["all"] != "pw-hunter2-pin-hunter2-shared-hunter2" {
		t.Errorf("outputs %v", o)
	}
	if code, out := u.request("PATCH", "stacks/s/"+id, map[string]any{"parameters": map[string]any{"password": "pw2-hunter2"}}); code != 202 {
		t.Fatal(code, out)
	}
	st = u.stack("s", "UPDATE_COMPLETE")
	if o := outputsOf(st); o["all"] != "pw2-hunter2-pin-hunter2-shared-hunter2" {
		t.Errorf("outputs %v", o)
	}
	if code, out := u.request("POST", "stacks/s/"+id+"/snapshots", map[string]any{}); code != 200 && code != 202 {
		t.Fatal(code, out)
	}
	u.stack("s", "SNAPSHOT_COMPLETE")
	if p := fmt.Sprint(st["parameters"]); strings.Contains(p, "hunter2") {
		t.Errorf("stack show tells %s", p)
	}
	for _, path := range []string{"stacks/s/" + id + "/resources/config/metadata", "stacks/s/" + id + "/events?nested_depth=5"} {
		if _, out := u.request("GET", path, nil); strings.Contains(text(out), "hunter2") {
			t.Errorf("%s tells %v", path, out)
		}
	}
	if _, out := u.request("GET", "stacks/s/"+id+"/environment", nil); strings.Contains(text(out), "hunter2") || !strings.Contains(text(out["parameter_defaults"].(map[string]any)), "******") {
		t.Errorf("environment show tells %v", out)
	}
	body["parameters"] = map[string]any{"password": "pw-hunter2"}
	if _, out := u.request("POST", "validate?show_nested=true", body); strings.Contains(text(out["Parameters"].(map[string]any)["password"].(map[string]any)), "hunter2") ||
		strings.Contains(text(out["Environment"].(map[string]any)["parameters"].(map[string]any)), "hunter2") {
		t.Errorf("validate tells %v", out)
	}
	seen := 0
	for _, table := range []string{"heat_raw", "heat_stacks", "heat_resources", "heat_events", "heat_configs", "heat_contents", "heat_deployments", "heat_targets", "heat_inbox", "heat_secrets", "heat_snapshots", "heat_copies", "heat_outbox"} {
		err := u.DB.View(t.Context(), func(tx *store.Tx) error {
			rows, err := tx.Query("SELECT * FROM " + table)
			if err != nil {
				return err
			}
			defer func() { _ = rows.Close() }()
			columns, err := rows.Columns()
			if err != nil {
				return err
			}
			for rows.Next() {
				seen++
				values, into := make([]sql.RawBytes, len(columns)), make([]any, len(columns))
				for i := range values {
					into[i] = &values[i]
				}
				if err := rows.Scan(into...); err != nil {
					return err
				}
				for i, v := range values {
					if strings.Contains(string(v), "hunter2") {
						t.Errorf("%s.%s holds a secret: %s", table, columns[i], v)
					}
				}
			}
			return rows.Err()
		})
		if err != nil {
			t.Fatal(table, err)
		}
	}
	if seen < 20 {
		t.Errorf("only %d rows seen", seen)
	}
}
