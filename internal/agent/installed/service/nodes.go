package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/agent/installed/collect"
)

// eachNodeKey is the only key of a map that stands for a text made of the nodes that have a service.
const eachNodeKey = "each_node"

// eachNode makes that text. The nodes are the fact node.nodes, in its order: those of the plan's roles, by role and number.
type eachNode struct {
	Service  string  `json:"service"`  // service_name of the nodes' services
	Network  string  `json:"network"`  // whose address %ip% is; "" is ctlplane
	Template string  `json:"template"` // text for each node: %ip%, %name%, %fqdn%, %index% (from 0), %number% (from 1)
	First    *string `json:"first"`    // instead, for the first one
	Optional Flag    `json:"optional"` // nobody has the service: the text is empty
	Others   Flag    `json:"others"`   // leave this node out
	Join     string  `json:"join"`     // between the texts
	Prefix   string  `json:"prefix"`
	Suffix   string  `json:"suffix"`
}

// expandEach returns the text that a map stands for, and whether it is such a map.
func expandEach(m map[string]any, facts map[string]any, where string) (string, bool, error) {
	spec, ok := m[eachNodeKey]
	if !ok || len(m) != 1 {
		return "", false, nil
	}
	var e eachNode
	data, err := json.Marshal(spec)
	if err == nil {
		err = strict(data, &e)
	}
	if err == nil && (e.Service == "" || e.Template == "") {
		err = errors.New("it needs service and template")
	}
	if err != nil {
		return "", true, fmt.Errorf("%s.%s: %w", where, eachNodeKey, err)
	}
	text, err := e.text(facts)
	if err != nil {
		return "", true, fmt.Errorf("%s.%s: %w", where, eachNodeKey, err)
	}
	return text, true, nil
}

func (e eachNode) text(facts map[string]any) (string, error) {
	nodes, _ := collect.Lookup(facts, "node", "nodes").([]any)
	self, _ := collect.Lookup(facts, "node", "hostname").(string)
	network := e.Network
	if network == "" {
		network = "ctlplane"
	}
	var parts []string
	index, known := 0, false
	for _, n := range nodes {
		node, _ := n.(map[string]any)
		services, _ := node["services"].([]any)
		if !slices.ContainsFunc(services, func(s any) bool { return s == any(e.Service) }) {
			continue
		}
		known = true
		name, _ := node["name"].(string)
		template := e.Template
		if index == 0 && e.First != nil {
			template = *e.First
		}
		i := index
		index++
		if bool(e.Others) && name == self {
			continue
		}
		ip, _ := collect.Lookup(node, "ip", network).(string)
		if ip == "" && strings.Contains(template, "%ip%") {
			return "", fmt.Errorf("node %s has no address on network %q", name, network)
		}
		fqdn, _ := node["fqdn"].(string)
		parts = append(parts, strings.NewReplacer("%ip%", ip, "%name%", name, "%fqdn%", fqdn,
			"%index%", strconv.Itoa(i), "%number%", strconv.Itoa(i+1)).Replace(template))
	}
	if !known && bool(e.Optional) {
		return "", nil
	}
	if !known {
		return "", fmt.Errorf("no node of the facts has service %q", e.Service)
	}
	return e.Prefix + strings.Join(parts, e.Join) + e.Suffix, nil
}
