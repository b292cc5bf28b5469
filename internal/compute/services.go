package compute

import (
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// Each machine is a compute host; scheduling and conducting are this process.
// A disabled host gets no servers.

type hostState struct {
	Disabled bool    `json:"disabled"`
	Reason   *string `json:"reason"`
	Down     bool    `json:"forced_down"`
	Updated  string  `json:"updated_at"`
}

const undercloudHost = "undercloud"

func stampMicro() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000000") }

func hostStates(tx *store.Tx) (map[string]hostState, error) {
	out := map[string]hostState{}
	err := tx.Each(func(scan func(...any) error) error {
		var host string
		var st hostState
		err := scan(&host, store.JSON(&st))
		out[host] = st
		return err
	}, `SELECT host, doc FROM compute_services`)
	return out, err
}

type serviceRow struct {
	id, binary, host, zone string
	up                     bool
}

// serviceID makes the stable id of a service.
func serviceID(binary, host string) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte(binary+"/"+host)).String()
}

func (svc *Service) serviceRows(r *http.Request) ([]serviceRow, map[string]hostState, error) {
	all, err := svc.nodes(r)
	if err != nil {
		return nil, nil, err
	}
	var zones map[string]string
	var states map[string]hostState
	err = svc.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		if zones, err = zonesOf(tx); err != nil {
			return err
		}
		states, err = hostStates(tx)
		return err
	})
	rows := []serviceRow{
		{serviceID("nova-scheduler", undercloudHost), "nova-scheduler", undercloudHost, "internal", true},
		{serviceID("nova-conductor", undercloudHost), "nova-conductor", undercloudHost, "internal", true},
	}
	for i := range all {
		if usable(&all[i]) {
			rows = append(rows, serviceRow{serviceID("nova-compute", all[i].UUID), "nova-compute", all[i].UUID, zoneOf(zones, all[i].UUID), !all[i].Maintenance})
		}
	}
	return rows, states, err
}

func zoneOf(zones map[string]string, host string) string {
	if z := zones[host]; z != "" {
		return z
	}
	return defaultZone
}

const defaultZone = "nova"

func serviceView(r *http.Request, row serviceRow, st hostState) map[string]any {
	state, status := "up", "enabled"
	if !row.up || st.Down {
		state = "down"
	}
	if st.Disabled {
		status = "disabled"
	}
	updated := st.Updated
	if updated == "" {
		updated = stampMicro()
	}
	v := map[string]any{
		"id": row.id, "binary": row.binary, "host": row.host, "zone": row.zone, "state": state, "status": status,
		"disabled_reason": st.Reason, "updated_at": updated,
	}
	if !api.AtLeast(r, "2.53") {
		v["id"] = int(uuid.MustParse(row.id).ID() >> 1)
	}
	if api.AtLeast(r, "2.11") {
		v["forced_down"] = st.Down
	}
	return v
}

func (svc *Service) listServices(w http.ResponseWriter, r *http.Request) error {
	rows, states, err := svc.serviceRows(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	out := []any{}
	for _, row := range rows {
		if (q.Get("host") == "" || q.Get("host") == row.host) && (q.Get("binary") == "" || q.Get("binary") == row.binary) {
			out = append(out, serviceView(r, row, states[row.host]))
		}
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"services": out})
}

type serviceChange struct {
	Host   string  `json:"host"`
	Binary string  `json:"binary"`
	Status string  `json:"status"`
	Reason *string `json:"disabled_reason"`
	Down   *bool   `json:"forced_down"`
}

// changeService serves PUT /os-services/{id} (2.53 and later) and PUT
// /os-services/{enable,disable,disable-log-reason,force-down} (before).
func (svc *Service) changeService(w http.ResponseWriter, r *http.Request) error {
	var in serviceChange
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	rows, states, err := svc.serviceRows(r)
	if err != nil {
		return err
	}
	verb := r.PathValue("id")
	switch verb {
	case "enable":
		in.Status = "enabled"
	case "disable", "disable-log-reason":
		in.Status = "disabled"
	}
	var row *serviceRow
	for i := range rows {
		if rows[i].id == verb || rows[i].host == in.Host && rows[i].binary == in.Binary {
			row = &rows[i]
		}
	}
	if row == nil {
		return api.NotFound("Service %s could not be found.", verb)
	}
	if row.binary != "nova-compute" {
		return api.Invalid("%s on %s is this process and cannot be switched, expected a nova-compute", row.binary, row.host)
	}
	st := states[row.host]
	if in.Down != nil {
		st.Down = *in.Down
	}
	switch in.Status {
	case "enabled":
		if in.Reason != nil {
			return api.Invalid("disabled_reason is given with status enabled")
		}
		st.Disabled, st.Reason = false, nil
	case "disabled":
		st.Disabled, st.Reason = true, in.Reason
	case "":
		if in.Down == nil {
			return api.Invalid("neither status nor forced_down is given")
		}
	default:
		return api.Invalid("status is %q, expected enabled or disabled", in.Status)
	}
	st.Updated = stampMicro()
	err = svc.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO compute_services (host, doc) VALUES (?, ?) ON CONFLICT (host) DO UPDATE SET doc = excluded.doc`, row.host, store.JSON(st))
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"service": serviceView(r, *row, st)})
}

func (svc *Service) deleteService(_ http.ResponseWriter, r *http.Request) error {
	rows, _, err := svc.serviceRows(r)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.id == r.PathValue("id") {
			return api.Conflict("Service %s on %s is there as long as the machine is: delete the bare-metal node.", row.binary, row.host)
		}
	}
	return api.NotFound("Service %s could not be found.", r.PathValue("id"))
}

// listZones answers GET /os-availability-zone.
func (svc *Service) listZones(w http.ResponseWriter, r *http.Request) error {
	return svc.respondZones(w, r, false)
}

// listZonesDetail answers GET /os-availability-zone/detail: the zones with
// their hosts.
func (svc *Service) listZonesDetail(w http.ResponseWriter, r *http.Request) error {
	return svc.respondZones(w, r, true)
}

func (svc *Service) respondZones(w http.ResponseWriter, r *http.Request, detail bool) error {
	all, err := svc.nodes(r)
	if err != nil {
		return err
	}
	names, err := svc.zoneNames(r, all)
	if err != nil {
		return err
	}
	out := []any{}
	if detail {
		hosts := map[string]any{undercloudHost: map[string]any{"nova-scheduler": alive(), "nova-conductor": alive()}}
		out = append(out, map[string]any{"zoneName": "internal", "zoneState": map[string]any{"available": true}, "hosts": hosts})
	}
	for _, name := range sortedKeys(names) {
		var hosts any
		if detail {
			in := map[string]any{}
			for _, h := range names[name] {
				in[h] = map[string]any{"nova-compute": alive()}
			}
			hosts = in
		}
		out = append(out, map[string]any{"zoneName": name, "zoneState": map[string]any{"available": true}, "hosts": hosts})
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"availabilityZoneInfo": out})
}

func alive() map[string]any {
	return map[string]any{"active": true, "available": true, "updated_at": nil}
}

// zoneNames are the zones that have machines, and the default one.
func (svc *Service) zoneNames(r *http.Request, all []nodes.Node) (map[string][]string, error) {
	var zones map[string]string
	err := svc.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		zones, err = zonesOf(tx)
		return err
	})
	out := map[string][]string{defaultZone: nil}
	for i := range all {
		if usable(&all[i]) {
			z := zoneOf(zones, all[i].UUID)
			out[z] = append(out[z], all[i].UUID)
		}
	}
	return out, err
}
