package compute

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// Group is a server group: servers that are to be together or apart.
type Group struct {
	ID        string         `json:"id"`
	Name      string         `json:"name"`
	ProjectID string         `json:"project_id"`
	UserID    string         `json:"user_id"`
	Policy    string         `json:"policy"`
	Rules     map[string]int `json:"rules"`
}

// Policies of server groups. A machine carries one server: apart is always so,
// and together can never be for a second one.
var groupPolicies = []string{"affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity"} //nolint:gochecknoglobals // constant table

func groupOf(tx *store.Tx, id string) (*Group, error) {
	var g Group
	if err := tx.Get([]any{store.JSON(&g)}, `SELECT doc FROM compute_groups WHERE id = ?`, id); err != nil {
		return nil, notFound(err, "Instance group %s could not be found.", id)
	}
	return &g, nil
}

// members are the servers of a group that still are.
func members(tx *store.Tx, groupID string) ([]*Server, error) {
	all, err := serversOf(tx, `ORDER BY created_at, id`)
	return slices.DeleteFunc(all, func(s *Server) bool { return s.Group != groupID || groupID == "" }), err
}

func serversOf(tx *store.Tx, where string, args ...any) ([]*Server, error) {
	var out []*Server
	err := tx.Each(func(scan func(...any) error) error {
		s := new(Server)
		err := scan(store.JSON(s))
		out = append(out, s)
		return err
	}, `SELECT doc FROM compute_servers `+where, args...)
	return out, err
}

func groupView(r *http.Request, g *Group, servers []*Server) map[string]any {
	ids := []any{}
	for _, s := range servers {
		ids = append(ids, s.ID)
	}
	v := map[string]any{"id": g.ID, "name": g.Name, "members": ids}
	if api.AtLeast(r, "2.13") {
		v["project_id"], v["user_id"] = g.ProjectID, g.UserID
	}
	if api.AtLeast(r, "2.64") {
		v["policy"], v["rules"] = g.Policy, g.Rules
	} else {
		v["policies"], v["metadata"] = []any{g.Policy}, map[string]any{}
	}
	return v
}

