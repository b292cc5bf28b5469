package deployment

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/yaml11"
)

const (
	maxBody   = 256 << 20 // bytes of one answer
	listLimit = 10000     // names of one page of a container listing
)

func readLimited(rd io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(rd, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("answer larger than %d bytes", limit)
	}
	return data, nil
}

// objectURL is the path of an object below the account; slashes of the name stay slashes.
func objectURL(c *gophercloud.ServiceClient, container, object string) string {
	parts := strings.Split(object, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	u := strings.TrimSuffix(c.Endpoint, "/") + "/" + url.PathEscape(container)
	if object == "" {
		return u
	}
	return u + "/" + strings.Join(parts, "/")
}

func (r *run) swift(method, container, object, query string, body []byte, headers map[string]string, codes ...int) ([]byte, http.Header, error) {
	c, err := r.s.ObjectStore()
	if err != nil {
		return nil, nil, err
	}
	u := objectURL(c, container, object)
	if query != "" {
		u += "?" + query
	}
	opts := &gophercloud.RequestOpts{OkCodes: codes, KeepResponseBody: true, MoreHeaders: map[string]string{"Accept": "*/*"}}
	if body != nil {
		opts.RawBody = bytes.NewReader(body)
		opts.MoreHeaders["Content-Type"] = "application/octet-stream"
	}
	for k, v := range headers {
		opts.MoreHeaders[k] = v
	}
	resp, err := c.Request(r.ctx, method, u, opts)
	if err != nil {
		return nil, nil, faultOf(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := readLimited(resp.Body, maxBody)
	return data, resp.Header, err
}

func (r *run) getObject(container, object string) ([]byte, error) {
	data, _, err := r.swift(http.MethodGet, container, object, "", nil, nil, 200)
	if err != nil {
		return nil, fmt.Errorf("object %s/%s: %w", container, object, err)
	}
	return data, nil
}

func (r *run) putObject(container, object string, data []byte) error {
	if data == nil {
		data = []byte{}
	}
	ct := "application/octet-stream"
	if strings.HasSuffix(object, ".yaml") {
		ct = "application/x-yaml"
	}
	_, _, err := r.swift(http.MethodPut, container, object, "", data, map[string]string{"Content-Type": ct}, 201)
	if err != nil {
		return fmt.Errorf("object %s/%s: %w", container, object, err)
	}
	return nil
}

func (r *run) deleteObject(container, object string) error {
	_, _, err := r.swift(http.MethodDelete, container, object, "", nil, nil, 204, 404)
	return err
}

func (r *run) createContainer(container string, meta map[string]string) error {
	_, _, err := r.swift(http.MethodPut, container, "", "", nil, meta, 201, 202)
	return err
}

// headContainer returns the headers of a container; the error is a 404 fault if there is none.
func (r *run) headContainer(container string) (http.Header, error) {
	_, h, err := r.swift(http.MethodHead, container, "", "", nil, nil, 204, 200)
	return h, err
}

// listObjects returns all names in a container, page by page.
func (r *run) listObjects(container string) ([]string, error) {
	var out []string
	marker := ""
	for {
		q := url.Values{"format": {"json"}, "limit": {fmt.Sprint(listLimit)}}
		if marker != "" {
			q.Set("marker", marker)
		}
		names, err := r.listPage(container, q)
		if err != nil {
			return nil, fmt.Errorf("container %s: %w", container, err)
		}
		out = append(out, names...)
		if len(names) < listLimit {
			return out, nil
		}
		marker = names[len(names)-1]
	}
}

func (r *run) listPage(container string, q url.Values) ([]string, error) {
	data, _, err := r.swift(http.MethodGet, container, "", q.Encode(), nil, nil, 200, 204)
	if err != nil || len(data) == 0 {
		return nil, err
	}
	v, err := yaml11.DecodeJSON(data)
	if err != nil {
		return nil, err
	}
	items, _ := v.([]any)
	var names []string
	for _, it := range items {
		if n := text(it, "name"); n != "" {
			names = append(names, n)
		}
	}
	return names, nil
}

// listContainers returns the names of the account's containers.
func (r *run) listContainers() ([]string, error) {
	c, err := r.s.ObjectStore()
	if err != nil {
		return nil, err
	}
	var out []string
	marker := ""
	for {
		u := strings.TrimSuffix(c.Endpoint, "/") + "?format=json&limit=" + fmt.Sprint(listLimit) + "&marker=" + url.QueryEscape(marker)
		resp, err := c.Request(r.ctx, http.MethodGet, u, &gophercloud.RequestOpts{OkCodes: []int{200, 204}, KeepResponseBody: true})
		if err != nil {
			return nil, faultOf(err)
		}
		data, err := readLimited(resp.Body, maxBody)
		_ = resp.Body.Close()
		if err != nil {
			return nil, err
		}
		if len(data) == 0 {
			return out, nil
		}
		v, err := yaml11.DecodeJSON(data)
		if err != nil {
			return nil, err
		}
		items, _ := v.([]any)
		for _, it := range items {
			out = append(out, text(it, "name"))
		}
		if len(items) < listLimit {
			return out, nil
		}
		marker = out[len(out)-1]
	}
}
