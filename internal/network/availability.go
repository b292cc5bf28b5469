package network

import (
	"encoding/json"
	"math/big"
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/network/ipam"
)

// zone is the one availability zone of networks and routers.
const zone = "nova"

func (s *Service) listZones(w http.ResponseWriter, r *http.Request) error {
	page, err := api.ParsePage(r, 0)
	if err != nil {
		return err
	}
	var out []doc
	for _, resource := range []string{"network", "router"} {
		d := doc{"id": resource, "name": zone, "resource": resource, "state": "available"}
		if matches(d, r) {
			out = append(out, d)
		}
	}
	for _, d := range out {
		delete(d, "id")
	}
	page.SortKeys, page.SortDirs = []string{"resource"}, []string{"asc"}
	return respondDocs(w, r, s.cfg.BaseURL+"/v2.0/availability_zones", "availability_zones", out, page)
}

// ipAvailability counts the addresses of a network, of its pools and those
// taken out of all (extension network-ip-availability).
func (c *call) ipAvailability(n doc, version string) (doc, error) {
	subs, err := c.children(c.s.kinds["subnet"], n.id())
	if err != nil {
		return nil, err
	}
	total, used, rows := new(big.Int), int64(0), []any{}
	for _, sub := range subs {
		if version != "" && show(sub["ip_version"]) != version {
			continue
		}
		addressing, err := planOf(sub)
		if err != nil {
			return nil, err
		}
		size := ipam.Count(addressing.pools)
		var taken int64
		if err := c.tx.Get([]any{&taken}, `SELECT COUNT(*) FROM network_allocations WHERE subnet_id = ?`, sub.id()); err != nil {
			return nil, err
		}
		rows = append(rows, map[string]any{
			"subnet_id": sub.id(), "subnet_name": sub["name"], "cidr": sub["cidr"], "ip_version": sub["ip_version"],
			"total_ips": json.Number(size.String()), "used_ips": taken,
		})
		total.Add(total, size)
		used += taken
	}
	return doc{
		"network_id": n.id(), "network_name": n["name"], "project_id": n.project(), "tenant_id": n.project(),
		"total_ips": json.Number(total.String()), "used_ips": used, "subnet_ip_availability": rows,
	}, nil
}

