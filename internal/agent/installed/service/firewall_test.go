package service

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func firewall(t *testing.T, rules string) (string, error) {
	t.Helper()
	var config map[string]any
	if err := json.Unmarshal([]byte(`{"step": 1, "services": [{"name": "fw", "firewall": {"rules": `+rules+`}}]}`), &config); err != nil {
		t.Fatal(err)
	}
	spec, err := ParseSpec(config)
	if err != nil {
		return "", err
	}
	f := spec.Services[0].Files
	if len(f) != 1 || f[0].Path != FirewallPath || f[0].Mode != 0o600 {
		t.Fatalf("files are %+v", f)
	}
	return *f[0].Content, nil
}

const someRules = `{"200 nova_libvirt": {"dport": [16514, "49152-49215"]}, "111 keystone": {"dport": 5000, "proto": "tcp"},
	"118 vxlan": {"proto": "udp", "dport": ["8472"], "source": "172.16.0.7/24", "iniface": "vlan50"},
	"106 vrrp": {"proto": "vrrp"}, "300 nobody": {"source": "fd00::1", "action": "drop"}}`

func TestFirewallText(t *testing.T) {
	text, err := firewall(t, someRules)
	if err != nil {
		t.Fatal(err)
	}
	_, own, _ := strings.Cut(text, "udp dport 546 accept\n")
	want := `    # 106 vrrp
    meta l4proto 112 accept
    # 111 keystone
    tcp dport { 5000 } accept
    # 118 vxlan
    iifname "vlan50" ip saddr 172.16.0.0/24 udp dport { 8472 } accept
    # 200 nova_libvirt
    tcp dport { 16514, 49152-49215 } accept
    # 300 nobody
    ip6 saddr fd00::1/128 meta l4proto tcp drop
    # 999 drop all
    counter drop
  }
}
`
	if diff := cmp.Diff(want, own); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	for _, line := range []string{"policy drop;", "ct state established,related accept", `iifname "lo" accept`, "tcp dport 22 accept", "{ icmp, ipv6-icmp } accept"} {
		if !strings.Contains(text, line) {
			t.Errorf("the rules lack %q:\n%s", line, text)
		}
	}
}

func TestFirewallRefuses(t *testing.T) {
	for rules, want := range map[string]string{
		`{"keystone": {"dport": 5000}}`:                       "a number of three digits",
		`{"111 a\nflush ruleset": {"dport": 5000}}`:           "a number of three digits",
		`{"111 a": {"dport": 70000}}`:                         "a number from 1 to 65535",
		`{"111 a": {"dport": ["9-3"]}}`:                       "a range such as",
		`{"111 a": {"dport": "5000 } accept"}}`:               "a number from 1 to 65535",
		`{"111 a": {"proto": "quic", "dport": 1}}`:            "proto is one of ah, all, esp",
		`{"111 a": {"proto": "vrrp", "dport": 1}}`:            `proto "vrrp" has no ports`,
		`{"111 a": {"source": "everywhere"}}`:                 "source: \"everywhere\" is no address",
		`{"111 a": {"iniface": "eth0; drop"}}`:                "no name of an interface",
		`{"111 a": {"proto": "all"}}`:                         "it would let everything in",
		`{"111 a": {"dport": 1, "action": "goto elsewhere"}}`: "action is accept, drop or reject",
		`{"111 a": {"port": 1}}`:                              `unknown field "port"`,
	} {
		if _, err := firewall(t, rules); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", rules, err, want)
		}
	}
}

// TestFirewallIsTakenByNft gives the rules to the real program, in a network namespace that ends with it.
func TestFirewallIsTakenByNft(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil || os.Getuid() != 0 {
		t.Skip("SKIPPED, THE RULES ARE NOT LOADED: nft or root is missing")
	}
	text, err := firewall(t, someRules)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "rules.nft")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// Twice: what is there is replaced, not added to.
	out, err := exec.CommandContext(t.Context(), "unshare", "--net", "sh", "-ec", `"$1" -f "$2"; "$1" -f "$2"; "$1" list ruleset`, "sh", nft, file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := strings.Count(string(out), "tcp dport 5000 accept"); n != 1 {
		t.Errorf("Keystone's port is in the rules %d times:\n%s", n, out)
	}
}
