package orchestration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/objectstorage/v1/objects"
	"github.com/gophercloud/gophercloud/v2/pagination"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/orchestration/engine"
	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// Limits of what a request may bring besides engine.Limits, which bound its bytes.
const (
	maxFiles    = 20_000
	maxEnvFiles = 1_000
)

// source reads template, files, environment and parameters of a request. base is what an update of an
// existing stack starts from; nil for a new one.
func (s *Service) source(r *http.Request, m *Map, base *engine.Source, clear []any) (*engine.Source, error) {
	src := &engine.Source{Files: map[string]string{}, Params: yaml11.NewMap(), Env: hot.NewEnvironment(), TemplateFile: "template"}
	if base != nil {
		startFrom(src, base, clear)
	}
	if v, _ := m.Get("template"); v != nil {
		src.Template, src.TemplateFile = v, "template"
	}
	if v, _ := m.Get("template_file"); v != nil { // ours: the name to show in messages
		src.TemplateFile = hot.PyStr(v)
	}
	if src.Template == nil || src.Template == "" {
		return nil, api.Invalid("No template specified").Named("HTTPBadRequest")
	}
	if text, ok := src.Template.(string); ok && len(text) > s.e.Limits().TemplateSize {
		return nil, overLimit("Template size (%d bytes) exceeds maximum allowed size (%d bytes).", len(text), s.e.Limits().TemplateSize)
	}
	if err := s.requestFiles(r, m, src.Files); err != nil {
		return nil, err
	}
	env, err := requestEnv(m, src.Template, src.Files)
	if err != nil {
		return nil, api.Invalid("%s", hot.List(err).Error()).Named("StackValidationFailed")
	}
	merged := hot.NewEnvironment()
	merged.Merge(src.Env)
	merged.Merge(env)
	src.Env = merged
	for k := range env.Parameters.All() {
		src.Params.Delete(k)
	}
	if params, ok := value[*Map](m, "parameters"); ok {
		for k, v := range params.All() {
			src.Params.Set(k, v)
		}
	}
	return src, nil
}

// startFrom copies what a PATCH keeps: template, files, environment and parameters but for those to clear.
func startFrom(src, base *engine.Source, clear []any) {
	src.Template, src.TemplateFile, src.Env = base.Template, base.TemplateFile, base.Env
	for k, v := range base.Files {
		src.Files[k] = v
	}
	for k, v := range base.Params.All() {
		src.Params.Set(k, v)
	}
	for _, name := range clear {
		src.Params.Delete(hot.PyStr(name))
		src.Env.Parameters.Delete(hot.PyStr(name))
	}
}

// dropUndeclared forgets kept parameters that the template of a PATCH does not declare any more.
func dropUndeclared(src *engine.Source) {
	declared := hot.ParameterTypes(src.Template, nil)
	for _, params := range []*Map{src.Env.Parameters, src.Params} {
		for _, name := range params.Keys() {
			if _, ok := declared[name]; !ok {
				params.Delete(name)
			}
		}
	}
}

func overLimit(format string, args ...any) error {
	return api.Invalid(format, args...).Named("RequestLimitExceeded")
}

func value[T any](m *Map, key string) (T, bool) {
	v, _ := m.Get(key)
	t, ok := v.(T)
	return t, ok
}

// requestFiles puts the files of a request into files: those in its body, then those of files_container
// that the body does not bring.
func (s *Service) requestFiles(r *http.Request, m *Map, files map[string]string) error {
	sent := map[string]bool{}
	if given, ok := value[*Map](m, "files"); ok {
		for k, v := range given.All() {
			sent[k] = true
			if text, ok := v.(string); ok {
				files[k] = text
				continue
			}
			b, err := yaml11.EncodeJSON(v)
			if err != nil {
				return api.Invalid("file %s: %v", k, err)
			}
			files[k] = string(b)
		}
	}
	if container, _ := value[string](m, "files_container"); container != "" {
		if err := s.containerFiles(r, container, sent, files); err != nil {
			return err
		}
	}
	if len(files) > maxFiles {
		return overLimit("%d files exceed the maximum of %d.", len(files), maxFiles)
	}
	return nil
}

// containerFiles reads the objects of a container of the caller, but for those in skip.
func (s *Service) containerFiles(r *http.Request, container string, skip map[string]bool, files map[string]string) error {
	id, err := caller(r)
	if err != nil {
		return err
	}
	if s.cfg.Cloud == nil {
		return api.Invalid("files_container: there is no object store")
	}
	session, err := s.cfg.Cloud.Token(r.Context(), id.Token)
	if err != nil {
		return fmt.Errorf("acting for the caller: %w", err)
	}
	swift, err := session.ObjectStore()
	if err != nil {
		return fmt.Errorf("the object store: %w", err)
	}
	most := int64(s.e.Limits().BodySize)
	left := most
	err = objects.List(swift, container, objects.ListOpts{}).EachPage(r.Context(), func(ctx context.Context, page pagination.Page) (bool, error) {
		list, err := objects.ExtractInfo(page)
		if err != nil {
			return false, err
		}
		for _, o := range list {
			if skip[o.Name] {
				continue
			}
			if left -= o.Bytes; left < 0 || len(files) > maxFiles {
				return false, overLimit("Total size of files to download exceeds maximum allowed (%d bytes, %d files).", most, maxFiles)
			}
			if files[o.Name], err = download(ctx, swift, container, o.Name, o.Bytes); err != nil {
				return false, err
			}
		}
		return true, nil
	})
	var known *api.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case gophercloud.ResponseCodeIs(err, http.StatusNotFound):
		return api.NotFound("Could not fetch files from container %s, reason: the container or an object in it does not exist.", container)
	}
	return fmt.Errorf("fetching files from container %s: %w", container, err)
}

func download(ctx context.Context, swift *gophercloud.ServiceClient, container, name string, size int64) (string, error) {
	res := objects.Download(ctx, swift, container, name, nil)
	if res.Err != nil {
		return "", res.Err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(res.Body, size+1))
	if err == nil && int64(len(b)) > size {
		err = fmt.Errorf("object %s has grown while it was read", name)
	}
	return string(b), err
}

// requestEnv merges the environment_files (server side merging), or takes the environment that the client
// has merged: the files say the same with more precision, so where there are some the rest is ignored.
func requestEnv(m *Map, template any, files map[string]string) (*hot.Environment, error) {
	names, _ := value[[]any](m, "environment_files")
	if len(names) > maxEnvFiles {
		return nil, fmt.Errorf("%d environment files exceed the maximum of %d", len(names), maxEnvFiles)
	}
	if len(names) > 0 {
		list := make([]string, len(names))
		for i, n := range names {
			list[i] = hot.PyStr(n)
		}
		return hot.MergeFiles(list, files, func() map[string]string { return hot.ParameterTypes(template, files) })
	}
	v, _ := m.Get("environment")
	return hot.EnvironmentFromValue("environment", v)
}
