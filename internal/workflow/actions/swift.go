package actions

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/yaql"
)

// maxObject bounds an object that a workflow reads into its context, in bytes.
const maxObject = 16 << 20

// swiftCall is the answer of Swift: headers in lower case, as swiftclient gives
// them, and the body.
type swiftCall struct {
	headers *yaql.Map
	body    []byte
}

func swiftSend(ctx context.Context, c *Context, method string, path []string, q url.Values, body any, headers map[string]string) (*swiftCall, error) {
	if c.Session == nil {
		return nil, errNoSession
	}
	client, err := c.Session.ObjectStore()
	if err != nil {
		return nil, err
	}
	parts := make([]string, 0, len(path))
	for i, p := range path {
		if p == "" {
			return nil, fmt.Errorf("%s is empty", []string{"container", "object"}[min(i, 1)])
		}
		if i == 0 {
			parts = append(parts, url.PathEscape(p))
			continue
		}
		for _, s := range strings.Split(p, "/") {
			parts = append(parts, url.PathEscape(s))
		}
	}
	target := client.ServiceURL(parts...)
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	opts := &gophercloud.RequestOpts{MoreHeaders: headers, KeepResponseBody: true, OkCodes: []int{200, 201, 202, 204, 206}}
	if body != nil {
		opts.RawBody = strings.NewReader(body.(string))
	}
	resp, err := client.Request(ctx, method, target, opts)
	if err != nil {
		return nil, readable(err)
	}
	defer func() { _ = resp.Body.Close() }()
	out := &swiftCall{headers: yaql.NewMap(8)}
	for _, k := range sortedKeys(resp.Header) {
		out.headers.Set(strings.ToLower(k), strings.Join(resp.Header[k], ", "))
	}
	if method == http.MethodHead {
		return out, nil
	}
	out.body, err = io.ReadAll(io.LimitReader(resp.Body, maxObject+1))
	if err == nil && len(out.body) > maxObject {
		err = fmt.Errorf("the answer is larger than %d bytes", maxObject)
	}
	return out, err
}

func swiftHeaders(in map[string]any) map[string]string {
	out := map[string]string{}
	for k, v := range Map(in, "headers") {
		out[k] = yaql.Str(v)
	}
	for param, header := range map[string]string{"content_type": "Content-Type", "etag": "ETag"} {
		if s := String(in, param); s != "" {
			out[header] = s
		}
	}
	return out
}

func swiftActions() []Action {
	one := func(name, desc, method string, object, headersBack bool, input ...Param) Action {
		base := []Param{Req("container")}
		if object {
			base = append(base, Req("obj"))
		}
		return Action{Name: "swift." + name, Description: desc, Input: append(base, input...),
			Run: func(ctx context.Context, c *Context, in map[string]any) (any, error) {
				path := []string{String(in, "container")}
				if object {
					path = append(path, String(in, "obj"))
				}
				q, err := url.ParseQuery(String(in, "query_string"))
				if err != nil {
					return nil, err
				}
				got, err := swiftSend(ctx, c, method, path, q, nil, swiftHeaders(in))
				if err != nil || !headersBack {
					return nil, err
				}
				return got.headers, nil
			}}
	}
	h, qs := Opt("headers", nil), Opt("query_string", nil)
	return []Action{
		one("head_container", "Returns the headers of a container.", "HEAD", false, true, h),
		one("put_container", "Creates a container.", "PUT", false, false, h, qs),
		one("post_container", "Changes the metadata of a container.", "POST", false, false, h),
		one("delete_container", "Deletes an empty container.", "DELETE", false, false, h, qs),
		one("head_object", "Returns the headers of an object.", "HEAD", true, true, h),
		one("post_object", "Changes the metadata of an object.", "POST", true, false, h),
		one("delete_object", "Deletes an object.", "DELETE", true, false, h, qs),
		{Name: "swift.get_container", Description: "Lists a container: [headers, objects].", Input: params(required("container"),
			optional("marker", "limit", "prefix", "delimiter", "end_marker", "path"), []Param{Opt("full_listing", false), h}), Run: swiftList},
		{Name: "swift.get_account", Description: "Lists containers: [headers, containers].",
			Input: params(optional("marker", "limit", "prefix", "end_marker"), []Param{Opt("full_listing", false), h}), Run: swiftList},
		{Name: "swift.get_capabilities", Description: "Returns what the object store can do.", Run: swiftCapabilities},
		{Name: "swift.head_account", Description: "Returns the headers of the account.", Run: swiftAccount(http.MethodHead)},
		{Name: "swift.post_account", Description: "Changes the metadata of the account.", Input: []Param{Req("headers")}, Run: swiftAccount(http.MethodPost)},
		{Name: "swift.get_object", Description: "Reads an object: [headers, body].", Input: []Param{Req("container"), Req("obj"), qs, h},
			Run: func(ctx context.Context, c *Context, in map[string]any) (any, error) {
				q, err := url.ParseQuery(String(in, "query_string"))
				if err != nil {
					return nil, err
				}
				got, err := swiftSend(ctx, c, http.MethodGet, []string{String(in, "container"), String(in, "obj")}, q, nil, swiftHeaders(in))
				if err != nil {
					return nil, err
				}
				return []any{got.headers, string(got.body)}, nil
			}},
		{Name: "swift.put_object", Description: "Writes an object and returns its ETag.", Input: params(required("container", "obj", "contents"),
			optional("content_length", "etag", "content_type", "headers", "query_string")), Run: swiftPut},
		{Name: "swift.copy_object", Description: "Copies an object.", Input: params(required("container", "obj"), optional("destination", "headers")),
			Run: func(ctx context.Context, c *Context, in map[string]any) (any, error) {
				headers := swiftHeaders(in)
				dest := strings.SplitN(strings.Trim(String(in, "destination"), "/"), "/", 2)
				if len(dest) != 2 {
					dest = []string{String(in, "container"), String(in, "obj")}
				}
				headers["X-Copy-From"] = "/" + url.PathEscape(String(in, "container")) + "/" + (&url.URL{Path: String(in, "obj")}).EscapedPath()
				_, err := swiftSend(ctx, c, http.MethodPut, dest, nil, "", headers)
				return nil, err
			}},
	}
}

