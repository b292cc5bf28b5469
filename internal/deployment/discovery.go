package deployment

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/internal/yaml11"
)

const (
	maxCandidates = 4096 // addresses × ports × credentials of one discovery
	probeTime     = 60 * time.Second
)

// candidateNodes lists what discovery has to try: every address (a list, or a network in CIDR form) with every port and
// every pair of credentials, without the BMCs of nodes that are registered: [{ip, port, username, password}].
func candidateNodes(_ *run, in input) (any, error) {
	ips, err := addressList(in.value("ip_addresses"))
	if err != nil {
		return nil, err
	}
	taken := map[string]bool{}
	for _, n := range in.list("existing_nodes") {
		if d := driverFor(text(n, "driver")); d != nil && d.prefix != "" {
			info := dig(n, "driver_info")
			taken[text(info, d.infoKey("pm_addr"))+" "+firstText(text(info, d.prefix+"_port"), d.port)] = true
		}
	}
	out := []any{}
	for _, ip := range ips {
		for _, port := range in.list("ports") {
			if taken[ip+" "+fmt.Sprint(port)] {
				continue
			}
			for _, cred := range in.list("credentials") {
				user, pw, err := credential(cred)
				if err != nil {
					return nil, err
				}
				if len(out) >= maxCandidates {
					return nil, fmt.Errorf("more than %d combinations of addresses, ports and credentials", maxCandidates)
				}
				out = append(out, yaml11.MapOf("ip", ip, "port", port, "username", user, "password", pw))
			}
		}
	}
	return out, nil
}

// credential is a pair [user, password] or {username, password}.
func credential(v any) (user, password string, err error) {
	switch x := v.(type) {
	case []any:
		if len(x) == 2 {
			return fmt.Sprint(x[0]), fmt.Sprint(x[1]), nil
		}
	case *yaml11.OrderedMap:
		return text(x, "username"), text(x, "password"), nil
	}
	return "", "", errors.New("credentials must be pairs of user name and password")
}

// addressList reads a list of addresses, or the hosts of a network in CIDR form.
func addressList(v any) ([]string, error) {
	var out []string
	if list, ok := v.([]any); ok {
		for _, e := range list {
			a, err := netip.ParseAddr(fmt.Sprint(e))
			if err != nil {
				return nil, fmt.Errorf("ip_addresses: %q is no address", fmt.Sprint(e))
			}
			out = append(out, a.String())
		}
		return out, nil
	}
	p, err := netip.ParsePrefix(fmt.Sprint(v))
	if err != nil {
		return nil, fmt.Errorf("ip_addresses must be a list of addresses or a network like 192.0.2.0/24, not %q", fmt.Sprint(v))
	}
	p = p.Masked()
	for a := p.Addr(); p.Contains(a); a = a.Next() {
		if a.Is4() && p.Bits() < 31 && (a == p.Addr() || !p.Contains(a.Next())) {
			continue // the network's own address and its broadcast address
		}
		if len(out) >= maxCandidates {
			return nil, fmt.Errorf("the network %s has more than %d addresses", p, maxCandidates)
		}
		out = append(out, a.String())
	}
	return out, nil
}

