package deployment

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	probeLimit = 5 * time.Second // of one question over the network
	mostSkew   = time.Second
	ntpEpoch   = 2208988800 // seconds from 1900 to 1970 (RFC 5905)
)

func liveValidations() []validation {
	return []validation{
		{"stack-health", "Health of the stack", "The plan's stack is neither failed nor busy, and none of its resources is.", []string{groupPreDeployment, groupPostDeployment, groupPreUpgrade, groupPostUpgrade}, checkStack},
		{"servers-active", "Servers", "Every server of the stack is ACTIVE, on a machine that is active and powered on.", []string{groupPostDeployment, groupPreUpgrade, groupPostUpgrade}, checkServers},
		{"deployments-complete", "Software deployments", "Every software deployment of every server has ended well.", []string{groupPostDeployment, groupPostUpgrade}, checkDeployments},
		{"endpoints", "Endpoints of the overcloud", "Keystone of the deployed cloud answers where the stack says it is.", []string{groupPostDeployment, groupPostUpgrade}, checkEndpoints},
		{"unused-nodes", "Machines without use", "No machine is powered on that belongs to no server.", []string{groupPostDeployment}, checkUnused},
	}
}

func checkStack(c *checker) error {
	st, err := c.findStack(c.plan)
	if err != nil {
		return err
	}
	if st == nil {
		c.ok("there is no stack %s yet", c.plan)
		return nil
	}
	status := text(st, "stack_status")
	switch {
	case strings.HasSuffix(status, "_FAILED"):
		c.fail("stack %s is %s: %s", c.plan, status, text(st, "stack_status_reason"))
	case strings.HasSuffix(status, inProgress):
		c.fail("stack %s is %s: something works on it", c.plan, status)
	}
	all, err := c.resources(st, stackDepth)
	if err != nil {
		return err
	}
	where := paths(all)
	for _, i := range failedLeaves(all) {
		c.fail("%s is %s: %s", where[i], all[i].status, all[i].reason)
	}
	c.ok("stack %s: %s, %d resources", c.plan, status, len(all))
	return nil
}

// stackServers are the servers of the plan's stack.
func (c *checker) stackServers() ([]any, error) {
	st, err := c.findStack(c.plan)
	if err != nil || st == nil {
		return nil, err
	}
	all, err := c.resources(st, stackDepth)
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	for _, res := range all {
		ids[res.physicalID] = true
	}
	servers, err := c.servers()
	if err != nil {
		return nil, err
	}
	var out []any
	for _, s := range servers {
		if ids[text(s, "id")] {
			out = append(out, s)
		}
	}
	return out, nil
}

func checkServers(c *checker) error {
	servers, err := c.stackServers()
	if err != nil {
		return err
	}
	machines, err := c.machines()
	if err != nil {
		return err
	}
	if len(servers) == 0 {
		c.warn("stack %s has no servers", c.plan)
	}
	for _, s := range servers {
		m := machines[text(s, "id")]
		switch {
		case text(s, "status") != "ACTIVE":
			c.fail("server %s is %s: %s", text(s, "name"), text(s, "status"), text(s, "fault", "message"))
		case m == nil:
			c.fail("server %s has no machine", text(s, "name"))
		case text(m, "provision_state") != "active" || text(m, "power_state") != "power on":
			c.fail("server %s: its machine %s is %s, %s", text(s, "name"), nodeName(m), text(m, "provision_state"), text(m, "power_state"))
		default:
			c.ok("server %s on %s", text(s, "name"), nodeName(m))
		}
	}
	return nil
}

func checkDeployments(c *checker) error {
	servers, err := c.stackServers()
	if err != nil {
		return err
	}
	client, err := c.s.Orchestration()
	if err != nil {
		return err
	}
	for _, s := range servers {
		var out any
		if _, err := c.request(client, "GET", client.ServiceURL("software_deployments")+"?server_id="+text(s, "id"), nil, &out); err != nil {
			return err
		}
		list, _ := dig(out, "software_deployments").([]any)
		for _, d := range list {
			if st := text(d, "status"); st != "COMPLETE" {
				c.fail("server %s: deployment %s is %s: %s", text(s, "name"), text(d, "id"), st, text(d, "status_reason"))
			}
		}
		c.ok("server %s: %d deployments", text(s, "name"), len(list))
	}
	return nil
}

