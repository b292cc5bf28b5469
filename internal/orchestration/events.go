package orchestration

import (
	"net/http"
	"net/url"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/orchestration/engine"
	"github.com/tripleo/tripleo/internal/store"
)

func (s *Service) eventView(ev *engine.Event, st, root *engine.Stack, nested bool) map[string]any {
	base := s.stackURL(st)
	res := base + "/resources/" + url.PathEscape(ev.ResourceName)
	links := []any{link("self", res+"/events/"+ev.ID), link("resource", res), link("stack", base)}
	if nested {
		links = append(links, link("root_stack", s.stackURL(root)))
	}
	return map[string]any{"id": ev.ID, "event_time": ev.Created.UTC().Format(api.TimeFormat), "links": links, "logical_resource_id": ev.ResourceName,
		"resource_name": ev.ResourceName, "physical_resource_id": ev.PhysicalID, "resource_status": ev.Action + "_" + ev.Status, "resource_status_reason": ev.Reason,
		"resource_type": ev.ResourceType, "resource_path": ev.Path, "position": ev.Pos}
}

func (s *Service) listEvents(w http.ResponseWriter, r *http.Request) error {
	st, _, err := s.find(r)
	if err != nil {
		return err
	}
	levels, err := depth(r)
	if err != nil {
		return err
	}
	page, err := api.ParsePage(r, 0)
	if err != nil {
		return err
	}
	q := engine.EventQuery{StackID: st.ID, RootID: st.RootID, Depth: st.Depth, Levels: levels, Resource: r.PathValue("resource"), Limit: page.Limit, Marker: page.Marker, Descending: !page.Ascending}
	sortEvents(&q, page)
	params := r.URL.Query()
	q.Names, q.Types, q.Actions, q.Statuses = params["resource_name"], params["resource_type"], params["resource_action"], params["resource_status"]
	events, stacks, err := s.e.Events(r.Context(), q)
	if err != nil {
		return err
	}
	root := stacks[st.RootID]
	if root == nil {
		root = st
	}
	out := []any{}
	for _, ev := range events {
		owner := stacks[ev.StackID]
		if owner == nil {
			owner = st
		}
		out = append(out, s.eventView(ev, owner, root, levels > 0))
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"events": out})
}

// sortEvents takes the sort keys that Heat takes, event_time and resource_type; it ignores others.
func sortEvents(q *engine.EventQuery, page api.Page) {
	timed := false
	for i, key := range page.SortKeys {
		desc := page.SortDirs[i] == "desc"
		switch {
		case key == "resource_type" && !timed && !q.ByType:
			q.ByType, q.TypeDescending = true, desc
			q.Descending = desc
		case key == "event_time" || key == "created_at":
			timed = true // times are unique: what follows has no effect
			q.Descending = desc
		}
	}
}

func (s *Service) showEvent(w http.ResponseWriter, r *http.Request) error {
	st, _, err := s.find(r)
	if err != nil {
		return err
	}
	events, _, err := s.e.Events(r.Context(), engine.EventQuery{StackID: st.ID, RootID: st.RootID, ID: r.PathValue("event")})
	if err != nil {
		return err
	}
	if len(events) == 0 {
		return api.NotFound("The Event (%s) could not be found.", r.PathValue("event")).Named("EntityNotFound")
	}
	v := s.eventView(events[0], st, st, false)
	var rows []*engine.Row
	err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		rows, err = engine.FindRows(tx, "stack_id = ? AND name = ? AND replaced = 0", st.ID, events[0].ResourceName)
		return err
	})
	if err != nil {
		return err
	}
	v["resource_properties"] = map[string]any{}
	if len(rows) > 0 {
		v["resource_properties"] = s.visibleProps(rows[0])
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"event": v})
}
