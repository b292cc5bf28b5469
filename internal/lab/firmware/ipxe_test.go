package firmware

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type memBlob struct{ *strings.Reader }

func (m memBlob) Size() int64 { return m.Reader.Size() }

// stubHost serves files from a map and counts DHCP.
type stubHost struct {
	files   map[string]string
	fetched []string
	printed strings.Builder
}

func (h *stubHost) DHCP(context.Context) (map[string]string, error) {
	return map[string]string{"ip": "192.168.24.7"}, nil
}

func (h *stubHost) Fetch(_ context.Context, u *url.URL) (Blob, error) {
	h.fetched = append(h.fetched, u.String())
	f, ok := h.files[u.String()]
	if !ok {
		return nil, fmt.Errorf("GET %s: 404 Not Found", u)
	}
	return memBlob{strings.NewReader(f)}, nil
}

func (h *stubHost) Printf(f string, a ...any) { fmt.Fprintf(&h.printed, f, a...) }

type booted struct {
	Kernel, Args string
	Initrds      []string
}

func TestScripts(t *testing.T) {
	const base = "http://u:8088/boot/"
	tests := []struct {
		name, script string
		files        map[string]string
		want         *booted
		err          string // part of the error
		is           error
		prints       string
		reason       string
	}{
		{name: "Ironic's template", reason: "as ipxe_config.template is rendered",
			script: "goto deploy\n:deploy\nimgfree\nkernel http://u:8088/k selinux=0 BOOTIF=${mac} initrd=deploy_ramdisk || goto retry\ninitrd --name deploy_ramdisk http://u:8088/r || goto retry\nboot\n:retry\nreboot",
			files:  map[string]string{"http://u:8088/k": "K", "http://u:8088/r": "R"},
			want:   &booted{"http://u:8088/k", "selinux=0 BOOTIF=52:54:00:24:00:01 initrd=deploy_ramdisk", []string{"deploy_ramdisk"}}},
		{name: "failed load goes to the label", script: "kernel nowhere || goto retry\nboot\n:retry\necho retry ${net0/ip}\nreboot", is: ErrReboot, prints: "retry 192.168.24.2\n", reason: "|| catches a failure"},
		{name: "relative address and nested setting", script: "set which ipa\nset file-ipa kern\nkernel ${file-${which}} x\nboot", files: map[string]string{base + "kern": "K"}, want: &booted{Kernel: base + "kern", Args: "x"}, reason: "addresses resolve against the script's; expansion is innermost first"},
		{name: "types", script: "echo ${net0/mac:hexhyp} ${mac:hexraw} ${uuid}", prints: "52-54-00-24-00-01 525400240001 U-U\n", is: ErrNextDevice, reason: "iPXE's setting types"},
		{name: "chain", script: "chain --autofree ${mac:hexhyp}.ipxe || exit 3\n", files: map[string]string{base + "52-54-00-24-00-01.ipxe": "#!ipxe\nkernel k\nboot\n", base + "k": "K"}, want: &booted{Kernel: base + "k"}, reason: "the nested script boots"},
		{name: "chain fails", script: "chain missing.ipxe || exit 0", is: ErrNextDevice, reason: "exit 0 leaves to the next boot device"},
		{name: "exit with a code", script: "exit 1", err: "exit 1", reason: "a failed script fails the boot"},
		{name: "sanboot", script: "sanboot --no-describe --drive 0x80", is: ErrNextDevice, reason: "boot from the local disk"},
		{name: "and-or", script: "iseq ${ip} 1.2.3.4 && echo no || echo yes\nisset ${nothing} || echo unset\nisset ${ip} && echo set", is: ErrNextDevice, prints: "yes\nunset\nset\n", reason: "left to right, as a shell"},
		{name: "dhcp refreshes", script: "dhcp\necho ${ip}", is: ErrNextDevice, prints: "192.168.24.7\n", reason: "settings follow the lease"},
		{name: "boot without kernel", script: "boot", err: "no kernel", reason: "nothing to boot"},
		{name: "imgfree forgets", script: "kernel k\nimgfree\nboot", files: map[string]string{base + "k": "K"}, err: "no kernel", reason: "freed"},
		{name: "imgargs", script: "kernel k a\nimgargs k b c\nboot", files: map[string]string{base + "k": "K"}, want: &booted{Kernel: base + "k", Args: "b c"}, reason: "replaces the arguments"},
		{name: "endless loop", script: ":a\ngoto a", err: "steps", reason: "bounded"},
		{name: "chains itself", script: "chain script", err: "deeper", reason: "bounded"},
		{name: "unknown command", script: "frobnicate", err: `"frobnicate" is not known`, reason: "says which"},
		{name: "unknown label", script: "goto nowhere", err: ":nowhere", reason: "says which"},
		{name: "error has a place", script: "echo\nkernel missing", err: ":3: \"kernel missing\"", reason: "file, line and text"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := &stubHost{files: map[string]string{}}
			for k, v := range tt.files {
				h.files[k] = v
			}
			h.files[base+"script"] = "#!ipxe\n" + tt.script + "\n"
			s := NewScript(h, map[string]string{"mac": "52:54:00:24:00:01", "ip": "192.168.24.2", "uuid": "U-U"})
			img, err := s.Run(t.Context(), base+"script")
			var got *booted
			if img != nil {
				got = &booted{Kernel: img.Kernel.URL, Args: img.Kernel.Args}
				for _, i := range img.Initrds {
					got.Initrds = append(got.Initrds, i.Name)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s: %v (-want +got):\n%s", tt.reason, err, diff)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%s: error %v, want %v", tt.reason, err, tt.is)
			}
			if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("%s: error %v, want %q in it", tt.reason, err, tt.err)
			}
			if tt.prints != "" && h.printed.String() != tt.prints {
				t.Errorf("%s: printed %q, want %q", tt.reason, h.printed.String(), tt.prints)
			}
		})
	}
}

func FuzzScript(f *testing.F) {
	f.Add("set a ${b:hexhyp}\ngoto x || boot\n:x\nchain y && exit 1")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "sleep") {
			return
		}
		h := &stubHost{files: map[string]string{"http://h/s": "#!ipxe\n" + text}}
		_, _ = NewScript(h, nil).Run(t.Context(), "http://h/s")
	})
}
