package actions

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tripleo/tripleo/yaql"
)

// std runs a std.* action.
func std(t *testing.T, o StdOptions, name string, in map[string]any) (any, error) {
	t.Helper()
	reg, err := NewRegistry(Std(o))
	if err != nil {
		t.Fatal(err)
	}
	a := reg.Get(name)
	checked, err := a.Check(in)
	if err != nil {
		t.Fatal(err)
	}
	return a.Run(t.Context(), &Context{Now: time.Now, Started: time.Now(), WorkflowName: "wf", WorkflowExecutionID: "x1", TaskID: "t1", ActionExecutionID: "a1"}, checked)
}

func TestForbiddenAddresses(t *testing.T) {
	for addr, want := range map[string]bool{"127.0.0.1": true, "127.9.9.9": true, "::1": true, "169.254.169.254": true, "fe80::1": true, "::ffff:127.0.0.1": true,
		"::ffff:169.254.169.254": true, "0.0.0.0": true, "0.1.2.3": true, "::": true, "64:ff9b::7f00:1": true, "2002:7f00:1::": true, "fd00:ec2::254": true,
		"100.100.100.200": true, "224.0.0.1": true, "255.255.255.255": true, "192.0.2.1": false, "10.0.0.1": false, "2001:db8::1": false} {
		if got := forbidden(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: forbidden is %t, want %t", addr, got, want)
		}
	}
}

func TestStdSmall(t *testing.T) {
	o := StdOptions{}
	if got, err := std(t, o, "std.echo", map[string]any{"output": "x"}); got != "x" || err != nil {
		t.Errorf("echo: %v %v", got, err)
	}
	_, err := std(t, o, "std.echo", map[string]any{"output": "x", "delay": 5.0})
	if after, _, ok := Waits(err); !ok || after <= 4*time.Second || after > 5*time.Second {
		t.Errorf("echo with a delay waits: %v", err)
	}
	var f *FailureError
	if _, err := std(t, o, "std.fail", map[string]any{"error_data": map[string]any{"a": 1}}); !errors.As(err, &f) {
		t.Errorf("fail: %v", err)
	}
	got, err := std(t, o, "std.test_dict", map[string]any{"size": int64(2), "key_prefix": "k", "val": "v"})
	if err != nil || yaql.Str(got) != "{'k0': 'v', 'k1': 'v'}" {
		t.Errorf("test_dict: %v %v", got, err)
	}
	if got, err := std(t, o, "std.noop", nil); got != nil || err != nil {
		t.Errorf("noop: %v %v", got, err)
	}
}