func checkEndpoints(c *checker) error {
	st, err := c.findStack(c.plan)
	if err != nil {
		return err
	}
	url := ""
	if st != nil {
		url = text(outputs(st), "KeystoneURL")
	}
	if url == "" {
		c.warn("stack %s has no output KeystoneURL", c.plan)
		return nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, probeLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, authV3(url), nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		// The cloud's own networks need not be reachable from the undercloud.
		c.warn("%s cannot be asked from the undercloud: %v", authV3(url), errors.Unwrap(err))
		return nil
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16))
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusMultipleChoices {
		c.fail("%s answers %s", authV3(url), resp.Status)
		return nil
	}
	c.ok("%s answers", authV3(url))
	return nil
}

func checkUnused(c *checker) error {
	nodes, err := c.allNodes()
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if text(n, "instance_uuid") == "" && text(n, "provision_state") == "available" && text(n, "power_state") == "power on" {
			c.warn("node %s is powered on and no server uses it", nodeName(n))
		}
	}
	c.ok("%d nodes", len(nodes))
	return nil
}

// checkDNS asks each DNS server of the plan for the root: any answer will do.
func checkDNS(c *checker) error {
	params, err := c.parameters()
	if err != nil {
		return skipNoPlan(err)
	}
	servers := stringList(dig(params, "DnsServers"))
	if len(servers) == 0 {
		c.warn("the plan names no DnsServers")
	}
	// A query for the name servers of the root (RFC 1035, 4.1).
	query := []byte{0x74, 0x6f, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1}
	for _, s := range servers {
		answer, err := c.ask(net.JoinHostPort(s, "53"), query)
		switch {
		case err != nil:
			c.fail("DNS server %s does not answer: %v", s, err)
		case len(answer) < 12 || answer[0] != query[0] || answer[1] != query[1]:
			c.fail("DNS server %s gives no answer of DNS", s)
		default:
			c.ok("DNS server %s answers", s)
		}
	}
	return nil
}

// ask sends a datagram and returns the answer; three times, because datagrams get lost.
func (c *checker) ask(addr string, query []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(c.ctx, probeLimit)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	buf := make([]byte, 4096)
	for range 3 {
		if err := conn.SetDeadline(time.Now().Add(probeLimit / 3)); err != nil {
			return nil, err
		}
		if _, err = conn.Write(query); err != nil {
			continue
		}
		var n int
		if n, err = conn.Read(buf); err == nil {
			return buf[:n], nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

// checkTime compares the undercloud's clock with the NTP servers by SNTP (RFC 4330).
func checkTime(c *checker) error {
	params, err := c.parameters()
	if err != nil {
		return skipNoPlan(err)
	}
	servers := stringList(dig(params, "NtpServer"))
	if len(servers) == 0 {
		c.warn("the plan names no NtpServer to compare with")
	}
	for _, s := range servers {
		query := make([]byte, 48)
		query[0] = 0x23 // version 4, client
		asked := time.Now()
		answer, err := c.ask(net.JoinHostPort(s, "123"), query)
		if err != nil {
			c.fail("NTP server %s does not answer: %v", s, err)
			continue
		}
		skew, err := ntpSkew(answer, asked, time.Now())
		switch {
		case err != nil:
			c.fail("NTP server %s: %v", s, err)
		case skew.Abs() > mostSkew:
			c.fail("the undercloud's clock is %s off the NTP server %s", skew.Round(time.Millisecond), s)
		default:
			c.ok("NTP server %s: %s", s, skew.Round(time.Millisecond))
		}
	}
	return nil
}

// ntpSkew is how far ahead the local clock is of the server, by the time it sent its answer.
func ntpSkew(answer []byte, asked, got time.Time) (time.Duration, error) {
	if len(answer) < 48 || answer[0]&7 != 4 {
		return 0, errors.New("no answer of NTP")
	}
	if stratum := answer[1]; stratum == 0 || stratum > 15 {
		return 0, fmt.Errorf("the server is not synchronised itself (stratum %d)", stratum)
	}
	sec, frac := binary.BigEndian.Uint32(answer[40:]), binary.BigEndian.Uint32(answer[44:])
	server := time.Unix(int64(sec)-ntpEpoch, int64(frac)*int64(time.Second)>>32)
	middle := asked.Add(got.Sub(asked) / 2)
	return middle.Sub(server), nil
}
