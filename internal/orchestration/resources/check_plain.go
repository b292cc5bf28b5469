package resources

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"time"
	_ "time/tzdata" // names of time zones, where the system has none

	"github.com/robfig/cron/v3"
)

// plainCheck returns the check of a custom constraint that needs no service, nil if there is none.
func plainCheck(name string) func(value string, now time.Time) error {
	return map[string]func(string, time.Time) error{
		"ip_addr": ipAddr, "mac_addr": macAddr, "net_cidr": netCIDR, "ip_or_cidr": ipOrCIDR, "dns_name": dnsName, "rel_dns_name": relDNSName, "dns_domain": dnsDomain,
		"iso_8601": iso8601, "cron_expression": cronExpression, "timezone": timezone, "expiration": expiration,
	}[name]
}

func ipAddr(v string, _ time.Time) error {
	if a, err := netip.ParseAddr(v); err != nil || a.Zone() != "" {
		return fmt.Errorf("%q is no IP address", v)
	}
	return nil
}

func macAddr(v string, _ time.Time) error {
	if hw, err := net.ParseMAC(v); err == nil && len(hw) == 6 {
		return nil
	}
	if hw, err := net.ParseMAC(strings.ReplaceAll(v, "-", ":")); err == nil && len(hw) == 6 {
		return nil
	}
	return fmt.Errorf("%q is no MAC address", v)
}

// netCIDR wants a network with its prefix length, as Neutron does for subnets.
func netCIDR(v string, _ time.Time) error {
	if _, err := netip.ParsePrefix(v); err != nil {
		return fmt.Errorf("%q is no network in CIDR notation", v)
	}
	return nil
}

func ipOrCIDR(v string, now time.Time) error {
	if strings.Contains(v, "/") {
		return netCIDR(v, now)
	}
	return ipAddr(v, now)
}

const maxFQDN = 255

// dnsName follows RFC 1123: labels of 1 to 63 letters, digits and inner dashes; the last label has a letter.
func dnsName(v string, _ time.Time) error {
	if v == "" {
		return nil
	}
	if len(v) > maxFQDN {
		return fmt.Errorf("%q has %d characters, a name has %d at most", v, len(v), maxFQDN)
	}
	label := regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)
	labels := strings.Split(strings.TrimSuffix(v, "."), ".")
	for _, l := range labels {
		if !label.MatchString(l) {
			return fmt.Errorf("%q is no DNS name: label %q needs 1 to 63 letters, digits and dashes, no dash at its ends", v, l)
		}
	}
	if len(labels) > 1 && regexp.MustCompile(`^[0-9]+$`).MatchString(labels[len(labels)-1]) {
		return fmt.Errorf("%q is no DNS name: its top level is a number", v)
	}
	return nil
}

func relDNSName(v string, now time.Time) error {
	switch {
	case strings.HasSuffix(v, "."):
		return fmt.Errorf("%q is a full name, expected one relative to a domain", v)
	case len(v) > maxFQDN-3:
		return fmt.Errorf("%q has %d characters: with a domain it would be longer than %d", v, len(v), maxFQDN)
	}
	return dnsName(v, now)
}

func dnsDomain(v string, now time.Time) error {
	if v != "" && !strings.HasSuffix(v, ".") {
		return fmt.Errorf("%q must end with a dot", v)
	}
	return dnsName(v, now)
}

// isoTime reads a time in ISO 8601 with date and time; without an offset it is UTC.
func isoTime(v string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04:05Z0700", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02", "20060102T150405Z", "2006-01", "2006"} {
		if t, err := time.Parse(layout, v); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time in ISO 8601", v)
}

func iso8601(v string, _ time.Time) error {
	_, err := isoTime(v)
	return err
}

func expiration(v string, now time.Time) error {
	if v == "" {
		return nil
	}
	t, err := isoTime(strings.TrimSpace(v))
	if err == nil && !t.After(now) {
		err = fmt.Errorf("it is in the past")
	}
	if err != nil {
		return fmt.Errorf("expiration %s is invalid: %w", v, err)
	}
	return nil
}

func cronExpression(v string, _ time.Time) error {
	if v == "" {
		return nil
	}
	if _, err := cron.ParseStandard(v); err != nil || len(strings.Fields(v)) != 5 && !strings.HasPrefix(v, "@") {
		return fmt.Errorf("invalid CRON expression %q, expected five fields: minute, hour, day of the month, the month, day of the week", v)
	}
	return nil
}

func timezone(v string, _ time.Time) error {
	if v == "" {
		return nil
	}
	if _, err := time.LoadLocation(v); err != nil || v == "Local" {
		return fmt.Errorf("invalid timezone %q", v)
	}
	return nil
}
