package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/yaml11"
)

const configColumns = "id, project_id, name, config_group, config, inputs, outputs, options, created_at, content_id"

// PutConfig writes a software config.
func (e *Engine) PutConfig(tx *store.Tx, c *resources.Config) error {
	config, inputs, content := jsonText(c.Config), jsonText(list(c.Inputs)), ""
	if len(config) >= sharedContent {
		var err error
		if content, err = e.putContent(tx, config); err != nil {
			return err
		}
		config = "null"
	}
	_, err := tx.Exec("INSERT INTO heat_configs ("+configColumns+") VALUES ("+questions(10)+") ON CONFLICT (id) DO UPDATE SET name=excluded.name, config_group=excluded.config_group, config=excluded.config, inputs=excluded.inputs, outputs=excluded.outputs, options=excluded.options, content_id=excluded.content_id",
		c.ID, c.ProjectID, c.Name, c.Group, tx.SealedText(&config, "heat_configs.config"), tx.SealedText(&inputs, "heat_configs.inputs"), jsonText(list(c.Outputs)), jsonText(c.Options), store.At(c.Created), content)
	return err
}

func list(l []any) []any {
	if l == nil {
		return []any{}
	}
	return l
}

func jsonText(v any) string {
	b, err := yaml11.EncodeJSON(v)
	if err != nil {
		return "null"
	}
	return string(b)
}

func fromText(s string) any {
	v, err := yaml11.DecodeJSON([]byte(s))
	if err != nil {
		return nil
	}
	return v
}

// scanConfig reads a config; content is the id of its content where that is shared.
func scanConfig(tx *store.Tx, scan func(...any) error) (c *resources.Config, content string, err error) {
	c = &resources.Config{}
	var config, inputs, outputs, options string
	if err := scan(&c.ID, &c.ProjectID, &c.Name, &c.Group, tx.SealedText(&config, "heat_configs.config"), tx.SealedText(&inputs, "heat_configs.inputs"), &outputs, &options, store.Time(&c.Created), &content); err != nil {
		return nil, "", store.Wrap(err)
	}
	c.Config = fromText(config)
	c.Inputs, _ = fromText(inputs).([]any)
	c.Outputs, _ = fromText(outputs).([]any)
	c.Options, _ = fromText(options).(*Map)
	return c, content, nil
}

// GetConfig returns a software config. Its content must not be changed.
func (e *Engine) GetConfig(tx *store.Tx, id string) (*resources.Config, error) {
	list, err := e.selectConfigs(tx, "SELECT "+configColumns+" FROM heat_configs WHERE id = ?", id)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("software config %s: %w", id, store.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// FindConfigs returns software configs by a condition. Their contents must not be changed.
func (e *Engine) FindConfigs(tx *store.Tx, where string, args ...any) ([]*resources.Config, error) {
	return e.selectConfigs(tx, "SELECT "+configColumns+" FROM heat_configs WHERE "+where, args...)
}

func (e *Engine) selectConfigs(tx *store.Tx, q string, args ...any) ([]*resources.Config, error) {
	var out []*resources.Config
	var shared []string
	err := tx.Each(func(scan func(...any) error) error {
		c, content, err := scanConfig(tx, scan)
		out, shared = append(out, c), append(shared, content)
		return err
	}, q, args...)
	if err != nil {
		return nil, err
	}
	for i, id := range shared { // once the rows are closed: a connection reads one thing at a time
		if id == "" {
			continue
		}
		if out[i].Config, err = e.content(tx, id); err != nil {
			return nil, err
		}
	}
	return out, nil
}

const deploymentColumns = "id, project_id, server_id, config_id, action, status, status_reason, inputs, outputs, stack_id, resource_id, created_at, updated_at"

// PutDeployment writes a software deployment.
func PutDeployment(tx *store.Tx, d *resources.Deployment) error {
	_, err := tx.Exec("INSERT INTO heat_deployments ("+deploymentColumns+") VALUES ("+questions(13)+`) ON CONFLICT (id) DO UPDATE SET server_id=excluded.server_id,
 config_id=excluded.config_id, action=excluded.action, status=excluded.status, status_reason=excluded.status_reason, inputs=excluded.inputs, outputs=excluded.outputs, updated_at=excluded.updated_at`,
		d.ID, d.ProjectID, d.ServerID, d.ConfigID, d.Action, d.Status, d.Reason, tx.SealedJSON(d.Inputs, "heat_deployments.inputs"), tx.SealedJSON(d.Outputs, "heat_deployments.outputs"), d.StackID, d.ResourceID, store.At(d.Created), store.At(d.Updated))
	return err
}

func scanDeployment(tx *store.Tx, scan func(...any) error) (*resources.Deployment, error) {
	d := &resources.Deployment{}
	err := scan(&d.ID, &d.ProjectID, &d.ServerID, &d.ConfigID, &d.Action, &d.Status, &d.Reason, tx.SealedJSON(&d.Inputs, "heat_deployments.inputs"), tx.SealedJSON(&d.Outputs, "heat_deployments.outputs"), &d.StackID, &d.ResourceID, store.Time(&d.Created), store.Time(&d.Updated))
	return d, store.Wrap(err)
}

// GetDeployment returns a software deployment.
func GetDeployment(tx *store.Tx, id string) (*resources.Deployment, error) {
	return scanDeployment(tx, tx.QueryRow("SELECT "+deploymentColumns+" FROM heat_deployments WHERE id = ?", id).Scan)
}

// FindDeployments returns software deployments by a condition.
func FindDeployments(tx *store.Tx, where string, args ...any) ([]*resources.Deployment, error) {
	var out []*resources.Deployment
	err := tx.Each(func(scan func(...any) error) error {
		d, err := scanDeployment(tx, scan)
		out = append(out, d)
		return err
	}, "SELECT "+deploymentColumns+" FROM heat_deployments WHERE "+where, args...)
	return out, err
}

// DeleteDeployment removes a deployment and its derived config, and publishes the server's metadata.
func (e *Engine) DeleteDeployment(tx *store.Tx, id string) error {
	d, err := GetDeployment(tx, id)
	if err != nil {
		return err
	}
	if _, err := tx.Exec("DELETE FROM heat_deployments WHERE id = ?", id); err != nil {
		return err
	}
	if _, err := tx.Exec("DELETE FROM heat_configs WHERE id = ?", d.ConfigID); err != nil {
		return err
	}
	return e.PokeMetadata(tx, d.ServerID)
}

// cancelDeployment fails what a resource still waits for when its operation ends without it: a late report
// must not count for a later run. Source of the rule: handle_create_cancel of Heat's SoftwareDeployment.
func (e *Engine) cancelDeployment(tx *store.Tx, row *Row) error {
	list, err := FindDeployments(tx, "id = ? AND resource_id = ? AND status = ?", row.PhysicalID, row.ID, InProgress)
	for _, d := range list {
		d.Status, d.Reason, d.Updated = Failed, "Deployment cancelled.", e.now()
		if err := PutDeployment(tx, d); err != nil {
			return err
		}
		e.PublishDeployment(tx, d.ID)
	}
	return err
}

// SignalDeployment stores the outputs a node sent. They count only while the deployment is in progress.
// Source of the rules: heat/engine/service_software_config.py, signal_software_deployment.
func (e *Engine) SignalDeployment(ctx context.Context, id string, body any) (*resources.Deployment, error) {
	var out *resources.Deployment
	err := e.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		d, err := GetDeployment(tx, id)
		if err != nil {
			return err
		}
		out = d
		details, ok := body.(*Map)
		if !ok || d.Status != InProgress {
			return nil
		}
		var declared string
		if err := tx.Get([]any{&declared}, "SELECT outputs FROM heat_configs WHERE id = ?", d.ConfigID); err != nil {
			return fmt.Errorf("software config %s: %w", d.ConfigID, err)
		}
		outputs, _ := fromText(declared).([]any)
		d.Outputs, d.Status, d.Reason = readSignal(outputs, details)
		d.Updated = e.now()
		if err := PutDeployment(tx, d); err != nil {
			return err
		}
		e.PublishDeployment(tx, d.ID)
		if d.StackID != "" {
			return e.cfg.Jobs.Poke(tx, JobStack, d.StackID, nil)
		}
		return nil
	})
	return out, err
}

