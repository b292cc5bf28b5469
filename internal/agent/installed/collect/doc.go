// Package collect gathers what the cloud tells a node about itself, as os-collect-config does: from the config drive, from
// files on the node, and from the node's own object that the orchestration service writes (collector `request`).
//
// Each collector yields one JSON map. Merge lays them over each other in the order of os-collect-config (heat_local, ec2,
// request, local): maps are merged deeply, a later value wins, a null takes a key away. The merged key `os-collect-config`
// says where the request collector has to look, so the transport can be changed by the cloud.
package collect
