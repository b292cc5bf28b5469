package ini

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWrite(t *testing.T) {
	tests := []struct {
		reason string
		in     map[string]any
		want   string
		err    string
	}{
		{
			reason: "DEFAULT first, then byte order, so that two runs give the same file",
			in: map[string]any{
				"token":    map[string]any{"provider": "fernet", "expiration": json.Number("3600")},
				"DEFAULT":  map[string]any{"debug": false, "log_dir": "/var/log/keystone"},
				"database": map[string]any{"connection": "mysql+pymysql://keystone:p%40ss@192.168.24.7/keystone?charset=utf8"},
			},
			want: "[DEFAULT]\ndebug = false\nlog_dir = /var/log/keystone\n\n" +
				"[database]\nconnection = mysql+pymysql://keystone:p%40ss@192.168.24.7/keystone?charset=utf8\n\n" +
				"[token]\nexpiration = 3600\nprovider = fernet\n",
		},
		{
			reason: "a list is a MultiOpt: the key is repeated in the list's order",
			in:     map[string]any{"pci": map[string]any{"alias": []any{"b", "a", json.Number("3")}}},
			want:   "[pci]\nalias = b\nalias = a\nalias = 3\n",
		},
		{
			reason: "null drops the option and a null section drops the section",
			in:     map[string]any{"a": map[string]any{"x": nil, "y": ""}, "b": nil},
			want:   "[a]\ny = \n",
		},
		{
			reason: "a value with a newline cannot smuggle in another option",
			in:     map[string]any{"a": map[string]any{"x": "1\ny = 2\n"}},
			want:   "[a]\nx = 1\n    y = 2\n",
		},
		{
			reason: "large numbers are not written with an exponent",
			in:     map[string]any{"a": map[string]any{"x": float64(100000000)}},
			want:   "[a]\nx = 100000000\n",
		},
		{reason: "a map is no value", in: map[string]any{"a": map[string]any{"x": map[string]any{}}}, err: `section [a]: option "x"`},
		{reason: "a section is a map", in: map[string]any{"a": "text"}, err: "section [a]: expected a map"},
		{reason: "a section name cannot end its bracket", in: map[string]any{"a]": map[string]any{}}, err: "section name"},
		{reason: "a key cannot hold an equals sign", in: map[string]any{"a": map[string]any{"x=y": "1"}}, err: "option name"},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			got, err := Write(tt.in)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}
