package cloud

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/trusts"

	"github.com/tripleo/tripleo/internal/auth"
)

// NewTrust has the caller give the service user a trust: their roles on their
// project, so that what happens later happens in their name. The zero time is
// no end. redelegate lets the service user hand it on.
func (c *Cloud) NewTrust(ctx context.Context, caller *auth.Identity, expires time.Time, redelegate bool) (string, error) {
	own, err := c.Token(ctx, caller.Token)
	if err != nil {
		return "", fmt.Errorf("session of the caller: %w", err)
	}
	service, err := c.Service(ctx)
	if err != nil {
		return "", fmt.Errorf("session of the service user: %w", err)
	}
	keystone, err := own.Identity()
	if err != nil {
		return "", err
	}
	opts := trusts.CreateOpts{
		Impersonation: true, TrusteeUserID: service.UserID, TrustorUserID: caller.UserID, ProjectID: caller.ProjectID, AllowRedelegation: redelegate,
	}
	if !expires.IsZero() {
		opts.ExpiresAt = &expires
	}
	for _, r := range caller.Roles {
		opts.Roles = append(opts.Roles, trusts.Role{Name: r})
	}
	t, err := trusts.Create(ctx, keystone, opts).Extract()
	if err != nil {
		return "", fmt.Errorf("make a trust: %w", err)
	}
	return t.ID, nil
}

// DeleteTrust ends a trust given to the service user, acting by it. One that is
// gone, or whose user is, is no error.
func (c *Cloud) DeleteTrust(ctx context.Context, id string) error {
	gone := func(err error) bool {
		return gophercloud.ResponseCodeIs(err, http.StatusUnauthorized) || gophercloud.ResponseCodeIs(err, http.StatusForbidden) || gophercloud.ResponseCodeIs(err, http.StatusNotFound)
	}
	defer c.Forget(id)
	s, err := c.Trust(ctx, id)
	if err == nil {
		var keystone *gophercloud.ServiceClient
		if keystone, err = s.Identity(); err == nil {
			err = trusts.Delete(ctx, keystone, id).ExtractErr()
		}
	}
	if err == nil || gone(err) {
		return nil
	}
	return fmt.Errorf("delete trust: %w", err)
}
