package resources

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// What the resource types of Heat 19 (Zed) are: names, properties, flags, defaults, constraints, attributes.
// Recorded from the installed service by scripts/record-heat-types.py, so that schemas are data and only
// behaviour is code. Where we differ on purpose stands in differences.
//
//go:embed types.json
var recordedTypes []byte

// Our own words about types ("Type"), properties ("Type.property") and attributes ("Type@attribute").
//
//go:embed docs.json
var recordedDocs []byte

// Support says since when something exists, and whether it should still be used.
type Support struct {
	Status   string   `json:"status"` // "" is SUPPORTED; DEPRECATED, HIDDEN or UNSUPPORTED
	Since    string   `json:"since"`
	Previous *Support `json:"previous"`
}

type recordedType struct {
	Type      string         `json:"type"`
	Client    string         `json:"client"`
	Extension string         `json:"extension"`
	NameLimit int            `json:"name_limit"`
	Support   Support        `json:"support"`
	Props     []recordedProp `json:"props"`
	Attrs     []recordedAttr `json:"attrs"`
	Policy    []string       `json:"policy"`
}

type recordedProp struct {
	Name      string          `json:"name"`
	Type      string          `json:"type"`
	Required  bool            `json:"required"`
	Update    bool            `json:"update"`
	Immutable bool            `json:"immutable"`
	Default   json.RawMessage `json:"default"`
	Values    []any           `json:"values"`
	Range     []*float64      `json:"range"`
	Length    []*float64      `json:"length"`
	Modulo    []int64         `json:"modulo"`
	Pattern   string          `json:"pattern"`
	Custom    string          `json:"custom"`
	Support   Support         `json:"support"`
	Fields    []recordedProp  `json:"fields"`
	Items     *recordedProp   `json:"items"`
}

type recordedAttr struct {
	Name    string  `json:"name"`
	Type    string  `json:"type"`
	Support Support `json:"support"`
}

// services names the catalog's service types of Heat's client names; the first that is there is taken.
func services(client string) []string {
	return map[string][]string{
		"aodh": {"alarming"}, "barbican": {"key-manager"}, "blazar": {"reservation"}, "cinder": {"block-storage", "volumev3", "volume"}, "designate": {"dns"},
		"glance": {"image"}, "heat": {"orchestration"}, "ironic": {"baremetal"}, "keystone": {"identity"}, "magnum": {"container-infra", "container-infrastructure-management"},
		"manila": {"sharev2", "shared-file-system", "share"}, "mistral": {"workflowv2", "workflow"}, "monasca": {"monitoring"}, "neutron": {"network"}, "nova": {"compute"},
		"octavia": {"load-balancer"}, "openstack": {"network"}, "sahara": {"data-processing"}, "senlin": {"clustering"}, "swift": {"object-store"}, "trove": {"database"},
		"vitrage": {"rca"}, "zaqar": {"messaging"}, "zun": {"container"},
	}[client]
}

// schemas returns every recorded type, without behaviour.
func schemas() ([]*Type, error) {
	var list []recordedType
	if err := json.Unmarshal(recordedTypes, &list); err != nil {
		return nil, fmt.Errorf("recorded resource types: %w", err)
	}
	docs := map[string]string{}
	if err := json.Unmarshal(recordedDocs, &docs); err != nil {
		return nil, fmt.Errorf("descriptions of resource types: %w", err)
	}
	out := make([]*Type, 0, len(list))
	for _, rec := range list {
		t := &Type{Name: rec.Type, Doc: docs[rec.Type], Client: rec.Client, Extension: rec.Extension, NameLimit: rec.NameLimit, Support: rec.Support, Policies: rec.Policy}
		for _, p := range rec.Props {
			prop, err := p.prop()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", rec.Type, err)
			}
			prop.Doc = docs[rec.Type+"."+p.Name]
			t.Props = append(t.Props, prop)
		}
		addAliases(t.Props)
		for _, a := range rec.Attrs {
			kind := Kind(a.Type)
			if kind == "" {
				kind = Any
			}
			t.Attrs = append(t.Attrs, Attr{Name: a.Name, Kind: kind, Doc: docs[rec.Type+"@"+a.Name], Support: a.Support})
		}
		out = append(out, t)
	}
	return out, nil
}

