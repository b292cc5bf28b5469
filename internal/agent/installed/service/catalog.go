package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const maxKeystoneBody = 8 << 20

// catalog makes roles, projects, users, services and endpoints in Keystone so. It finds things by name (services by type
// and name), creates what is missing and corrects URLs and passwords; it deletes nothing.
func (r *run) catalog(ctx context.Context) error {
	c := r.service.Catalog
	if c == nil || (flagOr(c.BootstrapOnly, true) && !r.bootstrap) {
		return nil
	}
	k := &keystone{run: r, base: strings.TrimSuffix(strings.TrimSuffix(c.Auth.URL, "/"), "/v3") + "/v3", region: c.Region}
	if k.region == "" {
		k.region = "regionOne"
	}
	err := r.until(ctx, c.Timeout.or(checkTimeout), time.Second, func(ctx context.Context) error { return k.login(ctx, c.Auth) })
	if err != nil {
		return r.fail("catalog", c.Auth.URL, err)
	}
	if err := k.apply(ctx, c); err != nil {
		return r.fail("catalog", k.at, err)
	}
	return nil
}

// keystone is a client of Identity API v3, as far as the catalog needs it.
type keystone struct {
	run    *run
	base   string
	region string
	token  string
	domain string // id of the domain of the administrator's project
	at     string // what is at work, for errors
}

func (k *keystone) login(ctx context.Context, a CatalogAuth) error {
	domain, project := a.Domain, a.Project
	if domain == "" {
		domain = "Default"
	}
	if project == "" {
		project = "admin"
	}
	body := map[string]any{"auth": map[string]any{
		"identity": map[string]any{"methods": []string{"password"}, "password": map[string]any{"user": map[string]any{
			"name": a.User, "password": a.Password, "domain": map[string]any{"name": domain}}}},
		"scope": map[string]any{"project": map[string]any{"name": project, "domain": map[string]any{"name": domain}}},
	}}
	var answer struct {
		Token struct {
			Project struct {
				Domain struct {
					ID string `json:"id"`
				} `json:"domain"`
			} `json:"project"`
		} `json:"token"`
	}
	header, err := k.call(ctx, http.MethodPost, "/auth/tokens", body, &answer)
	if err != nil {
		if e, ok := errors.AsType[*httpError](err); ok && e.status == http.StatusUnauthorized {
			return finalError{err}
		}
		return err
	}
	k.token, k.domain = header.Get("X-Subject-Token"), answer.Token.Project.Domain.ID
	return nil
}

type httpError struct {
	status int
	text   string
}

func (e *httpError) Error() string { return e.text }

func (k *keystone) call(ctx context.Context, method, path string, in, out any) (http.Header, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, k.base+path, body)
	if err != nil {
		return nil, finalError{err}
	}
	req.Header.Set("Content-Type", "application/json")
	if k.token != "" {
		req.Header.Set("X-Auth-Token", k.token)
	}
	resp, err := k.run.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxKeystoneBody))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		var fault struct {
			Error struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		_ = json.Unmarshal(data, &fault) // no JSON: the status has to do
		return nil, &httpError{resp.StatusCode, strings.TrimSpace(fmt.Sprintf("%s %s: %s %s", method, path, resp.Status, fault.Error.Message))}
	}
	if out != nil {
		return resp.Header, json.Unmarshal(data, out)
	}
	return resp.Header, nil
}

// thing is any of Keystone's resources.
type thing map[string]any

func (t thing) text(key string) string { s, _ := t[key].(string); return s }

func (k *keystone) list(ctx context.Context, plural string, query url.Values) ([]thing, error) {
	var out map[string]json.RawMessage
	if _, err := k.call(ctx, http.MethodGet, "/"+plural+"?"+query.Encode(), nil, &out); err != nil {
		return nil, err
	}
	var list []thing
	return list, json.Unmarshal(out[plural], &list)
}

func (k *keystone) create(ctx context.Context, plural, singular string, t thing) (thing, error) {
	var out map[string]thing
	_, err := k.call(ctx, http.MethodPost, "/"+plural, map[string]any{singular: t}, &out)
	return out[singular], err
}

// ensure finds by query or creates; the id.
func (k *keystone) ensure(ctx context.Context, plural, singular string, query url.Values, t thing) (string, error) {
	k.at = singular + " " + t.text("name")
	begin := k.run.Host.Now()
	found, err := k.list(ctx, plural, query)
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		return found[0].text("id"), nil
	}
	made, err := k.create(ctx, plural, singular, t)
	if err != nil {
		return "", err
	}
	k.run.report("catalog", k.at, true, "created", begin)
	return made.text("id"), nil
}

