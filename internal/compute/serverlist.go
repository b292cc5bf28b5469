package compute

import (
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

const maxServers = 1000

// serverFilter tests one server against the value of a query parameter.
type serverFilter func(s *Server, v string) bool

// serverFilters are the filters of a list of servers.
func serverFilters() map[string]serverFilter {
	same := func(field func(s *Server) string) serverFilter {
		return func(s *Server, v string) bool { return field(s) == v }
	}
	return map[string]serverFilter{
		"status":   func(s *Server, v string) bool { return strings.EqualFold(v, s.Status) },
		"vm_state": same(func(s *Server) string { return vmStates[s.Status] }), "task_state": same(func(s *Server) string { return s.Task }),
		"image": func(s *Server, v string) bool { return lastSegment(v) == s.ImageID }, "flavor": func(s *Server, v string) bool { return lastSegment(v) == s.Flavor.ID },
		"host": same(func(s *Server) string { return s.NodeID }), "node": same(func(s *Server) string { return s.NodeID }),
		"hypervisor_hostname": same(func(s *Server) string { return s.NodeID }),
		"uuid":                same(func(s *Server) string { return s.ID }), "user_id": same(func(s *Server) string { return s.UserID }),
		"project_id": same(func(s *Server) string { return s.ProjectID }), "tenant_id": same(func(s *Server) string { return s.ProjectID }),
		"key_name": same(func(s *Server) string { return s.KeyName }), "reservation_id": same(func(s *Server) string { return s.Reservation }),
		"availability_zone": same((*Server).zone), "access_ip_v4": same(func(s *Server) string { return s.AccessIPv4 }), "access_ip_v6": same(func(s *Server) string { return s.AccessIPv6 }),
		"hostname": same((*Server).hostname),
		"locked":   func(s *Server, v string) bool { return s.Locked == (strings.EqualFold(v, "true") || v == "1") },
		"description": func(s *Server, v string) bool {
			return s.Description != nil && strings.Contains(*s.Description, v)
		},
		"ip": addressFilter(true), "ip6": addressFilter(false),
		"tags": func(s *Server, v string) bool { return containsAll(s.Tags, v) }, "not-tags": func(s *Server, v string) bool { return !containsAll(s.Tags, v) },
		"tags-any": func(s *Server, v string) bool { return containsAny(s.Tags, v) }, "not-tags-any": func(s *Server, v string) bool { return !containsAny(s.Tags, v) },
		"deleted": func(_ *Server, v string) bool { return !strings.EqualFold(v, "true") && v != "1" }, // deleted servers are gone
	}
}

// forAdmins are filters that a member's request is answered without.
var forAdmins = []string{"host", "node", "hypervisor_hostname", "project_id", "tenant_id", "user_id", "availability_zone", "deleted"} //nolint:gochecknoglobals // constant table

func containsAll(have []string, want string) bool {
	for t := range strings.SplitSeq(want, ",") {
		if !slices.Contains(have, t) {
			return false
		}
	}
	return true
}

func containsAny(have []string, want string) bool {
	for t := range strings.SplitSeq(want, ",") {
		if slices.Contains(have, t) {
			return true
		}
	}
	return false
}

// addressFilter takes a regular expression, as Nova does.
func addressFilter(v4 bool) serverFilter {
	return func(s *Server, v string) bool {
		rx, err := regexp.Compile(v)
		if err != nil {
			return false
		}
		for _, p := range s.Ports {
			for _, ip := range p.FixedIPs {
				if a, err := netip.ParseAddr(ip.Address); err == nil && a.Is4() == v4 && rx.MatchString(ip.Address) {
					return true
				}
			}
		}
		return false
	}
}

// serverQuery is a parsed query of a list of servers.
type serverQuery struct {
	project       string // "" is every project
	name          *regexp.Regexp
	since, before time.Time
	filters       url.Values
}

func parseServerQuery(r *http.Request) (*serverQuery, error) {
	q := r.URL.Query()
	admin := caller(r).HasRole("admin", "service")
	out := &serverQuery{project: caller(r).ProjectID, filters: url.Values{}}
	every := q.Has("all_tenants") && q.Get("all_tenants") != "0" && !strings.EqualFold(q.Get("all_tenants"), "false")
	if every && !admin {
		return nil, api.Forbidden("only an administrator may list the servers of all projects")
	}
	if every {
		out.project = ""
	}
	var err error
	if q.Get("name") != "" {
		if out.name, err = regexp.Compile(q.Get("name")); err != nil {
			return nil, api.Invalid("filter name %q is not a regular expression", q.Get("name")).Wrap(err)
		}
	}
	for param, dst := range map[string]*time.Time{"changes-since": &out.since, "changes-before": &out.before} {
		if v := q.Get(param); v != "" {
			if *dst, err = parseTime(v); err != nil {
				return nil, api.Invalid("Invalid input for query parameters %s. Value: %s. It is no time.", param, v).Wrap(err)
			}
		}
	}
	known := serverFilters()
	for key, values := range q {
		// Without all_tenants Nova puts the caller's project in the place of the one that is asked for.
		ofProject := key == "project_id" || key == "tenant_id"
		if _, ok := known[key]; !ok || slices.Contains(forAdmins, key) && !admin || ofProject && !every {
			continue
		}
		out.filters[key] = values
	}
	for _, status := range q["status"] {
		if _, ok := vmStates[strings.ToUpper(status)]; !ok && !slices.Contains([]string{"DELETED", "PAUSED", "SUSPENDED", "SHELVED", "RESIZE", "VERIFY_RESIZE", "REBOOT", "UNKNOWN", "SOFT_DELETED"}, strings.ToUpper(status)) {
			out.filters["uuid"] = []string{"none: no server has the status " + status}
		}
	}
	return out, nil
}

func parseTime(v string) (time.Time, error) {
	var err error
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04:05.999999", "2006-01-02 15:04:05", "2006-01-02"} {
		var t time.Time
		if t, err = time.Parse(layout, v); err == nil {
			return t, nil
		}
	}
	return time.Time{}, err
}

