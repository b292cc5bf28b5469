package actions

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
)

// resolve replaces names by ids in the parameters of r.Resolve, as the clients do
// that take either: what is not a UUID is looked up in the list by name.
func (r row) resolve(ctx context.Context, client *gophercloud.ServiceClient, p project, in map[string]any) (map[string]any, error) {
	if len(r.Resolve) == 0 {
		return in, nil
	}
	out := make(map[string]any, len(in))
	for k, v := range in {
		out[k] = v
	}
	for _, pair := range r.Resolve {
		name, list := pair[0], pair[1]
		given := identifier(out[name])
		if _, err := uuid.Parse(given); err == nil {
			out[name] = given
			continue
		}
		path, err := fillPath(list, out)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.Name, err)
		}
		if given == "" {
			return nil, fmt.Errorf("%s: parameter %s is empty", r.Name, name)
		}
		answer, _, err := request(ctx, client, http.MethodGet, p.url(client.Endpoint, path)+"?"+url.Values{"name": {given}}.Encode(), nil, nil)
		if err != nil {
			return nil, err
		}
		_, key, _ := cutLast(strings.TrimSuffix(path, "/"), "/")
		found, _ := unwrap(answer, key).([]any)
		if len(found) != 1 {
			return nil, fmt.Errorf("%s: %d of %s are named %s, expected one", r.Name, len(found), key, given)
		}
		id := identifier(found[0])
		if id == "" {
			return nil, fmt.Errorf("%s: %s %s has no id in the answer", r.Name, name, given)
		}
		out[name] = id
	}
	return out, nil
}
