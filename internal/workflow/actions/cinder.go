package actions

import (
	"context"
	"net/http"
	"net/url"
)

// cinderActions are those whose client asks several times.
func cinderActions() []Action {
	of := func(verb, desc string, extra bool, input []Param, run func(ctx context.Context, all []any, in map[string]any) (any, error)) Action {
		return Action{Name: "cinder.volume_encryption_types_" + verb, Description: desc, Extra: extra, Input: append(input, Opt("action_region", "")),
			Run: func(ctx context.Context, c *Context, in map[string]any) (any, error) {
				all, err := encryptionTypes(ctx, c, String(in, "action_region"))
				if err != nil {
					return nil, err
				}
				delete(in, "action_region")
				return run(ctx, all, in)
			}}
	}
	return []Action{
		of("list", "Lists the encryption of the volume types that have one.", false, []Param{Opt("search_opts", nil)},
			func(_ context.Context, all []any, _ map[string]any) (any, error) { return all, nil }),
		of("findall", "Searches the encryption of the volume types.", true, nil,
			func(_ context.Context, all []any, in map[string]any) (any, error) { return matching(all, in), nil }),
		of("find", "Finds the encryption of one volume type.", true, nil, func(_ context.Context, all []any, in map[string]any) (any, error) {
			return only(matching(all, in), "VolumeEncryptionType", in, nil)
		}),
	}
}

// encryptionTypes asks for the encryption of each volume type.
func encryptionTypes(ctx context.Context, c *Context, region string) ([]any, error) {
	var cinder project
	for _, p := range projects() {
		if p.name == "cinder" {
			cinder = p
		}
	}
	client, err := cinder.open(c, region)
	if err != nil {
		return nil, err
	}
	types, err := allPages(ctx, client, cinder.url(client.Endpoint, "/types"), "volume_types", false)
	if err != nil {
		return nil, err
	}
	out := []any{}
	list, _ := types.([]any)
	for _, t := range list {
		answer, _, err := request(ctx, client, http.MethodGet, cinder.url(client.Endpoint, "/types/"+url.PathEscape(identifier(t))+"/encryption"), nil, nil)
		if err != nil {
			return nil, err
		}
		if one, has := answer.(map[string]any); has && one["volume_type_id"] != nil {
			out = append(out, object(one))
		}
	}
	return out, nil
}
