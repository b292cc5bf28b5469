package baremetal

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/baremetal/drivers"
)

// indicators reads the lights of the request's node, those of one component if
// the path names one.
func (s *Service) indicators(r *http.Request) (list []drivers.Indicator, err error) {
	component := r.PathValue("component")
	err = s.onMachine(r, func(ctx context.Context, _ *Node, m drivers.Machine) error {
		return drivers.Ask(ctx, m, "indicators", func(ctx context.Context, i drivers.Illuminated) (err error) {
			list, err = i.Indicators(ctx)
			return err
		})
	})
	if component != "" {
		list = slices.DeleteFunc(list, func(i drivers.Indicator) bool { return i.Component != component })
	}
	return list, err
}

func (s *Service) indicatorLinks(r *http.Request, path ...string) []any {
	return links(s.cfg.BaseURL, "nodes", strings.Join(append([]string{r.PathValue("node"), "management/indicators"}, path...), "/"))
}

// listIndicatorComponents serves the kinds of part that have lights.
func (s *Service) listIndicatorComponents(w http.ResponseWriter, r *http.Request) error {
	list, err := s.indicators(r)
	if err != nil {
		return err
	}
	out, seen := []any{}, map[string]bool{}
	for _, i := range list {
		if !seen[i.Component] {
			seen[i.Component] = true
			out = append(out, map[string]any{"name": i.Component, "links": s.indicatorLinks(r, i.Component)})
		}
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"components": out})
}

func (s *Service) listIndicators(w http.ResponseWriter, r *http.Request) error {
	list, err := s.indicators(r)
	if err != nil {
		return err
	}
	out := []any{}
	for _, i := range list {
		out = append(out, map[string]any{"name": i.ID, "readonly": len(i.Settable) == 0, "states": i.Settable,
			"links": s.indicatorLinks(r, i.Component, i.ID)})
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"indicators": out})
}

func (s *Service) findIndicator(r *http.Request) (drivers.Indicator, error) {
	list, err := s.indicators(r)
	if err != nil {
		return drivers.Indicator{}, err
	}
	for _, i := range list {
		if i.ID == r.PathValue("indicator") {
			return i, nil
		}
	}
	return drivers.Indicator{}, api.NotFound("Node %s has no indicator %s of component %s", r.PathValue("node"), r.PathValue("indicator"), r.PathValue("component"))
}

func (s *Service) getIndicator(w http.ResponseWriter, r *http.Request) error {
	i, err := s.findIndicator(r)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"state": i.State})
}

func (s *Service) setIndicator(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		State string `json:"state"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	i, err := s.findIndicator(r)
	if err != nil {
		return err
	}
	state := strings.ToUpper(in.State)
	if !has(i.Settable, state) {
		return api.Invalid("state is %q, indicator %s takes: %s", in.State, i.ID, strings.Join(i.Settable, ", "))
	}
	err = s.onMachine(r, func(ctx context.Context, _ *Node, m drivers.Machine) error {
		return drivers.Ask(ctx, m, "indicators", func(ctx context.Context, l drivers.Illuminated) error {
			return l.SetIndicator(ctx, i.Component, i.ID, state)
		})
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
