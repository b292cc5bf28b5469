package compute

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// Each bare-metal node is a hypervisor of its own, as with Nova's ironic
// driver.

func (svc *Service) nodes(r *http.Request) ([]nodes.Node, error) {
	session, err := svc.cfg.Cloud.Service(r.Context())
	if err != nil {
		return nil, err
	}
	ironic, err := session.Baremetal()
	if err != nil {
		return nil, err
	}
	return listNodes(r.Context(), ironic)
}

func usable(n *nodes.Node) bool {
	return !n.Maintenance && (n.ProvisionState == "available" || n.ProvisionState == "active" || n.InstanceUUID != "")
}

// hypervisors are the machines, with what operators said of their services.
func (svc *Service) hypervisors(r *http.Request) ([]nodes.Node, map[string]hostState, error) {
	all, err := svc.nodes(r)
	if err != nil {
		return nil, nil, err
	}
	var states map[string]hostState
	err = svc.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		states, err = hostStates(tx)
		return err
	})
	return all, states, err
}

func hypervisorView(r *http.Request, n *nodes.Node, st hostState, detail bool) map[string]any {
	state, status := "up", "enabled"
	if n.Maintenance || st.Down {
		state = "down"
	}
	if st.Disabled {
		status = "disabled"
	}
	v := map[string]any{"id": n.UUID, "hypervisor_hostname": n.UUID, "state": state, "status": status}
	if !api.AtLeast(r, "2.53") {
		v["id"] = int(uuid.NewSHA1(uuid.NameSpaceOID, []byte(n.UUID)).ID() >> 1)
	}
	if !detail {
		return v
	}
	cpus, mem, disk := number(n.Properties["cpus"]), number(n.Properties["memory_mb"]), number(n.Properties["local_gb"])
	used := n.InstanceUUID != ""
	part := func(total int) int {
		if used {
			return total
		}
		return 0
	}
	for k, val := range map[string]any{
		"hypervisor_type": "ironic", "hypervisor_version": 1, "host_ip": "127.0.0.1", "cpu_info": map[string]any{},
		"vcpus": cpus, "vcpus_used": part(cpus), "memory_mb": mem, "memory_mb_used": part(mem), "free_ram_mb": mem - part(mem),
		"local_gb": disk, "local_gb_used": part(disk), "free_disk_gb": disk - part(disk), "disk_available_least": disk - part(disk),
		"current_workload": 0, "running_vms": part(1),
		"service": map[string]any{"id": serviceID("nova-compute", n.UUID), "host": n.UUID, "disabled_reason": st.Reason},
	} {
		v[k] = val
	}
	if !api.AtLeast(r, "2.28") {
		v["cpu_info"] = ""
	}
	if api.AtLeast(r, "2.53") && r.URL.Query().Get("with_servers") == "true" && used {
		v["servers"] = []any{map[string]any{"uuid": n.InstanceUUID, "name": "instance-" + n.InstanceUUID}}
	}
	if api.AtLeast(r, "2.88") {
		v["uptime"] = nil
		for _, gone := range []string{"cpu_info", "current_workload", "disk_available_least", "free_ram_mb", "free_disk_gb", "local_gb", "local_gb_used", "memory_mb", "memory_mb_used", "running_vms", "vcpus", "vcpus_used"} {
			delete(v, gone)
		}
	}
	return v
}

func (svc *Service) respondHypervisors(w http.ResponseWriter, r *http.Request, detail bool) error {
	all, states, err := svc.hypervisors(r)
	if err != nil {
		return err
	}
	out := []any{}
	for i := range all {
		match := r.URL.Query().Get("hypervisor_hostname_pattern")
		if usable(&all[i]) && (match == "" || strings.Contains(all[i].UUID, match)) {
			out = append(out, hypervisorView(r, &all[i], states[all[i].UUID], detail))
		}
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"hypervisors": out})
}

func (svc *Service) listHypervisors(w http.ResponseWriter, r *http.Request) error {
	return svc.respondHypervisors(w, r, false)
}

func (svc *Service) listHypervisorsDetail(w http.ResponseWriter, r *http.Request) error {
	return svc.respondHypervisors(w, r, true)
}

func (svc *Service) showHypervisor(w http.ResponseWriter, r *http.Request) error {
	all, states, err := svc.hypervisors(r)
	if err != nil {
		return err
	}
	for i := range all {
		v := hypervisorView(r, &all[i], states[all[i].UUID], true)
		if all[i].UUID == r.PathValue("id") || fmt.Sprint(v["id"]) == r.PathValue("id") {
			return api.WriteJSON(w, http.StatusOK, map[string]any{"hypervisor": v})
		}
	}
	return api.NotFound("Hypervisor with ID '%s' could not be found.", r.PathValue("id"))
}

func (svc *Service) hypervisorStatistics(w http.ResponseWriter, r *http.Request) error {
	if api.AtLeast(r, "2.88") {
		return api.NotFound("The resource could not be found.")
	}
	all, states, err := svc.hypervisors(r)
	if err != nil {
		return err
	}
	sum := map[string]int{"count": 0}
	for i := range all {
		if !usable(&all[i]) {
			continue
		}
		sum["count"]++
		v := hypervisorView(r, &all[i], states[all[i].UUID], true)
		for _, k := range []string{
			"vcpus", "vcpus_used", "memory_mb", "memory_mb_used", "free_ram_mb", "local_gb", "local_gb_used",
			"free_disk_gb", "disk_available_least", "current_workload", "running_vms",
		} {
			n, _ := v[k].(int)
			sum[k] += n
		}
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"hypervisor_statistics": sum})
}

func (svc *Service) hypervisorUptime(w http.ResponseWriter, r *http.Request) error {
	if api.AtLeast(r, "2.88") {
		return api.NotFound("The resource could not be found.")
	}
	all, states, err := svc.hypervisors(r)
	if err != nil {
		return err
	}
	for i := range all {
		if all[i].UUID == r.PathValue("id") || fmt.Sprint(hypervisorView(r, &all[i], states[all[i].UUID], false)["id"]) == r.PathValue("id") {
			return api.NotImplemented("Virt driver does not implement uptime function: a machine is asked through its own system")
		}
	}
	return api.NotFound("Hypervisor with ID '%s' could not be found.", r.PathValue("id"))
}

// searchHypervisors serves the searches by name that ended with 2.53.
func (svc *Service) searchHypervisors(w http.ResponseWriter, r *http.Request) error {
	all, states, err := svc.hypervisors(r)
	if err != nil {
		return err
	}
	out := []any{}
	for i := range all {
		if !usable(&all[i]) || !strings.Contains(all[i].UUID, r.PathValue("id")) {
			continue
		}
		v := hypervisorView(r, &all[i], states[all[i].UUID], false)
		if strings.HasSuffix(r.URL.Path, "/servers") && all[i].InstanceUUID != "" {
			v["servers"] = []any{map[string]any{"uuid": all[i].InstanceUUID, "name": "instance-" + all[i].InstanceUUID}}
		}
		out = append(out, v)
	}
	if len(out) == 0 {
		return api.NotFound("No hypervisor matching '%s' could be found.", r.PathValue("id"))
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"hypervisors": out})
}
