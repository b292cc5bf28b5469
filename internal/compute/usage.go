package compute

import (
	"context"
	"net/http"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/store"
)

// usageRow is what a server took, kept beyond its end.
type usageRow struct {
	ServerID string `json:"instance_id"`
	Name     string `json:"name"`
	Flavor   string `json:"flavor"`
	VCPUs    int    `json:"vcpus"`
	MemoryMB int    `json:"memory_mb"`
	LocalGB  int    `json:"local_gb"`
	State    string `json:"state"`
	Project  string `json:"tenant_id"`

	start, end time.Time // end is zero while it runs
}

// account writes down that a server begins or ends.
func account(tx *store.Tx, s *Server, end time.Time) error {
	row := usageRow{ServerID: s.ID, Name: s.Name, Flavor: s.Flavor.Name, VCPUs: s.Flavor.VCPUs, MemoryMB: s.Flavor.RAM, LocalGB: s.Flavor.Disk, State: "active", Project: s.ProjectID}
	if !end.IsZero() {
		row.State = "terminated"
	}
	_, err := tx.Exec(`INSERT INTO compute_usage (server_id, project_id, started_at, ended_at, doc) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (server_id) DO UPDATE SET ended_at = excluded.ended_at, doc = excluded.doc`,
		s.ID, s.ProjectID, store.At(s.Created), store.At(end), store.JSON(row))
	return err
}

// keepUsage is how long is known what a server took, and what was done to it,
// after its end.
const keepUsage = 400 * 24 * time.Hour // a year and the month after it, in which it is charged

const (
	forgetJob   = "compute.forget"
	forgetEvery = 24 * time.Hour
)

// forget is the job that drops what is older than keepUsage, and plans itself
// for the next day.
func (svc *Service) forget(ctx context.Context, _ jobs.Job) jobs.Result {
	if err := svc.forgetBefore(ctx, time.Now().Add(-keepUsage)); err != nil {
		return jobs.Fail(err)
	}
	return jobs.After(forgetEvery)
}

func (svc *Service) forgetBefore(ctx context.Context, t time.Time) error {
	return svc.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		const old = `server_id IN (SELECT server_id FROM compute_usage WHERE ended_at > 0 AND ended_at < ?)`
		for _, table := range []string{"compute_actions", "compute_usage"} {
			if _, err := tx.Exec(`DELETE FROM `+table+` WHERE `+old, store.At(t)); err != nil {
				return err
			}
		}
		return nil
	})
}

func usagePeriod(r *http.Request) (from, to time.Time, err error) {
	now := time.Now().UTC()
	from, to = now.AddDate(0, -1, 0), now
	for name, dst := range map[string]*time.Time{"start": &from, "end": &to} {
		text := r.URL.Query().Get(name)
		if text == "" {
			continue
		}
		parsed := false
		for _, layout := range []string{"2006-01-02T15:04:05.999999", "2006-01-02 15:04:05.999999", "2006-01-02"} {
			if t, err := time.Parse(layout, text); err == nil {
				*dst, parsed = t, true
				break
			}
		}
		if !parsed {
			return from, to, api.Invalid("%s is %q, expected a time such as 2026-01-31T12:00:00", name, text)
		}
	}
	if to.Before(from) {
		return from, to, api.Invalid("Invalid start time. The start time cannot occur after the end time.")
	}
	return from, to, nil
}

// usages are what servers took in a period, by project; only one project, if
// given, and of a page, since 2.40, which begins after the server that is the
// marker.
func usages(tx *store.Tx, r *http.Request, project string, from, to time.Time) (map[string][]usageRow, error) {
	page, err := api.ParsePage(r, 1000)
	if err != nil {
		return nil, err
	}
	paged := api.AtLeast(r, "2.40")
	skip, count := paged && page.Marker != "", 0
	out := map[string][]usageRow{}
	err = tx.Each(func(scan func(...any) error) error {
		var u usageRow
		if err := scan(store.Time(&u.start), store.Time(&u.end), store.JSON(&u)); err != nil {
			return err
		}
		if (project == "" || project == u.Project) && u.start.Before(to) && (u.end.IsZero() || u.end.After(from)) {
			if skip {
				skip = u.ServerID != page.Marker
				return nil
			}
			if count++; !paged || count <= page.Limit {
				out[u.Project] = append(out[u.Project], u)
			}
		}
		return nil
	}, `SELECT started_at, ended_at, doc FROM compute_usage ORDER BY started_at, server_id`)
	if err == nil && skip {
		err = api.Invalid("marker [%s] not found", page.Marker)
	}
	return out, err
}

func usageView(project string, rows []usageRow, from, to time.Time, detail bool) map[string]any {
	now := time.Now().UTC()
	var hours, cpuHours, memHours, gbHours float64
	list := []any{}
	for _, u := range rows {
		begin, end := u.start, u.end
		if end.IsZero() || end.After(to) {
			end = to
		}
		if begin.Before(from) {
			begin = from
		}
		h := max(0, end.Sub(begin).Hours())
		hours += h
		cpuHours += h * float64(u.VCPUs)
		memHours += h * float64(u.MemoryMB)
		gbHours += h * float64(u.LocalGB)
		lives := now.Sub(u.start)
		if !u.end.IsZero() {
			lives = u.end.Sub(u.start)
		}
		list = append(list, map[string]any{
			"instance_id": u.ServerID, "name": u.Name, "flavor": u.Flavor, "vcpus": u.VCPUs, "memory_mb": u.MemoryMB, "local_gb": u.LocalGB,
			"state": u.State, "tenant_id": u.Project, "hours": h, "uptime": int(lives.Seconds()),
			"started_at": usageTime(u.start), "ended_at": usageTime(u.end),
		})
	}
	v := map[string]any{
		"tenant_id": project, "start": usageTime(from), "stop": usageTime(to), "total_hours": hours, "total_vcpus_usage": cpuHours,
		"total_memory_mb_usage": memHours, "total_local_gb_usage": gbHours,
	}
	if detail {
		v["server_usages"] = list
	}
	return v
}

func (svc *Service) listUsage(w http.ResponseWriter, r *http.Request) error {
	from, to, err := usagePeriod(r)
	if err != nil {
		return err
	}
	out := []any{}
	err = svc.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		all, err := usages(tx, r, "", from, to)
		for _, p := range sortedKeys(all) {
			out = append(out, usageView(p, all[p], from, to, r.URL.Query().Get("detailed") == "1"))
		}
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"tenant_usages": out})
}

func (svc *Service) showUsage(w http.ResponseWriter, r *http.Request) error {
	if err := maySeeQuota(r); err != nil {
		return err
	}
	from, to, err := usagePeriod(r)
	if err != nil {
		return err
	}
	project := r.PathValue("project")
	out := map[string]any{}
	err = svc.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		all, err := usages(tx, r, project, from, to)
		if len(all[project]) > 0 {
			out = usageView(project, all[project], from, to, true)
		}
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"tenant_usage": out})
}