func (svc *Service) createGroup(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Group struct {
			Name     string         `json:"name"`
			Policies []string       `json:"policies"`
			Policy   string         `json:"policy"`
			Rules    map[string]int `json:"rules"`
		} `json:"server_group"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	policy := in.Group.Policy
	if !api.AtLeast(r, "2.64") {
		if len(in.Group.Policies) != 1 || in.Group.Policy != "" {
			return api.Invalid("policies holds %d items, expected one", len(in.Group.Policies))
		}
		policy = in.Group.Policies[0]
	}
	if !slices.Contains(groupPolicies, policy) {
		return api.Invalid("the policy of a server group is %q, expected one of %v", policy, groupPolicies)
	}
	if len(in.Group.Name) == 0 || len(in.Group.Name) > 255 {
		return api.Invalid("the name of a server group has %d characters, expected 1 to 255", len(in.Group.Name))
	}
	for rule, n := range in.Group.Rules {
		if rule != "max_server_per_host" || policy != "anti-affinity" || n < 1 {
			return api.Invalid("rule %q: %d of policy %q, expected max_server_per_host of at least 1 with anti-affinity", rule, n, policy)
		}
	}
	if in.Group.Rules == nil {
		in.Group.Rules = map[string]int{}
	}
	id := caller(r)
	g := &Group{ID: uuid.NewString(), Name: in.Group.Name, ProjectID: id.ProjectID, UserID: id.UserID, Policy: policy, Rules: in.Group.Rules}
	err := svc.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		have := func() (n int, err error) {
			err = tx.Get([]any{&n}, `SELECT COUNT(*) FROM compute_groups WHERE project_id = ?`, g.ProjectID)
			return n, err
		}
		if err := checkBound(tx, g.ProjectID, g.UserID, "server_groups", have, 1); err != nil {
			return err
		}
		_, err := tx.Exec(`INSERT INTO compute_groups (id, project_id, doc) VALUES (?, ?, ?)`, g.ID, g.ProjectID, store.JSON(g))
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"server_group": groupView(r, g, nil)})
}

func (svc *Service) listGroups(w http.ResponseWriter, r *http.Request) error {
	page, err := api.ParsePage(r, 1000)
	if err != nil {
		return err
	}
	every := r.URL.Query().Get("all_projects") != "" && caller(r).HasRole("admin", "service")
	out := []any{}
	err = svc.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		var groups []*Group
		err := tx.Each(func(scan func(...any) error) error {
			g := new(Group)
			err := scan(store.JSON(g))
			if every || g.ProjectID == caller(r).ProjectID {
				groups = append(groups, g)
			}
			return err
		}, `SELECT doc FROM compute_groups ORDER BY id`)
		if err != nil {
			return err
		}
		for _, g := range groups {
			in, err := members(tx, g.ID)
			if err != nil {
				return err
			}
			out = append(out, groupView(r, g, in))
		}
		return nil
	})
	if err != nil {
		return err
	}
	from := min(offsetOf(r), len(out))
	out = out[from:min(len(out), from+page.Limit)]
	return api.WriteJSON(w, http.StatusOK, map[string]any{"server_groups": out})
}

func offsetOf(r *http.Request) int {
	var n int
	_, err := fmt.Sscan(r.URL.Query().Get("offset"), &n)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

func (svc *Service) withGroup(r *http.Request, write bool, fn func(tx *store.Tx, g *Group) error) error {
	run := svc.cfg.DB.View
	if write {
		run = svc.cfg.DB.Tx
	}
	return run(r.Context(), func(tx *store.Tx) error {
		g, err := groupOf(tx, r.PathValue("id"))
		if err != nil {
			return err
		}
		if g.ProjectID != caller(r).ProjectID && !caller(r).HasRole("admin", "service") {
			return api.NotFound("Instance group %s could not be found.", g.ID)
		}
		return fn(tx, g)
	})
}

func (svc *Service) showGroup(w http.ResponseWriter, r *http.Request) error {
	var v map[string]any
	err := svc.withGroup(r, false, func(tx *store.Tx, g *Group) error {
		in, err := members(tx, g.ID)
		v = groupView(r, g, in)
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"server_group": v})
}

func (svc *Service) deleteGroup(w http.ResponseWriter, r *http.Request) error {
	err := svc.withGroup(r, true, func(tx *store.Tx, g *Group) error {
		_, err := tx.Exec(`DELETE FROM compute_groups WHERE id = ?`, g.ID)
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// join checks that new servers may be in a group.
func join(tx *store.Tx, servers []*Server) error {
	s := servers[0]
	if s.Group == "" {
		return nil
	}
	g, err := groupOf(tx, s.Group)
	if err != nil || g.ProjectID != s.ProjectID {
		return api.Invalid("Instance group %s could not be found.", s.Group).Wrap(err)
	}
	have := func() (int, error) {
		in, err := members(tx, g.ID)
		return len(in), err
	}
	return checkBound(tx, s.ProjectID, s.UserID, "server_group_members", have, len(servers))
}

// Aggregates are sets of machines that operators name; one with the metadata
// availability_zone is that zone.

type aggregate struct {
	ID       int64             `json:"id"`
	UUID     string            `json:"uuid"`
	Name     string            `json:"name"`
	Hosts    []string          `json:"hosts"`
	Metadata map[string]string `json:"metadata"`
	Created  string            `json:"created_at"`
	Updated  *string           `json:"updated_at"`
}

func (a *aggregate) zone() string { return a.Metadata["availability_zone"] }

func (a *aggregate) view(r *http.Request) map[string]any {
	v := map[string]any{
		"id": a.ID, "name": a.Name, "hosts": append([]string{}, a.Hosts...), "metadata": a.Metadata, "availability_zone": nullable(a.zone()),
		"created_at": a.Created, "updated_at": a.Updated, "deleted": false, "deleted_at": nil,
	}
	if api.AtLeast(r, "2.41") {
		v["uuid"] = a.UUID
	}
	return v
}

func aggregatesOf(tx *store.Tx, where string, args ...any) ([]*aggregate, error) {
	var out []*aggregate
	err := tx.Each(func(scan func(...any) error) error {
		a := new(aggregate)
		var id int64
		err := scan(&id, store.JSON(a))
		a.ID = id
		out = append(out, a)
		return err
	}, `SELECT id, doc FROM compute_aggregates `+where, args...)
	return out, err
}

// zones maps each machine to its availability zone.
func zonesOf(tx *store.Tx) (map[string]string, error) {
	all, err := aggregatesOf(tx, `ORDER BY id`)
	out := map[string]string{}
	for _, a := range all {
		for _, h := range a.Hosts {
			if a.zone() != "" {
				out[h] = a.zone()
			}
		}
	}
	return out, err
}

func (svc *Service) listAggregates(w http.ResponseWriter, r *http.Request) error {
	out := []any{}
	err := svc.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		all, err := aggregatesOf(tx, `ORDER BY id`)
		for _, a := range all {
			out = append(out, a.view(r))
		}
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"aggregates": out})
}

func (svc *Service) createAggregate(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Aggregate struct {
			Name string  `json:"name"`
			Zone *string `json:"availability_zone"`
		} `json:"aggregate"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	if in.Aggregate.Name == "" || len(in.Aggregate.Name) > 255 {
		return api.Invalid("the name of an aggregate has %d characters, expected 1 to 255", len(in.Aggregate.Name))
	}
	a := &aggregate{UUID: uuid.NewString(), Name: in.Aggregate.Name, Hosts: []string{}, Metadata: map[string]string{}, Created: stampMicro()}
	if z := in.Aggregate.Zone; z != nil && *z != "" {
		if err := checkZone(*z); err != nil {
			return err
		}
		a.Metadata["availability_zone"] = *z
	}
	err := svc.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		n, err := tx.Exec(`INSERT INTO compute_aggregates (name, doc) VALUES (?, ?) ON CONFLICT DO NOTHING`, a.Name, store.JSON(a))
		if err != nil {
			return err
		}
		if n == 0 {
			return api.Conflict("Aggregate %s already exists.", a.Name)
		}
		return tx.Get([]any{&a.ID}, `SELECT id FROM compute_aggregates WHERE name = ?`, a.Name)
	})
	if err != nil {
		return err
	}
	v := a.view(r)
	delete(v, "hosts")
	delete(v, "metadata")
	return api.WriteJSON(w, http.StatusOK, map[string]any{"aggregate": v})
}

