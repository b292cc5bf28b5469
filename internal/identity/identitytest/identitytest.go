// Package identitytest starts a real identity service for the tests of other
// services: on a socket, on a temporary SQLite database, with the catalog of
// the whole undercloud pointing at the same server, on which a test mounts the
// services it is about.
package identitytest

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/projects"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/roles"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/users"

	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/auth/seal"
	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/identity"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/store/storetest"
)

// The passwords of user admin and of the service user tripleo.
const (
	AdminPassword   = "admin-secret"
	ServicePassword = "service-secret"
)

// Server is a running identity service and what other services need.
type Server struct {
	URL      string // http://127.0.0.1:PORT, without prefix
	AuthURL  string // URL + /identity/v3
	DB       *store.DB
	Bus      *notify.Bus
	Jobs     *jobs.Queue // not running; see RunJobs
	Log      *slog.Logger
	Tokens   *auth.Tokens
	Keys     *seal.Keys
	Cloud    *cloud.Cloud // as the service user
	KeyDir   string       // of Tokens, for services in processes of their own
	Identity *identity.Service

	t      testing.TB
	mu     sync.RWMutex
	mounts map[string]http.Handler
}

// Catalog returns the entries of the undercloud's services below base.
func Catalog(base string) []identity.CatalogEntry {
	ws := "ws" + strings.TrimPrefix(base, "http")
	return []identity.CatalogEntry{
		{Type: "identity", Name: "keystone", URL: base + "/identity/v3"},
		{Type: "image", Name: "glance", URL: base + "/image"},
		{Type: "object-store", Name: "swift", URL: base + "/object-store/v1/AUTH_%(project_id)s"},
		{Type: "messaging", Name: "zaqar", URL: base + "/messaging"},
		{Type: "messaging-websocket", Name: "zaqar-websocket", URL: ws + "/messaging/v2/websocket"},
		{Type: "network", Name: "neutron", URL: base + "/network"},
		{Type: "compute", Name: "nova", URL: base + "/compute/v2.1"},
		{Type: "baremetal", Name: "ironic", URL: base + "/baremetal"},
		{Type: "baremetal-introspection", Name: "ironic-inspector", URL: base + "/introspection"},
		{Type: "orchestration", Name: "heat", URL: base + "/orchestration/v1/%(project_id)s"},
		{Type: "cloudformation", Name: "heat-cfn", URL: base + "/orchestration-cfn/v1"},
		{Type: "workflowv2", Name: "mistral", URL: base + "/workflow/v2"},
		{Type: "placement", Name: "placement", URL: base + "/placement"},
	}
}

// Start runs an identity service until the end of the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{DB: storetest.Open(t), Bus: notify.New(), Log: slog.New(slog.DiscardHandler), t: t, mounts: map[string]http.Handler{}}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.URL = srv.URL
	s.AuthURL = s.URL + "/identity/v3"
	var err error
	s.KeyDir = filepath.Join(t.TempDir(), "keys")
	if s.Tokens, err = auth.OpenTokens(s.KeyDir); err != nil {
		t.Fatal(err)
	}
	if s.Keys, err = seal.OpenKeys(filepath.Join(t.TempDir(), "credential-keys")); err != nil {
		t.Fatal(err)
	}
	if s.Jobs, err = jobs.New(s.DB, s.Bus, s.Log); err != nil {
		t.Fatal(err)
	}
	s.Identity, err = identity.New(identity.Config{
		DB: s.DB, Bus: s.Bus, Log: s.Log, Tokens: s.Tokens, Keys: s.Keys, BaseURL: s.URL + "/identity", Region: "regionOne",
		Catalog:   Catalog(s.URL),
		Bootstrap: identity.Bootstrap{AdminPassword: AdminPassword, ServicePassword: ServicePassword},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Mount("/identity", s.Identity.Handler())
	s.Cloud = cloud.New(cloud.Options{
		AuthURL: s.AuthURL, Region: "regionOne", User: "tripleo", Password: ServicePassword, Project: "service", Domain: "Default",
	})
	return s
}

// Mount answers requests below prefix ("/object-store") from h, which sees
// paths without it.
func (s *Server) Mount(prefix string, h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mounts[prefix] = http.StripPrefix(prefix, h)
}

// ServeHTTP finds the service of a request. It is no http.ServeMux because that
// would clean the paths, and names of objects may hold "//" and "..".
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	s.mu.RLock()
	h := s.mounts["/"+name]
	s.mu.RUnlock()
	if h == nil {
		http.NotFound(w, r)
		return
	}
	h.ServeHTTP(w, r)
}

