// Package network is Neutron v2: networks, subnets, ports and what belongs to
// them, the addresses they are given (ipam), and the DHCP server of the
// provisioning network (dhcp).
//
// Every kind of thing is a resource: a table of attributes (attr.go) and the
// few hooks in which it differs from the others. resource.go serves them all.
//
// API reference: https://docs.openstack.org/api-ref/network/v2/.
package network
