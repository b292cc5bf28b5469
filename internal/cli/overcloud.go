package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/yaml11"
)

const (
	maxAnswer    = 256 << 20 // bytes of one API answer
	defaultQueue = "tripleo"
	usageHeader  = "X-Container-Meta-Usage-Tripleo"
)

// newOvercloudCommand is "tripleo overcloud".
func newOvercloudCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "overcloud", Short: "Plan, deploy and look after an overcloud"}
	image := &cobra.Command{Use: "image", Short: "Images of the nodes and of the deployment ramdisk"}
	image.AddCommand(newImageBuildCommand(a), newImageUploadCommand(a))
	cmd.PersistentFlags().BoolVar(&a.noProgress, "no-progress", false, "plain lines instead of live ones")
	cmd.AddCommand(image, newNodeCommand(a), newPlanCommand(a), newDeployCommand(a), newOvercloudStatus(a),
		newOvercloudFailures(a), newOvercloudCredentials(a), newOvercloudDelete(a), newProfilesCommand(a), newNetenvCommand(a), newParametersCommand(a), newCertificatesCommand(a),
		newRaidCommand(a), newGenerateCommand(a), newExecuteCommand(a), newSupportCommand(a), newConfigCommand(a), newContainerCommand(a))
	cmd.AddCommand(newRolesCommands(a)...)
	cmd.AddCommand(newLifecycleCommands(a)...)
	return cmd
}

// operator is a session with the calls that the overcloud commands make.
type operator struct {
	a *app
	s *cloud.Session
}

func (a *app) operator(ctx context.Context) (*operator, error) {
	s, err := a.session(ctx)
	if err != nil {
		return nil, err
	}
	return &operator{a, s}, nil
}

// apiError is a fault of a service: its message and the HTTP status.
type apiError struct {
	status int
	msg    string
}

func (e *apiError) Error() string { return e.msg }

func hasStatus(err error, status int) bool {
	var e *apiError
	return errors.As(err, &e) && e.status == status
}

// call sends a REST request. body may be nil, []byte (sent as it is) or what encodes as JSON.
func (o *operator) call(ctx context.Context, c *gophercloud.ServiceClient, method, u string, body any, headers map[string]string) (any, http.Header, error) {
	data, h, err := o.raw(ctx, c, method, u, body, headers)
	if err != nil || len(bytes.TrimSpace(data)) == 0 {
		return nil, h, err
	}
	v, err := yaml11.DecodeJSON(data)
	if err != nil {
		return nil, h, fmt.Errorf("%s %s: %w", method, u, err)
	}
	return v, h, nil
}

