package network

import (
	"slices"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// Actions of RBAC policies.
const (
	asShared   = "access_as_shared"
	asExternal = "access_as_external"
)

func rbacKind() *resource {
	return &resource{
		kind: "rbac_policy", plural: "rbac_policies", path: "rbac-policies", plain: true, parent: "object_id", quota: true,
		missing: "RBAC policy %s could not be found", missingType: "RbacPolicyNotFound",
		inUse: "RBAC policy %s is in use.", inUseType: "RbacPolicyInUse",
		attrs: []attr{
			{name: "object_type", parse: text(255), mode: post | need},
			{name: "object_id", parse: id, mode: post | need},
			{name: "action", parse: oneOf(asShared, asExternal), mode: post | need},
			{name: "target_tenant", parse: text(255), mode: both, def: noDefault{}},
			{name: "target_project_id", parse: text(255), mode: both, def: noDefault{}},
		},
		prepare: prepareRBAC,
		stored: func(c *call, d, _ doc) error {
			c.shares = nil
			return c.policyChanged(d, d.str("action") == asExternal)
		},
		release: releaseRBAC,
	}
}

func prepareRBAC(c *call, d, old doc) error {
	if p := d.str("target_project_id"); p != "" {
		d["target_tenant"] = p
	}
	delete(d, "target_project_id")
	if d.str("target_tenant") == "" {
		return api.Invalid("Failed to parse request. Required attribute 'target_tenant' not specified").Named("HTTPBadRequest")
	}
	i := slices.IndexFunc(c.s.all, func(k *resource) bool { return k.shared != "" && k.shared == d.str("object_type") })
	if i < 0 || d.str("action") == asExternal && d.str("object_type") != "network" {
		return api.Invalid("Action '%s' for object type '%s' is not supported", d.str("action"), d.str("object_type")).Named("RbacPolicyInvalid")
	}
	object, err := c.see(c.s.all[i], d.str("object_id"))
	if err != nil {
		return err
	}
	if !c.admin() && object.project() != c.who.ProjectID {
		return api.Invalid("only the owner of %s %s may share it", d.str("object_type"), object.id()).Named("RbacPolicyInitError")
	}
	if d.str("target_tenant") == "*" && !c.admin() {
		return api.Forbidden("(rule:create_rbac_policy and rule:create_rbac_policy:target_tenant) is disallowed by policy")
	}
	if old != nil && old.str("target_tenant") != d.str("target_tenant") {
		if err := c.checkUnshare(old, d.str("target_tenant")); err != nil {
			return err
		}
	}
	if scope := object.str("address_scope_id"); scope != "" && d.str("object_type") == "subnetpool" {
		if ok, err := c.sharedWith(scope, d.str("target_tenant")); err != nil || !ok {
			if err == nil {
				err = api.Invalid("subnet pool %s is of address scope %s, which is not shared with %s", object.id(), scope, d.str("target_tenant")).Named("RbacPolicyInitError")
			}
			return err
		}
	}
	same, err := c.find(c.s.kinds["rbac_policy"], ` AND parent_id = ? AND name = ? AND id <> ?`, d.str("object_id"), d.str("target_tenant"), d.id())
	if err != nil {
		return err
	}
	for _, other := range same {
		if other.str("action") == d.str("action") {
			return api.Conflict("An RBAC policy already exists with those values.").Named("DuplicateRbacPolicy")
		}
	}
	return nil
}

// sharedWith says whether a project may use an object.
func (c *call) sharedWith(object, project string) (bool, error) {
	owner, err := c.ownerOf(object)
	if err != nil || owner == project {
		return err == nil, err
	}
	shares, err := c.find(c.s.kinds["rbac_policy"], ` AND parent_id = ? AND name IN (?, '*')`, object, project)
	return len(shares) > 0, err
}

func releaseRBAC(c *call, d doc) error {
	if err := c.checkUnshare(d, ""); err != nil {
		return err
	}
	if d.str("action") != asExternal {
		return c.policyChanged(d, false)
	}
	left, err := c.find(c.s.kinds["rbac_policy"], ` AND parent_id = ? AND id <> ?`, d.str("object_id"), d.id())
	if err != nil {
		return err
	}
	return c.policyChanged(d, slices.ContainsFunc(left, func(p doc) bool { return p.str("action") == asExternal }))
}

// policyChanged counts a revision of the shared object; a network is external
// as long as a policy says so.
func (c *call) policyChanged(policy doc, external bool) error {
	i := slices.IndexFunc(c.s.all, func(k *resource) bool { return k.shared != "" && k.shared == policy.str("object_type") })
	k := c.s.all[i]
	if k.plain {
		return nil
	}
	d, err := c.lock(k, policy.str("object_id"))
	if err != nil {
		return err
	}
	if policy.str("action") == asExternal {
		d["router:external"] = external
	}
	return c.save(k, d, d)
}

// checkUnshare keeps a share that somebody uses, by what belongs to the object
// or refers to it, unless another policy, or the next target of this one,
// covers the user.
func (c *call) checkUnshare(d doc, next string) error {
	users, err := c.usersOf(d)
	if err != nil || len(users) == 0 {
		return err
	}
	left, err := c.find(c.s.kinds["rbac_policy"], ` AND parent_id = ? AND id <> ?`, d.str("object_id"), d.id())
	if err != nil {
		return err
	}
	covered := map[string]bool{next: next != ""}
	for _, p := range left {
		covered[p.str("target_tenant")] = covered[p.str("target_tenant")] || p.str("action") == d.str("action")
	}
	for _, project := range users {
		if (d.str("target_tenant") == "*" || d.str("target_tenant") == project) && !covered["*"] && !covered[project] {
			return api.Conflict("RBAC policy on object %s cannot be removed because other objects depend on it.\nDetails: used by project %s", d.str("object_id"), project).Named("RbacPolicyInUse")
		}
	}
	return nil
}

// usersOf returns the projects that use a shared object, its owner left out.
func (c *call) usersOf(d doc) ([]string, error) {
	object := d.str("object_id")
	if d.str("action") == asExternal {
		if n, err := c.load(c.s.kinds["network"], object); err != nil || n.flag("is_default") && d.str("target_tenant") == "*" {
			return []string{"any, as the default external network"}, err
		}
		return c.gatewaysOn(object)
	}
	owner, err := c.ownerOf(object)
	if err != nil {
		return nil, err
	}
	var out []string
	err = c.tx.Each(func(scan func(...any) error) error {
		var project string
		err := scan(&project)
		if project != "" && project != owner {
			out = append(out, project)
		}
		return err
	}, `SELECT project_id FROM network_resources WHERE parent_id = ? AND kind <> 'rbac_policy'
		UNION SELECT r.project_id FROM network_refs f JOIN network_resources r ON r.id = f.from_id WHERE f.to_id = ? AND f.role <> 'gateway' AND r.kind <> 'floatingip'`, object, object)
	return out, err
}

// gatewaysOn returns the projects of routers with a gateway and of floating IPs
// on an external network.
func (c *call) gatewaysOn(network string) ([]string, error) {
	var out []string
	err := c.tx.Each(func(scan func(...any) error) error {
		var project string
		err := scan(&project)
		out = append(out, project)
		return err
	}, `SELECT r.project_id FROM network_refs f JOIN network_resources r ON r.id = f.from_id WHERE f.to_id = ? AND r.kind IN ('router', 'floatingip')`, network)
	return out, err
}

func (c *call) ownerOf(id string) (string, error) {
	var project string
	err := c.tx.Get([]any{&project}, `SELECT project_id FROM network_resources WHERE id = ?`, id)
	return project, err
}

// sharing returns the actions that RBAC policies allow the caller's project on
// an object.
func (c *call) sharing(object string) (map[string]bool, error) {
	if c.shares == nil {
		shares := map[string]map[string]bool{}
		err := c.tx.Each(func(scan func(...any) error) error {
			d := doc{}
			if err := scan(store.JSON(&d)); err != nil {
				return err
			}
			of := d.str("object_id")
			if shares[of] == nil {
				shares[of] = map[string]bool{}
			}
			shares[of][d.str("action")] = true
			return nil
		}, `SELECT doc FROM network_resources WHERE kind = 'rbac_policy' AND name IN (?, '*')`, c.who.ProjectID)
		if err != nil {
			return nil, err
		}
		c.shares = shares
		if c.common != nil {
			c.common.shares[c.who.ProjectID] = shares
		}
	}
	return c.shares[object], nil
}

// share makes the policy that the attributes shared and router:external stand
// for, or takes it away.
func (c *call) share(k *resource, d doc, action string, want bool) error {
	have, err := c.find(c.s.kinds["rbac_policy"], ` AND parent_id = ? AND name = '*'`, d.id())
	if err != nil {
		return err
	}
	i := slices.IndexFunc(have, func(p doc) bool { return p.str("action") == action })
	c.shares = nil
	switch {
	case want && i < 0:
		p := doc{"object_type": k.shared, "object_id": d.id(), "action": action, "target_tenant": "*"}
		p["id"], p["project_id"] = newID(), d.project()
		_, err := c.tx.Exec(`INSERT INTO network_resources (id, kind, project_id, name, parent_id, doc) VALUES (?, 'rbac_policy', ?, '*', ?, ?)`,
			p.id(), d.project(), d.id(), store.JSON(p))
		return err
	case !want && i >= 0:
		if used, err := c.referrers(d.id(), "qos_policy_id"); err != nil || len(used) > 0 {
			if err == nil {
				err = api.Conflict("QoS policy %s cannot be unshared while something uses it.", d.id()).Named("RbacPolicyInUse")
			}
			return err
		}
		if err := c.checkUnshare(have[i], ""); err != nil {
			if action == asShared {
				return api.Conflict("Unable to reconfigure sharing settings for network %s. Multiple tenants are using it.", d.id()).Named("InvalidSharedSetting").Wrap(err)
			}
			return err
		}
		_, err := c.tx.Exec(`DELETE FROM network_resources WHERE id = ?`, have[i].id())
		return err
	}
	return nil
}
