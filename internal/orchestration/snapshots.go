package orchestration

import (
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/orchestration/engine"
	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/yaml11"
)

func snapshotView(s *engine.StackSnapshot) map[string]any {
	return map[string]any{"id": s.ID, "name": s.Name, "status": s.Status, "status_reason": s.Reason, "data": s.Data, "creation_time": api.FormatTime(s.Created)}
}

// takeSnapshot answers with the snapshot itself, without the envelope that the others have, as Heat does.
func (s *Service) takeSnapshot(w http.ResponseWriter, r *http.Request) error {
	st, _, err := s.find(r)
	if err != nil {
		return err
	}
	m, err := body(r)
	if err != nil {
		return err
	}
	name, _ := value[string](m, "name")
	snap, err := s.e.TakeSnapshot(r.Context(), st.ID, name)
	if err != nil {
		return gone(err, r)
	}
	return api.WriteJSON(w, http.StatusOK, snapshotView(snap))
}

func (s *Service) listSnapshots(w http.ResponseWriter, r *http.Request) error {
	st, _, err := s.find(r)
	if err != nil {
		return err
	}
	var list []*engine.StackSnapshot
	err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		list, err = engine.FindSnapshots(tx, "stack_id = ? ORDER BY created_at, id", st.ID)
		return err
	})
	if err != nil {
		return err
	}
	out := []any{}
	for _, snap := range list {
		out = append(out, snapshotView(snap))
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"snapshots": out})
}

func (s *Service) showSnapshot(w http.ResponseWriter, r *http.Request) error {
	st, _, err := s.find(r)
	if err != nil {
		return err
	}
	var snap *engine.StackSnapshot
	err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		snap, err = engine.GetSnapshot(tx, st.ID, r.PathValue("snapshot"))
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"snapshot": snapshotView(snap)})
}

func (s *Service) deleteSnapshot(w http.ResponseWriter, r *http.Request) error {
	st, _, err := s.find(r)
	if err != nil {
		return err
	}
	if err := s.e.DeleteSnapshot(r.Context(), st.ID, r.PathValue("snapshot")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) restoreSnapshot(w http.ResponseWriter, r *http.Request) error {
	st, _, err := s.find(r)
	if err != nil {
		return err
	}
	if err := s.e.RestoreSnapshot(r.Context(), st.ID, r.PathValue("snapshot")); err != nil {
		return gone(err, r)
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// exportStack shows what "stack adopt" takes.
func (s *Service) exportStack(w http.ResponseWriter, r *http.Request) error {
	st, _, err := s.find(r)
	if err != nil {
		return err
	}
	if st.Status == engine.InProgress {
		return api.Conflict("Stack %s already has an action (%s) in progress.", st.Name, st.Action).Named("ActionInProgress")
	}
	data, err := s.e.Export(r.Context(), st)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, data)
}

// abandonStack forgets a stack and leaves everything it made; the answer is what "stack adopt" takes.
func (s *Service) abandonStack(w http.ResponseWriter, r *http.Request) error {
	st, _, err := s.find(r)
	if err != nil {
		return err
	}
	data, err := s.e.Export(r.Context(), st)
	if err != nil {
		return err
	}
	if _, err := s.e.DeleteStack(r.Context(), st.ID, true); err != nil {
		return gone(err, r)
	}
	return api.WriteJSON(w, http.StatusOK, data)
}

// adoption reads adopt_stack_data: text or data as exportStack writes it. Template, environment and files in
// it stand for those the request lacks.
func (s *Service) adoption(m *Map) (*engine.Source, *Map, error) {
	v, _ := m.Get("adopt_stack_data")
	if v == nil {
		return nil, nil, nil
	}
	data, ok := v.(*Map)
	if text, isText := v.(string); isText {
		decoded, err := yaml11.DecodeJSON([]byte(text))
		if err != nil {
			return nil, nil, api.Invalid("Invalid adopt data: %v", err)
		}
		data, ok = decoded.(*Map)
	}
	if !ok {
		return nil, nil, api.Invalid("Invalid adopt data: must be a map, got %s", hot.KindOf(v))
	}
	base := &engine.Source{TemplateFile: "template", Env: hot.NewEnvironment(), Files: map[string]string{}, Params: yaml11.NewMap()}
	base.Template, _ = data.Get("template")
	if base.Template == nil {
		return nil, nil, api.Invalid("Invalid adopt data: it holds no template")
	}
	if _, ok := value[*Map](data, "resources"); !ok {
		return nil, nil, api.Invalid("Invalid adopt data: resources must be a map")
	}
	env, _ := data.Get("environment")
	parsed, err := hot.EnvironmentFromValue("environment", env)
	if err != nil {
		return nil, nil, api.Invalid("Invalid adopt data: %s", hot.List(err).Error())
	}
	base.Env = parsed
	if files, ok := value[*Map](data, "files"); ok {
		for k, f := range files.All() {
			base.Files[k] = hot.PyStr(f)
		}
	}
	return base, data, nil
}