func (s *Service) listAvailability(w http.ResponseWriter, r *http.Request) error {
	page, err := api.ParsePage(r, 0)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	version := q.Get("ip_version")
	out := []doc{}
	err = s.in(r, false, func(c *call) error {
		all, err := c.find(c.s.kinds["network"], ` ORDER BY id`)
		for _, n := range all {
			a, err := c.ipAvailability(n, version)
			if err != nil {
				return err
			}
			keep := (q.Get("network_id") == "" || matchOne(n.id(), q["network_id"])) && (q.Get("network_name") == "" || matchOne(n["name"], q["network_name"])) &&
				(q.Get("project_id") == "" || matchOne(n.project(), q["project_id"])) && (q.Get("tenant_id") == "" || matchOne(n.project(), q["tenant_id"]))
			if version != "" && len(a.list("subnet_ip_availability")) == 0 {
				keep = false
			}
			if keep {
				a["id"] = n.id()
				out = append(out, a)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, a := range out {
		delete(a, "id")
	}
	page.SortKeys, page.SortDirs = []string{"network_id"}, []string{"asc"}
	return respondDocs(w, r, s.cfg.BaseURL+"/v2.0/network-ip-availabilities", "network_ip_availabilities", out, page)
}

func (s *Service) showAvailability(w http.ResponseWriter, r *http.Request) error {
	var out doc
	err := s.in(r, false, func(c *call) error {
		n, err := c.see(c.s.kinds["network"], r.PathValue("id"))
		if err == nil {
			out, err = c.ipAvailability(n, "")
		}
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"network_ip_availability": out})
}

// agent: the one agent is the DHCP server of this service.
func (s *Service) agent() doc {
	return doc{
		"id": agentID, "agent_type": "DHCP agent", "binary": "tripleo", "topic": "dhcp_agent", "host": "undercloud", "availability_zone": zone,
		"alive": s.dhcpUp.Load() || s.dhcp6Up.Load(), "description": nil, "resources_synced": nil, "resource_versions": map[string]any{},
		"created_at": s.began, "started_at": s.began, "heartbeat_timestamp": stampSpace(), "configurations": map[string]any{"physical_network": s.cfg.PhysicalNetwork},
	}
}

const agentID = "8f3d7a4e-5c1b-4f60-9a5e-6d1f0c2b7e31"

func (s *Service) listAgents(w http.ResponseWriter, r *http.Request) error {
	page, err := api.ParsePage(r, 0)
	if err != nil {
		return err
	}
	a, err := s.fullAgent(r)
	if err != nil {
		return err
	}
	var out []doc
	who, _ := auth.FromContext(r.Context())
	if matches(a, r) && who.IsAdmin() {
		out = append(out, a)
	}
	return respondDocs(w, r, s.cfg.BaseURL+"/v2.0/agents", "agents", out, page)
}

// fullAgent adds what an administrator said of the agent.
func (s *Service) fullAgent(r *http.Request) (doc, error) {
	a := s.agent()
	a["admin_state_up"] = true
	err := s.in(r, false, func(c *call) error {
		d, err := c.load(c.s.kinds["agent"], agentID)
		if isNotFound(err) {
			return nil
		}
		for _, key := range []string{"description", "admin_state_up"} {
			if v, ok := d[key]; ok {
				a[key] = v
			}
		}
		return err
	})
	return a, err
}

// served says whether DHCP is to be served: an administrator may have put the
// agent out of service (admin_state_up false), whose networks Neutron then
// serves no longer.
func (c *call) served() (bool, error) {
	d, err := c.load(c.s.kinds["agent"], agentID)
	if isNotFound(err) {
		return true, nil
	}
	return err == nil && d["admin_state_up"] != false, err
}

func agentKind() *resource {
	return &resource{
		kind: "agent", plural: "agents", path: "agents", plain: true, unowned: true, admin: true,
		missing: "Agent %s could not be found", missingType: "AgentNotFound", inUse: "Agent %s is in use", inUseType: "AgentInUse",
		attrs: []attr{
			{name: "description", parse: orNull(text(maxDesc)), def: nil, mode: both},
			{name: "admin_state_up", parse: boolean, def: true, mode: both},
		},
	}
}

func (s *Service) oneAgent(w http.ResponseWriter, r *http.Request) error {
	if r.PathValue("id") != agentID {
		return s.kinds["agent"].notFound(r.PathValue("id"))
	}
	switch r.Method {
	case http.MethodDelete:
		return api.Conflict("Agent %s is this service itself and cannot be deleted.", agentID).Named("AgentInUse")
	case http.MethodPut:
		if err := s.changeAgent(r); err != nil {
			return err
		}
	}
	a, err := s.fullAgent(r)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"agent": a})
}

func (s *Service) changeAgent(r *http.Request) error {
	items, _, err := body(r, s.kinds["agent"])
	if err != nil {
		return err
	}
	return s.in(r, true, func(c *call) error {
		old, err := c.load(c.s.kinds["agent"], agentID)
		if isNotFound(err) {
			d, err := c.accept(c.s.kinds["agent"], cloned(items[0]), nil)
			if err != nil {
				return err
			}
			d["id"] = agentID
			return c.add(c.s.kinds["agent"], d)
		}
		if err != nil {
			return err
		}
		_, err = c.change(c.s.kinds["agent"], old, cloned(items[0]))
		return err
	})
}

func (s *Service) listProviders(w http.ResponseWriter, _ *http.Request) error {
	return api.WriteJSON(w, http.StatusOK, map[string]any{"service_providers": []any{}})
}

// autoTopology is extension auto-allocated-topology: a project's network with a
// subnet of each default pool and a router to the default external network,
// made once.
func (s *Service) autoTopology(w http.ResponseWriter, r *http.Request) error {
	project := r.PathValue("project")
	var out doc
	err := s.in(r, true, func(c *call) error {
		if project == "" || project == "None" || project == "null" {
			project = c.who.ProjectID
		}
		if !c.admin() && project != c.who.ProjectID {
			return api.Forbidden("(rule:get_auto_allocated_topology) is disallowed by policy")
		}
		external, pools, err := c.topologyParts(project)
		if err != nil {
			return err
		}
		if r.URL.Query().Get("fields") == "dry-run" {
			out = doc{"id": "dry-run=pass", "tenant_id": project, "project_id": project}
			return nil
		}
		network, err := c.topologyOf(project)
		if err == nil && network == "" {
			network, err = c.makeTopology(project, external, pools)
		}
		out = doc{"id": network, "tenant_id": project, "project_id": project}
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"auto_allocated_topology": out})
}

// autoName marks what makeTopology made.
const autoName = "auto_allocated_network"

func (c *call) topologyOf(project string) (string, error) {
	found, err := c.find(c.s.kinds["network"], ` AND project_id = ? AND name = ?`, project, autoName)
	if err != nil || len(found) == 0 {
		return "", err
	}
	return found[0].id(), nil
}

func (c *call) topologyParts(project string) (external string, pools []doc, err error) {
	nets, err := c.find(c.s.kinds["network"], "")
	if err != nil {
		return "", nil, err
	}
	for _, n := range nets {
		if n.flag("is_default") {
			external = n.id()
		}
	}
	if external == "" {
		return "", nil, api.NotFound("No default router:external network.").Named("AutoAllocationFailure")
	}
	all, err := c.find(c.s.kinds["subnetpool"], "")
	for _, p := range all {
		if p.flag("is_default") {
			pools = append(pools, p)
		}
	}
	if err == nil && len(pools) == 0 {
		err = api.NotFound("No default subnetpools defined.").Named("NoDefaultSubnetpool")
	}
	return external, pools, err
}

func (c *call) makeTopology(project, external string, pools []doc) (string, error) {
	who := c.who
	admin := *who
	admin.Roles = append([]string{"admin"}, who.Roles...)
	c.who = &admin
	defer func() { c.who = who }()
	n, err := c.create(c.s.kinds["network"], map[string]any{"name": autoName, "project_id": project})
	if err != nil {
		return "", err
	}
	r, err := c.create(c.s.kinds["router"], map[string]any{
		"name": "auto_allocated_router", "project_id": project, "external_gateway_info": map[string]any{"network_id": external},
	})
	if err != nil {
		return "", err
	}
	for _, p := range pools {
		sub, err := c.create(c.s.kinds["subnet"], map[string]any{
			"name": "auto_allocated_subnet_v" + show(p["ip_version"]), "project_id": project, "network_id": n.id(),
			"ip_version": p["ip_version"], "subnetpool_id": p.id(),
		})
		if err != nil {
			return "", err
		}
		if _, err := c.addBySubnet(r, sub.id()); err != nil {
			return "", err
		}
	}
	return n.id(), nil
}

func (s *Service) deleteTopology(w http.ResponseWriter, r *http.Request) error {
	err := s.in(r, true, func(c *call) error {
		project := r.PathValue("project")
		if !c.admin() && project != c.who.ProjectID {
			return api.Forbidden("(rule:delete_auto_allocated_topology) is disallowed by policy")
		}
		network, err := c.topologyOf(project)
		if err != nil {
			return err
		}
		if network == "" {
			return nil
		}
		routers, err := c.find(c.s.kinds["router"], ` AND project_id = ? AND name = 'auto_allocated_router'`, project)
		if err != nil {
			return err
		}
		for _, router := range routers {
			ports, err := c.interfaces(router.id())
			if err != nil {
				return err
			}
			for _, p := range ports {
				if err := c.removePort(p.id()); err != nil {
					return err
				}
			}
			if err := c.destroy(c.s.kinds["router"], router); err != nil {
				return err
			}
		}
		n, err := c.load(c.s.kinds["network"], network)
		if err != nil {
			return err
		}
		return c.destroy(c.s.kinds["network"], n)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
