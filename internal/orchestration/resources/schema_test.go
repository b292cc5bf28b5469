package resources

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// facts reads the recording on its own, without the loader.
func facts(t *testing.T) map[string]map[string]any {
	t.Helper()
	var list []map[string]any
	if err := json.Unmarshal(recordedTypes, &list); err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]any{}
	for _, m := range list {
		out[m["type"].(string)] = m
	}
	return out
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// compareProp appends what differs between a property of ours and Heat's.
func compareProp(path string, ours *Prop, heat map[string]any, diff func(path, what string)) {
	for _, f := range []struct {
		name string
		ours any
	}{{"type", string(ours.Kind)}, {"required", ours.Required}, {"update", ours.Update}, {"immutable", ours.Immutable}, {"custom", ours.Custom}, {"default", ours.Default}} {
		want, have := heat[f.name], f.ours
		if f.name != "default" && (have == "" || have == false) {
			have = nil
		}
		if text(want) != text(have) && !hot.Equal(yaml11.Normalize(want), have) {
			diff(path, fmt.Sprintf("%s is %s, Heat has %s", f.name, text(have), text(want)))
		}
	}
	for kind, key := range map[string]string{"allowed_values": "values", "range": "range", "length": "length", "allowed_pattern": "pattern", "modulo": "modulo"} {
		has := slices.ContainsFunc(ours.Limits, func(c hot.Constraint) bool { return c.Kind == kind })
		if (heat[key] != nil) != has {
			diff(path, "constraint "+kind+" differs")
		}
	}
	fields, _ := heat["fields"].([]any)
	if len(fields) != len(ours.Sub) {
		diff(path, "fields differ")
		return
	}
	for i := range ours.Sub {
		compareProp(path+"."+ours.Sub[i].Name, &ours.Sub[i], fields[i].(map[string]any), diff)
	}
	item, _ := heat["items"].(map[string]any)
	if (item != nil) != (ours.Items != nil) {
		diff(path, "items differ")
	} else if item != nil {
		compareProp(path+".*", ours.Items, item, diff)
	}
}

// TestSchemas compares every schema with what Heat has. What differs must stand in differences with its
// reason, and every row there must still be true.
func TestSchemas(t *testing.T) {
	heat := facts(t)
	used := map[int]bool{}
	for _, ours := range All() {
		f := heat[ours.Name]
		if f == nil {
			if !slices.ContainsFunc(aliases(), func(a alias) bool { return a.name == ours.Name }) {
				t.Errorf("%s is no type of Heat", ours.Name)
			}
			continue
		}
		delete(heat, ours.Name)
		diff := func(path, what string) {
			found := false
			for i, d := range differences() {
				if name, _, _ := strings.Cut(path, "."); d.Type == ours.Name && (d.Prop == "*" || d.Prop == name) {
					used[i], found = true, true
				}
			}
			if found {
				return
			}
			t.Errorf("%s.%s: %s, without a reason", ours.Name, path, what)
		}
		props, _ := f["props"].([]any)
		if len(props) != len(ours.Props) {
			t.Errorf("%s has %d properties, Heat %d", ours.Name, len(ours.Props), len(props))
			continue
		}
		for i := range ours.Props {
			compareProp(ours.Props[i].Name, &ours.Props[i], props[i].(map[string]any), diff)
		}
		attrs, _ := f["attrs"].([]any)
		for _, a := range attrs {
			name := a.(map[string]any)["name"].(string)
			if !slices.ContainsFunc(ours.Attrs, func(o Attr) bool { return o.Name == name }) {
				t.Errorf("%s has no attribute %s", ours.Name, name)
			}
		}
	}
	for name := range heat {
		t.Errorf("type %s of Heat is missing", name)
	}
	for i, d := range differences() {
		if d.Reason == "" || !used[i] {
			t.Errorf("difference %s.%s has no reason, or is none", d.Type, d.Prop)
		}
	}
}

// notHere are the types whose service nothing of ours speaks to; they are known by name and schema, and
// using one says that its service is not available.
func notHere() map[string]string {
	return map[string]string{
		"AWS::AutoScaling": "need AWS::EC2::Instance", "AWS::EC2": "the API of Amazon's compute service stands on Nova's, which has types of its own",
		"AWS::ElasticLoadBalancing": "needs AWS::EC2::Instance", "AWS::IAM": "keys of Amazon's API", "AWS::S3": "OS::Swift::Container is the same",
		"OS::Aodh": "telemetry is not part of an undercloud", "OS::Barbican": "containers of secrets", "OS::Blazar": "no client", "OS::Cinder": "associations", "OS::Designate": "removed in Heat",
		"OS::Glance": "the image API v1 is gone", "OS::Magnum": "removed in Heat", "OS::Monasca": "no client", "OS::Neutron::LBaaS": "gone, Octavia took over", "OS::Neutron": "load balancers of Neutron are gone, gateways have no client",
		"OS::Nova": "networks of Nova are gone", "OS::Sahara": "no client", "OS::Senlin": "no client", "OS::Trove": "databases", "OS::Vitrage": "no client", "OS::Zun": "no client",
	}
}

// TestBehaviour wants a behaviour of every type of the services an undercloud has.
func TestBehaviour(t *testing.T) {
	for _, typ := range All() {
		if typ.Create == nil && typ.Nested == nil {
			t.Errorf("%s can neither be created nor is it made of a stack", typ.Name)
		}
		if typ.Nested == nil && typ.Attr == nil && len(typ.Attrs) > 0 {
			t.Errorf("%s has attributes that nobody answers", typ.Name)
		}
		service := typ.Name[:strings.LastIndex(typ.Name, "::")]
		if typ.Unavailable && notHere()[service] == "" {
			t.Errorf("%s has no behaviour, and no reason stands for that", typ.Name)
		}
		for _, whole := range []string{"OS::Heat", "OS::Keystone", "OS::Zaqar", "OS::Mistral", "OS::Swift", "OS::Ironic", "OS::Octavia", "AWS::CloudFormation"} {
			if typ.Unavailable && service == whole {
				t.Errorf("%s has no behaviour", typ.Name)
			}
		}
	}
}
