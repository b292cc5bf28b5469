package network

import (
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
)

// extensions lists what this service offers beyond the core, by the aliases
// clients look for before they send an attribute. What is not here is not done:
// tests of an alias that is missing skip themselves.
var extensions = [][2]string{ //nolint:gochecknoglobals // constant table
	{"address-group", "Address group"},
	{"address-scope", "Address scope"},
	{"agent", "agent"},
	{"allowed-address-pairs", "Allowed Address Pairs"},
	{"auto-allocated-topology", "Auto Allocated Topology Services"},
	{"availability_zone", "Availability Zone"},
	{"binding", "Port Binding"},
	{"default-subnetpools", "Default Subnetpools"},
	{"dns-integration", "DNS Integration"},
	{"ext-gw-mode", "Neutron L3 Configurable external gateway mode"},
	{"external-net", "Neutron external network"},
	{"extra_dhcp_opt", "Neutron Extra DHCP options"},
	{"extraroute", "Neutron Extra Route"},
	{"extraroute-atomic", "Atomically add/remove extra routes"},
	{"filter-validation", "Filter parameters validation"},
	{"fip-port-details", "Floating IP Port Details Extension"},
	{"floatingip-autodelete-internal", "Floating IPs of deleted ports"},
	{"ip-substring-filtering", "IP address substring filtering"},
	{"net-mtu", "Network MTU"},
	{"net-mtu-writable", "Network MTU (writable)"},
	{"network-ip-availability", "Network IP Availability"},
	{"network_availability_zone", "Network Availability Zone"},
	{"pagination", "Pagination support"},
	{"port-mac-address-regenerate", "Neutron Port MAC address regenerate"},
	{"port-security", "Port Security"},
	{"project-id", "project_id field enabled"},
	{"provider", "Provider Network"},
	{"qos", "Quality of Service"},
	{"qos-bw-limit-direction", "Direction for QoS bandwidth limit rule"},
	{"qos-bw-minimum-ingress", "Ingress direction for QoS minimum bandwidth rule"},
	{"qos-default", "QoS default policy"},
	{"qos-fip", "Floating IP QoS"},
	{"qos-pps", "QoS packet rate limit rule"},
	{"qos-pps-minimum", "QoS minimum packet rate rule"},
	{"qos-pps-minimum-rule-alias", "Ability to alias minimum packet rate rules"},
	{"qos-rule-type-details", "Details of QoS rule types"},
	{"qos-rules-alias", "Ability to enable modification of QoS rules without policy ID"},
	{"quota-check-limit", "Quota engine limit check"},
	{"quota_details", "Quota details management support"},
	{"quotas", "Quota management support"},
	{"rbac-address-group", "Add address_group type to RBAC"},
	{"rbac-address-scope", "Add address_scope type to RBAC"},
	{"rbac-policies", "RBAC Policies"},
	{"rbac-security-groups", "Add security_group type to network RBAC"},
	{"rbac-subnetpool", "Add subnetpool type to RBAC"},
	{"revision-if-match", "If-Match constraints based on revision_number"},
	{"router", "Neutron L3 Router"},
	{"router_availability_zone", "Router Availability Zone"},
	{"security-group", "security-group"},
	{"security-groups-normalized-cidr", "Normalized CIDR field for security group rules"},
	{"security-groups-remote-address-group", "Remote address group id field for security group rules"},
	{"security-groups-shared-filtering", "Security group filtering on the shared field"},
	{"segment", "Segment"},
	{"service-type", "Neutron Service Type Management"},
	{"sort-key-validation", "Sort key validation"},
	{"sorting", "Sorting support"},
	{"standard-attr-description", "standard-attr-description"},
	{"standard-attr-revisions", "Resource revision numbers"},
	{"standard-attr-segment", "Segments with description and revision"},
	{"standard-attr-tag", "Tag support for resources with standard attribute"},
	{"standard-attr-timestamp", "Resource timestamps"},
	{"stateful-security-group", "Stateful security group"},
	{"subnet-dns-publish-fixed-ip", "Subnet DNS publish fixed IP"},
	{"subnet-segmentid-writable", "Subnet SegmentID (writable)"},
	{"subnet-service-types", "Subnet service types"},
	{"subnet_allocation", "Subnet Allocation"},
	{"subnetpool-prefix-ops", "Subnetpool Prefix Operations"},
	{"trunk", "Trunk Extension"},
	{"trunk-details", "Trunk port details"},
	{"uplink-status-propagation", "Port Uplink Status Propagation"},
}

func extension(e [2]string) map[string]any {
	return map[string]any{"alias": e[0], "name": e[1], "description": e[1], "updated": "2020-01-01T00:00:00-00:00", "links": []any{}}
}

func (s *Service) listExtensions(w http.ResponseWriter, _ *http.Request) error {
	out := []any{}
	for _, e := range extensions {
		out = append(out, extension(e))
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"extensions": out})
}

func (s *Service) showExtension(w http.ResponseWriter, r *http.Request) error {
	alias := r.PathValue("alias")
	for _, e := range extensions {
		if e[0] == alias {
			return api.WriteJSON(w, http.StatusOK, map[string]any{"extension": extension(e)})
		}
	}
	return api.NotFound("Extension with alias %s does not exist", alias).Named("ExtensionNotFound")
}
