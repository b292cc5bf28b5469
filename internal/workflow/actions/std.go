package actions

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"sort"
	"time"

	"github.com/tripleo/tripleo/yaql"
)

// StdOptions configure the std.* actions.
type StdOptions struct {
	// AllowLocal lets std.http, std.email and std.ssh reach loopback, link-local
	// and metadata addresses, where the undercloud's own unprotected neighbours
	// listen.
	AllowLocal bool
	// Allowed are networks that they may reach all the same.
	Allowed []netip.Prefix
	// RootCAs verify the peers of std.http and std.email; nil is the system's.
	RootCAs *x509.CertPool
	// KeyDir is the folder of the SSH keys that private_key_filename may name;
	// "" refuses the parameter, so that no workflow reads the server's files.
	KeyDir string
	// KnownHosts is a file of SSH host keys in OpenSSH's format; "" accepts any
	// key, as Mistral does.
	KnownHosts string
	// JSTime bounds one run of std.js; 0 is ten seconds.
	JSTime time.Duration
	// JSMemory bounds the bytes by which the heap may grow meanwhile; 0 is 256 MiB.
	JSMemory uint64
}

// Std returns the actions that come with the engine.
func Std(o StdOptions) []Action {
	return []Action{
		{Name: "std.noop", Description: "Does nothing.", Pure: true, Extra: true,
			Run: func(context.Context, *Context, map[string]any) (any, error) { return nil, nil }},
		{Name: "std.echo", Description: "Returns its output parameter.", Pure: true,
			Input: []Param{Req("output"), Opt("delay", int64(0))}, Run: echo},
		{Name: "std.fail", Description: "Fails.", Pure: true, Input: []Param{Opt("error_data", nil)},
			Run: func(_ context.Context, _ *Context, in map[string]any) (any, error) {
				if in["error_data"] != nil {
					return nil, &FailureError{Result: in["error_data"]}
				}
				return nil, errors.New("Fail action expected exception.") //nolint:revive,staticcheck // Mistral's wording
			}},
		{Name: "std.test_dict", Description: "Returns a dict of the given size.", Pure: true,
			Input: []Param{Opt("size", int64(0)), Opt("key_prefix", ""), Opt("val", "")},
			Run: func(_ context.Context, _ *Context, in map[string]any) (any, error) {
				out := yaql.NewMap(16)
				for i := range min(Int(in, "size", 0), 1_000_000) {
					out.Set(fmt.Sprintf("%s%d", String(in, "key_prefix"), i), in["val"])
				}
				return out, nil
			}},
		{Name: "std.async_noop", Description: "Waits until its result is given by the API.", Async: true, Extra: true,
			Run: func(context.Context, *Context, map[string]any) (any, error) { return nil, nil }},
		{Name: "std.sleep", Description: "Waits a number of seconds.", Input: []Param{Opt("seconds", int64(1))},
			Run: func(_ context.Context, c *Context, in map[string]any) (any, error) {
				left := time.Duration(Int(in, "seconds", 1))*time.Second - c.Now().Sub(c.Started)
				if left > 0 {
					return nil, Wait(left)
				}
				return nil, nil
			}},
		{Name: "std.http", Description: "Sends an HTTP request.", Input: httpParams(), Once: true, Run: o.http},
		{Name: "std.mistral_http", Description: "Sends an HTTP request; the receiver gives the result by the API.",
			Input: httpParams(), Once: true, Async: true, Run: o.mistralHTTP},
		{Name: "std.email", Description: "Sends an email message.", Once: true, Run: o.email,
			Input: params(required("from_addr", "to_addrs", "smtp_server"), optional("reply_to", "cc_addrs", "bcc_addrs", "smtp_password", "subject", "body", "html_body"))},
		{Name: "std.ssh", Description: "Runs a command on one host or a list of hosts and returns what it writes.", Once: true, Run: o.ssh,
			Input: []Param{Req("cmd"), Req("host"), Req("username"), Opt("password", ""), Opt("private_key_filename", nil), Opt("private_key", nil)}},
		{Name: "std.ssh_proxied", Description: "Runs a command on hosts behind an SSH gateway.", Once: true, Run: o.ssh,
			Input: params(required("cmd", "host", "username", "private_key_filename", "gateway_host"),
				optional("gateway_username", "password", "proxy_command", "private_key"))},
		{Name: "std.javascript", Description: "Runs the body of a JavaScript function, which finds context as $.", Input: params(required("script"), optional("context")), Run: o.javascript},
		{Name: "std.js", Description: "Runs the body of a JavaScript function, which finds context as $.", Input: params(required("script"), optional("context")), Run: o.javascript},
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// echo returns its output, after delay seconds.
func echo(_ context.Context, c *Context, in map[string]any) (any, error) {
	if delay := duration(in["delay"], 0, maxHTTPTime); delay > 0 {
		if left := delay - c.Now().Sub(c.Started); left > 0 {
			return nil, Wait(left)
		}
	}
	return in["output"], nil
}
