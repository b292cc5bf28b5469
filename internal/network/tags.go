package network

import (
	"net/http"
	"slices"

	"github.com/tripleo/tripleo/internal/api"
)

const (
	maxTags   = 50
	maxTagLen = 60
)

// tagRoutes serve extension standard-attr-tag for one kind.
func (s *Service) tagRoutes(k *resource, path string) []api.Route {
	base := "/v2.0/" + path + "/{id}/tags"
	return []api.Route{
		{Method: "GET", Pattern: base, Policy: api.Reader, Handler: s.listTags(k)},
		{Method: "PUT", Pattern: base, Policy: api.Member, Handler: s.replaceTags(k)},
		{Method: "DELETE", Pattern: base, Policy: api.Member, Handler: s.changeTags(k, http.StatusNoContent, func([]string, string) ([]string, error) { return nil, nil })},
		{Method: "GET", Pattern: base + "/{tag}", Policy: api.Reader, Handler: s.showTag(k)},
		{Method: "PUT", Pattern: base + "/{tag}", Policy: api.Member, Handler: s.changeTags(k, http.StatusCreated, addTag)},
		{Method: "DELETE", Pattern: base + "/{tag}", Policy: api.Member, Handler: s.changeTags(k, http.StatusNoContent, removeTag)},
	}
}

func (s *Service) tagsOf(k *resource, r *http.Request) (out []string, err error) {
	err = s.in(r, false, func(c *call) error {
		d, err := c.see(k, r.PathValue("id"))
		if err == nil {
			out = d.strs("tags")
		}
		return err
	})
	return out, err
}

func (s *Service) listTags(k *resource) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		tags, err := s.tagsOf(k, r)
		if err != nil {
			return err
		}
		return api.WriteJSON(w, http.StatusOK, map[string]any{"tags": tags})
	}
}

func (s *Service) showTag(k *resource) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		tags, err := s.tagsOf(k, r)
		if err != nil {
			return err
		}
		if !slices.Contains(tags, r.PathValue("tag")) {
			return noTag(r.PathValue("tag"))
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

func noTag(tag string) error {
	return api.NotFound("Tag %s could not be found.", tag).Named("TagNotFound")
}

func addTag(have []string, tag string) ([]string, error) {
	if why := checkTag(tag); why != "" {
		return nil, badInput("tag", why)
	}
	if slices.Contains(have, tag) {
		return have, nil
	}
	return append(have, tag), nil
}

func removeTag(have []string, tag string) ([]string, error) {
	i := slices.Index(have, tag)
	if i < 0 {
		return nil, noTag(tag)
	}
	return slices.Delete(have, i, i+1), nil
}

func checkTag(tag string) string {
	if _, why := text(maxTagLen)(tag); why != "" {
		return why
	}
	if tag == "" {
		return "a tag has at least one character"
	}
	return ""
}

func (s *Service) setTags(k *resource, r *http.Request, fn func(have []string) ([]string, error)) error {
	return s.in(r, true, func(c *call) error {
		old, err := c.own(k, r.PathValue("id"))
		if err != nil {
			return err
		}
		tags, err := fn(old.strs("tags"))
		if err != nil {
			return err
		}
		if len(tags) > maxTags {
			return api.Invalid("%d tags, expected at most %d", len(tags), maxTags)
		}
		d := old.clone()
		d["tags"] = anys(tags)
		return c.save(k, d, old)
	})
}

func (s *Service) changeTags(k *resource, status int, fn func(have []string, tag string) ([]string, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := s.setTags(k, r, func(have []string) ([]string, error) { return fn(have, r.PathValue("tag")) })
		if err != nil {
			return err
		}
		w.WriteHeader(status)
		return nil
	}
}

func (s *Service) replaceTags(k *resource) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		var in map[string]any
		if err := api.ReadJSON(r, &in); err != nil {
			return err
		}
		parsed, why := listOf(text(maxTagLen))(in["tags"])
		if why != "" {
			return badInput("tags", why)
		}
		tags := slices.Compact(doc{"t": parsed}.strs("t"))
		for _, t := range tags {
			if why := checkTag(t); why != "" {
				return badInput("tags", why)
			}
		}
		if err := s.setTags(k, r, func([]string) ([]string, error) { return tags, nil }); err != nil {
			return err
		}
		return api.WriteJSON(w, http.StatusOK, map[string]any{"tags": tags})
	}
}
