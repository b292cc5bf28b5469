package compute

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// building opens the server of the path for work on its machine and ports.
func (svc *Service) building(r *http.Request) (*build, error) {
	s, err := svc.get(r)
	if err != nil {
		return nil, err
	}
	return svc.open(r.Context(), s.ID)
}

func interfaceView(p *ServerPort, tag bool) map[string]any {
	ips := []any{}
	for _, ip := range p.FixedIPs {
		ips = append(ips, map[string]any{"subnet_id": ip.SubnetID, "ip_address": ip.Address})
	}
	v := map[string]any{"port_state": "ACTIVE", "port_id": p.ID, "net_id": p.NetworkID, "mac_addr": p.MAC, "fixed_ips": ips}
	if tag {
		v["tag"] = nullable(p.Tag)
	}
	return v
}

func (svc *Service) showInterface(w http.ResponseWriter, r *http.Request) error {
	s, err := svc.get(r)
	if err != nil {
		return err
	}
	for i := range s.Ports {
		if s.Ports[i].ID == r.PathValue("port") {
			return api.WriteJSON(w, http.StatusOK, map[string]any{"interfaceAttachment": interfaceView(&s.Ports[i], api.AtLeast(r, "2.70"))})
		}
	}
	return api.NotFound("Instance %s does not have a port with id %s.", s.ID, r.PathValue("port"))
}

