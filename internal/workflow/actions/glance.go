package actions

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/yaql"
)

// imagePatch is the media type of changes of an image.
const imagePatch = "application/openstack-images-v2.1-json-patch"

// glanceActions are those that must know the image that they change.
func glanceActions() []Action {
	return []Action{
		{Name: "glance.images_update", Description: "Changes properties of an image and removes those of remove_props; returns it.",
			Input: []Param{Req("image_id"), Opt("remove_props", nil)}, Extra: true,
			Run: changeImage(func(image, in map[string]any) ([]any, error) {
				patch := []any{}
				for _, name := range sortedKeys(in) {
					_, has := image[name]
					switch op := map[bool]string{true: "replace", false: "add"}[has]; {
					case name == "image_id" || name == "remove_props" || has && yaql.Str(image[name]) == yaql.Str(in[name]):
					default:
						patch = append(patch, map[string]any{"op": op, "path": "/" + pointer(name), "value": in[name]})
					}
				}
				for _, item := range List(in, "remove_props") {
					name := yaql.Str(item)
					_, has := image[name]
					if _, set := in[name]; has && !set {
						patch = append(patch, map[string]any{"op": "remove", "path": "/" + pointer(name)})
					}
				}
				return patch, nil
			})},
		{Name: "glance.images_update_location", Description: "Replaces the metadata of a location of an image, found by its address.", Input: required("image_id", "url", "metadata"),
			Run: changeImage(func(image, in map[string]any) ([]any, error) {
				locations, _ := image["locations"].([]any)
				for _, l := range locations {
					one, _ := l.(map[string]any)
					switch {
					case one["url"] != in["url"]:
						continue
					case reflect.DeepEqual(one["metadata"], in["metadata"]):
						return nil, nil
					}
					one["metadata"] = in["metadata"]
					return []any{map[string]any{"op": "replace", "path": "/locations", "value": locations}}, nil
				}
				return nil, fmt.Errorf("glance.images_update_location: the image has no location %s", yaql.Str(in["url"]))
			})},
		{Name: "glance.images_delete_locations", Description: "Removes locations of an image by their addresses.", Input: required("image_id", "url_set"),
			Run: changeImage(func(image, in map[string]any) ([]any, error) {
				at, patch := []int{}, []any{}
				locations, _ := image["locations"].([]any)
				for _, u := range List(in, "url_set") {
					i := slices.IndexFunc(locations, func(l any) bool {
						m, _ := l.(map[string]any)
						return m["url"] == u
					})
					if i < 0 {
						return nil, fmt.Errorf("glance.images_delete_locations: the image has no location %s", yaql.Str(u))
					}
					at = append(at, i)
				}
				slices.Sort(at)
				for _, i := range slices.Backward(slices.Compact(at)) { // the last goes first: the others keep their places
					patch = append(patch, map[string]any{"op": "remove", "path": "/locations/" + strconv.Itoa(i)})
				}
				return patch, nil
			})},
	}
}

// changeImage reads an image and sends the patch that makes of it and the input;
// without changes it sends none.
func changeImage(patchOf func(image, in map[string]any) ([]any, error)) func(ctx context.Context, c *Context, in map[string]any) (any, error) {
	return func(ctx context.Context, c *Context, in map[string]any) (any, error) {
		client, err := clientFor(c, (*cloud.Session).Image)
		if err != nil {
			return nil, err
		}
		id := String(in, "image_id")
		answer, err := (&sender{client}).send(ctx, http.MethodGet, nil, "images", id)
		if err != nil {
			return nil, err
		}
		image, _ := answer.(map[string]any)
		patch, err := patchOf(image, in)
		if err != nil || len(patch) == 0 {
			return image, err
		}
		answer, _, err = request(ctx, client, http.MethodPatch, client.ServiceURL("images", id), patch, map[string]string{"Content-Type": imagePatch})
		return answer, err
	}
}

// pointer escapes a name for a JSON pointer (RFC 6901).
func pointer(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}
