package resources

import (
	"context"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// Map is the ordered mapping of all values.
type Map = yaml11.OrderedMap

// Type is one resource type.
type Type struct {
	Name     string
	Doc      string
	Props    []Prop
	AnyProps bool // accepts properties it does not declare
	Attrs    []Attr

	Client    string   // Heat's name of the service the type needs, "" if none
	Extension string   // extension of that service the type needs
	NameLimit int      // of physical names; 0 is 255
	Policies  []string // update policies it has
	// Unavailable types are known by name and schema only: nothing of ours speaks to their service.
	Unavailable bool
	Support     Support

	// Pure types have no effect outside of Heat's own tables and never wait; the engine runs them in
	// batches, within one transaction.
	Pure bool
	// AlwaysUpdate types are updated even when nothing of them changed.
	AlwaysUpdate bool
	// Nested types are made of a stack of their own; the engine drives it. Create, Update and Delete are
	// not called.
	Nested func(r *Resource, uses []AttrUse) (*Nested, error)

	Validate func(p *Props) error // properties with Unknowns already let through
	// Probe asks another cloud or region whether it would take what the properties, all known, say. It is asked
	// once, with the request.
	Probe  func(ctx context.Context, s *cloud.Session, p *Props, files map[string]string, env *Map) error
	Create func(ctx context.Context, r *Resource) (Step, error)
	// Update changes r in place; r.Changed names the properties that differ. nil: every change replaces.
	Update func(ctx context.Context, r *Resource) (Step, error)
	Delete func(ctx context.Context, r *Resource) (Step, error)
	// Attr returns an attribute; paths are walked by the engine.
	Attr func(ctx context.Context, r *Resource, name string) (any, error)
	// NestedAttr is Attr for Nested types, path walked, from the outputs of the nested stack.
	NestedAttr func(r *Resource, name string, path []any) (any, error)
	// Adjust notes the new size of a group that a scaling policy wants; false: nothing changes.
	Adjust func(group *Resource, now time.Time, amount float64, kind string, step int64, cooldown any) bool
	// Ref is what get_resource gives; nil: the physical id.
	Ref func(r *Resource) any
	// Signal handles a signal from outside.
	Signal func(ctx context.Context, r *Resource, body any) error
	// Keep tells whether a failed resource can be repaired by Update (or by going on with Create)
	// instead of being replaced. nil: never.
	Keep    func(ctx context.Context, r *Resource) (bool, error)
	Suspend func(ctx context.Context, r *Resource) (Step, error) // nil: nothing to do
	Resume  func(ctx context.Context, r *Resource) (Step, error) // nil: nothing to do
	// Check tells whether the real thing is still there and well. nil: it is.
	Check func(ctx context.Context, r *Resource) error
	// Snapshot copies what the resource holds; what finds the copy again goes into r.Snapshot. nil: there is
	// nothing but its properties. A deletion policy of Snapshot is for types that have it.
	Snapshot func(ctx context.Context, r *Resource) (Step, error)
	// DropSnapshot deletes the copy that r.Snapshot names; one that is gone is no error.
	DropSnapshot func(ctx context.Context, r *Resource) error
	// Restore changes the properties with which a resource goes back to the copy that r.Snapshot names.
	Restore   func(r *Resource, props *Map)
	FreeAttrs bool // has attributes it does not declare, such as outputs of a deployment
	// DeleteFirst types give up the old resource before its replacement is made, because both need the same
	// thing: a machine, a fixed address.
	DeleteFirst bool
	// NeverReplace makes changes of properties that cannot be updated an error, as the undercloud's
	// overrides of Neutron types do.
	NeverReplace bool
}

// KnownAttr returns a fault for an attribute that the type does not have.
func (t *Type) KnownAttr(attr string) error {
	if t.AnyProps || t.FreeAttrs || attr == "show" {
		return nil
	}
	names := make([]string, 0, len(t.Attrs))
	for _, a := range t.Attrs {
		if a.Name == attr {
			return nil
		}
		names = append(names, a.Name)
	}
	return fmt.Errorf("%s has no attribute %q%s", t.Name, attr, hot.DidYouMean(attr, names))
}

// AttrUse is an attribute of the resource that its template refers to.
type AttrUse struct {
	Attr string
	Path []any
}

// Nested describes the stack a Nested type wants.
type Nested struct {
	Template   any    // data of a template; Generated tells how to read it
	Text       string // or its text
	File       string // name shown in messages
	FromFiles  bool   // the text is the file of that name, or what is at that web address
	Generated  bool
	Params     *Map
	Name       string // stack name; "" for the physical name of the resource
	OwnFiles   map[string]string
	Env        *hot.Environment // nil: derived from the parent's
	Timeout    time.Duration
	BatchSize  int           // members in progress at once while creating or updating; 0: all
	BatchPause time.Duration // between batches
	// More: when the stack is done, Nested is called again after Pause for the next batch.
	More  bool
	Pause time.Duration
}

// Parse reads the template; pos is the place shown in messages.
func (n *Nested) Parse(pos string) (*hot.Template, error) {
	switch {
	case n.Generated:
		return hot.ParseGenerated(pos, n.Template)
	case n.Template != nil:
		return hot.ParseValue(pos, n.Template)
	}
	t, _, err := hot.Parse(pos, []byte(n.Text))
	return t, err
}

// Step is the outcome of a call.
type Step struct {
	Done    bool
	Replace bool          // Update: cannot be done in place
	Again   time.Duration // not done: call again after this at the latest
	Topics  []string      // and as soon as one of these is published
}

// Done is the Step of finished work.
func Done() Step { return Step{Done: true} }

// Replace is the Step of an Update that needs a new resource.
func Replace() Step { return Step{Replace: true} }

// Wait asks to be called again after at most d, or when a topic is published.
func Wait(d time.Duration, topics ...string) Step { return Step{Again: d, Topics: topics} }

// FailedError is a resource that went wrong in the world, with the reason Heat shows.
type FailedError struct{ Reason string }

// Error returns the reason.
func (e *FailedError) Error() string { return e.Reason }

// Failed returns a FailedError.
func Failed(format string, args ...any) error { return &FailedError{fmt.Sprintf(format, args...)} }

// Resource is one resource during one step.
type Resource struct {
	ID, Name, TypeName string
	Type               *Type
	StackID, StackName string
	ProjectID          string
	PhysicalID         string
	Props, Old         *Props
	Changed            map[string]bool // Update: top-level properties that differ
	Data               map[string]any  // durable, the type's own
	Snapshot           map[string]any  // of Snapshot, DropSnapshot and Restore
	Metadata           *Map            // as resolved from the template
	UpdatePolicy       *Map
	Action             string    // CREATE, UPDATE, DELETE …
	Begun              time.Time // since when it is in progress
	Repair             bool      // Update: the resource had failed and is to be made well
	Restoring          bool      // Update: the stack goes back to a snapshot
	Outputs            *Map      // Nested: outputs of the stack
	NestedArn          string    // Nested: identifier of the stack
	TimeoutAt          time.Time // of the operation
	Pos                string
	Host               Host
}

// Host is what the engine offers to types.
type Host interface {
	Now() time.Time
	// Save makes PhysicalID and Data durable at once.
	Save(ctx context.Context, r *Resource) error
	// Session acts for the owner of the stack.
	Session(ctx context.Context, r *Resource) (*cloud.Session, error)
	NodeURL() string // as machines see the undercloud
	AuthURL() string
	Region() string
	DefaultSignalTransport() string

	PutConfig(ctx context.Context, r *Resource, c *Config) error
	Config(ctx context.Context, r *Resource, id string) (*Config, error)
	DeleteConfig(ctx context.Context, r *Resource, id string) error
	PutDeployment(ctx context.Context, r *Resource, d *Deployment) error
	Deployment(ctx context.Context, r *Resource, id string) (*Deployment, error)
	DeleteDeployment(ctx context.Context, r *Resource, id string) error
	// SignalDeployment puts the outputs a node reported into the deployment and its resource.
	SignalDeployment(ctx context.Context, id string, body any) (*Deployment, error)
	// PutTarget says where a server's metadata goes; DropTarget forgets it.
	PutTarget(ctx context.Context, r *Resource, t *Target) error
	DropTarget(ctx context.Context, r *Resource, serverID string) error
	// StackUser returns the user by which a machine acts for the resource; it is made once.
	StackUser(ctx context.Context, r *Resource) (*StackUser, error)
	// DropStackUser deletes that user.
	DropStackUser(ctx context.Context, r *Resource) error
	// UserSession acts as that user.
	UserSession(ctx context.Context, r *Resource) (*cloud.Session, error)
	// CFNURL is the CloudFormation-compatible API as machines reach it.
	CFNURL() string
	// Arn is the identifier of the resource.
	Arn(r *Resource) string
	// HeatSignalURL is where in the API the resource is signalled with a token of project ("": the owner's).
	HeatSignalURL(r *Resource, project string) string
	// Adjust gives the group of the same stack that ref stands for another size, unless it is busy.
	Adjust(ctx context.Context, r *Resource, ref string, change func(group *Resource) bool) error
	// Sources returns the files and the environment of the stack, for a stack that is made from them.
	Sources() (files map[string]string, env *Map)
	// Sibling returns the properties of the resource of the same stack that ref stands for.
	Sibling(r *Resource, ref string) (*Props, error)
	// Signals returns what a handle of the same tree of stacks has received, by id.
	Signals(ctx context.Context, r *Resource, handle string) (*Map, error)
	// Secret returns a random secret of the installation.
	Secret(ctx context.Context, name string) (string, error)
	Logf(ctx context.Context, format string, args ...any)
}

// Config is a software config.
type Config struct {
	ID, ProjectID, Name, Group string
	Config                     any // text or map
	Inputs, Outputs            []any
	Options                    *Map
	Created                    time.Time
}

// Deployment is a software deployment: a config on a server.
type Deployment struct {
	ID, ProjectID, ServerID, ConfigID string
	Action, Status, Reason            string
	Inputs, Outputs                   *Map
	Created, Updated                  time.Time
	StackID, ResourceID               string // owner, may be empty
}

// StackUser is the user by which a machine acts for one resource. It lives in a domain of its own and may
// do nothing but signal the resource and read its metadata.
type StackUser struct {
	UserID, Name, Password string
	ProjectID, ProjectName string
	DomainID, DomainName   string
	Access, Secret         string // EC2 credential
}

// Target is where the metadata of a server is published.
type Target struct {
	ServerID  string
	Container string
	Object    string // with Container "" nothing is published: the server asks for its metadata
	Queue     string // or a queue of Zaqar in the project of the resource's user
	Metadata  *Map   // everything but the deployments
}

// Cloud returns a session for the owner of the stack.
func (r *Resource) Cloud(ctx context.Context) (*cloud.Session, error) { return r.Host.Session(ctx, r) }

// SetID saves the physical id at once.
func (r *Resource) SetID(ctx context.Context, id string) error {
	r.PhysicalID = id
	return r.Host.Save(ctx, r)
}

// Str returns a text from Data.
func (r *Resource) Str(key string) string { s, _ := r.Data[key].(string); return s }

// PhysicalName returns <stack>-<resource>-<12 characters>, cut to limit (0: 255) as Heat cuts: the first
// two characters, a dash and the tail. Nested stacks are named so too, and TripleO parses it.
func (r *Resource) PhysicalName(limit int) string {
	return PhysicalName(r.StackName, r.Name, r.ID, limit)
}

// PhysicalName is Resource.PhysicalName for known parts.
func PhysicalName(stack, resource, id string, limit int) string {
	if limit == 0 {
		limit = 255
	}
	name := stack + "-" + resource + "-" + ShortID(id)
	if len(name) > limit {
		name = name[:2] + "-" + name[len(name)-(limit-3):]
	}
	return name
}

// ShortID returns 12 characters [a-z2-7] made of a UUID's random bits.
func ShortID(id string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
	if err != nil || len(b) < 8 {
		b = []byte(id + "00000000")
	}
	if len(b) >= 16 {
		b = b[8:16]
	}
	return strings.ToLower(base32.StdEncoding.EncodeToString(b))[:12]
}
