package identity_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/applicationcredentials"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/domains"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/projects"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/roles"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/trusts"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/users"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/identity"
	"github.com/tripleo/tripleo/internal/identity/identitytest"
)

type cloudSession = cloud.Session

func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantStatus(t *testing.T, what string, err error, status int) {
	t.Helper()
	if !gophercloud.ResponseCodeIs(err, status) {
		t.Errorf("%s: got %v, expected status %d", what, err, status)
	}
}

func roleNames(rs []tokens.Role) []string {
	var out []string
	for _, r := range rs {
		out = append(out, r.Name)
	}
	return out
}

func TestBootstrapTwice(t *testing.T) {
	s := identitytest.Start(t)
	again, err := identity.New(identity.Config{
		DB: s.DB, Bus: s.Bus, Tokens: s.Tokens, Keys: s.Keys, BaseURL: s.URL + "/identity", Catalog: identitytest.Catalog(s.URL),
		Bootstrap: identity.Bootstrap{AdminPassword: "changed", ServicePassword: identitytest.ServicePassword},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Mount("/second", again.Handler())
	c := must[*gophercloud.ServiceClient](t)(s.Session("admin", "changed", "admin").Identity())
	pages, err := users.List(c, nil).AllPages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := must[[]users.User](t)(users.ExtractUsers(pages))
	if len(all) != 2 {
		t.Errorf("a second start makes nobody twice: %d users, expected 2", len(all))
	}
}

func TestTokenScopes(t *testing.T) {
	s := identitytest.Start(t)
	auth := func(o gophercloud.AuthOptions) (tokens.CreateResult, error) {
		o.IdentityEndpoint, o.Username, o.DomainName = s.AuthURL, "admin", "Default"
		if o.Password == "" {
			o.Password = identitytest.AdminPassword
		}
		p := must[*gophercloud.ProviderClient](t)(openstack.NewClient(s.AuthURL))
		if err := openstack.Authenticate(t.Context(), p, o); err != nil {
			return tokens.CreateResult{}, err
		}
		return p.GetAuthResult().(tokens.CreateResult), nil
	}
	for _, tc := range []struct {
		reason string
		scope  *gophercloud.AuthScope
		roles  []string
	}{
		{"project with implied roles", &gophercloud.AuthScope{ProjectName: "admin", DomainName: "Default"}, []string{"admin", "manager", "member", "reader"}},
		{"project by domain id", &gophercloud.AuthScope{ProjectName: "admin", DomainID: "default"}, []string{"admin", "manager", "member", "reader"}},
		{"system", &gophercloud.AuthScope{System: true}, []string{"admin", "manager", "member", "reader"}},
		{"no scope, no default project", nil, nil},
	} {
		res, err := auth(gophercloud.AuthOptions{Scope: tc.scope})
		if err != nil {
			t.Errorf("%s: %v", tc.reason, err)
			continue
		}
		rs := must[[]tokens.Role](t)(res.ExtractRoles())
		if diff := cmp.Diff(tc.roles, roleNames(rs)); diff != "" {
			t.Errorf("%s: roles (-want +got):\n%s", tc.reason, diff)
		}
	}
	_, err := auth(gophercloud.AuthOptions{Password: "wrong"})
	wantStatus(t, "wrong password", err, http.StatusUnauthorized)
	_, err = auth(gophercloud.AuthOptions{Scope: &gophercloud.AuthScope{ProjectName: "nowhere", DomainName: "Default"}})
	wantStatus(t, "project that does not exist", err, http.StatusUnauthorized)
	_, err = auth(gophercloud.AuthOptions{Scope: &gophercloud.AuthScope{DomainName: "Default"}})
	wantStatus(t, "domain without a role", err, http.StatusUnauthorized)
}

func TestRevocation(t *testing.T) {
	s := identitytest.Start(t)
	ctx := t.Context()
	admin := must[*gophercloud.ServiceClient](t)(s.Admin().Identity())
	alive := func(token string) bool {
		_, err := s.Tokens.Validate(ctx, token)
		return err == nil
	}
	bob := s.User("bob", "demo", "member")
	bobID := bob.UserID

	first := bob.Provider.Token()
	bobClient := must[*gophercloud.ServiceClient](t)(bob.Identity())
	if err := tokens.Revoke(ctx, bobClient, first).Err; err != nil {
		t.Fatal(err)
	}
	if alive(first) {
		t.Error("a token that was logged out is still valid")
	}
	second := s.Session("bob", "bob", "demo").Provider.Token()
	if !alive(second) {
		t.Error("logging out one token ended another")
	}
	if err := users.ChangePassword(ctx, bobClient, bobID, users.ChangePasswordOpts{OriginalPassword: "bob", Password: "new"}).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	if alive(second) {
		t.Error("a token from before a password change is still valid")
	}
	third := s.Session("bob", "new", "demo")
	pages, err := roles.List(admin, roles.ListOpts{Name: "member"}).AllPages(ctx)
	if err != nil {
		t.Fatal(err)
	}
	member := must[[]roles.Role](t)(roles.ExtractRoles(pages))[0]
	if err := roles.Unassign(ctx, admin, member.ID, roles.UnassignOpts{UserID: bobID, ProjectID: third.ProjectID}).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	if alive(third.Provider.Token()) {
		t.Error("a token is still valid though its role was taken away")
	}
	if err := roles.Assign(ctx, admin, member.ID, roles.AssignOpts{UserID: bobID, ProjectID: third.ProjectID}).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	fourth := s.Session("bob", "new", "demo").Provider.Token()
	off := false
	if _, err := users.Update(ctx, admin, bobID, users.UpdateOpts{Enabled: &off}).Extract(); err != nil {
		t.Fatal(err)
	}
	if alive(fourth) {
		t.Error("a token of a disabled user is still valid")
	}
	if _, err := s.Cloud.Password(ctx, "bob", "new", "demo", "Default"); err == nil {
		t.Error("a disabled user got a token")
	}
}

func TestTrust(t *testing.T) {
	s := identitytest.Start(t)
	ctx := t.Context()
	alice := s.User("alice", "demo", "member")
	service := must[*cloudSession](t)(s.Cloud.Service(ctx))
	c := must[*gophercloud.ServiceClient](t)(alice.Identity())
	trust, err := trusts.Create(ctx, c, trusts.CreateOpts{
		TrustorUserID: alice.UserID, TrusteeUserID: service.UserID, ProjectID: alice.ProjectID, Impersonation: true,
		Roles: []trusts.Role{{Name: "member"}},
	}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	delegated, err := s.Cloud.Trust(ctx, trust.ID)
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.Tokens.Validate(ctx, delegated.Provider.Token())
	if err != nil {
		t.Fatal(err)
	}
	if id.UserID != alice.UserID || id.ProjectID != alice.ProjectID || id.TrustID != trust.ID || id.IsAdmin() || !id.HasRole("member") {
		t.Errorf("the trust's token is %s in %s with %v, expected alice's user and project and role member", id.UserID, id.ProjectID, id.Roles)
	}

	dc := must[*gophercloud.ServiceClient](t)(delegated.Identity())
	chained, err := trusts.Create(ctx, dc, trusts.CreateOpts{
		TrustorUserID: alice.UserID, TrusteeUserID: service.UserID, ProjectID: alice.ProjectID, Impersonation: true,
		Roles: []trusts.Role{{Name: "member"}},
	}).Extract()
	if err != nil {
		t.Fatalf("who acts by a trust may renew it for the same trustee: %v", err)
	}
	mallory := s.User("mallory", "demo", "reader")
	_, err = trusts.Create(ctx, dc, trusts.CreateOpts{
		TrustorUserID: alice.UserID, TrusteeUserID: mallory.UserID, ProjectID: alice.ProjectID, Impersonation: true,
		Roles: []trusts.Role{{Name: "member"}},
	}).Extract()
	wantStatus(t, "passing a trust on to somebody else", err, http.StatusForbidden)
	_, err = trusts.Create(ctx, c, trusts.CreateOpts{
		TrustorUserID: alice.UserID, TrusteeUserID: mallory.UserID, ProjectID: alice.ProjectID, Impersonation: true,
		Roles: []trusts.Role{{Name: "admin"}},
	}).Extract()
	wantStatus(t, "delegating a role one does not have", err, http.StatusForbidden)
	_, err = trusts.Get(ctx, must[*gophercloud.ServiceClient](t)(mallory.Identity()), trust.ID).Extract()
	wantStatus(t, "a stranger reads a trust", err, http.StatusForbidden)

	if err := trusts.Delete(ctx, c, trust.ID).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tokens.Validate(ctx, delegated.Provider.Token()); err == nil {
		t.Error("a deleted trust's token is still valid")
	}
	if _, err := s.Cloud.Trust(ctx, chained.ID); err != nil {
		t.Errorf("the renewed trust lives by itself: %v", err)
	}
}

func TestApplicationCredential(t *testing.T) {
	s := identitytest.Start(t)
	ctx := t.Context()
	alice := s.User("alice", "demo", "member")
	c := must[*gophercloud.ServiceClient](t)(alice.Identity())
	cred, err := applicationcredentials.Create(ctx, c, alice.UserID, applicationcredentials.CreateOpts{
		Name: "ci", Roles: []applicationcredentials.Role{{Name: "reader"}},
	}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	login := func(secret string) (*gophercloud.ProviderClient, error) {
		p := must[*gophercloud.ProviderClient](t)(openstack.NewClient(s.AuthURL))
		return p, openstack.Authenticate(ctx, p, gophercloud.AuthOptions{
			IdentityEndpoint: s.AuthURL, ApplicationCredentialID: cred.ID, ApplicationCredentialSecret: secret,
		})
	}
	p, err := login(cred.Secret)
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.Tokens.Validate(ctx, p.Token())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"reader"}, id.Roles); diff != "" {
		t.Errorf("the token has the credential's roles only (-want +got):\n%s", diff)
	}
	_, err = login("wrong")
	wantStatus(t, "wrong secret", err, http.StatusUnauthorized)
	if err := applicationcredentials.Delete(ctx, c, alice.UserID, cred.ID).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tokens.Validate(ctx, p.Token()); err == nil {
		t.Error("a deleted application credential's token is still valid")
	}
}

func TestGroupsAndInheritance(t *testing.T) {
	s := identitytest.Start(t)
	ctx := t.Context()
	c := must[*gophercloud.ServiceClient](t)(s.Admin().Identity())
	dave := s.User("dave", "home", "reader")
	group, err := groups.Create(ctx, c, groups.CreateOpts{Name: "ops", DomainID: "default"}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	if err := users.AddToGroup(ctx, c, group.ID, dave.UserID).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	parent := must[*projects.Project](t)(projects.Create(ctx, c, projects.CreateOpts{Name: "parent"}).Extract())
	child := must[*projects.Project](t)(projects.Create(ctx, c, projects.CreateOpts{Name: "child", ParentID: parent.ID}).Extract())
	pages, err := roles.List(c, roles.ListOpts{Name: "member"}).AllPages(ctx)
	if err != nil {
		t.Fatal(err)
	}
	member := must[[]roles.Role](t)(roles.ExtractRoles(pages))[0]
	url := c.ServiceURL("OS-INHERIT", "projects", parent.ID, "groups", group.ID, "roles", member.ID, "inherited_to_projects")
	if _, err := c.Put(ctx, url, nil, nil, &gophercloud.RequestOpts{OkCodes: []int{204}}); err != nil {
		t.Fatal(err)
	}
	id, err := s.Tokens.Validate(ctx, s.Session("dave", "dave", "child").Provider.Token())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"member", "reader"}, id.Roles); diff != "" {
		t.Errorf("roles of a child project through a group (-want +got):\n%s", diff)
	}
	if _, err := s.Cloud.Password(ctx, "dave", "dave", "parent", "Default"); err == nil {
		t.Error("an inherited role holds below its project, not on it")
	}
	wantStatus(t, "deleting a project with children", projects.Delete(ctx, c, parent.ID).ExtractErr(), http.StatusForbidden)
	if err := projects.Delete(ctx, c, child.ID).ExtractErr(); err != nil {
		t.Error(err)
	}
	_, err = domains.Create(ctx, c, domains.CreateOpts{Name: "Default"}).Extract()
	wantStatus(t, "second domain of one name", err, http.StatusConflict)
}

// TestOthersAreRefused asks as a plain member for what is not its own.
func TestOthersAreRefused(t *testing.T) {
	s := identitytest.Start(t)
	ctx := t.Context()
	admin := s.Admin()
	c := must[*gophercloud.ServiceClient](t)(s.User("eve", "demo", "member").Identity())
	for _, path := range []string{
		"users", "users/" + admin.UserID, "projects", "projects/" + admin.ProjectID, "role_assignments",
		"services", "endpoints", "users/" + admin.UserID + "/projects", "users/" + admin.UserID + "/application_credentials",
		"users/" + admin.UserID + "/credentials/OS-EC2", "OS-TRUST/trusts", "users/unknown", "credentials/unknown",
	} {
		_, err := c.Get(ctx, c.ServiceURL(path), nil, nil)
		wantStatus(t, "GET "+path, err, http.StatusForbidden)
	}
	_, err := tokens.Get(ctx, c, admin.Provider.Token()).ExtractToken()
	wantStatus(t, "reading somebody else's token", err, http.StatusForbidden)
}
