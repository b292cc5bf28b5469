package yaml11

import (
	"encoding/json"
	"math"
	"testing"
)

// TestPyJSON: what Python 3's json.dumps writes.
func TestPyJSON(t *testing.T) {
	for _, tt := range []struct {
		v    any
		want string
	}{
		{nil, "null"}, {true, "true"}, {int64(-5), "-5"}, {1.0, "1.0"}, {1e16, "1e+16"}, {math.Inf(-1), "-Infinity"}, {math.NaN(), "NaN"}, {struct{}{}, "null"},
		{json.Number("1.50"), "1.5"}, {json.Number("10"), "10"}, {json.Number("1e400"), "1e400"},
		{"a\x7fb\x00\"\\\n\r\t\b\fé😀", `"a\u007fb\u0000\"\\\n\r\t\b\f\u00e9\ud83d\ude00"`},
		{[]any{int64(1), []any{}, "x"}, `[1, [], "x"]`},
		{MapOf("b", int64(1), "a", MapOf()), `{"b": 1, "a": {}}`},
		{map[string]any{"b": int64(1), "a": nil}, `{"a": null, "b": 1}`},
	} {
		if got := PyJSON(tt.v, false); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.v, got, tt.want)
		}
	}
	if got, want := PyJSON(MapOf("b", MapOf("d", nil, "c", nil), "a", nil), true), `{"a": null, "b": {"c": null, "d": null}}`; got != want {
		t.Errorf("sorted: %s, want %s", got, want)
	}
}
