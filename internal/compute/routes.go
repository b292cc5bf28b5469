package compute

import (
	"slices"

	"github.com/tripleo/tripleo/internal/api"
)

// routes is the service's contents page.
func (s *Service) routes() []api.Route {
	return slices.Concat(
		s.versionRoutes(),
		s.flavorRoutes(),
		s.keypairRoutes(),
		s.serverRoutes(),
		s.serverLabelRoutes(),
		s.serverNetworkRoutes(),
		s.serverDetailRoutes(),
		s.groupRoutes(),
		s.aggregateRoutes(),
		s.serviceRoutes(),
		s.quotaRoutes(),
		s.hypervisorRoutes(),
	)
}

func (s *Service) versionRoutes() []api.Route {
	return []api.Route{
		{Method: "GET", Pattern: "/{$}", Policy: api.Public, Handler: s.versions},
		{Method: "GET", Pattern: "/v2.1", Policy: api.Public, Handler: s.version},
		{Method: "GET", Pattern: "/v2.1/{$}", Policy: api.Public, Handler: s.version},
		{Method: "GET", Pattern: "/v2.1/extensions", Policy: api.Reader, Handler: s.listExtensions},
	}
}

func (s *Service) flavorRoutes() []api.Route {
	return []api.Route{
		{Method: "GET", Pattern: "/v2.1/flavors", Policy: api.Reader, Handler: s.listFlavors},
		{Method: "GET", Pattern: "/v2.1/flavors/detail", Policy: api.Reader, Handler: s.listFlavorsDetail},
		{Method: "POST", Pattern: "/v2.1/flavors", Policy: api.Admin, Handler: s.createFlavor},
		{Method: "GET", Pattern: "/v2.1/flavors/{id}", Policy: api.Reader, Handler: s.showFlavor},
		{Method: "PUT", Pattern: "/v2.1/flavors/{id}", Policy: api.Admin, Since: "2.55", Handler: s.updateFlavor},
		{Method: "DELETE", Pattern: "/v2.1/flavors/{id}", Policy: api.Admin, Handler: s.deleteFlavor},
		{Method: "GET", Pattern: "/v2.1/flavors/{id}/os-flavor-access", Policy: api.Admin, Handler: s.listAccess},
		{Method: "POST", Pattern: "/v2.1/flavors/{id}/action", Policy: api.Admin, Handler: s.flavorAction},
		{Method: "GET", Pattern: "/v2.1/flavors/{id}/os-extra_specs", Policy: api.Reader, Handler: s.listExtraSpecs},
		{Method: "POST", Pattern: "/v2.1/flavors/{id}/os-extra_specs", Policy: api.Admin, Handler: s.setExtraSpecs},
		{Method: "GET", Pattern: "/v2.1/flavors/{id}/os-extra_specs/{key}", Policy: api.Reader, Handler: s.showExtraSpec},
		{Method: "PUT", Pattern: "/v2.1/flavors/{id}/os-extra_specs/{key}", Policy: api.Admin, Handler: s.setExtraSpec},
		{Method: "DELETE", Pattern: "/v2.1/flavors/{id}/os-extra_specs/{key}", Policy: api.Admin, Handler: s.deleteExtraSpec},
	}
}

func (s *Service) keypairRoutes() []api.Route {
	return []api.Route{
		{Method: "GET", Pattern: "/v2.1/os-keypairs", Policy: api.Reader, Handler: s.listKeypairs},
		{Method: "POST", Pattern: "/v2.1/os-keypairs", Policy: api.Member, Handler: s.createKeypair},
		{Method: "GET", Pattern: "/v2.1/os-keypairs/{name}", Policy: api.Reader, Handler: s.showKeypair},
		{Method: "DELETE", Pattern: "/v2.1/os-keypairs/{name}", Policy: api.Member, Handler: s.deleteKeypair},
	}
}

func (s *Service) serverRoutes() []api.Route {
	return []api.Route{
		{Method: "GET", Pattern: "/v2.1/servers", Policy: api.Reader, Handler: s.listServers},
		{Method: "GET", Pattern: "/v2.1/servers/detail", Policy: api.Reader, Handler: s.listServersDetail},
		{Method: "POST", Pattern: "/v2.1/servers", Policy: api.Member, Handler: s.createServer},
		{Method: "GET", Pattern: "/v2.1/servers/{id}", Policy: api.Reader, Handler: s.showServer},
		{Method: "PUT", Pattern: "/v2.1/servers/{id}", Policy: api.Member, Handler: s.updateServer},
		{Method: "DELETE", Pattern: "/v2.1/servers/{id}", Policy: api.Member, Handler: s.deleteServer},
		{Method: "POST", Pattern: "/v2.1/servers/{id}/action", Policy: api.Member, Handler: s.serverAction},
	}
}

