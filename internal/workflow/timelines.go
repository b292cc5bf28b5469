package workflow

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/workflow/engine"
	"github.com/tripleo/tripleo/internal/workflow/timeline"
	"github.com/tripleo/tripleo/yaql"
)

const (
	maxTimeline = 20_000 // tasks of one timeline
	maxWait     = time.Minute
)

// timeline answers, beyond Mistral's API, with the tasks of an execution and
// those below it in order of time, in milliseconds since its start, and the
// critical path. With ?wait=SECONDS&seen=VERSION it waits until the execution
// has changed from the version of an earlier answer.
func (s *Service) timeline(w http.ResponseWriter, r *http.Request) error {
	x, err := s.execution(r.Context(), r.PathValue("id"), identity(r))
	if err != nil {
		return err
	}
	wait, _ := strconv.Atoi(r.URL.Query().Get("wait"))
	limit := min(time.Duration(max(wait, 0))*time.Second, maxWait)
	sub := s.cfg.Bus.Subscribe(engine.Topic(x.ID))
	defer sub.Close()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		doc, err := s.timelineDoc(r.Context(), x.ID)
		if err != nil {
			return problem(err)
		}
		if wait <= 0 || str(doc, "version") != r.URL.Query().Get("seen") || engine.Completed(str(doc, "state")) {
			return api.WriteJSON(w, http.StatusOK, doc)
		}
		select {
		case <-r.Context().Done():
			return r.Context().Err()
		case <-sub.C():
		case <-timer.C:
			return api.WriteJSON(w, http.StatusOK, doc)
		}
	}
}

func (s *Service) timelineDoc(ctx context.Context, id string) (*yaql.Map, error) {
	var x *engine.Execution
	var tasks []*timeline.Task
	info := map[string]string{}
	var latest int64
	err := s.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		if x, err = engine.GetExecution(tx, id); err != nil {
			return err
		}
		latest = x.Updated.UnixMicro()
		parents := map[string][]string{}
		err = tx.Each(func(scan func(...any) error) error {
			t := &timeline.Task{}
			var doc engine.TaskDoc
			var updated time.Time
			var parent string
			err := scan(&t.ID, &t.Name, &t.State, &t.Execution, store.Time(&t.Created), store.Time(&t.Start), store.Time(&t.End),
				store.Time(&updated), store.JSON(&doc), &t.Workflow, &parent)
			for _, by := range doc.By {
				t.By = append(t.By, by[0])
			}
			if parent != "" {
				parents[parent] = append(parents[parent], t.Execution)
			}
			if !engine.Completed(t.State) {
				t.End = time.Time{}
			}
			info[t.ID] = doc.Info
			latest = max(latest, updated.UnixMicro())
			tasks = append(tasks, t)
			return err
		}, `SELECT t.id, t.name, t.state, t.execution_id, t.created_at, t.started_at, t.finished_at, t.updated_at, t.doc, x.workflow_name, x.parent_task_id
			FROM workflow_tasks t JOIN workflow_executions x ON x.id = t.execution_id
			WHERE x.id = ? OR x.root_id = ? ORDER BY t.created_at, t.rank LIMIT ?`, id, id, maxTimeline)
		for _, t := range tasks {
			t.Child = parents[t.ID]
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	deepen(id, tasks)
	path := timeline.Of(id, tasks, s.cfg.Now())
	ms := func(t time.Time) any {
		if t.IsZero() {
			return nil
		}
		return t.Sub(x.Created).Milliseconds()
	}
	list := make([]any, len(tasks))
	for i, t := range tasks {
		list[i] = yaql.MapOf("id", t.ID, "name", t.Name, "state", t.State, "state_info", orNull(info[t.ID]), "workflow_name", t.Workflow,
			"workflow_execution_id", t.Execution, "depth", int64(t.Depth), "created_ms", ms(t.Created), "started_ms", ms(t.Start),
			"finished_ms", ms(t.End), "critical", t.Critical)
	}
	critical := make([]any, len(path))
	for i, p := range path {
		critical[i] = p
	}
	end := x.Finished
	if end.IsZero() {
		end = s.cfg.Now()
	}
	return yaql.MapOf("id", x.ID, "workflow_name", x.Workflow, "state", x.State, "state_info", orNull(x.Info), "created_at", stamp(x.Created),
		"duration_ms", end.Sub(x.Created).Milliseconds(), "version", strconv.FormatInt(latest, 10), "critical_path", critical, "tasks", list), nil
}

// deepen tells each task how many executions stand above its own.
func deepen(root string, tasks []*timeline.Task) {
	depth := map[string]int{root: 0}
	for range 100 { // levels
		changed := false
		for _, t := range tasks {
			d, ok := depth[t.Execution]
			if !ok {
				continue
			}
			t.Depth = d
			for _, c := range t.Child {
				if _, ok := depth[c]; !ok {
					depth[c], changed = d+1, true
				}
			}
		}
		if !changed {
			return
		}
	}
}