func checkZone(z string) error {
	if len(z) > 255 || slices.Contains([]byte(z), ':') {
		return api.Invalid("availability zone %q is longer than 255 characters or holds a colon", z)
	}
	return nil
}

// withAggregate loads the aggregate of the path; change alters it.
func (svc *Service) withAggregate(w http.ResponseWriter, r *http.Request, change func(tx *store.Tx, a *aggregate) (bool, error)) error {
	var a *aggregate
	err := svc.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		found, err := aggregatesOf(tx, `WHERE CAST(id AS TEXT) = ?`+tx.ForUpdate(), r.PathValue("id"))
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return api.NotFound("Aggregate %s could not be found.", r.PathValue("id"))
		}
		a = found[0]
		dirty, err := change(tx, a)
		if err != nil || !dirty {
			return err
		}
		now := stampMicro()
		a.Updated = &now
		_, err = tx.Exec(`UPDATE compute_aggregates SET name = ?, doc = ? WHERE id = ?`, a.Name, store.JSON(a), a.ID)
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"aggregate": a.view(r)})
}

func (svc *Service) showAggregate(w http.ResponseWriter, r *http.Request) error {
	return svc.withAggregate(w, r, func(*store.Tx, *aggregate) (bool, error) { return false, nil })
}

func (svc *Service) updateAggregate(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Aggregate struct {
			Name *string `json:"name"`
			Zone *string `json:"availability_zone"`
		} `json:"aggregate"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	return svc.withAggregate(w, r, func(tx *store.Tx, a *aggregate) (bool, error) {
		if in.Aggregate.Name != nil {
			a.Name = *in.Aggregate.Name
			same, err := aggregatesOf(tx, `WHERE name = ? AND id <> ?`, a.Name, a.ID)
			if err != nil || len(same) > 0 {
				return false, conflictOr(err, "Aggregate %s already exists.", a.Name)
			}
		}
		if z := in.Aggregate.Zone; z != nil {
			if err := checkZone(*z); err != nil {
				return false, err
			}
			a.Metadata["availability_zone"] = *z
		}
		return true, nil
	})
}

func conflictOr(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return api.Conflict(format, args...)
}

func (svc *Service) deleteAggregate(w http.ResponseWriter, r *http.Request) error {
	err := svc.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		found, err := aggregatesOf(tx, `WHERE CAST(id AS TEXT) = ?`, r.PathValue("id"))
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return api.NotFound("Aggregate %s could not be found.", r.PathValue("id"))
		}
		if len(found[0].Hosts) > 0 {
			return api.Invalid("Cannot remove host from aggregate %s. Reason: Host aggregate is not empty.", r.PathValue("id"))
		}
		_, err = tx.Exec(`DELETE FROM compute_aggregates WHERE id = ?`, found[0].ID)
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (svc *Service) aggregateAction(w http.ResponseWriter, r *http.Request) error {
	var in map[string]json.RawMessage
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	var host struct {
		Host     string             `json:"host"`
		Metadata map[string]*string `json:"metadata"`
	}
	for name, args := range in {
		if err := api.DecodeJSON(args, &host); err != nil {
			return err
		}
		switch name {
		case "add_host":
			return svc.addHost(w, r, host.Host)
		case "remove_host":
			return svc.withAggregate(w, r, func(_ *store.Tx, a *aggregate) (bool, error) {
				i := slices.Index(a.Hosts, host.Host)
				if i < 0 {
					return false, api.NotFound("Aggregate %d has no host %s.", a.ID, host.Host)
				}
				a.Hosts = slices.Delete(a.Hosts, i, i+1)
				return true, nil
			})
		case "set_metadata":
			return svc.withAggregate(w, r, func(_ *store.Tx, a *aggregate) (bool, error) {
				for k, v := range host.Metadata {
					if v == nil {
						delete(a.Metadata, k)
					} else {
						a.Metadata[k] = *v
					}
				}
				return true, nil
			})
		}
	}
	return api.Invalid("an aggregate's actions are add_host, remove_host and set_metadata")
}

// addHost takes a machine by its id or name.
func (svc *Service) addHost(w http.ResponseWriter, r *http.Request, host string) error {
	all, err := svc.nodes(r)
	if err != nil {
		return err
	}
	id := ""
	for i := range all {
		if all[i].UUID == host || all[i].Name == host {
			id = all[i].UUID
		}
	}
	if id == "" {
		return api.NotFound("Compute host %s could not be found.", host)
	}
	return svc.withAggregate(w, r, func(tx *store.Tx, a *aggregate) (bool, error) {
		if slices.Contains(a.Hosts, id) {
			return false, api.Conflict("Aggregate %d already has host %s.", a.ID, id)
		}
		zones, err := zonesOf(tx)
		if err != nil {
			return false, err
		}
		if z := zones[id]; z != "" && a.zone() != "" && z != a.zone() {
			return false, api.Conflict("Cannot add host to aggregate %d: Host %s is already in availability zone %s.", a.ID, id, z)
		}
		a.Hosts = append(a.Hosts, id)
		return true, nil
	})
}