// RunJobs runs the job queue until the end of the test; the handlers must be
// registered.
func (s *Server) RunJobs() {
	done := make(chan error, 1)
	ctx := s.t.Context()
	go func() { done <- s.Jobs.Run(ctx) }()
	s.t.Cleanup(func() {
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
}

// Admin returns a session of user admin in project admin.
func (s *Server) Admin() *cloud.Session { return s.Session("admin", AdminPassword, "admin") }

// Session returns a session of a user in a project, both of the domain Default.
func (s *Server) Session(user, password, project string) *cloud.Session {
	s.t.Helper()
	sess, err := s.Cloud.Password(s.t.Context(), user, password, project, "Default")
	if err != nil {
		s.t.Fatalf("session of %s in %s: %v", user, project, err)
	}
	return sess
}

// User makes a user with the given roles on a project (made if need be) and
// returns its session; its password is its name.
func (s *Server) User(name, project string, roleNames ...string) *cloud.Session {
	s.t.Helper()
	ctx := s.t.Context()
	c, err := s.Admin().Identity()
	s.check(err)
	projectID := s.projectID(project)
	if projectID == "" {
		p, err := projects.Create(ctx, c, projects.CreateOpts{Name: project, DomainID: "default"}).Extract()
		s.check(err)
		projectID = p.ID
	}
	u, err := users.Create(ctx, c, users.CreateOpts{Name: name, DomainID: "default", Password: name}).Extract()
	s.check(err)
	pages, err := roles.List(c, nil).AllPages(ctx)
	s.check(err)
	all, err := roles.ExtractRoles(pages)
	s.check(err)
	for _, want := range roleNames {
		for _, r := range all {
			if r.Name == want {
				s.check(roles.Assign(ctx, c, r.ID, roles.AssignOpts{UserID: u.ID, ProjectID: projectID}).ExtractErr())
			}
		}
	}
	return s.Session(name, name, project)
}

func (s *Server) projectID(name string) string {
	s.t.Helper()
	c, err := s.Admin().Identity()
	s.check(err)
	pages, err := projects.List(c, projects.ListOpts{Name: name}).AllPages(s.t.Context())
	s.check(err)
	found, err := projects.ExtractProjects(pages)
	s.check(err)
	if len(found) == 0 {
		return ""
	}
	return found[0].ID
}

func (s *Server) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// ClientEnv is the environment of a client as user admin.
func (s *Server) ClientEnv() []string {
	return []string{
		"OS_AUTH_URL=" + s.AuthURL, "OS_USERNAME=admin", "OS_PASSWORD=" + AdminPassword, "OS_PROJECT_NAME=admin",
		"OS_USER_DOMAIN_NAME=Default", "OS_PROJECT_DOMAIN_NAME=Default", "OS_IDENTITY_API_VERSION=3", "OS_REGION_NAME=regionOne",
	}
}

// Client runs a command-line client ("openstack", "swift", …) as user admin
// and returns what it printed to its standard output. The test is skipped,
// loudly, if the client is not installed, and fails if it fails.
func (s *Server) Client(name string, args ...string) string {
	s.t.Helper()
	out, errOut, err := s.TryClient(name, args...)
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, errOut)
	}
	return out
}

// TryClient is Client for a command that may fail.
func (s *Server) TryClient(name string, args ...string) (stdout, stderr string, err error) {
	s.t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		s.t.Skipf("CLIENT MISSING: %s is not installed (apt-get install python3-openstackclient python3-swiftclient python3-zaqarclient)", name)
	}
	cmd := exec.CommandContext(s.t.Context(), path, args...)
	cmd.Env = append(append(os.Environ(), s.ClientEnv()...),
		"PYTHONWARNINGS=ignore", "http_proxy=", "https_proxy=", "HTTP_PROXY=", "HTTPS_PROXY=", "no_proxy=*")
	var o, e strings.Builder
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	return o.String(), e.String(), err
}
