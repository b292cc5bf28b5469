package orchestration

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/auth/ec2sig"
	"github.com/tripleo/tripleo/internal/orchestration/engine"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// The CloudFormation-compatible API: what machines use to read their metadata and to signal, and the calls
// about stacks that cost little. Requests are signed with EC2 credentials, which Keystone checks.

// maxCFN bounds a request.
const maxCFN = 2 << 20

// CFNHandler serves the CloudFormation-compatible API, for clients and for machines.
func (s *Service) CFNHandler() http.Handler {
	routes := []api.Route{
		{Method: "PUT", Pattern: "/v1/waitcondition/{arn...}", Policy: api.Public, Handler: s.cfnSignal},
		{Method: "POST", Pattern: "/v1/signal/{arn...}", Policy: api.Public, Handler: s.cfnSignal},
	}
	for _, m := range []string{"GET", "POST"} {
		for _, p := range []string{"/v1", "/v1/{$}", "/{$}"} {
			routes = append(routes, api.Route{Method: m, Pattern: p, Policy: api.Public, Handler: s.cfnAction})
		}
	}
	return api.NewHandler(api.HandlerOptions{Service: "cloudformation", Auth: s.cfg.Auth, Log: s.cfg.Log, Fault: cfnFault, MaxBody: maxCFN, Routes: routes})
}

// cfnFault writes an error in CloudFormation's envelope.
func cfnFault(w http.ResponseWriter, r *http.Request, f api.Fault) {
	code := map[int]string{400: "InvalidParameterValue", 401: "IncompleteSignature", 403: "AccessDenied", 404: "InvalidParameterValue", 409: "AlreadyExists", 413: "InvalidParameterValue"}[f.Status]
	kind, status := "Sender", f.Status
	switch {
	case code == "":
		code, kind = "InternalFailure", "Server"
	case status == 404:
		status = http.StatusBadRequest // CloudFormation knows no 404
	}
	cfnWrite(w, r, status, "ErrorResponse", yaml11.MapOf("Error", yaml11.MapOf("Message", f.Message, "Code", code, "Type", kind)))
}