func TestHTTP(t *testing.T) {
	var got *http.Request
	var body string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		got, body = r, string(data)
		switch r.URL.Path {
		case "/latin":
			w.Header().Set("Content-Type", "text/plain; charset=iso-8859-1")
			_, _ = w.Write([]byte{'g', 'r', 0xfc, 'n'})
		case "/moved":
			http.Redirect(w, r, "/there", http.StatusFound)
		case "/307":
			w.WriteHeader(http.StatusTemporaryRedirect)
		case "/big":
			_, _ = io.Copy(w, io.LimitReader(zeros{}, maxHTTPBody+10))
		default:
			http.SetCookie(w, &http.Cookie{Name: "s", Value: "1"})
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"b":1,"a":[2.5]}`))
		}
	}))
	defer srv.Close()
	o := StdOptions{AllowLocal: true}
	at := func(v any, path ...string) string {
		for _, p := range path {
			v = v.(*yaql.Map).Value(p)
		}
		return yaql.Str(v)
	}

	out, err := std(t, o, "std.http", map[string]any{"url": srv.URL + "/x?q=1", "method": "post", "params": map[string]any{"l": []any{int64(1), "b"}},
		"json": map[string]any{"k": "v"}, "headers": map[string]any{"X-N": int64(7)}, "cookies": map[string]any{"c": "d"}, "auth": "u:p"})
	if err != nil {
		t.Fatal(err)
	}
	user, pass, _ := got.BasicAuth()
	cookie, _ := got.Cookie("c")
	if s := fmt.Sprint(got.Method, got.URL.Path, got.URL.Query()["l"], got.URL.Query()["q"], got.Header.Get("X-N"), user, pass, cookie.Value, body, got.Header.Get("Content-Type")); s != `POST/x[1 b] [1]7upd{"k":"v"}application/json` {
		t.Errorf("sent %s", s)
	}
	if at(out, "content") != "{'b': 1, 'a': [2.5]}" || at(out, "status") != "200" || at(out, "cookies", "s") != "1" || at(out, "encoding") != "utf-8" || at(out, "reason") != "OK" {
		t.Errorf("result %s", yaql.Str(out))
	}
	if got.Header.Get("Mistral-Task-Id") != "" {
		t.Error("std.http tells the receiver of the execution: only std.mistral_http does")
	}

	if _, err := std(t, o, "std.mistral_http", map[string]any{"url": srv.URL, "headers": map[string]any{"A": "b"}}); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{"A": "b", "Mistral-Workflow-Name": "wf", "Mistral-Workflow-Execution-Id": "x1", "Mistral-Task-Id": "t1",
		"Mistral-Action-Execution-Id": "a1", "Mistral-Callback-Url": "/v2/action_executions/a1"} {
		if got.Header.Get(k) != want {
			t.Errorf("header %s is %q, want %q", k, got.Header.Get(k), want)
		}
	}

	out, err = std(t, o, "std.http", map[string]any{"url": srv.URL + "/moved"})
	if err != nil || at(out, "status") != "302" {
		t.Errorf("a redirect is the result unless it is to be followed: %v %v", out, err)
	}
	out, err = std(t, o, "std.http", map[string]any{"url": srv.URL + "/moved", "allow_redirects": true})
	if err != nil || at(out, "status") != "200" || !strings.HasSuffix(at(out, "url"), "/there") || !strings.Contains(at(out, "history"), "302") {
		t.Errorf("followed: %v %v", out, err)
	}
	if out, err = std(t, o, "std.http", map[string]any{"url": srv.URL + "/latin"}); err != nil || at(out, "content") != "grün" {
		t.Errorf("latin: %v %v", out, err)
	}
	var f *FailureError
	if _, err = std(t, o, "std.http", map[string]any{"url": srv.URL + "/307"}); !errors.As(err, &f) {
		t.Errorf("307 is a failure in Mistral: %v", err)
	}
	for reason, in := range map[string]map[string]any{
		"larger than":               {"url": srv.URL + "/big"},
		"Only one of":               {"url": srv.URL, "body": "x", "json": "y"},
		"is not an http":            {"url": "file:///etc/passwd"},
		"verify is":                 {"url": srv.URL, "verify": "/etc/passwd"},
		"proxy of http":             {"url": srv.URL, "proxies": map[string]any{"http": "x"}},
		"params is":                 {"url": srv.URL, "params": int64(1)},
		"Failed to send HTTP":       {"url": srv.URL, "proxies": map[string]any{"http": "http://127.0.0.1:1"}},
		"Failed to send HTTP reque": {"url": strings.Replace(srv.URL, "http:", "https:", 1)},
	} {
		if _, err := std(t, o, "std.http", in); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v", reason, err)
		}
	}
	// A redirect to a forbidden address is refused where it is dialled.
	if _, err := std(t, StdOptions{}, "std.http", map[string]any{"url": "http://localhost:1/?token=s3cret"}); err == nil ||
		!strings.Contains(err.Error(), "not allowed") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a name of loopback: %v", err)
	}
}

// TestHTTPS: a certificate is checked against the system's authorities and those
// of the configuration, unless the workflow says verify: false.
func TestHTTPS(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"a":1}`)) }))
	defer srv.Close()
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	known := x509.NewCertPool()
	known.AddCert(srv.Certificate())
	for _, tt := range []struct {
		reason string
		o      StdOptions
		verify any
		ok     bool
	}{
		{"an unknown authority", StdOptions{AllowLocal: true}, nil, false}, {"the same, asked for", StdOptions{AllowLocal: true}, true, false},
		{"nobody asks", StdOptions{AllowLocal: true}, false, true}, {"the configured authority", StdOptions{AllowLocal: true, RootCAs: known}, nil, true},
	} {
		out, err := std(t, tt.o, "std.http", map[string]any{"url": srv.URL, "verify": tt.verify})
		if (err == nil) != tt.ok || tt.ok && !strings.Contains(fmt.Sprint(out), "200") {
			t.Errorf("%s: %v %v", tt.reason, out, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestJavaScript(t *testing.T) {
	o := StdOptions{JSTime: 5 * time.Minute, JSMemory: 64 << 20} // the time is no matter here, also on a slow machine
	for script, want := range map[string]string{
		"return $.a + 1":                      "3",
		"return {z: 1, a: [true, null, 'x']}": "{'z': 1, 'a': [True, None, 'x']}",
		"":                                    "None",
		"return function () {}":               "None",
		"return 0.5":                          "0.5",
		"return Array.from([1,2]).map(x => x * 2)":                "[2, 4]",
		"return new Uint8Array(3).length + [].concat([1]).length": "4",
	} {
		got, err := std(t, o, "std.js", map[string]any{"script": script, "context": map[string]any{"a": int64(2)}})
		if err != nil || yaql.Str(got) != want {
			t.Errorf("%s: got %s, %v; want %s", script, yaql.Str(got), err, want)
		}
	}
	for script, want := range map[string]string{
		"throw new Error('boom')": "boom",
		"return )":                "SyntaxError",
		"let a = []; for (;;) a.push('x'.repeat(100000) + a.length)": "bytes of memory",
		"return 'x'.repeat(1e9)":                                     "at once",
		"return new ArrayBuffer(1e12)":                               "at once",
		"return new (new Uint8Array(1).constructor)(1e12)":           "at once",
		"return require('fs')":                                       "not defined",
		"function f() { f() } f()":                                   "",
		"const a = []; a[0] = a; return a":                           "ircular",
	} {
		if _, err := std(t, o, "std.javascript", map[string]any{"script": script}); err == nil || !strings.HasPrefix(err.Error(), "JavaScriptAction failed: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", script, err, want)
		}
	}
	o.JSTime = 20 * time.Millisecond
	if _, err := std(t, o, "std.js", map[string]any{"script": "for (;;) {}"}); err == nil || !strings.Contains(err.Error(), "ran for more than") {
		t.Errorf("endless: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.javascript(ctx, nil, map[string]any{"script": "for (;;) {}"}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func BenchmarkJavaScript(b *testing.B) {
	o := StdOptions{}
	for b.Loop() {
		if _, err := o.evalJS(b.Context(), "return $.a + 1", map[string]any{"a": 1}); err != nil {
			b.Fatal(err)
		}
	}
}

// smtpServer takes one message after TLS and PLAIN, if asked for.
func smtpServer(t *testing.T, conf *tls.Config) (addr string, talk func() string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		r := bufio.NewReader(conn)
		say := func(s string) { _, _ = io.WriteString(conn, s+"\r\n") }
		say("220 test")
		data := false
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			line = strings.TrimRight(line, "\r\n")
			log.WriteString(line + "\n")
			switch {
			case data && line == ".":
				data = false
				say("250 taken")
			case data:
			case strings.HasPrefix(line, "EHLO"):
				say("250-test\r\n250-STARTTLS\r\n250 AUTH PLAIN")
			case line == "STARTTLS":
				say("220 go")
				conn = tls.Server(conn, conf)
				r = bufio.NewReader(conn)
			case strings.HasPrefix(line, "AUTH"):
				say("235 welcome")
			case line == "DATA":
				data = true
				say("354 go")
			case strings.HasPrefix(line, "RCPT TO:<nobody"):
				say("550 no such user")
			case line == "QUIT":
				say("221 bye")
				return
			default:
				say("250 ok")
			}
		}
	}()
	return l.Addr().String(), func() string { _ = l.Close(); <-done; return log.String() }
}

func TestEmail(t *testing.T) {
	ts := httptest.NewTLSServer(nil)
	defer ts.Close()
	roots := x509.NewCertPool()
	roots.AddCert(ts.Certificate())
	o := StdOptions{AllowLocal: true, RootCAs: roots}

	addr, talk := smtpServer(t, ts.TLS)
	if _, err := std(t, o, "std.email", map[string]any{"from_addr": "a@x.org", "to_addrs": []any{"b@x.org", "c@x.org"}, "cc_addrs": []any{"d@x.org"}, "bcc_addrs": []any{"e@x.org"},
		"reply_to": []any{"r@x.org"}, "smtp_server": addr, "subject": "Grüße", "body": "text ü", "html_body": "<b>x</b>", "smtp_password": "s3cret"}); err != nil {
		t.Fatal(err)
	}
	got := talk()
	for _, want := range []string{"STARTTLS", "AUTH PLAIN", "MAIL FROM:<a@x.org>", "RCPT TO:<e@x.org>", "To: <b@x.org>, <c@x.org>", "Cc: <d@x.org>", "Reply-To: <r@x.org>",
		"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=", "multipart/alternative", "text =C3=BC", "<b>x</b>"} {
		if !strings.Contains(got, want) {
			t.Errorf("the server did not hear %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "Bcc") {
		t.Error("blind copies are shown")
	}

	addr, talk = smtpServer(t, nil)
	_, err := std(t, o, "std.email", map[string]any{"from_addr": "a@x.org", "to_addrs": []any{"nobody@x.org"}, "smtp_server": addr})
	if err == nil || !strings.HasPrefix(err.Error(), "Failed to send an email message: recipient nobody@x.org") {
		t.Errorf("got %v", err)
	}
	_ = talk()
	for reason, in := range map[string]map[string]any{
		"to_addrs":    {"from_addr": "a@x.org", "to_addrs": "b\r\nDATA", "smtp_server": addr},
		"from_addr":   {"from_addr": "x", "to_addrs": "b@x.org", "smtp_server": addr},
		"recipients":  {"from_addr": "a@x.org", "to_addrs": []any{}, "smtp_server": addr},
		"reply_to":    {"from_addr": "a@x.org", "to_addrs": "b@x.org", "reply_to": "x\r\nBcc: y@x.org", "smtp_server": addr},
		"not allowed": {"from_addr": "a@x.org", "to_addrs": "b@x.org", "smtp_server": "localhost:1"},
	} {
		opts := o
		opts.AllowLocal = reason != "not allowed"
		if _, err := std(t, opts, "std.email", in); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v", reason, err)
		}
	}
}

// sshServer runs "commands" and forwards connections; it takes the password
// "pw" and the given key.
func sshServer(t *testing.T, key ssh.PublicKey) (addr string, host ssh.PublicKey) {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	conf := &ssh.ServerConfig{
		PasswordCallback: func(_ ssh.ConnMetadata, pw []byte) (*ssh.Permissions, error) {
			if string(pw) == "pw" {
				return nil, nil
			}
			return nil, errors.New("no")
		},
		PublicKeyCallback: func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
			if key != nil && string(k.Marshal()) == string(key.Marshal()) {
				return nil, nil
			}
			return nil, errors.New("no")
		},
	}
	conf.AddHostKey(signer)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { serveSSH(conn, conf, &wg) })
		}
	})
	return l.Addr().String(), signer.PublicKey()
}

