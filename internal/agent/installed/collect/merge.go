package collect

// Merge lays the maps over each other: maps deeply, lists and scalars replaced by the later one, a null takes the key away
// (that is how the orchestration service takes back an old transport). The inputs are not changed.
func Merge(maps ...map[string]any) map[string]any {
	out := map[string]any{}
	for _, m := range maps {
		mergeInto(out, m)
	}
	return out
}

func mergeInto(dst, src map[string]any) {
	for k, v := range src {
		switch v := v.(type) {
		case nil:
			delete(dst, k)
		case map[string]any:
			inner, ok := dst[k].(map[string]any)
			fresh := map[string]any{}
			if ok {
				mergeInto(fresh, inner)
			}
			mergeInto(fresh, v)
			dst[k] = fresh
		default:
			dst[k] = v
		}
	}
}

// Lookup walks nested maps; nil when a key is missing.
func Lookup(m map[string]any, keys ...string) any {
	var v any = m
	for _, k := range keys {
		inner, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = inner[k]
	}
	return v
}

// MetadataURL is where the request collector has to look, by the merged configuration; "" when nowhere.
func MetadataURL(merged map[string]any) string {
	s, _ := Lookup(merged, "os-collect-config", "request", "metadata_url").(string)
	return s
}
