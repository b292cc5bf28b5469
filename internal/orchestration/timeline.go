package orchestration

import (
	"net/http"
	"strconv"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/orchestration/engine"
)

// timeline shows when the resources of an operation worked and which of them determined how long it took.
// Heat has no such call.
func (s *Service) timeline(w http.ResponseWriter, r *http.Request) error {
	st, _, err := s.find(r)
	if err != nil {
		return err
	}
	number := 0
	if v := r.URL.Query().Get("operation"); v != "" {
		if number, err = strconv.Atoi(v); err != nil || number < 1 {
			return api.Invalid("operation is %q, expected a number from 1 on", v)
		}
	}
	tl, err := s.e.Timeline(r.Context(), st, number)
	if err != nil {
		return err
	}
	if number > len(tl.Operations) {
		return api.NotFound("Stack %s has no operation %d, it has %d.", st.Name, number, len(tl.Operations)).Named("EntityNotFound")
	}
	operations := []any{}
	for _, o := range tl.Operations {
		operations = append(operations, operationView(o))
	}
	out := map[string]any{"stack_name": st.Name, "stack_id": st.ID, "operations": operations, "operation": nil}
	if len(tl.Operations) > 0 {
		out["operation"] = operationView(tl.Operation)
	}
	out["resources"], out["critical_path"] = s.spans(tl, tl.Spans), s.spans(tl, tl.Critical)
	return api.WriteJSON(w, http.StatusOK, map[string]any{"timeline": out})
}

func operationView(o engine.Operation) map[string]any {
	var seconds any
	if !o.End.IsZero() {
		seconds = o.End.Sub(o.Start).Seconds()
	}
	return map[string]any{"number": o.Number, "action": o.Action, "status": o.Status, "status_reason": o.Reason, "start": micro(o.Start), "end": micro(o.End), "seconds": seconds}
}

// micro writes a time to the microsecond: timelines need more than the seconds of Heat's times.
func micro(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000Z")
}

func (s *Service) spans(tl *engine.Timeline, list []*engine.Span) []any {
	out := make([]any, 0, len(list))
	for _, sp := range list {
		out = append(out, map[string]any{"resource_name": sp.Name, "resource_type": sp.Type, "resource_path": sp.Path, "physical_resource_id": sp.PhysicalID,
			"stack_name": sp.StackName, "stack_id": sp.StackID, "depth": sp.Depth, "action": sp.Action, "status": sp.Status, "position": sp.Pos, "start": micro(sp.Start), "end": micro(sp.End),
			"offset": sp.Start.Sub(tl.Operation.Start).Seconds(), "seconds": sp.End.Sub(sp.Start).Seconds(), "wait": sp.Wait.Seconds(), "critical": sp.Critical})
	}
	return out
}