func serveSSH(conn net.Conn, conf *ssh.ServerConfig, wg *sync.WaitGroup) {
	c, chans, reqs, err := ssh.NewServerConn(conn, conf)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	for nc := range chans {
		if nc.ChannelType() == "direct-tcpip" {
			var to struct {
				Host string
				Port uint32
				From string
				FP   uint32
			}
			_ = ssh.Unmarshal(nc.ExtraData(), &to)
			out, err := net.Dial("tcp", net.JoinHostPort(to.Host, fmt.Sprint(to.Port)))
			if err != nil {
				_ = nc.Reject(ssh.ConnectionFailed, "x")
				continue
			}
			ch, rq, _ := nc.Accept()
			go ssh.DiscardRequests(rq)
			wg.Go(func() { _, _ = io.Copy(out, ch); _ = out.Close() })
			wg.Go(func() { _, _ = io.Copy(ch, out); _ = ch.Close() })
			continue
		}
		ch, rq, err := nc.Accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			for r := range rq {
				if r.Type != "exec" {
					_ = r.Reply(false, nil)
					continue
				}
				var cmd struct{ Text string }
				_ = ssh.Unmarshal(r.Payload, &cmd)
				_ = r.Reply(true, nil)
				status := uint32(0)
				switch cmd.Text {
				case "fail":
					_, _ = io.WriteString(ch.Stderr(), "went wrong")
					status = 3
				case "flood":
					_, _ = io.Copy(ch, io.LimitReader(zeros{}, maxSSHOutput+1000))
				default:
					_, _ = io.WriteString(ch, c.User()+" "+cmd.Text)
				}
				_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ S uint32 }{status}))
				_ = ch.Close()
			}
		})
	}
}

