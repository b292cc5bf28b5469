package engine

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/domains"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/ec2credentials"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/projects"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/roles"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/users"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/store"
)

// UserDomain and UserRole are what users of resources live in and have: a domain of their own and a role
// that allows nothing but signalling one's own resource and reading its metadata.
const (
	UserDomain = "heat_stack"
	UserRole   = "heat_stack_user"
)

// StackUser makes, once, the user by which a machine acts for one resource. What was made is kept in the
// resource's Data; each step finds what an attempt before a crash has made.
func (h *host) StackUser(ctx context.Context, res *resources.Resource) (*resources.StackUser, error) {
	u := &resources.StackUser{UserID: res.Str("user_id"), Name: res.PhysicalName(0), Password: res.Str("password"), ProjectID: res.Str("user_project"), ProjectName: h.r.st.RootID,
		DomainID: res.Str("user_domain"), DomainName: UserDomain, Access: res.Str("access_key"), Secret: res.Str("secret_key")}
	if u.Access != "" {
		return u, nil
	}
	keystone, err := h.r.e.keystone(ctx)
	if err != nil {
		return nil, err
	}
	if u.Password == "" {
		var b [24]byte
		_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
		u.Password = base64.RawURLEncoding.EncodeToString(b[:])
		res.Data["password"] = u.Password
		if err := h.Save(ctx, res); err != nil {
			return nil, err
		}
	}
	h.r.e.userMu.Lock() // the domain and the project are shared
	defer h.r.e.userMu.Unlock()
	if u.DomainID, err = ensureDomain(ctx, keystone); err != nil {
		return nil, err
	}
	if u.ProjectID, err = ensureProject(ctx, keystone, u.DomainID, u.ProjectName); err != nil {
		return nil, err
	}
	if err := ensureUser(ctx, keystone, u); err != nil {
		return nil, err
	}
	res.Data["user_id"], res.Data["user_project"], res.Data["user_domain"] = u.UserID, u.ProjectID, u.DomainID
	err = h.r.e.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec("INSERT INTO heat_user_projects (root_id, project_id) VALUES (?, ?) ON CONFLICT (root_id) DO NOTHING", h.r.st.RootID, u.ProjectID); err != nil {
			return err
		}
		_, err := tx.Exec("INSERT INTO heat_users (user_id, project_id, stack_id, resource_id) VALUES (?, ?, ?, ?) ON CONFLICT (user_id) DO NOTHING",
			u.UserID, u.ProjectID, res.StackID, res.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	if u.Access, u.Secret, err = ensureKey(ctx, keystone, u); err != nil {
		return nil, err
	}
	res.Data["access_key"], res.Data["secret_key"] = u.Access, u.Secret
	return u, h.Save(ctx, res)
}

func (e *Engine) keystone(ctx context.Context) (*gophercloud.ServiceClient, error) {
	if e.cfg.Cloud == nil {
		return nil, fmt.Errorf("this engine has no cloud, so it cannot make users for resources")
	}
	s, err := e.cfg.Cloud.Service(ctx)
	if err != nil {
		return nil, err
	}
	return s.Identity()
}

func ensureDomain(ctx context.Context, c *gophercloud.ServiceClient) (string, error) {
	find := func() (string, error) {
		page, err := domains.List(c, domains.ListOpts{Name: UserDomain}).AllPages(ctx)
		if err != nil {
			return "", fmt.Errorf("domain %s: %w", UserDomain, err)
		}
		l, err := domains.ExtractDomains(page)
		if err != nil || len(l) == 0 {
			return "", err
		}
		return l[0].ID, nil
	}
	if id, err := find(); id != "" || err != nil {
		return id, err
	}
	d, err := domains.Create(ctx, c, domains.CreateOpts{Name: UserDomain, Description: "Users and projects of orchestration's resources"}).Extract()
	if err != nil {
		if id, ferr := find(); id != "" && ferr == nil { // another process was faster
			return id, nil
		}
		return "", fmt.Errorf("domain %s: %w", UserDomain, err)
	}
	return d.ID, nil
}

func ensureProject(ctx context.Context, c *gophercloud.ServiceClient, domain, name string) (string, error) {
	page, err := projects.List(c, projects.ListOpts{DomainID: domain, Name: name}).AllPages(ctx)
	if err != nil {
		return "", fmt.Errorf("project of the stack's users: %w", err)
	}
	l, err := projects.ExtractProjects(page)
	if err != nil {
		return "", fmt.Errorf("project of the stack's users: %w", err)
	}
	if len(l) > 0 {
		return l[0].ID, nil
	}
	p, err := projects.Create(ctx, c, projects.CreateOpts{DomainID: domain, Name: name, Description: "Users of the stack's resources"}).Extract()
	if err != nil {
		return "", fmt.Errorf("project of the stack's users: %w", err)
	}
	return p.ID, nil
}

func ensureUser(ctx context.Context, c *gophercloud.ServiceClient, u *resources.StackUser) error {
	page, err := users.List(c, users.ListOpts{DomainID: u.DomainID, Name: u.Name}).AllPages(ctx)
	if err != nil {
		return fmt.Errorf("user of the resource: %w", err)
	}
	l, err := users.ExtractUsers(page)
	if err != nil {
		return fmt.Errorf("user of the resource: %w", err)
	}
	if len(l) > 0 {
		u.UserID = l[0].ID
	} else {
		made, err := users.Create(ctx, c, users.CreateOpts{DomainID: u.DomainID, Name: u.Name, Password: u.Password, DefaultProjectID: u.ProjectID}).Extract()
		if err != nil {
			return fmt.Errorf("user of the resource: %w", err)
		}
		u.UserID = made.ID
	}
	rolePage, err := roles.List(c, roles.ListOpts{Name: UserRole}).AllPages(ctx)
	if err != nil {
		return fmt.Errorf("role %s: %w", UserRole, err)
	}
	found, err := roles.ExtractRoles(rolePage)
	if err != nil || len(found) == 0 {
		return fmt.Errorf("role %s does not exist: %w", UserRole, err)
	}
	if err := roles.Assign(ctx, c, found[0].ID, roles.AssignOpts{UserID: u.UserID, ProjectID: u.ProjectID}).ExtractErr(); err != nil {
		return fmt.Errorf("role %s: %w", UserRole, err)
	}
	return nil
}

func ensureKey(ctx context.Context, c *gophercloud.ServiceClient, u *resources.StackUser) (access, secret string, err error) {
	page, err := ec2credentials.List(c, u.UserID).AllPages(ctx)
	if err != nil {
		return "", "", fmt.Errorf("key of the resource's user: %w", err)
	}
	l, err := ec2credentials.ExtractCredentials(page)
	if err != nil {
		return "", "", fmt.Errorf("key of the resource's user: %w", err)
	}
	if len(l) > 0 {
		return l[0].Access, l[0].Secret, nil
	}
	k, err := ec2credentials.Create(ctx, c, u.UserID, ec2credentials.CreateOpts{TenantID: u.ProjectID}).Extract()
	if err != nil {
		return "", "", fmt.Errorf("key of the resource's user: %w", err)
	}
	return k.Access, k.Secret, nil
}

// DropStackUser deletes the user of a resource with everything it may do.
func (h *host) DropStackUser(ctx context.Context, res *resources.Resource) error {
	id := res.Str("user_id")
	if id == "" {
		return nil
	}
	keystone, err := h.r.e.keystone(ctx)
	if err != nil {
		return err
	}
	if err := users.Delete(ctx, keystone, id).ExtractErr(); err != nil && !gophercloud.ResponseCodeIs(err, 404) {
		return fmt.Errorf("user of the resource: %w", err)
	}
	return h.r.e.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec("DELETE FROM heat_users WHERE user_id = ?", id)
		return err
	})
}