// probeNode finds out whether a BMC answers by IPMI to the given user: a node as in instackenv.json, or null. Ironic asks
// it, because it is Ironic that has a way to the BMCs: as a node that is registered for the moment.
func probeNode(r *run, in input) (any, error) {
	c, err := r.s.Baremetal()
	if err != nil {
		return nil, err
	}
	name := "probe-" + r.ac.ActionExecutionID
	var node any
	_, err = r.request(c, http.MethodGet, c.ServiceURL("nodes", url.PathEscape(name)), nil, &node)
	if isStatus(err, 404) {
		info := yaml11.MapOf("ipmi_address", in.str("ip"), "ipmi_port", in.str("port"), "ipmi_username", in.str("username"), "ipmi_password", in.str("password"))
		body := yaml11.MapOf("name", name, "driver", "ipmi", "driver_info", info)
		if _, err := r.request(c, http.MethodPost, c.ServiceURL("nodes"), body, &node, 201); err != nil {
			return nil, err
		}
		return nil, r.verifyProbe(text(node, "uuid"))
	}
	if err != nil {
		return nil, err
	}
	uuid := text(node, "uuid")
	state, target := text(node, "provision_state"), text(node, "target_provision_state")
	late := r.ac.Now().Sub(r.ac.Started) > probeTime
	if state != "manageable" && target != "" && !late {
		return nil, actions.Wait(time.Second, "baremetal/node/"+uuid)
	}
	attempts, err := in.integer("attempts", 2)
	if err != nil {
		return nil, err
	}
	if tried := intOf(dig(node, "extra", "attempts")) + 1; state == "enroll" && !late && tried < attempts {
		if err := r.patchNode(c, uuid, "/extra/attempts", tried); err != nil {
			return nil, err
		}
		return nil, r.verifyProbe(uuid)
	}
	if err := r.dropProbe(uuid); err != nil {
		if !late || r.ac.Now().Sub(r.ac.Started) < 2*probeTime {
			return nil, actions.Wait(time.Second, "baremetal/node/"+uuid) // still locked by the attempt
		}
		return nil, err
	}
	if state != "manageable" {
		return nil, nil
	}
	found := yaml11.MapOf("pm_type", firstText(in.str("ipmi_driver"), "ipmi"), "pm_addr", in.str("ip"), "pm_user", in.str("username"), "pm_password", in.str("password"))
	if port := in.str("port"); port != "623" {
		found.Set("pm_port", port)
	}
	return found, nil
}

// verifyProbe lets Ironic ask a BMC.
func (r *run) verifyProbe(uuid string) error {
	c, err := r.s.Baremetal()
	if err != nil {
		return err
	}
	_, err = r.request(c, http.MethodPut, c.ServiceURL("nodes", uuid, "states", "provision"), map[string]any{"target": "manage"}, nil, 202)
	if err != nil {
		return errors.Join(err, r.dropProbe(uuid))
	}
	return actions.Wait(time.Second, "baremetal/node/"+uuid)
}

func (r *run) dropProbe(uuid string) error {
	c, err := r.s.Baremetal()
	if err != nil {
		return err
	}
	_, err = r.request(c, http.MethodDelete, c.ServiceURL("nodes", uuid), nil, nil, 204, 404)
	return err
}

// cellDiscover makes Nova know new machines. Our Nova reads Ironic itself; what is checked is that it answers.
func cellDiscover(r *run, _ input) (any, error) {
	c, err := r.s.Compute()
	if err != nil {
		return nil, err
	}
	_, err = r.request(c, http.MethodGet, c.ServiceURL("os-hypervisors"), nil, nil, 200)
	return nil, err
}

// waitHypervisors waits until Nova lists nodes as hypervisors.
func waitHypervisors(r *run, in input) (any, error) {
	c, err := r.s.Compute()
	if err != nil {
		return nil, err
	}
	list, err := r.pages(c, c.ServiceURL("os-hypervisors")+"?limit=1000", "hypervisors", "id")
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, h := range list {
		known[text(h, "hypervisor_hostname")] = true
	}
	var missing []string
	for _, n := range in.list("node_uuids") {
		if !known[fmt.Sprint(n)] {
			missing = append(missing, fmt.Sprint(n))
		}
	}
	if len(missing) == 0 {
		return nil, nil
	}
	late, err := r.overdue(in, 900)
	if err != nil {
		return nil, err
	}
	if late {
		return nil, fmt.Errorf("Nova does not know the nodes %s", strings.Join(missing, ", "))
	}
	return nil, actions.Wait(3*time.Second, "baremetal/node/"+missing[0])
}