// swiftCapabilities reads /info, which is beside the versions of the API.
func swiftCapabilities(ctx context.Context, c *Context, _ map[string]any) (any, error) {
	client, err := clientFor(c, (*cloud.Session).ObjectStore)
	if err != nil {
		return nil, err
	}
	base, _, versioned := strings.Cut(client.Endpoint, "/v1/")
	if !versioned {
		return nil, fmt.Errorf("the address %s of the object store has no /v1/", client.Endpoint)
	}
	answer, _, err := request(ctx, client, http.MethodGet, base+"/info", nil, nil)
	return answer, err
}

func swiftAccount(method string) func(context.Context, *Context, map[string]any) (any, error) {
	return func(ctx context.Context, c *Context, in map[string]any) (any, error) {
		got, err := swiftSend(ctx, c, method, nil, nil, nil, swiftHeaders(in))
		if err != nil {
			return nil, err
		}
		return got.headers, nil
	}
}

func swiftPut(ctx context.Context, c *Context, in map[string]any) (any, error) {
	var contents string
	switch v := in["contents"].(type) {
	case nil:
	case string:
		contents = v
	default:
		b, err := yaql.JSON(v)
		if err != nil {
			return nil, err
		}
		contents = string(b)
	}
	q, err := url.ParseQuery(String(in, "query_string"))
	if err != nil {
		return nil, err
	}
	got, err := swiftSend(ctx, c, http.MethodPut, []string{String(in, "container"), String(in, "obj")}, q, contents, swiftHeaders(in))
	if err != nil {
		return nil, err
	}
	return strings.Trim(yaql.Str(got.headers.Value("etag")), `"`), nil
}

// swiftList lists one page, or with full_listing all of them.
func swiftList(ctx context.Context, c *Context, in map[string]any) (any, error) {
	q := url.Values{"format": {"json"}}
	for _, k := range []string{"marker", "limit", "prefix", "delimiter", "end_marker", "path"} {
		addQuery(q, k, in[k])
	}
	var path []string
	if _, ok := in["container"]; ok {
		path = []string{String(in, "container")}
	}
	all := []any{}
	var first *yaql.Map
	for range maxPages {
		got, err := swiftSend(ctx, c, http.MethodGet, path, q, nil, swiftHeaders(in))
		if err != nil {
			return nil, err
		}
		if first == nil {
			first = got.headers
		}
		var page []any
		if len(got.body) > 0 {
			d := json.NewDecoder(strings.NewReader(string(got.body)))
			d.UseNumber()
			if err := d.Decode(&page); err != nil {
				return nil, fmt.Errorf("decode the listing: %w", err)
			}
		}
		page, _ = yaqlNumbers(page).([]any)
		all = append(all, page...)
		if len(page) == 0 || !Bool(in, "full_listing") {
			break
		}
		last, _ := page[len(page)-1].(map[string]any)
		marker := String(last, "name")
		if marker == "" {
			marker = String(last, "subdir")
		}
		q.Set("marker", marker)
	}
	return []any{first, all}, nil
}
