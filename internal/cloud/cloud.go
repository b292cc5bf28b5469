// Package cloud gives every part of the undercloud an authenticated
// gophercloud client for any OpenStack service: our own in this process, our
// own over TCP, or a foreign one. Which it is only the transport knows.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
)

// Options say where the cloud is and who the service user is.
type Options struct {
	AuthURL   string // e.g. http://127.0.0.1:8000/identity/v3
	Region    string
	Transport http.RoundTripper // nil: http.DefaultTransport

	// The service user, for Service and as trustee for Trust.
	User, Password, Project, Domain string
}

// Cloud makes sessions.
type Cloud struct {
	o  Options
	mu sync.Mutex
	// cached sessions of the service user, by trust id ("" is the user itself)
	cache map[string]*cached
}

type cached struct {
	mu      sync.Mutex
	session *Session
	expires time.Time
}

// New returns a Cloud; nothing is sent before the first session.
func New(o Options) *Cloud {
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	return &Cloud{o: o, cache: map[string]*cached{}}
}

// Session is one authenticated scope. Its methods may be used concurrently.
type Session struct {
	Provider  *gophercloud.ProviderClient
	ProjectID string
	UserID    string
	region    string
}

func (c *Cloud) provider() (*gophercloud.ProviderClient, error) {
	p, err := openstack.NewClient(c.o.AuthURL)
	if err != nil {
		return nil, fmt.Errorf("identity endpoint %q: %w", c.o.AuthURL, err)
	}
	p.HTTPClient = http.Client{Transport: c.o.Transport}
	p.UserAgent.Prepend("tripleo")
	return p, nil
}

// Token returns a session that acts with the caller's own token, for as long
// as that token lasts.
func (c *Cloud) Token(ctx context.Context, token string) (*Session, error) {
	return c.open(ctx, gophercloud.AuthOptions{IdentityEndpoint: c.o.AuthURL, TokenID: token}, token)
}

// Service returns the session of the service user.
func (c *Cloud) Service(ctx context.Context) (*Session, error) { return c.forTrust(ctx, "") }

// Trust returns a session that acts for the trustor of a trust given to the
// service user.
func (c *Cloud) Trust(ctx context.Context, trustID string) (*Session, error) {
	if trustID == "" {
		return nil, errors.New("no trust to act by")
	}
	return c.forTrust(ctx, trustID)
}

// Password returns a session of the user, project and domain given.
func (c *Cloud) Password(ctx context.Context, user, password, project, domain string) (*Session, error) {
	return c.open(ctx, gophercloud.AuthOptions{
		IdentityEndpoint: c.o.AuthURL, Username: user, Password: password, DomainName: domain, AllowReauth: true,
		Scope: &gophercloud.AuthScope{ProjectName: project, DomainName: domain},
	}, "")
}

const maxCached = 10_000

func (c *Cloud) forTrust(ctx context.Context, trustID string) (*Session, error) {
	c.mu.Lock()
	e := c.cache[trustID]
	if e == nil {
		if len(c.cache) >= maxCached {
			clear(c.cache)
		}
		e = &cached{}
		c.cache[trustID] = e
	}
	c.mu.Unlock()

	e.mu.Lock()
	defer e.mu.Unlock()
	if e.session != nil && time.Now().Before(e.expires) {
		return e.session, nil
	}
	opts := gophercloud.AuthOptions{
		IdentityEndpoint: c.o.AuthURL, Username: c.o.User, Password: c.o.Password, DomainName: c.o.Domain, AllowReauth: true,
	}
	if trustID == "" {
		opts.Scope = &gophercloud.AuthScope{ProjectName: c.o.Project, DomainName: c.o.Domain}
	} else {
		opts.Scope = &gophercloud.AuthScope{TrustID: trustID}
	}
	s, err := c.open(ctx, opts, "")
	if err != nil {
		return nil, err
	}
	e.session, e.expires = s, time.Now().Add(30*time.Minute)
	return s, nil
}

// Forget drops the cached session of a trust, after the trust was deleted.
func (c *Cloud) Forget(trustID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.cache, trustID)
}

// open authenticates. With keep set the token is used as it is and only the
// catalog is fetched, so that no chain of tokens grows from a caller's token.
func (c *Cloud) open(ctx context.Context, opts gophercloud.AuthOptions, keep string) (*Session, error) {
	p, err := c.provider()
	if err != nil {
		return nil, err
	}
	p.UseTokenLock()
	if keep != "" {
		return c.adopt(ctx, p, keep)
	}
	if err := openstack.Authenticate(ctx, p, opts); err != nil {
		return nil, fmt.Errorf("authenticate: %w", err)
	}
	s := &Session{Provider: p, region: c.o.Region}
	if r, ok := p.GetAuthResult().(tokens.CreateResult); ok {
		s.describe(r)
	}
	return s, nil
}

type describer interface {
	ExtractProject() (*tokens.Project, error)
	ExtractUser() (*tokens.User, error)
}

func (s *Session) describe(r describer) {
	if project, err := r.ExtractProject(); err == nil && project != nil {
		s.ProjectID = project.ID
	}
	if user, err := r.ExtractUser(); err == nil && user != nil {
		s.UserID = user.ID
	}
}