func (k *keystone) apply(ctx context.Context, c *Catalog) error {
	roles, projects := map[string]string{}, map[string]string{}
	var err error
	role := func(name string) (string, error) {
		if roles[name] == "" {
			roles[name], err = k.ensure(ctx, "roles", "role", url.Values{"name": {name}}, thing{"name": name})
		}
		return roles[name], err
	}
	project := func(p CatalogProject) (string, error) {
		if projects[p.Name] == "" {
			projects[p.Name], err = k.ensure(ctx, "projects", "project", url.Values{"name": {p.Name}, "domain_id": {k.domain}},
				thing{"name": p.Name, "description": p.Description, "domain_id": k.domain})
		}
		return projects[p.Name], err
	}
	for _, name := range c.Roles {
		if _, err := role(name); err != nil {
			return err
		}
	}
	for _, p := range c.Projects {
		if _, err := project(p); err != nil {
			return err
		}
	}
	for _, u := range c.Users {
		id, err := k.user(ctx, u)
		if err != nil {
			return err
		}
		for _, p := range slices.Sorted(maps.Keys(u.Roles)) {
			pid, err := project(CatalogProject{Name: p})
			if err != nil {
				return err
			}
			for _, name := range u.Roles[p] {
				rid, err := role(name)
				if err != nil {
					return err
				}
				if err := k.grant(ctx, u.Name, id, p, pid, name, rid); err != nil {
					return err
				}
			}
		}
	}
	for _, s := range c.Services {
		if err := k.service(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (k *keystone) user(ctx context.Context, u CatalogUser) (string, error) {
	k.at = "user " + u.Name
	begin := k.run.Host.Now()
	found, err := k.list(ctx, "users", url.Values{"name": {u.Name}, "domain_id": {k.domain}})
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		made, err := k.create(ctx, "users", "user", thing{"name": u.Name, "password": u.Password, "domain_id": k.domain, "enabled": true})
		if err != nil {
			return "", err
		}
		k.run.report("catalog", k.at, true, "created", begin)
		return made.text("id"), nil
	}
	id := found[0].text("id")
	// The only way to see whether a password is right is to use it.
	probe := map[string]any{"auth": map[string]any{"identity": map[string]any{"methods": []string{"password"},
		"password": map[string]any{"user": map[string]any{"id": id, "password": u.Password}}}}}
	_, err = k.call(ctx, http.MethodPost, "/auth/tokens", probe, nil)
	if e, ok := errors.AsType[*httpError](err); ok && e.status == http.StatusUnauthorized {
		if _, err := k.call(ctx, http.MethodPatch, "/users/"+id, map[string]any{"user": thing{"password": u.Password}}, nil); err != nil {
			return "", err
		}
		k.run.report("catalog", k.at, true, "password set", begin)
		return id, nil
	}
	return id, err
}

func (k *keystone) grant(ctx context.Context, user, userID, project, projectID, role, roleID string) error {
	k.at = fmt.Sprintf("role %s of %s in %s", role, user, project)
	begin := k.run.Host.Now()
	path := fmt.Sprintf("/projects/%s/users/%s/roles/%s", projectID, userID, roleID)
	_, err := k.call(ctx, http.MethodHead, path, nil, nil)
	if e, ok := errors.AsType[*httpError](err); !ok || e.status != http.StatusNotFound {
		return err
	}
	if _, err := k.call(ctx, http.MethodPut, path, nil, nil); err != nil {
		return err
	}
	k.run.report("catalog", k.at, true, "granted", begin)
	return nil
}

func (k *keystone) service(ctx context.Context, s CatalogService) error {
	id, err := k.ensure(ctx, "services", "service", url.Values{"type": {s.Type}, "name": {s.Name}},
		thing{"name": s.Name, "type": s.Type, "description": s.Description, "enabled": true})
	if err != nil {
		return err
	}
	for _, face := range slices.Sorted(maps.Keys(s.Endpoints)) {
		begin := k.run.Host.Now()
		k.at = fmt.Sprintf("%s endpoint of %s", face, s.Name)
		found, err := k.list(ctx, "endpoints", url.Values{"service_id": {id}, "interface": {face}, "region_id": {k.region}})
		if err != nil {
			return err
		}
		want := thing{"service_id": id, "interface": face, "region_id": k.region, "url": s.Endpoints[face]}
		switch {
		case len(found) == 0:
			if _, err := k.create(ctx, "endpoints", "endpoint", want); err != nil {
				return err
			}
			k.run.report("catalog", k.at, true, "created", begin)
		case found[0].text("url") != s.Endpoints[face]:
			if _, err := k.call(ctx, http.MethodPatch, "/endpoints/"+found[0].text("id"), map[string]any{"endpoint": thing{"url": s.Endpoints[face]}}, nil); err != nil {
				return err
			}
			k.run.report("catalog", k.at, true, "URL set", begin)
		}
	}
	return nil
}