func (p *recordedProp) prop() (Prop, error) {
	out := Prop{Name: p.Name, Kind: Kind(p.Type), Required: p.Required, Update: p.Update, Immutable: p.Immutable, Custom: p.Custom, Support: p.Support, Hidden: secretName(p.Name)}
	if len(p.Default) > 0 {
		v, err := yaml11.DecodeJSON(p.Default)
		if err != nil {
			return out, fmt.Errorf("default of %s: %w", p.Name, err)
		}
		out.Default = v
	}
	if p.Values != nil {
		out.Limits = append(out.Limits, hot.Constraint{Kind: "allowed_values", Values: yaml11.Normalize(p.Values).([]any)})
	}
	if p.Range != nil {
		out.Limits = append(out.Limits, hot.Constraint{Kind: "range", Min: p.Range[0], Max: p.Range[1]})
	}
	if p.Length != nil {
		out.Limits = append(out.Limits, hot.Constraint{Kind: "length", Min: p.Length[0], Max: p.Length[1]})
	}
	if p.Modulo != nil {
		out.Limits = append(out.Limits, hot.Constraint{Kind: "modulo", Step: p.Modulo[0], Off: p.Modulo[1]})
	}
	if p.Pattern != "" {
		out.Limits = append(out.Limits, hot.Constraint{Kind: "allowed_pattern", Pattern: p.Pattern})
	}
	for _, f := range p.Fields {
		sub, err := f.prop()
		if err != nil {
			return out, err
		}
		out.Sub = append(out.Sub, sub)
	}
	addAliases(out.Sub)
	if p.Items != nil {
		item, err := p.Items.prop()
		if err != nil {
			return out, err
		}
		out.Items = &item
	}
	return out, nil
}

// secretName tells whether values of a property are secrets, which never appear in messages and previews.
func secretName(name string) bool {
	switch name {
	case "admin_pass", "password", "salt", "admin_password", "auth_key", "private_key", "preshared_key", "psk", "payload":
		return true
	}
	return false
}

// addAliases finds the old names of properties: hidden ones such as network_id beside network. Heat reads
// a value under the old name as if it were given under the new one.
func addAliases(props []Prop) {
	for i, p := range props {
		if p.Support.Status != "HIDDEN" {
			continue
		}
		now := strings.TrimSuffix(p.Name, "_id")
		if p.Name == "uuid" {
			now = "network"
		}
		if n := slices.IndexFunc(props, func(q Prop) bool { return q.Name == now || q.Name == now+"s" }); n >= 0 && n != i {
			props[n].Was = p.Name
			props[i].Replaced = true
		}
	}
}

// difference is a place where a schema of ours is not Heat's, on purpose.
type difference struct {
	Type, Prop string // Prop "" is the type, "*" every property
	Reason     string
	Apply      func(p *Prop)
}

func differences() []difference {
	const override = "the undercloud overrides this type (instack-undercloud, plugins for Heat): "
	updatable := func(p *Prop) { p.Update, p.Immutable = true, false }
	immutable := func(p *Prop) { p.Immutable = !p.Update }
	pollTempURL := func(p *Prop) { p.Default = PollTempURL }
	signal := func(p *Prop) { p.Default = nil }
	transport := "this is Heat's setting default_software_config_transport; agents of nodes on the provisioning network read a temporary URL"
	signalling := "this is Heat's setting default_deployment_signal_transport, asked of the engine when it is needed"
	list := []difference{
		{"OS::Nova::Server", "*", override + "a server with an operating system on it is never replaced, whatever changes", updatable},
		{"OS::Neutron::Net", "*", override + "what cannot be updated must not replace the network under the servers", immutable},
		{"OS::Neutron::Subnet", "*", override + "what cannot be updated must not replace the subnet under the servers", immutable},
		{"OS::Neutron::Port", "*", override + "what cannot be updated must not replace the port under a server", immutable},
		{"OS::Nova::Server", "software_config_transport", transport, pollTempURL},
		{"OS::Heat::DeployedServer", "software_config_transport", transport, pollTempURL},
		{"OS::Heat::TestResource", "constraint_prop_secs", "the constraint test_constr sleeps for a test of Heat's own", func(p *Prop) { p.Custom = "" }},
	}
	for _, t := range []string{"SoftwareDeployment", "SoftwareDeploymentGroup", "SoftwareDeployments", "StructuredDeployment", "StructuredDeploymentGroup", "StructuredDeployments"} {
		list = append(list, difference{"OS::Heat::" + t, "signal_transport", signalling, signal})
	}
	return list
}

func applyDifferences(t *Type) {
	for _, d := range differences() {
		if d.Type != t.Name {
			continue
		}
		for i := range t.Props {
			if d.Prop == "*" || t.Props[i].Name == d.Prop {
				d.Apply(&t.Props[i])
			}
		}
	}
}