// serverLabelRoutes are what users write on servers.
func (s *Service) serverLabelRoutes() []api.Route {
	return []api.Route{
		{Method: "GET", Pattern: "/v2.1/servers/{id}/metadata", Policy: api.Reader, Handler: s.serverMetadata},
		{Method: "POST", Pattern: "/v2.1/servers/{id}/metadata", Policy: api.Member, Handler: s.setServerMetadata},
		{Method: "PUT", Pattern: "/v2.1/servers/{id}/metadata", Policy: api.Member, Handler: s.setServerMetadata},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/metadata/{key}", Policy: api.Reader, Handler: s.showMetadataItem},
		{Method: "PUT", Pattern: "/v2.1/servers/{id}/metadata/{key}", Policy: api.Member, Handler: s.putMetadataItem},
		{Method: "DELETE", Pattern: "/v2.1/servers/{id}/metadata/{key}", Policy: api.Member, Handler: s.deleteMetadataItem},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/tags", Policy: api.Reader, Since: "2.26", Handler: s.listServerTags},
		{Method: "PUT", Pattern: "/v2.1/servers/{id}/tags", Policy: api.Member, Since: "2.26", Handler: s.replaceServerTags},
		{Method: "DELETE", Pattern: "/v2.1/servers/{id}/tags", Policy: api.Member, Since: "2.26", Handler: s.deleteServerTags},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/tags/{tag}", Policy: api.Reader, Since: "2.26", Handler: s.serverTag},
		{Method: "PUT", Pattern: "/v2.1/servers/{id}/tags/{tag}", Policy: api.Member, Since: "2.26", Handler: s.serverTag},
		{Method: "DELETE", Pattern: "/v2.1/servers/{id}/tags/{tag}", Policy: api.Member, Since: "2.26", Handler: s.serverTag},
	}
}

// serverNetworkRoutes are a server's addresses, cards and security groups.
func (s *Service) serverNetworkRoutes() []api.Route {
	return []api.Route{
		{Method: "GET", Pattern: "/v2.1/servers/{id}/ips", Policy: api.Reader, Handler: s.serverIPs},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/ips/{network}", Policy: api.Reader, Handler: s.serverNetworkIPs},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/os-interface", Policy: api.Reader, Handler: s.serverInterfaces},
		{Method: "POST", Pattern: "/v2.1/servers/{id}/os-interface", Policy: api.Member, Handler: s.attachInterface},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/os-interface/{port}", Policy: api.Reader, Handler: s.showInterface},
		{Method: "DELETE", Pattern: "/v2.1/servers/{id}/os-interface/{port}", Policy: api.Member, Handler: s.detachInterface},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/os-security-groups", Policy: api.Reader, Handler: s.serverGroups},
		{Method: "GET", Pattern: "/v2.1/os-security-groups", Policy: api.Reader, Handler: s.listSecurityGroups},
		{Method: "GET", Pattern: "/v2.1/os-security-groups/{id}", Policy: api.Reader, Handler: s.listSecurityGroups},
	}
}

// serverDetailRoutes are what else there is of a server.
func (s *Service) serverDetailRoutes() []api.Route {
	return []api.Route{
		{Method: "GET", Pattern: "/v2.1/servers/{id}/os-instance-actions", Policy: api.Reader, Handler: s.listActions},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/os-instance-actions/{request}", Policy: api.Reader, Handler: s.showAction},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/os-server-password", Policy: api.Reader, Handler: s.serverPassword},
		{Method: "DELETE", Pattern: "/v2.1/servers/{id}/os-server-password", Policy: api.Member, Handler: s.serverPassword},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/diagnostics", Policy: api.Admin, Handler: s.serverDiagnostics},
		{Method: "POST", Pattern: "/v2.1/servers/{id}/remote-consoles", Policy: api.Member, Since: "2.6", Handler: s.remoteConsole},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/os-volume_attachments", Policy: api.Reader, Handler: s.noVolumes},
		{Method: "POST", Pattern: "/v2.1/servers/{id}/os-volume_attachments", Policy: api.Member, Handler: s.noVolumes},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/os-volume_attachments/{volume}", Policy: api.Reader, Handler: s.noVolumes},
		{Method: "DELETE", Pattern: "/v2.1/servers/{id}/os-volume_attachments/{volume}", Policy: api.Member, Handler: s.noVolumes},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/migrations", Policy: api.Admin, Since: "2.23", Handler: s.serverMigrations},
		{Method: "GET", Pattern: "/v2.1/os-migrations", Policy: api.Admin, Handler: s.migrations},
	}
}