// attachInterface gives a server one more port, on a free NIC of its machine.
func (svc *Service) attachInterface(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Attachment struct {
			Net   string   `json:"net_id"`
			Port  string   `json:"port_id"`
			Tag   string   `json:"tag"`
			Fixed []portIP `json:"-"`
			IPs   []struct {
				Address string `json:"ip_address"`
			} `json:"fixed_ips"`
		} `json:"interfaceAttachment"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	a := &in.Attachment
	if a.Net != "" && a.Port != "" || len(a.IPs) > 0 && a.Net == "" {
		return api.Invalid("an interface is given by port_id, or by net_id and fixed_ips")
	}
	had, err := svc.get(r)
	if err != nil {
		return err
	}
	req := NetworkRequest{UUID: a.Net, Port: a.Port, Tag: a.Tag}
	if len(a.IPs) > 0 {
		req.FixedIP = a.IPs[0].Address
	}
	if req.UUID == "" && req.Port == "" {
		only, err := svc.onlyNetwork(r)
		if err != nil {
			return err
		}
		if len(only) == 0 {
			return api.Invalid("No network was given and the project has none.")
		}
		req = only[0]
	}
	// The ports are changed as the service, which sees those of every project.
	if err := svc.checkNetworks(r, &Server{ID: had.ID, ProjectID: had.ProjectID, Networks: []NetworkRequest{req}}); err != nil {
		return err
	}
	s, id, err := svc.changeInterface(r, "attach_interface", interfaceOp{Attach: &req})
	if err != nil {
		return err
	}
	i := slices.IndexFunc(s.Ports, func(p ServerPort) bool { return p.ID == id })
	if i < 0 {
		return api.Conflict("Port %s was taken off instance %s again.", id, s.ID)
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"interfaceAttachment": interfaceView(&s.Ports[i], api.AtLeast(r, "2.70"))})
}

func (svc *Service) detachInterface(w http.ResponseWriter, r *http.Request) error {
	if _, _, err := svc.changeInterface(r, "detach_interface", interfaceOp{Detach: r.PathValue("port")}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// release takes a port off the machine and deletes it if it was made for the
// server.
func (b *build) release(ctx context.Context, p *ServerPort) error {
	if err := b.detachOne(ctx, p.ID); err != nil {
		return err
	}
	var err error
	if p.Ours {
		err = ports.Delete(ctx, b.neutron, p.ID).ExtractErr()
	} else {
		err = b.letGo(ctx, p.ID)
	}
	if err != nil && !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		return fmt.Errorf("release port %s: %w", p.ID, err)
	}
	return nil
}

// addFixedIP gives a server one more address: of a network it has a port on.
func (svc *Service) addFixedIP(w http.ResponseWriter, r *http.Request, args json.RawMessage) error {
	var in struct {
		Network string `json:"networkId"`
	}
	if err := api.DecodeJSON(args, &in); err != nil {
		return err
	}
	return svc.changeIPs(w, r, "add_fixed_ip", func(p *ports.Port) ([]ports.IP, bool) {
		if p.NetworkID != in.Network || len(p.FixedIPs) == 0 {
			return nil, false
		}
		return append(p.FixedIPs, ports.IP{SubnetID: p.FixedIPs[0].SubnetID}), true
	})
}

func (svc *Service) removeFixedIP(w http.ResponseWriter, r *http.Request, args json.RawMessage) error {
	var in struct {
		Address string `json:"address"`
	}
	if err := api.DecodeJSON(args, &in); err != nil {
		return err
	}
	return svc.changeIPs(w, r, "remove_fixed_ip", func(p *ports.Port) ([]ports.IP, bool) {
		left := slices.DeleteFunc(slices.Clone(p.FixedIPs), func(ip ports.IP) bool { return ip.IPAddress == in.Address })
		return left, len(left) < len(p.FixedIPs)
	})
}

// changeIPs changes the addresses of the first port that want is about.
func (svc *Service) changeIPs(w http.ResponseWriter, r *http.Request, verb string, want func(p *ports.Port) ([]ports.IP, bool)) error {
	b, err := svc.building(r)
	if err != nil {
		return err
	}
	if err := b.s.locked(r); err != nil {
		return err
	}
	if err := b.s.idle(verb); err != nil {
		return err
	}
	for _, sp := range b.s.Ports {
		p, err := ports.Get(r.Context(), b.neutron, sp.ID).Extract()
		if err != nil {
			return fmt.Errorf("get port %s: %w", sp.ID, err)
		}
		ips, ok := want(p)
		if !ok {
			continue
		}
		_, err = ports.Update(r.Context(), b.neutron, sp.ID, ports.UpdateOpts{FixedIPs: ips}).Extract()
		if refused(err) {
			return api.Invalid("%s", reason(err)).Wrap(err)
		}
		if err != nil {
			return fmt.Errorf("update port %s: %w", sp.ID, err)
		}
		now, err := b.describe(r.Context(), sp.ID, sp.Ours)
		if err != nil {
			return err
		}
		now.Tag = sp.Tag
		_, err = svc.change(r, func(_ *store.Tx, s *Server) error {
			if err := s.idle(verb); err != nil {
				return err
			}
			for i := range s.Ports {
				if s.Ports[i].ID == sp.ID {
					s.Ports[i] = *now
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	return api.Invalid("no port of instance %s is on that network or has that address", b.s.ID)
}

// groupAction adds a security group to the server's ports, or takes it off.
func groupAction(add bool) serverActionFunc {
	return func(svc *Service, w http.ResponseWriter, r *http.Request, args json.RawMessage) error {
		return svc.changeGroups(w, r, args, add)
	}
}

func (svc *Service) changeGroups(w http.ResponseWriter, r *http.Request, args json.RawMessage, add bool) error {
	var in struct {
		Name string `json:"name"`
	}
	if err := api.DecodeJSON(args, &in); err != nil {
		return err
	}
	b, err := svc.building(r)
	if err != nil {
		return err
	}
	verb := "remove_security_group"
	if add {
		verb = "add_security_group"
	}
	// A server under way gets ports with the groups that it had before.
	if err := b.s.idle(verb); err != nil {
		return err
	}
	id, shown, err := b.group(r.Context(), in.Name)
	if err != nil {
		return err
	}
	for _, sp := range b.s.Ports {
		p, err := ports.Get(r.Context(), b.neutron, sp.ID).Extract()
		if err != nil {
			return fmt.Errorf("get port %s: %w", sp.ID, err)
		}
		ids := slices.DeleteFunc(slices.Clone(p.SecurityGroups), func(g string) bool { return g == id })
		if add {
			ids = append(ids, id)
		} else if len(ids) == len(p.SecurityGroups) {
			return api.NotFound("Security group %s not associated with the instance %s", in.Name, b.s.ID)
		}
		if _, err := ports.Update(r.Context(), b.neutron, sp.ID, ports.UpdateOpts{SecurityGroups: &ids}).Extract(); err != nil {
			return fmt.Errorf("update port %s: %w", sp.ID, err)
		}
	}
	_, err = svc.change(r, func(_ *store.Tx, s *Server) error {
		if err := s.idle(verb); err != nil {
			return err
		}
		if s.SecurityGroups == nil {
			s.SecurityGroups = []string{"default"}
		}
		s.SecurityGroups = slices.DeleteFunc(s.SecurityGroups, func(n string) bool { return n == shown })
		if add {
			s.SecurityGroups = append(s.SecurityGroups, shown)
		}
		return nil
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func (b *build) groupID(ctx context.Context, name string) (string, error) {
	id, _, err := b.group(ctx, name)
	return id, err
}

// group finds a security group by id or name, and how the server shows it: by
// its name, which is what Nova shows, or by its id where two share the name.
func (b *build) group(ctx context.Context, ref string) (id, shown string, err error) {
	all, err := b.groupsOf(ctx)
	if err != nil {
		return "", "", err
	}
	for _, g := range all {
		if g.ID != ref && g.Name != ref {
			continue
		}
		for _, other := range all {
			if other.ID != g.ID && other.Name == g.Name {
				return g.ID, g.ID, nil
			}
		}
		return g.ID, g.Name, nil
	}
	return "", "", api.NotFound("Security group %s not found for project %s.", ref, b.s.ProjectID)
}

func (b *build) groupsOf(ctx context.Context) ([]groups.SecGroup, error) {
	page, err := groups.List(b.neutron, groups.ListOpts{ProjectID: b.s.ProjectID}).AllPages(ctx)
	if err != nil {
		return nil, fmt.Errorf("list security groups: %w", err)
	}
	return groups.ExtractGroups(page)
}

// listSecurityGroups is what is left of Nova's proxy of Neutron's security
// groups: clients look names up here before they give a server a group.
func (svc *Service) listSecurityGroups(w http.ResponseWriter, r *http.Request) error {
	if api.AtLeast(r, "2.36") {
		return api.NotFound("The resource could not be found.")
	}
	session, err := svc.cfg.Cloud.Token(r.Context(), caller(r).Token)
	if err != nil {
		return err
	}
	neutron, err := session.Network()
	if err != nil {
		return err
	}
	b := &build{svc: svc, s: &Server{ProjectID: caller(r).ProjectID}, neutron: neutron}
	all, err := b.groupsOf(r.Context())
	if err != nil {
		return err
	}
	out := []any{}
	for _, g := range all {
		v := map[string]any{"id": g.ID, "name": g.Name, "description": g.Description, "tenant_id": g.ProjectID, "rules": []any{}}
		if g.ID == r.PathValue("id") {
			return api.WriteJSON(w, http.StatusOK, map[string]any{"security_group": v})
		}
		out = append(out, v)
	}
	if r.PathValue("id") != "" {
		return api.NotFound("Security group %s not found.", r.PathValue("id"))
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"security_groups": out})
}

// serverGroups answers GET /servers/{id}/os-security-groups.
func (svc *Service) serverGroups(w http.ResponseWriter, r *http.Request) error {
	b, err := svc.building(r)
	if err != nil {
		return err
	}
	all, err := b.groupsOf(r.Context())
	if err != nil {
		return err
	}
	in := map[string]bool{}
	for _, sp := range b.s.Ports {
		p, err := ports.Get(r.Context(), b.neutron, sp.ID).Extract()
		if err != nil {
			return fmt.Errorf("get port %s: %w", sp.ID, err)
		}
		for _, g := range p.SecurityGroups {
			in[g] = true
		}
	}
	out := []any{}
	for _, g := range all {
		if in[g.ID] {
			out = append(out, map[string]any{"id": g.ID, "name": g.Name, "description": g.Description, "tenant_id": g.ProjectID, "rules": []any{}})
		}
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"security_groups": out})
}