func (c *Cloud) adopt(ctx context.Context, p *gophercloud.ProviderClient, token string) (*Session, error) {
	p.SetToken(token)
	id, err := openstack.NewIdentityV3(p, gophercloud.EndpointOpts{})
	if err != nil {
		return nil, fmt.Errorf("identity client: %w", err)
	}
	id.Endpoint = c.o.AuthURL + "/"
	res := tokens.Get(ctx, id, token)
	catalog, err := res.ExtractServiceCatalog()
	if err != nil {
		return nil, fmt.Errorf("validate the caller's token: %w", err)
	}
	p.EndpointLocator = func(o gophercloud.EndpointOpts) (string, error) {
		return openstack.V3EndpointURL(catalog, o) //nolint:staticcheck // one endpoint a type, no discovery requests
	}
	s := &Session{Provider: p, region: c.o.Region}
	s.describe(res)
	return s, nil
}

// InRegion returns the same scope with the endpoints of another region.
func (s *Session) InRegion(region string) *Session {
	other := *s
	other.region = region
	return &other
}

func (s *Session) endpoint() gophercloud.EndpointOpts {
	return gophercloud.EndpointOpts{Region: s.region}
}

// Identity returns a client of Keystone v3.
func (s *Session) Identity() (*gophercloud.ServiceClient, error) {
	return openstack.NewIdentityV3(s.Provider, s.endpoint())
}

// Image returns a client of Glance v2.
func (s *Session) Image() (*gophercloud.ServiceClient, error) {
	return openstack.NewImageV2(s.Provider, s.endpoint())
}

// ObjectStore returns a client of Swift v1, for the session's project.
func (s *Session) ObjectStore() (*gophercloud.ServiceClient, error) {
	return openstack.NewObjectStorageV1(s.Provider, s.endpoint())
}

// Compute returns a client of Nova v2.1.
func (s *Session) Compute() (*gophercloud.ServiceClient, error) {
	return openstack.NewComputeV2(s.Provider, s.endpoint())
}

// Network returns a client of Neutron v2.
func (s *Session) Network() (*gophercloud.ServiceClient, error) {
	return openstack.NewNetworkV2(s.Provider, s.endpoint())
}

// Baremetal returns a client of Ironic v1 at microversion 1.81.
func (s *Session) Baremetal() (*gophercloud.ServiceClient, error) {
	c, err := openstack.NewBareMetalV1(s.Provider, s.endpoint())
	if err == nil {
		c.Microversion = "1.81"
	}
	return c, err
}

// Introspection returns a client of ironic-inspector v1.
func (s *Session) Introspection() (*gophercloud.ServiceClient, error) {
	c, err := openstack.NewBareMetalIntrospectionV1(s.Provider, s.endpoint())
	if err == nil && !strings.HasSuffix(strings.TrimSuffix(c.Endpoint, "/"), "/v1") {
		c.ResourceBase = c.Endpoint + "v1/" // gophercloud takes the catalog's URL as it is
	}
	return c, err
}

// Orchestration returns a client of Heat v1, for the session's project.
func (s *Session) Orchestration() (*gophercloud.ServiceClient, error) {
	return openstack.NewOrchestrationV1(s.Provider, s.endpoint())
}

// Workflow returns a client of Mistral v2.
func (s *Session) Workflow() (*gophercloud.ServiceClient, error) {
	return openstack.NewWorkflowV2(s.Provider, s.endpoint())
}

// Messaging returns a client of Zaqar v2 with the given client id (a UUID).
func (s *Session) Messaging(clientID string) (*gophercloud.ServiceClient, error) {
	return openstack.NewMessagingV2(s.Provider, clientID, s.endpoint())
}

// Has tells whether the catalog has a service of one of the types.
func (s *Session) Has(types ...string) bool {
	for _, t := range types {
		opts := s.endpoint()
		opts.ApplyDefaults(t)
		if _, err := s.Provider.EndpointLocator(opts); err == nil {
			return true
		}
	}
	return false
}

// Client returns a client of a service by its type in the catalog, for services that are looked for by
// name: those an undercloud has, and others that somebody put into its catalog.
func (s *Session) Client(serviceType string) (*gophercloud.ServiceClient, error) {
	o := s.endpoint()
	switch serviceType {
	case "identity":
		return s.Identity()
	case "image":
		return s.Image()
	case "object-store":
		return s.ObjectStore()
	case "compute":
		return s.Compute()
	case "network":
		return s.Network()
	case "baremetal":
		return s.Baremetal()
	case "orchestration":
		return s.Orchestration()
	case "workflow", "workflowv2":
		return s.Workflow()
	case "block-storage", "volumev3", "volume":
		return openstack.NewBlockStorageV3(s.Provider, o)
	case "load-balancer":
		return openstack.NewLoadBalancerV2(s.Provider, o)
	case "dns":
		return openstack.NewDNSV2(s.Provider, o)
	case "key-manager":
		return openstack.NewKeyManagerV1(s.Provider, o)
	case "sharev2", "shared-file-system", "share":
		return openstack.NewSharedFileSystemV2(s.Provider, o)
	case "container-infra", "container-infrastructure-management":
		return openstack.NewContainerInfraV1(s.Provider, o)
	case "database":
		return openstack.NewDBV1(s.Provider, o)
	}
	return nil, fmt.Errorf("there is no client for services of type %q", serviceType)
}
