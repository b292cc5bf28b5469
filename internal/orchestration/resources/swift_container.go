package resources

import (
	"context"
	"net/url"
	"strings"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

func swiftContainer() *Type {
	headers := func(r *Resource) map[string]string {
		h := map[string]string{}
		for _, p := range []string{"X-Container-Read", "X-Container-Write"} {
			if v := r.Props.Str(p); v != "" {
				h[p] = v
			}
		}
		for k, v := range r.Props.Map("X-Container-Meta").All() {
			h["X-Container-Meta-"+k] = hot.PyStr(v)
		}
		return h
	}
	return &Type{Name: "OS::Swift::Container",
		Create: func(ctx context.Context, r *Resource) (Step, error) {
			s, err := r.swift(ctx)
			if err != nil {
				return Step{}, err
			}
			name := r.Props.Str("name")
			if name == "" {
				name = r.PhysicalName(256)
			}
			if _, _, err := s.do(ctx, "PUT", url.PathEscape(name), headers(r), []byte{}); err != nil {
				return Step{}, err
			}
			return Done(), r.SetID(ctx, name)
		},
		Update: func(ctx context.Context, r *Resource) (Step, error) {
			s, err := r.swift(ctx)
			if err != nil {
				return Step{}, err
			}
			_, _, err = s.do(ctx, "POST", url.PathEscape(r.PhysicalID), headers(r), []byte{})
			return Done(), err
		},
		Delete: deleteContainer, Attr: containerAttr,
	}
}

func deleteContainer(ctx context.Context, r *Resource) (Step, error) {
	s, err := r.swift(ctx)
	if err != nil || r.PhysicalID == "" {
		return Done(), err
	}
	if r.Props.Bool("PurgeOnDelete") {
		list, _, err := s.do(ctx, "GET", url.PathEscape(r.PhysicalID)+"?limit=1000", map[string]string{"Accept": "text/plain"}, nil)
		if err != nil && !isNotFound(err) {
			return Step{}, err
		}
		names := strings.Fields(string(list))
		for _, n := range strings.Split(strings.TrimSpace(string(list)), "\n") {
			if n == "" {
				continue
			}
			if _, _, err := s.do(ctx, "DELETE", objectPath(r.PhysicalID, n), nil, nil); err != nil && !isNotFound(err) {
				return Step{}, err
			}
		}
		if len(names) >= 1000 {
			return Wait(0, "objectstore/"+s.account+"/"+r.PhysicalID), nil
		}
	}
	if _, _, err := s.do(ctx, "DELETE", url.PathEscape(r.PhysicalID), nil, nil); err != nil && !isNotFound(err) {
		return Step{}, err
	}
	return Done(), nil
}

func containerAttr(ctx context.Context, r *Resource, name string) (any, error) {
	s, err := r.swift(ctx)
	if err != nil {
		return nil, err
	}
	root := s.ServiceURL(url.PathEscape(r.PhysicalID))
	switch name {
	case "DomainName":
		u, err := url.Parse(root)
		if err != nil {
			return nil, err
		}
		return u.Hostname(), nil
	case "RootURL", "WebsiteURL":
		return root, nil
	}
	_, h, err := s.do(ctx, "HEAD", url.PathEscape(r.PhysicalID), nil, nil)
	if err != nil {
		return nil, err
	}
	switch name {
	case "ObjectCount":
		return h.Get("X-Container-Object-Count"), nil
	case "BytesUsed":
		return h.Get("X-Container-Bytes-Used"), nil
	}
	m := yaml11.NewMap()
	for k := range h {
		m.Set(strings.ToLower(k), h.Get(k))
	}
	return m, nil
}