// cfnWrite writes an answer as XML, or as JSON if the request says ContentType=JSON.
func cfnWrite(w http.ResponseWriter, r *http.Request, status int, name string, v any) {
	if strings.EqualFold(r.URL.Query().Get("ContentType"), "JSON") {
		_ = api.WriteJSON(w, status, yaml11.MapOf(name, v))
		return
	}
	var b bytes.Buffer
	cfnXML(&b, name, v)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// cfnXML writes a value as an element; the entries of a list are elements "member".
func cfnXML(b *bytes.Buffer, name string, v any) {
	b.WriteString("<" + name + ">")
	switch x := v.(type) {
	case *Map:
		for k, e := range x.All() {
			cfnXML(b, k, e)
		}
	case []any:
		for _, e := range x {
			cfnXML(b, "member", e)
		}
	case nil:
	default:
		_ = xml.EscapeText(b, []byte(fmt.Sprint(x)))
	}
	b.WriteString("</" + name + ">")
}

// cfnCaller proves who sent a request: by its token, or by its signature, which Keystone checks.
func (s *Service) cfnCaller(r *http.Request, params url.Values, body []byte) (*auth.Identity, error) {
	if id, ok := auth.FromContext(r.Context()); ok {
		return id, nil
	}
	path := r.URL.Path
	if u, err := url.ParseRequestURI(r.RequestURI); err == nil {
		path = u.Path
	}
	req := ec2sig.Request{Host: r.Host, Verb: r.Method, Path: path, Params: map[string]string{}, Headers: map[string]string{}}
	for k := range params {
		req.Params[k] = params.Get(k)
	}
	for k := range r.Header {
		req.Headers[k] = r.Header.Get(k)
	}
	sum := sha256.Sum256(body)
	req.BodyHash = hex.EncodeToString(sum[:])
	if req.Access() == "" || req.Signature() == "" || s.cfg.Cloud == nil {
		return nil, api.Unauthorized("the request is not signed: it has no access key and signature")
	}
	service, err := s.cfg.Cloud.Service(r.Context())
	if err != nil {
		return nil, err
	}
	keystone, err := service.Identity()
	if err != nil {
		return nil, err
	}
	resp, err := keystone.Post(r.Context(), keystone.ServiceURL("ec2tokens"), map[string]any{"credentials": map[string]any{"access": req.Access(), "signature": req.Signature(),
		"host": req.Host, "verb": req.Verb, "path": req.Path, "params": req.Params, "headers": req.Headers, "body_hash": req.BodyHash}}, nil,
		&gophercloud.RequestOpts{OkCodes: []int{200}, KeepResponseBody: true})
	if err != nil {
		if gophercloud.ResponseCodeIs(err, http.StatusUnauthorized) || gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
			return nil, api.Unauthorized("the signature of the request does not fit")
		}
		return nil, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	_ = resp.Body.Close()
	return s.cfg.Auth.Validate(r.Context(), resp.Header.Get("X-Subject-Token"))
}

// stackUser tells whether an identity is the user of one resource.
func stackUser(id *auth.Identity) bool {
	return id.HasRole(engine.UserRole) && !id.HasRole("reader", "member", "admin", "service")
}

// mayUse tells whether a caller may read the metadata of a resource, or signal it. The user of a resource
// may do that to its own, and read what an AccessPolicy of the stack names.
func (s *Service) mayUse(ctx context.Context, id *auth.Identity, st *engine.Stack, row *engine.Row, signal bool) (bool, error) {
	if !stackUser(id) {
		return st.ProjectID == id.ProjectID || id.IsAdmin(), nil
	}
	allowed := false
	err := s.cfg.DB.View(ctx, func(tx *store.Tx) error {
		own, err := engine.UserResource(tx, id.UserID)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if allowed = err == nil && own == row.ID; allowed || err != nil || signal {
			return err
		}
		mine, err := engine.FindRows(tx, "id = ? AND stack_id = ?", own, st.ID)
		if err != nil || len(mine) == 0 {
			return err
		}
		policies, err := engine.FindRows(tx, "stack_id = ? AND type = 'OS::Heat::AccessPolicy' AND replaced = 0", st.ID)
		for _, p := range policies {
			l, _ := p.Def().Props.Get("AllowedResources")
			names, _ := l.([]any)
			for _, n := range names {
				allowed = allowed || n == row.Name
			}
		}
		return err
	})
	return allowed, err
}

// ownResource finds the resource that the user of a resource asks for.
func (s *Service) ownResource(r *http.Request, id *auth.Identity, signal bool) (*engine.Stack, *engine.Row, error) {
	st, row, err := s.rowOf(r.Context(), r.PathValue("id"), r.PathValue("name"), r.PathValue("resource"))
	if err != nil {
		return nil, nil, err
	}
	if ok, err := s.mayUse(r.Context(), id, st, row, signal); err != nil || !ok {
		if err == nil {
			err = api.Forbidden("You are not authorized to use resource %s.", row.Name)
		}
		return nil, nil, err
	}
	return st, row, nil
}

// rowOf finds a resource by stack id, or the name of a stack, and its own name.
func (s *Service) rowOf(ctx context.Context, stackID, stackName, name string) (st *engine.Stack, row *engine.Row, err error) {
	err = s.cfg.DB.View(ctx, func(tx *store.Tx) error {
		list, err := engine.FindStacks(tx, "id = ? AND deleted_at = 0", stackID)
		if err != nil {
			return err
		}
		if len(list) == 0 || stackName != "" && list[0].Name != stackName {
			return stackNotFound(stackName)
		}
		st = list[0]
		rows, err := engine.FindRows(tx, "stack_id = ? AND name = ? ORDER BY replaced LIMIT 1", st.ID, name)
		if err == nil && len(rows) == 0 {
			return api.NotFound("The Resource (%s) could not be found in Stack %s.", name, st.Name).Named("EntityNotFound")
		}
		if err == nil {
			row = rows[0]
		}
		return err
	})
	return st, row, err
}

// parseArn takes an identifier apart: arn:openstack:heat::<project>:stacks/<name>/<id>[/resources/<name>].
func parseArn(arn string) (project, name, id, resource string, err error) {
	bad := api.Invalid("%q is no identifier of a stack or resource", arn)
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[2] != "heat" {
		return "", "", "", "", bad
	}
	path := strings.Split(parts[5], "/")
	if len(path) < 3 || path[0] != "stacks" || len(path) > 3 && (len(path) != 5 || path[3] != "resources") {
		return "", "", "", "", bad
	}
	if len(path) == 5 {
		resource = path[4]
	}
	return parts[4], path[1], path[2], resource, nil
}

// cfnSignal takes a signal to the resource that the path names.
func (s *Service) cfnSignal(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return api.Invalid("the signal could not be read").Wrap(err)
	}
	id, err := s.cfnCaller(r, r.URL.Query(), body)
	if err != nil {
		return err
	}
	_, name, stackID, resource, err := parseArn(r.PathValue("arn"))
	if err != nil {
		return err
	}
	st, row, err := s.rowOf(r.Context(), stackID, name, resource)
	if err != nil {
		return err
	}
	if ok, err := s.mayUse(r.Context(), id, st, row, true); err != nil || !ok {
		if err == nil {
			err = api.Forbidden("You are not authorized to signal resource %s.", row.Name)
		}
		return err
	}
	if err := s.signalRow(r.Context(), row, body); err != nil {
		return err
	}
	cfnWrite(w, r, http.StatusOK, "SignalResourceResponse", yaml11.MapOf("SignalResourceResult", yaml11.MapOf("ResourceId", row.Name)))
	return nil
}

// signalRow gives a signal to a resource that takes signals.
func (s *Service) signalRow(ctx context.Context, row *engine.Row, body []byte) error {
	typ := s.e.Type(row.Target)
	if typ == nil || typ.Signal == nil {
		return api.Invalid("Resource %s does not support signals", row.Name).Named("ResourceActionNotSupported")
	}
	return s.e.Signal(ctx, row, body)
}