// dropUserProject deletes the project of a root stack's users; the users went with their resources.
func (r *run) dropUserProject() error {
	if r.st.ParentID != "" {
		return nil
	}
	var project string
	err := r.e.cfg.DB.View(r.ctx, func(tx *store.Tx) error {
		return tx.Get([]any{&project}, "SELECT project_id FROM heat_user_projects WHERE root_id = ?", r.st.ID)
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	keystone, err := r.e.keystone(r.ctx)
	if err != nil {
		return err
	}
	if err := projects.Delete(r.ctx, keystone, project).ExtractErr(); err != nil && !gophercloud.ResponseCodeIs(err, 404) {
		return fmt.Errorf("project of the stack's users: %w", err)
	}
	return r.e.cfg.DB.Tx(r.ctx, func(tx *store.Tx) error {
		_, err := tx.Exec("DELETE FROM heat_user_projects WHERE root_id = ?", r.st.ID)
		return err
	})
}

// UserResource returns the resource that a user was made for, "" if it is no such user.
func UserResource(tx *store.Tx, userID string) (resourceID string, err error) {
	err = tx.Get([]any{&resourceID}, "SELECT resource_id FROM heat_users WHERE user_id = ?", userID)
	return resourceID, err
}

// UserSession acts as the user of a resource.
func (h *host) UserSession(ctx context.Context, res *resources.Resource) (*cloud.Session, error) {
	u, err := h.StackUser(ctx, res)
	if err != nil {
		return nil, err
	}
	return h.r.e.cfg.Cloud.Password(ctx, u.Name, u.Password, u.ProjectName, UserDomain)
}
