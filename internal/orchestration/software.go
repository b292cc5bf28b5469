package orchestration

import (
	"errors"
	"net/http"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/orchestration/engine"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/yaml11"
)

func list(v []any) []any {
	if v == nil {
		return []any{}
	}
	return v
}

func object(m *Map) *Map {
	if m == nil {
		return yaml11.NewMap()
	}
	return m
}

func configView(c *resources.Config, full bool) map[string]any {
	v := map[string]any{"id": c.ID, "name": c.Name, "group": c.Group, "creation_time": api.FormatTime(c.Created)}
	if full {
		v["config"], v["inputs"], v["outputs"], v["options"] = c.Config, list(c.Inputs), list(c.Outputs), object(c.Options)
	}
	return v
}

func (s *Service) config(r *http.Request) (*resources.Config, error) {
	id, err := caller(r)
	if err != nil {
		return nil, err
	}
	var c *resources.Config
	err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		c, err = s.e.GetConfig(tx, r.PathValue("config"))
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && c.ProjectID != r.PathValue("tenant") && !id.IsAdmin() {
		return nil, api.NotFound("The Software config (%s) could not be found.", r.PathValue("config")).Named("EntityNotFound")
	}
	return c, err
}

func (s *Service) listConfigs(w http.ResponseWriter, r *http.Request) error {
	if _, err := caller(r); err != nil {
		return err
	}
	page, err := api.ParsePage(r, 0)
	if err != nil {
		return err
	}
	out := []any{}
	err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		configs, err := s.e.FindConfigs(tx, "project_id = ? ORDER BY created_at DESC, id", r.PathValue("tenant"))
		skip := page.Marker != ""
		for _, c := range configs {
			if !skip && (page.Limit == 0 || len(out) < page.Limit) {
				out = append(out, configView(c, false))
			}
			skip = skip && c.ID != page.Marker
		}
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"software_configs": out})
}

func (s *Service) createConfig(w http.ResponseWriter, r *http.Request) error {
	if _, err := caller(r); err != nil {
		return err
	}
	m, err := body(r)
	if err != nil {
		return err
	}
	c := &resources.Config{ID: uuid.NewString(), ProjectID: r.PathValue("tenant"), Group: "Heat::Ungrouped", Created: s.now().UTC()}
	c.Name, _ = value[string](m, "name")
	if g, ok := value[string](m, "group"); ok {
		c.Group = g
	}
	c.Config, _ = m.Get("config")
	c.Options, _ = value[*Map](m, "options")
	if c.Inputs, err = s.configIO(m, "inputs"); err != nil {
		return err
	}
	if c.Outputs, err = s.configIO(m, "outputs"); err != nil {
		return err
	}
	if err := s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error { return s.e.PutConfig(tx, c) }); err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"software_config": configView(c, true)})
}

// configIO checks the inputs or outputs of a config against the schema that the type has for them.
func (s *Service) configIO(m *Map, name string) ([]any, error) {
	l, given := m.Get(name)
	if !given || l == nil {
		return nil, nil
	}
	typ := s.e.Type("OS::Heat::SoftwareConfig")
	if typ == nil {
		list, _ := l.([]any)
		return list, nil
	}
	entries, _ := l.([]any)
	values := make([]any, len(entries)) // of the inputs of a config that was made for one deployment
	for i, v := range entries {
		if m, ok := v.(*Map); ok && name == "inputs" {
			m = m.Clone()
			values[i], _ = m.Get("value")
			m.Delete("value")
			entries[i] = m
		}
	}
	props, err := resources.NewProps(typ, yaml11.MapOf(name, l), nil)
	if err != nil {
		return nil, api.Invalid("Property error: %v", err).Wrap(err)
	}
	out := props.List(name)
	for i, v := range out {
		m, _ := v.(*Map)
		if given, _ := entries[i].(*Map); given != nil {
			if _, ok := given.Get("replace_on_change"); !ok { // its default is not shown
				m.Delete("replace_on_change")
			}
		}
		if values[i] != nil {
			m.Set("value", values[i])
		}
	}
	return out, nil
}

func (s *Service) showConfig(w http.ResponseWriter, r *http.Request) error {
	c, err := s.config(r)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"software_config": configView(c, true)})
}