func (q *serverQuery) matches(s *Server) bool {
	if q.project != "" && s.ProjectID != q.project || q.name != nil && !q.name.MatchString(s.Name) ||
		!q.since.IsZero() && s.Updated.Before(q.since) || !q.before.IsZero() && s.Updated.After(q.before) {
		return false
	}
	known := serverFilters()
	for key, values := range q.filters {
		if !slices.ContainsFunc(values, func(v string) bool { return known[key](s, v) }) {
			return false
		}
	}
	return true
}

// serverSortKeys are what servers may be sorted by.
func serverSortKeys() map[string]func(s *Server) string {
	return map[string]func(s *Server) string{
		"created_at":   func(s *Server) string { return s.Created.UTC().Format(time.RFC3339Nano) },
		"updated_at":   func(s *Server) string { return s.Updated.UTC().Format(time.RFC3339Nano) },
		"display_name": func(s *Server) string { return s.Name }, "name": func(s *Server) string { return s.Name }, "uuid": func(s *Server) string { return s.ID },
		"vm_state": func(s *Server) string { return vmStates[s.Status] }, "task_state": func(s *Server) string { return s.Task },
		"host": func(s *Server) string { return s.NodeID }, "node": func(s *Server) string { return s.NodeID }, "image_ref": func(s *Server) string { return s.ImageID },
		"key_name": func(s *Server) string { return s.KeyName }, "project_id": func(s *Server) string { return s.ProjectID }, "user_id": func(s *Server) string { return s.UserID },
		"availability_zone": (*Server).zone, "instance_type_id": func(s *Server) string { return s.Flavor.ID },
		"launched_at": func(s *Server) string { return s.Launched.UTC().Format(time.RFC3339Nano) }, "display_description": func(s *Server) string { return "" },
		"power_state": func(s *Server) string { return s.Status }, "locked": func(s *Server) string { return map[bool]string{true: "1"}[s.Locked] },
	}
}

func (svc *Service) listed(r *http.Request) ([]*Server, bool, error) {
	page, err := api.ParsePage(r, maxServers)
	if err != nil {
		return nil, false, err
	}
	q, err := parseServerQuery(r)
	if err != nil {
		return nil, false, err
	}
	keys := serverSortKeys()
	for _, k := range page.SortKeys {
		if keys[k] == nil {
			return nil, false, api.Invalid("Sort key %q is none of %v", k, sortedKeys(keys))
		}
	}
	var all []*Server
	err = svc.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		if q.project != "" {
			all, err = serversOf(tx, `WHERE project_id = ? ORDER BY created_at DESC, id DESC`, q.project)
			return err
		}
		all, err = serversOf(tx, `ORDER BY created_at DESC, id DESC`)
		return err
	})
	if err != nil {
		return nil, false, err
	}
	slices.SortStableFunc(all, func(a, b *Server) int {
		for i, k := range page.SortKeys {
			c := strings.Compare(keys[k](a), keys[k](b))
			if page.SortDirs[i] == "desc" {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return 0
	})
	if page.Marker != "" {
		i := slices.IndexFunc(all, func(s *Server) bool { return s.ID == page.Marker })
		if i < 0 {
			return nil, false, api.Invalid("marker [%s] not found", page.Marker)
		}
		all = all[i+1:]
	}
	if r.URL.Query().Get("limit") == "0" {
		return nil, false, nil
	}
	out := slices.DeleteFunc(all, func(s *Server) bool { return !q.matches(s) })
	if len(out) > page.Limit {
		return out[:page.Limit], true, nil
	}
	return out, r.URL.Query().Get("limit") != "" && len(out) == page.Limit && page.Limit > 0, nil
}