func (s *Service) groupRoutes() []api.Route {
	return []api.Route{
		{Method: "GET", Pattern: "/v2.1/os-server-groups", Policy: api.Reader, Handler: s.listGroups},
		{Method: "POST", Pattern: "/v2.1/os-server-groups", Policy: api.Member, Handler: s.createGroup},
		{Method: "GET", Pattern: "/v2.1/os-server-groups/{id}", Policy: api.Reader, Handler: s.showGroup},
		{Method: "DELETE", Pattern: "/v2.1/os-server-groups/{id}", Policy: api.Member, Handler: s.deleteGroup},
	}
}

func (s *Service) aggregateRoutes() []api.Route {
	return []api.Route{
		{Method: "GET", Pattern: "/v2.1/os-aggregates", Policy: api.Admin, Handler: s.listAggregates},
		{Method: "POST", Pattern: "/v2.1/os-aggregates", Policy: api.Admin, Handler: s.createAggregate},
		{Method: "GET", Pattern: "/v2.1/os-aggregates/{id}", Policy: api.Admin, Handler: s.showAggregate},
		{Method: "PUT", Pattern: "/v2.1/os-aggregates/{id}", Policy: api.Admin, Handler: s.updateAggregate},
		{Method: "DELETE", Pattern: "/v2.1/os-aggregates/{id}", Policy: api.Admin, Handler: s.deleteAggregate},
		{Method: "POST", Pattern: "/v2.1/os-aggregates/{id}/action", Policy: api.Admin, Handler: s.aggregateAction},
		{Method: "GET", Pattern: "/v2.1/os-availability-zone", Policy: api.Reader, Handler: s.listZones},
		{Method: "GET", Pattern: "/v2.1/os-availability-zone/detail", Policy: api.Admin, Handler: s.listZonesDetail},
	}
}

func (s *Service) serviceRoutes() []api.Route {
	return []api.Route{
		{Method: "GET", Pattern: "/v2.1/os-services", Policy: api.Admin, Handler: s.listServices},
		{Method: "PUT", Pattern: "/v2.1/os-services/{id}", Policy: api.Admin, Handler: s.changeService},
		{Method: "DELETE", Pattern: "/v2.1/os-services/{id}", Policy: api.Admin, Handler: s.deleteService},
	}
}

// quotaRoutes are what projects may have and do have.
func (s *Service) quotaRoutes() []api.Route {
	return []api.Route{
		{Method: "GET", Pattern: "/v2.1/os-quota-sets/{project}", Policy: api.Reader, Handler: s.showQuota},
		{Method: "GET", Pattern: "/v2.1/os-quota-sets/{project}/detail", Policy: api.Reader, Handler: s.detailQuota},
		{Method: "GET", Pattern: "/v2.1/os-quota-sets/{project}/defaults", Policy: api.Reader, Handler: s.defaultQuota},
		{Method: "PUT", Pattern: "/v2.1/os-quota-sets/{project}", Policy: api.Admin, Handler: s.putQuota},
		{Method: "DELETE", Pattern: "/v2.1/os-quota-sets/{project}", Policy: api.Admin, Handler: s.deleteQuota},
		{Method: "GET", Pattern: "/v2.1/os-quota-class-sets/{class}", Policy: api.Admin, Handler: s.quotaClass},
		{Method: "PUT", Pattern: "/v2.1/os-quota-class-sets/{class}", Policy: api.Admin, Handler: s.quotaClass},
		{Method: "GET", Pattern: "/v2.1/os-simple-tenant-usage", Policy: api.Admin, Handler: s.listUsage},
		{Method: "GET", Pattern: "/v2.1/os-simple-tenant-usage/{project}", Policy: api.Reader, Handler: s.showUsage},
		{Method: "GET", Pattern: "/v2.1/limits", Policy: api.Reader, Handler: s.showLimits},
	}
}

func (s *Service) hypervisorRoutes() []api.Route {
	return []api.Route{
		{Method: "GET", Pattern: "/v2.1/os-hypervisors/{id}/uptime", Policy: api.Admin, Handler: s.hypervisorUptime},
		{Method: "GET", Pattern: "/v2.1/os-hypervisors/{id}/search", Policy: api.Admin, Handler: s.searchHypervisors},
		{Method: "GET", Pattern: "/v2.1/os-hypervisors/{id}/servers", Policy: api.Admin, Handler: s.searchHypervisors},
		{Method: "GET", Pattern: "/v2.1/os-hypervisors", Policy: api.Admin, Handler: s.listHypervisors},
		{Method: "GET", Pattern: "/v2.1/os-hypervisors/detail", Policy: api.Admin, Handler: s.listHypervisorsDetail},
		{Method: "GET", Pattern: "/v2.1/os-hypervisors/statistics", Policy: api.Admin, Handler: s.hypervisorStatistics},
		{Method: "GET", Pattern: "/v2.1/os-hypervisors/{id}", Policy: api.Admin, Handler: s.showHypervisor},
	}
}
