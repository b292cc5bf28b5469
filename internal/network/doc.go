// Package network is Neutron v2: networks, subnets and ports of the bare-metal
// machines, the addresses they are given (ipam), and the DHCP server of the
// provisioning network (dhcp).
//
// API reference: https://docs.openstack.org/api-ref/network/v2/.
package network