func (o *operator) raw(ctx context.Context, c *gophercloud.ServiceClient, method, u string, body any, headers map[string]string) ([]byte, http.Header, error) {
	opts := &gophercloud.RequestOpts{KeepResponseBody: true, MoreHeaders: map[string]string{}, OkCodes: []int{200, 201, 202, 203, 204}}
	for k, v := range headers {
		opts.MoreHeaders[k] = v
	}
	switch b := body.(type) {
	case nil:
	case []byte:
		opts.RawBody = bytes.NewReader(b)
	case io.Reader:
		opts.RawBody = b
	default:
		opts.JSONBody = b
	}
	resp, err := c.Request(ctx, method, u, opts)
	if err != nil {
		var code gophercloud.ErrUnexpectedResponseCode
		if errors.As(err, &code) {
			return nil, nil, &apiError{code.Actual, faultMessage(code.Actual, code.Body)}
		}
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return data, resp.Header, err
}

// faultMessage takes the text out of the fault envelopes of the services.
func faultMessage(status int, body []byte) string {
	v, err := yaml11.DecodeJSON(body)
	if err != nil {
		return fmt.Sprintf("HTTP %d %s", status, http.StatusText(status))
	}
	// Heat's envelope has a general "explanation" beside the error's own message, which is the better one.
	for _, keys := range [][]string{{"message", "faultstring", "error_message"}, {"explanation", "description"}} {
		if s := findText(v, 0, keys); s != "" {
			return s
		}
	}
	return fmt.Sprintf("HTTP %d %s", status, http.StatusText(status))
}

func findText(v any, depth int, keys []string) string {
	m, ok := v.(*yaml11.OrderedMap)
	if !ok || depth > 3 {
		return ""
	}
	for _, k := range keys {
		if s, ok := lookup(m, k).(string); ok && s != "" {
			if inner, err := yaml11.DecodeJSON([]byte(s)); err == nil { // Ironic wraps JSON in a string
				if t := findText(inner, depth+1, keys); t != "" {
					return t
				}
			}
			return s
		}
	}
	for _, e := range m.All() {
		if s := findText(e, depth+1, keys); s != "" {
			return s
		}
	}
	return ""
}

// below is a URL below the API version of a service, whether its endpoint ends with the version or not.
func below(c *gophercloud.ServiceClient, version string, parts ...string) string {
	base := strings.TrimSuffix(c.ResourceBaseURL(), "/")
	if version != "" && !strings.HasSuffix(base, "/"+version) {
		base += "/" + version
	}
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return base + "/" + strings.Join(parts, "/")
}

// action runs an action and returns its result.
func (o *operator) action(ctx context.Context, name string, input map[string]any) (any, error) {
	c, err := o.s.Workflow()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(input)
	if err != nil {
		return nil, err
	}
	v, _, err := o.call(ctx, c, http.MethodPost, below(c, "v2", "action_executions"), map[string]any{
		"name": name, "input": string(text), "params": `{"save_result": true, "run_sync": true}`}, nil)
	if err != nil {
		return nil, fmt.Errorf("action %s: %w", name, err)
	}
	out, err := jsonText(lookup(v, "output"))
	if err != nil {
		return nil, fmt.Errorf("action %s: %w", name, err)
	}
	result := lookup(out, "result")
	if state := str(lookup(v, "state")); state != "SUCCESS" {
		return nil, fmt.Errorf("action %s: %s", name, str(result))
	}
	return result, nil
}

// jsonText decodes what Mistral sends as JSON inside a string.
func jsonText(v any) (any, error) {
	s, ok := v.(string)
	if !ok || strings.TrimSpace(s) == "" {
		return v, nil
	}
	return yaml11.DecodeJSON([]byte(s))
}

// str is text for people: "" for null, JSON for what is no scalar.
func str(v any) string {
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		return x
	case []any, *yaml11.OrderedMap:
		b, err := json.Marshal(x)
		if err != nil {
			return fmt.Sprint(x)
		}
		return string(b)
	default:
		return fmt.Sprint(x)
	}
}

func items(v any) []any { l, _ := v.([]any); return l }

// Swift.

func objectPath(c *gophercloud.ServiceClient, container, object string) string {
	parts := strings.Split(object, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	u := strings.TrimSuffix(c.Endpoint, "/") + "/" + url.PathEscape(container)
	if object != "" {
		u += "/" + strings.Join(parts, "/")
	}
	return u
}

func (o *operator) getObject(ctx context.Context, container, object string) ([]byte, error) {
	c, err := o.s.ObjectStore()
	if err != nil {
		return nil, err
	}
	data, _, err := o.raw(ctx, c, http.MethodGet, objectPath(c, container, object), nil, map[string]string{"Accept": "*/*"})
	return data, err
}

func (o *operator) putObject(ctx context.Context, container, object string, data []byte) error {
	c, err := o.s.ObjectStore()
	if err != nil {
		return err
	}
	_, _, err = o.raw(ctx, c, http.MethodPut, objectPath(c, container, object), data, map[string]string{"Content-Type": "application/octet-stream"})
	if err != nil {
		return fmt.Errorf("upload %s/%s: %w", container, object, err)
	}
	return nil
}

// listObjects returns the names in a container.
func (o *operator) listObjects(ctx context.Context, container string) ([]string, error) {
	c, err := o.s.ObjectStore()
	if err != nil {
		return nil, err
	}
	var names []string
	for marker := ""; ; marker = names[len(names)-1] {
		v, _, err := o.call(ctx, c, http.MethodGet, objectPath(c, container, "")+"?format=json&limit=1000&marker="+url.QueryEscape(marker), nil, nil)
		if err != nil {
			return nil, err
		}
		page := items(v)
		for _, it := range page {
			names = append(names, str(lookup(it, "name")))
		}
		if len(page) < 1000 {
			return names, nil
		}
	}
}
