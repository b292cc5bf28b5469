package ramdisk

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/agent/hardware"
	"github.com/tripleo/tripleo/internal/agent/lldp"
)

// maxCmdline bounds what is parsed; the kernel's own limit on x86 is 2 KiB.
const maxCmdline = 64 << 10

// Params are the kernel arguments; of a repeated one the last counts, one without "=" has the value "".
type Params map[string]string

// ParseCmdline splits /proc/cmdline as the kernel does (lib/cmdline.c, next_arg): at blanks, double quotes
// around a value or around the whole argument protect them. What follows "--" is for init and left out.
func ParseCmdline(text string) Params {
	p := Params{}
	text = strings.TrimRight(text[:min(len(text), maxCmdline)], "\n\x00")
	for text != "" {
		text = strings.TrimLeft(text, " \t\n")
		end, quoted := 0, false
		for end < len(text) && (quoted || !strings.ContainsRune(" \t\n", rune(text[end]))) {
			if text[end] == '"' {
				quoted = !quoted
			}
			end++
		}
		arg := text[:end]
		text = text[end:]
		if arg == "--" {
			break
		}
		arg = strings.TrimSuffix(strings.TrimPrefix(arg, `"`), `"`)
		key, value, _ := strings.Cut(arg, "=")
		if key == "" {
			continue
		}
		p[key] = strings.Trim(value, `"`)
	}
	return p
}

// Config is what the kernel arguments ask of the agent.
type Config struct {
	APIURL        string   // ipa-api-url: Ironic, without /v1; "" when the machine is only inspected
	InspectionURL string   // ipa-inspection-callback-url
	Collectors    []string // ipa-inspection-collectors
	BootMAC       string   // BOOTIF
	Token         string   // ipa-agent-token, normally learned at lookup
	Insecure      bool     // ipa-insecure: do not verify TLS certificates
	Debug         bool     // ipa-debug
	CollectLLDP   bool     // ipa-collect-lldp, or the collector lldp: hear what the switches say before the inspection's data are sent
	// LLDPTimeout is how long to listen for them: ipa-lldp-timeout, in seconds, at most 10 minutes; 30 s if it is not given.
	LLDPTimeout time.Duration
}

// ConfigFrom reads the ipa-* arguments. At least one of the two URLs must be there.
func ConfigFrom(p Params) (Config, error) {
	c := Config{
		APIURL:        strings.TrimRight(p["ipa-api-url"], "/"),
		InspectionURL: p["ipa-inspection-callback-url"],
		BootMAC:       hardware.BootMAC(p["BOOTIF"]),
		Token:         p["ipa-agent-token"],
		Insecure:      truth(p, "ipa-insecure"),
		Debug:         truth(p, "ipa-debug"),
		LLDPTimeout:   lldp.DefaultTimeout,
	}
	c.APIURL = strings.TrimSuffix(c.APIURL, "/v1")
	if text, ok := p["ipa-lldp-timeout"]; ok {
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil || !(seconds >= 0 && seconds <= lldp.MaxTimeout.Seconds()) { // a NaN is neither
			return c, fmt.Errorf("kernel argument ipa-lldp-timeout=%q: expected seconds from 0 to %.0f", text, lldp.MaxTimeout.Seconds())
		}
		c.LLDPTimeout = time.Duration(seconds * float64(time.Second))
	}
	for name := range strings.SplitSeq(p["ipa-inspection-collectors"], ",") {
		if name = strings.TrimSpace(name); name != "" {
			c.Collectors = append(c.Collectors, name)
		}
	}
	if len(c.Collectors) == 0 {
		c.Collectors = []string{"default", "logs"}
	}
	c.CollectLLDP = truth(p, "ipa-collect-lldp") || slices.Contains(c.Collectors, collectLLDP)
	if c.APIURL == "" && c.InspectionURL == "" {
		return c, errors.New("the kernel arguments have neither ipa-api-url nor ipa-inspection-callback-url: nobody to report to")
	}
	for name, value := range map[string]string{"ipa-api-url": c.APIURL, "ipa-inspection-callback-url": c.InspectionURL} {
		if value == "" {
			continue
		}
		u, err := url.Parse(value)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return c, fmt.Errorf("kernel argument %s=%q is not an http or https URL", name, value)
		}
	}
	return c, nil
}

// truth reads a switch: the bare word, 1, true, yes, on.
func truth(p Params, key string) bool {
	v, ok := p[key]
	switch strings.ToLower(v) {
	case "", "1", "true", "yes", "on":
		return ok
	}
	return false
}
