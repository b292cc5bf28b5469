package resources

import (
	"context"
	"fmt"
	"slices"
)

// All returns every resource type: the schemas of Heat with our behaviour. A type without behaviour is one
// whose service an undercloud never has and no client of ours speaks to.
func All() []*Type {
	types, err := schemas()
	if err != nil {
		panic(err) // embedded data; a test loads it
	}
	made := map[string]*Type{}
	for _, t := range behaviours() {
		made[t.Name] = t
	}
	out := make([]*Type, 0, len(types)+4)
	for _, schema := range types {
		t := made[schema.Name]
		if t == nil {
			t = unsupported()
		}
		delete(made, schema.Name)
		applyDifferences(schema)
		out = append(out, t.with(schema))
	}
	for _, a := range aliases() {
		i := slices.IndexFunc(out, func(t *Type) bool { return t.Name == a.of })
		t := *out[i]
		t.Name = a.name
		out = append(out, &t)
	}
	for name := range made {
		panic(fmt.Sprintf("behaviour for %s, which is no resource type", name))
	}
	return out
}

// with gives a behaviour its schema.
func (t *Type) with(schema *Type) *Type {
	out := *t
	out.Name, out.Doc, out.Props, out.Attrs = schema.Name, schema.Doc, schema.Props, schema.Attrs
	out.Extension, out.NameLimit, out.Policies, out.Support = schema.Extension, schema.NameLimit, schema.Policies, schema.Support
	if out.Client == "" {
		out.Client = schema.Client
	}
	out.Attrs = append(out.Attrs, t.Attrs...)
	return &out
}

type alias struct{ name, of string }

// aliases are types that the undercloud adds under names of TripleO (inventory 0).
func aliases() []alias {
	return []alias{{"OS::TripleO::Heat::SoftwareDeployment", "OS::Heat::SoftwareDeployment"}, {"OS::TripleO::Heat::StructuredDeployment", "OS::Heat::StructuredDeployment"}}
}

// unsupported is the behaviour of types whose service is never there.
func unsupported() *Type {
	t := &Type{Unavailable: true, Create: func(_ context.Context, r *Resource) (Step, error) {
		return Step{}, Unavailable(r.TypeName, r.Type.Client)
	}}
	t.Attr = func(context.Context, *Resource, string) (any, error) { return nil, nil }
	return t
}

func behaviours() []*Type {
	out := []*Type{
		heatValue(), heatNone(), heatRandomString(), heatTestResource(), heatDelay(),
		heatSoftwareConfig("OS::Heat::SoftwareConfig", String), heatSoftwareConfig("OS::Heat::StructuredConfig", Mapping),
		heatMultipartMime(), heatCloudConfig(),
		heatDeployment("OS::Heat::SoftwareDeployment", false), heatDeployment("OS::Heat::StructuredDeployment", true),
		heatDeploymentGroup("OS::Heat::SoftwareDeployments", "OS::Heat::SoftwareDeployment"),
		heatDeploymentGroup("OS::Heat::SoftwareDeploymentGroup", "OS::Heat::SoftwareDeployment"),
		heatDeploymentGroup("OS::Heat::StructuredDeployments", "OS::Heat::StructuredDeployment"),
		heatDeploymentGroup("OS::Heat::StructuredDeploymentGroup", "OS::Heat::StructuredDeployment"),
		heatResourceGroup(), heatResourceChain(), heatStack(), heatDeployedServer(),
		novaServer(), novaKeyPair(), novaFlavor(),
		swiftContainer(), mistralWorkflow(), mistralExternalResource(),
	}
	for _, table := range [][]object{neutronObjects(), keystoneObjects(), otherObjects()} {
		for _, o := range table {
			out = append(out, o.typ())
		}
	}
	for _, more := range [][]*Type{neutronTypes(), keystoneTypes(), otherTypes(), zaqarTypes(), scalingTypes(), waitTypes(), smallTypes()} {
		out = append(out, more...)
	}
	for _, t := range out {
		switch t.Name {
		case "OS::Neutron::Net", "OS::Neutron::Subnet", "OS::Neutron::Port":
			t.NeverReplace, t.DeleteFirst = true, true
		case "OS::Cinder::Volume":
			t.Snapshot, t.DropSnapshot = backUpVolume, dropBackup
			t.Restore = func(r *Resource, props *Map) {
				if id, ok := r.Snapshot["backup_id"]; ok {
					props.Set("backup_id", id)
				}
			}
		}
	}
	return out
}