func TestSSH(t *testing.T) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sshPub, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		t.Fatal(err)
	}
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(priv, "", []byte("open"))
	if err != nil {
		t.Fatal(err)
	}
	addr, hostKey := sshServer(t, sshPub)
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys")
	known := filepath.Join(dir, "known")
	key := string(pem.EncodeToMemory(plain))
	for path, text := range map[string]string{filepath.Join(keys, "id"): key, filepath.Join(dir, "outside"): key,
		known: "[127.0.0.1]:" + addr[strings.LastIndex(addr, ":")+1:] + " " + string(ssh.MarshalAuthorizedKey(hostKey)), known + "-other": "[127.0.0.1]:" + addr[strings.LastIndex(addr, ":")+1:] + " " + string(ssh.MarshalAuthorizedKey(sshPub))} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../outside", filepath.Join(keys, "link")); err != nil {
		t.Fatal(err)
	}
	base := StdOptions{AllowLocal: true, KeyDir: keys, KnownHosts: known}
	other := base
	other.KnownHosts = known + "-other"
	with := func(more map[string]any) map[string]any {
		in := map[string]any{"cmd": "uptime", "host": addr, "username": "stack"}
		for k, v := range more {
			in[k] = v
		}
		return in
	}
	for _, tt := range []struct {
		reason, action string
		o              StdOptions
		in             map[string]any
		want, fails    string
	}{
		{"password", "std.ssh", base, with(map[string]any{"password": "pw"}), "stack uptime", ""},
		{"key as text", "std.ssh", base, with(map[string]any{"private_key": key}), "stack uptime", ""},
		{"the password opens the key", "std.ssh", base, with(map[string]any{"private_key": string(pem.EncodeToMemory(locked)), "password": "open"}), "stack uptime", ""},
		{"key of the folder", "std.ssh", base, with(map[string]any{"private_key_filename": "id"}), "stack uptime", ""},
		{"key of the folder by its whole path", "std.ssh", base, with(map[string]any{"private_key_filename": filepath.Join(keys, "id")}), "stack uptime", ""},
		{"several hosts give a list", "std.ssh", base, with(map[string]any{"host": []any{addr, addr}, "password": "pw"}), "['stack uptime', 'stack uptime']", ""},
		{"through a gateway", "std.ssh_proxied", base, with(map[string]any{"private_key_filename": "id", "gateway_host": addr, "gateway_username": "jump"}), "stack uptime", ""},
		{"no folder of keys", "std.ssh", StdOptions{AllowLocal: true}, with(map[string]any{"private_key_filename": "id"}), "", "no folder of keys"},
		{"outside of the folder", "std.ssh", base, with(map[string]any{"private_key_filename": "../outside"}), "", "within the folder"},
		{"outside by a link", "std.ssh", base, with(map[string]any{"private_key_filename": "link"}), "", "within the folder"},
		{"outside by its whole path", "std.ssh", base, with(map[string]any{"private_key_filename": filepath.Join(dir, "outside")}), "", "within the folder"},
		{"a wrong host key", "std.ssh", other, with(map[string]any{"password": "pw"}), "", "knownhosts"},
		{"a wrong password", "std.ssh", base, with(map[string]any{"password": "nope"}), "", "unable to authenticate"},
		{"no key and no password", "std.ssh", base, with(nil), "", "neither password"},
		{"no key at all", "std.ssh", base, with(map[string]any{"private_key": "junk"}), "", "cannot be read"},
		{"the command fails", "std.ssh", base, with(map[string]any{"cmd": "fail", "password": "pw"}), "", "Failed to execute ssh cmd 'fail' on " + addr + ": exit status 3: went wrong"},
		{"endless output", "std.ssh", base, with(map[string]any{"cmd": "flood", "password": "pw"}), "", "larger than"},
		{"a command on the server itself", "std.ssh_proxied", base, with(map[string]any{"private_key_filename": "id", "gateway_host": addr, "proxy_command": "sh"}), "", "proxy_command"},
		{"this machine", "std.ssh", StdOptions{}, with(map[string]any{"password": "pw"}), "", "not allowed"},
	} {
		got, err := std(t, tt.o, tt.action, tt.in)
		if tt.fails != "" {
			if err == nil || !strings.Contains(err.Error(), tt.fails) || strings.Contains(err.Error(), "PRIVATE") {
				t.Errorf("%s: got %.200v, %v; want error %q", tt.reason, got, err, tt.fails)
			}
			continue
		}
		if err != nil || yaql.Str(got) != tt.want {
			t.Errorf("%s: got %v, %v; want %s", tt.reason, got, err, tt.want)
		}
	}
}

func TestMask(t *testing.T) {
	in := yaql.MapOf("username", "u", "smtp_password", "p", "headers", map[string]any{"X-Auth-Token": "t", "Accept": "a"}, "list", []any{map[string]any{"private_key": "k", "n": int64(1)}},
		"passwords", map[string]any{"nova": "x", "empty": ""}, "url", "http://u:pw@h/x", "text", "-----BEGIN RSA PRIVATE KEY-----", "auth", "u:p", "secret", nil, "token_count", int64(3), "n", true)
	want := "{'username': 'u', 'smtp_password': '***', 'headers': {'Accept': 'a', 'X-Auth-Token': '***'}, 'list': [{'n': 1, 'private_key': '***'}], 'passwords': {'empty': '', 'nova': '***'}, " +
		"'url': 'http://u:xxxxx@h/x', 'text': '***', 'auth': '***', 'secret': None, 'token_count': 3, 'n': True}"
	if got := yaql.Str(Mask(in)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if in.Value("smtp_password") != "p" {
		t.Error("the input itself is changed")
	}
}