func (s *Service) deleteConfig(w http.ResponseWriter, r *http.Request) error {
	c, err := s.config(r)
	if err != nil {
		return err
	}
	err = s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		used := 0
		if err := tx.Get([]any{&used}, "SELECT COUNT(*) FROM heat_deployments WHERE config_id = ?", c.ID); err != nil {
			return err
		}
		if used > 0 {
			return api.Invalid("Software config with id %s can not be deleted as it is referenced.", c.ID).Named("InvalidRestrictedAction")
		}
		_, err := tx.Exec("DELETE FROM heat_configs WHERE id = ?", c.ID)
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func deploymentView(d *resources.Deployment) map[string]any {
	return map[string]any{"id": d.ID, "server_id": d.ServerID, "config_id": d.ConfigID, "input_values": object(d.Inputs), "output_values": object(d.Outputs),
		"action": d.Action, "status": d.Status, "status_reason": d.Reason, "creation_time": api.FormatTime(d.Created), "updated_time": api.FormatTime(d.Updated)}
}

func (s *Service) deployment(r *http.Request) (*resources.Deployment, error) {
	id, err := caller(r)
	if err != nil {
		return nil, err
	}
	var d *resources.Deployment
	err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		d, err = engine.GetDeployment(tx, r.PathValue("deployment"))
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && d.ProjectID != r.PathValue("tenant") && !id.IsAdmin() {
		return nil, api.NotFound("The Software deployment (%s) could not be found.", r.PathValue("deployment")).Named("EntityNotFound")
	}
	return d, err
}

func (s *Service) listDeployments(w http.ResponseWriter, r *http.Request) error {
	if _, err := caller(r); err != nil {
		return err
	}
	where, args := "project_id = ?", []any{r.PathValue("tenant")}
	if id := r.URL.Query().Get("server_id"); id != "" {
		where, args = where+" AND server_id = ?", append(args, id)
	}
	if status := r.URL.Query().Get("status"); status != "" { // not in Heat
		where, args = where+" AND status = ?", append(args, status)
	}
	out := []any{}
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		l, err := engine.FindDeployments(tx, where+" ORDER BY created_at, id", args...)
		for _, d := range l {
			out = append(out, deploymentView(d))
		}
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"software_deployments": out})
}

// apply reads the fields of a request into d.
func apply(d *resources.Deployment, m *Map) {
	for key, field := range map[string]*string{"config_id": &d.ConfigID, "server_id": &d.ServerID, "action": &d.Action, "status": &d.Status, "status_reason": &d.Reason} {
		if v, ok := value[string](m, key); ok {
			*field = v
		}
	}
	if v, ok := value[*Map](m, "input_values"); ok {
		d.Inputs = v
	}
	if v, ok := value[*Map](m, "output_values"); ok {
		d.Outputs = v
	}
}

func (s *Service) saveDeployment(r *http.Request, d *resources.Deployment) error {
	return s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		if _, err := s.e.GetConfig(tx, d.ConfigID); err != nil {
			if errors.Is(err, store.ErrNotFound) {
				return api.NotFound("The Software config (%s) could not be found.", d.ConfigID).Named("EntityNotFound")
			}
			return err
		}
		if err := engine.PutDeployment(tx, d); err != nil {
			return err
		}
		s.e.PublishDeployment(tx, d.ID)
		if d.StackID != "" {
			if err := s.cfg.Jobs.Poke(tx, engine.JobStack, d.StackID, nil); err != nil {
				return err
			}
		}
		return s.e.PokeMetadata(tx, d.ServerID)
	})
}

func (s *Service) createDeployment(w http.ResponseWriter, r *http.Request) error {
	if _, err := caller(r); err != nil {
		return err
	}
	m, err := body(r)
	if err != nil {
		return err
	}
	d := &resources.Deployment{ID: uuid.NewString(), ProjectID: r.PathValue("tenant"), Action: "INIT", Status: engine.Complete, Created: s.now().UTC()}
	apply(d, m)
	if d.ServerID == "" || d.ConfigID == "" {
		return api.Invalid("a software deployment needs server_id and config_id")
	}
	if err := s.saveDeployment(r, d); err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"software_deployment": deploymentView(d)})
}

func (s *Service) showDeployment(w http.ResponseWriter, r *http.Request) error {
	d, err := s.deployment(r)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"software_deployment": deploymentView(d)})
}

func (s *Service) updateDeployment(w http.ResponseWriter, r *http.Request) error {
	d, err := s.deployment(r)
	if err != nil {
		return err
	}
	m, err := body(r)
	if err != nil {
		return err
	}
	apply(d, m)
	d.Updated = s.now().UTC()
	if err := s.saveDeployment(r, d); err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"software_deployment": deploymentView(d)})
}

func (s *Service) deleteDeployment(w http.ResponseWriter, r *http.Request) error {
	d, err := s.deployment(r)
	if err != nil {
		return err
	}
	err = s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		if _, err := tx.Exec("DELETE FROM heat_deployments WHERE id = ?", d.ID); err != nil {
			return err
		}
		return s.e.PokeMetadata(tx, d.ServerID)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) deploymentMetadata(w http.ResponseWriter, r *http.Request) error {
	id, err := caller(r)
	if err != nil {
		return err
	}
	var out []any
	err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		ds, err := engine.FindDeployments(tx, "server_id = ?", r.PathValue("server"))
		if err != nil {
			return err
		}
		for _, d := range ds {
			if d.ProjectID != r.PathValue("tenant") && !id.IsAdmin() {
				return nil
			}
		}
		out, err = s.e.DeploymentsMetadata(tx, r.PathValue("server"))
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"metadata": list(out)})
}
