package workflow

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/store"
)

// dump is every value of every table, with the name of its column.
func dump(t *testing.T, db *store.DB) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	err := db.View(t.Context(), func(tx *store.Tx) error {
		var tables []string
		err := tx.Each(func(scan func(...any) error) error {
			var name string
			err := scan(&name)
			tables = append(tables, name)
			return err
		}, `SELECT name FROM sqlite_master WHERE type = 'table'`)
		if err != nil {
			return err
		}
		for _, table := range tables {
			if err := dumpTable(tx, table, out); err != nil {
				return fmt.Errorf("%s: %w", table, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func dumpTable(tx *store.Tx, table string, out map[string][]string) error {
	rows, err := tx.Query(`SELECT * FROM ` + table) //nolint:gosec // a table of this database
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	for rows.Next() {
		values, dest := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			dest[i] = &values[i]
		}
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		for i, v := range values {
			if b, ok := v.([]byte); ok {
				v = string(b)
			}
			out[table+"."+names[i]] = append(out[table+"."+names[i]], fmt.Sprint(v))
		}
	}
	return rows.Err()
}

// TestNothingReadableAtRest: what a workflow works with, under whatever name, is
// in no column of the database, while it runs and when it has ended.
func TestNothingReadableAtRest(t *testing.T) {
	const marker = "hush-0815"
	b := newBench(t, nil)
	b.call("member", "POST", "/v2/actions", "version: '2.0'\nmy.echo:\n  input: [text]\n  base: std.echo\n  base-input: {output: '<% $.text %>'}\nmy.wait:\n  input: [text]\n  base: std.async_noop\n  base-input: {}\n", 201)
	b.call("member", "POST", "/v2/workflows", `version: '2.0'
sub:
  input: [word]
  output: {out: <% $.word %>}
  tasks:
    rest: {action: std.noop}
w:
  input: [word]
  output: {out: <% $.p %>, both: <% global(g) %>}
  tasks:
    a:
      action: my.echo text=<% $.word %>
      on-success:
        publish: {branch: {p: <% task().result %>}, global: {g: <% task().result %>}}
        next: [b, items, hold]
    b: {workflow: sub word=<% $.p %>}
    items:
      with-items: i in <% [$.p, $.p] %>
      action: std.echo output=<% $.i %>
    hold:
      action: my.wait text=<% $.p %>
`, 201)
	b.call("member", "POST", "/v2/environments", map[string]any{"name": "e", "variables": map[string]any{"word": marker}}, 201)
	b.call("member", "POST", "/v2/cron_triggers", map[string]any{"name": "c", "workflow_name": "w", "pattern": "0 0 1 1 *",
		"workflow_input": map[string]any{"word": marker}, "workflow_params": map[string]any{"env": map[string]any{"x": marker}}}, 201)
	wf := b.call("member", "GET", "/v2/workflows/w", nil, 200)["id"]
	b.call("member", "POST", "/v2/event_triggers", map[string]any{"name": "t", "workflow_id": wf, "exchange": "x", "topic": "y", "event": "never",
		"workflow_input": map[string]any{"word": marker}, "workflow_params": map[string]any{"env": map[string]any{"x": marker}}}, 201)
	b.call("member", "POST", "/v2/events", map[string]any{"exchange": "x", "topic": "y", "event_type": "now", "payload": map[string]any{"word": marker}}, 202)

	x := b.call("member", "POST", "/v2/executions", map[string]any{"workflow_name": "w", "input": map[string]any{"word": marker}, "params": map[string]any{"env": "e"}}, 201)
	running := func() []any {
		return b.call("member", "GET", "/v2/action_executions?state=RUNNING", nil, 200)["action_executions"].([]any)
	}
	b.eventually(func() bool { return len(running()) == 1 })
	look := func(when string) {
		for column, values := range dump(t, b.svc.cfg.DB) {
			for _, v := range values {
				if strings.Contains(v, marker) {
					t.Errorf("%s, %s has %.200s", when, column, v)
				}
			}
		}
	}
	look("while it runs")
	b.call("member", "PUT", "/v2/action_executions/"+running()[0].(map[string]any)["id"].(string), map[string]any{"state": "SUCCESS", "output": `{}`}, 200)
	b.ended("member", x["id"].(string))
	look("when it has ended")

	got := b.call("member", "GET", "/v2/executions/"+x["id"].(string), nil, 200)
	if want := `{"out":"` + marker + `","both":"` + marker + `"}`; strings.ReplaceAll(fmt.Sprint(got["output"]), " ", "") != want {
		t.Errorf("output %v, want %s", got["output"], want)
	}
	if vars := b.call("member", "GET", "/v2/environments/e", nil, 200)["variables"]; !strings.Contains(fmt.Sprint(vars), marker) {
		t.Errorf("the environment has become %v", vars)
	}
}

// TestFiltersOfEncryptedColumns: conditions on documents hold though the
// database cannot read them, over pages too.
func TestFiltersOfEncryptedColumns(t *testing.T) {
	b := newBench(t, nil)
	for i := range 6 {
		b.call("member", "POST", "/v2/environments", map[string]any{"name": fmt.Sprintf("e%d", i), "variables": map[string]any{"parity": i % 2}}, 201)
	}
	names := func(query string) (out string, next string) {
		m := b.call("member", "GET", "/v2/environments?sort_keys=name&fields=name"+query, nil, 200)
		for _, e := range m["environments"].([]any) {
			out += e.(map[string]any)["name"].(string)
		}
		next, _ = m["next"].(string)
		return out, next
	}
	for query, want := range map[string]string{
		`&variables={"parity":1}`:             "e1e3e5",
		`&variables=neq:{"parity":1}`:         "e0e2e4",
		`&variables=has:{"parity":0}`:         "e0e2e4",
		`&variables=in:{"parity":1}&name=e3`:  "e3",
		`&variables={"parity":1}&limit=2`:     "e1e3",
		`&variables=nin:{"parity":1}&limit=3`: "e0e2e4",
		`&nulls=variables`:                    "",
	} {
		if got, _ := names(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	if _, next := names(`&variables={"parity":1}&limit=2`); next == "" {
		t.Error("a full page has no next one")
	}
	b.call("member", "GET", "/v2/environments?sort_keys=variables", nil, 400)
}