// PublishDeployment wakes whoever waits for a change of a deployment.
func (e *Engine) PublishDeployment(tx *store.Tx, id string) {
	e.cfg.Bus.PublishTx(tx, "orchestration/deployment/"+id)
}

// readSignal reads a report by the outputs that the config declares.
func readSignal(declared []any, details *Map) (outputs *Map, status, reason string) {
	outputs = yaml11.NewMap()
	var errs []string
	for _, o := range declared {
		m, ok := o.(*Map)
		if !ok {
			continue
		}
		nv, _ := m.Get("name")
		name := hot.PyStr(nv)
		v, given := details.Get(name)
		if !given {
			continue
		}
		outputs.Set(name, v)
		if isErr, _ := m.Get("error_output"); isErr == true {
			errs = append(errs, name+" : "+hot.PyStr(v))
		}
	}
	code, _ := details.Get("deploy_status_code")
	if s := hot.PyStr(code); code != nil && s != "0" && s != "" && code != false {
		errs = append(errs, fmt.Sprintf("deploy_status_code : Deployment exited with non-zero status code: %s", s))
	}
	for _, k := range []string{"deploy_stdout", "deploy_stderr", "deploy_status_code"} {
		v, _ := details.Get(k)
		outputs.Set(k, v)
	}
	for k, v := range details.All() { // outputs that were not declared are kept too: people look for them
		if _, have := outputs.Get(k); !have {
			outputs.Set(k, v)
		}
	}
	if len(errs) > 0 {
		return outputs, Failed, strings.Join(errs, ", ")
	}
	return outputs, Complete, "Outputs received"
}

// DeploymentsMetadata returns the list a server finds in its metadata: deployments ordered by the name of
// their config, those whose config is gone left out. An empty config is one: a plan's nothing-to-do network
// configuration is such, and is waited for (heat/engine/service_software_config.py, metadata_software_deployments).
func (e *Engine) DeploymentsMetadata(tx *store.Tx, serverID string) ([]any, error) {
	configs, err := e.selectConfigs(tx, `SELECT c.id, c.project_id, c.name, c.config_group, c.config, c.inputs, c.outputs, c.options, c.created_at, c.content_id
 FROM heat_deployments d JOIN heat_configs c ON c.id = d.config_id WHERE d.server_id = ? ORDER BY c.name, d.created_at`, serverID)
	out := make([]any, 0, len(configs))
	for _, c := range configs {
		options := c.Options
		if options == nil {
			options = yaml11.NewMap()
		}
		out = append(out, yaml11.MapOf("id", c.ID, "name", c.Name, "group", c.Group, "config", c.Config, "inputs", list(c.Inputs), "outputs", list(c.Outputs),
			"options", options, "creation_time", c.Created.UTC().Format("2006-01-02T15:04:05Z")))
	}
	return out, err
}

// rawMessage marks text as JSON.
func rawMessage(s string) json.RawMessage { return json.RawMessage(s) }
