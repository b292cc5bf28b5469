package orchestration

import (
	"runtime/debug"
	"testing"
)

func TestBuiltFrom(t *testing.T) {
	for _, tt := range []struct {
		reason   string
		settings []debug.BuildSetting
		version  string
		ok       bool
		want     string
	}{
		{"a checkout", []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "false"}}, "(devel)", true, "abc"},
		{"a checkout with changes", []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}}, "(devel)", true, "abc-dirty"},
		{"a module that was downloaded", nil, "v1.2.3", true, "v1.2.3"},
		{"a build without version control", nil, "(devel)", true, "unknown"},
		{"a binary without build information", nil, "", false, "unknown"},
	} {
		info := &debug.BuildInfo{Main: debug.Module{Version: tt.version}, Settings: tt.settings}
		if got := builtFrom(info, tt.ok); got != tt.want {
			t.Errorf("%s: %q, expected %q", tt.reason, got, tt.want)
		}
	}
}
