package actions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/tripleo/tripleo/yaql"
)

const (
	maxSSHOutput = 8 << 20
	maxSSHHosts  = 100
	maxSSHKey    = 64 << 10
	sshTime      = time.Hour
)

// ssh runs cmd on each host in turn and returns what it writes: text for one
// host, a list for more. gateway_host makes it std.ssh_proxied.
func (o StdOptions) ssh(ctx context.Context, _ *Context, in map[string]any) (any, error) {
	if in["proxy_command"] != nil {
		return nil, errors.New("proxy_command would run a command on the workflow server: use gateway_host alone")
	}
	hosts := List(in, "host")
	if len(hosts) == 0 || len(hosts) > maxSSHHosts {
		return nil, fmt.Errorf("host names 1 to %d hosts, not %d", maxSSHHosts, len(hosts))
	}
	config, err := o.sshConfig(in)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, sshTime)
	defer cancel()
	results := []any{}
	for _, h := range hosts {
		out, err := o.sshHost(ctx, config, in, yaql.Str(h))
		if err != nil {
			return nil, fmt.Errorf("Failed to execute ssh cmd '%s' on %s: %w", String(in, "cmd"), yaql.Str(h), err) //nolint:revive,staticcheck // Mistral's wording
		}
		results = append(results, out)
	}
	if len(results) == 1 {
		return results[0], nil
	}
	return results, nil
}

func (o StdOptions) sshHost(ctx context.Context, config *ssh.ClientConfig, in map[string]any, host string) (string, error) {
	dial := func(ctx context.Context, addr string) (net.Conn, error) {
		return o.dialer().DialContext(ctx, "tcp", addr)
	}
	if gateway := String(in, "gateway_host"); gateway != "" {
		through := *config
		if user := String(in, "gateway_username"); user != "" {
			through.User = user
		}
		gw, done, err := sshConnect(ctx, dial, &through, withPort(gateway, "22"))
		if err != nil {
			return "", fmt.Errorf("gateway %s: %w", gateway, err)
		}
		defer done()
		dial = func(ctx context.Context, addr string) (net.Conn, error) { return gw.DialContext(ctx, "tcp", addr) }
	}
	client, done, err := sshConnect(ctx, dial, config, withPort(host, "22"))
	if err != nil {
		return "", err
	}
	defer done()
	session, err := client.NewSession()
	if err != nil {
		return "", err
	}
	defer func() { _ = session.Close() }()
	stdout, stderr := &capped{most: maxSSHOutput}, &capped{most: 4 << 10, drop: true}
	session.Stdout, session.Stderr = stdout, stderr
	err = session.Run(String(in, "cmd"))
	var exit *ssh.ExitError
	switch {
	case stdout.full:
		return "", fmt.Errorf("the output is larger than %d bytes", maxSSHOutput)
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errors.As(err, &exit):
		return "", fmt.Errorf("exit status %d: %s", exit.ExitStatus(), strings.ToValidUTF8(strings.TrimSpace(stderr.buf.String()), "?"))
	case err != nil:
		return "", err
	}
	return strings.ToValidUTF8(stdout.buf.String(), "\uFFFD"), nil
}

// capped holds at most so many bytes; more is an error, or dropped. The buffer
// is no embedded one: its ReadFrom would know no limit.
type capped struct {
	buf        bytes.Buffer
	most       int
	drop, full bool
}

func (c *capped) Write(p []byte) (int, error) {
	if c.buf.Len()+len(p) <= c.most {
		return c.buf.Write(p)
	}
	c.full = true
	if !c.drop {
		return 0, errors.New("too much output")
	}
	_, _ = c.buf.Write(p[:c.most-c.buf.Len()])
	return len(p), nil
}

// sshConnect opens a client that closes with ctx.
func sshConnect(ctx context.Context, dial func(context.Context, string) (net.Conn, error), config *ssh.ClientConfig, addr string) (*ssh.Client, func(), error) {
	conn, err := dial(ctx, addr)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	c, chans, reqs, err := ssh.NewClientConn(conn, addr, config)
	if err != nil {
		stop()
		return nil, nil, errors.Join(err, conn.Close())
	}
	client := ssh.NewClient(c, chans, reqs)
	return client, func() { stop(); _ = client.Close() }, nil
}

func (o StdOptions) sshConfig(in map[string]any) (*ssh.ClientConfig, error) {
	config := &ssh.ClientConfig{User: String(in, "username"), Timeout: 30 * time.Second,
		HostKeyCallback: ssh.InsecureIgnoreHostKey()} //nolint:gosec // Mistral's behaviour without a file of known hosts
	if o.KnownHosts != "" {
		check, err := knownhosts.New(o.KnownHosts)
		if err != nil {
			return nil, fmt.Errorf("the server's file of known hosts: %w", err)
		}
		config.HostKeyCallback = check
	}
	password := String(in, "password")
	key, err := o.sshKey(in)
	if err != nil {
		return nil, err
	}
	if key != nil {
		signer, err := ssh.ParsePrivateKey(key)
		var locked *ssh.PassphraseMissingError
		if errors.As(err, &locked) {
			signer, err = ssh.ParsePrivateKeyWithPassphrase(key, []byte(password))
		}
		if err != nil {
			return nil, errors.New("the private key cannot be read: it is no PEM or OpenSSH key, or the password does not open it")
		}
		config.Auth = append(config.Auth, ssh.PublicKeys(signer))
	}
	if password != "" {
		config.Auth = append(config.Auth, ssh.Password(password))
	}
	if len(config.Auth) == 0 {
		return nil, errors.New("neither password nor private_key nor private_key_filename is given")
	}
	return config, nil
}

// sshKey returns the key given as text, or the file of that name in KeyDir;
// nothing outside of it, also not by a symbolic link.
func (o StdOptions) sshKey(in map[string]any) ([]byte, error) {
	if text := String(in, "private_key"); text != "" {
		return []byte(strings.TrimSpace(text) + "\n"), nil
	}
	name := String(in, "private_key_filename")
	if name == "" {
		return nil, nil
	}
	if o.KeyDir == "" {
		return nil, errors.New("private_key_filename: the server has no folder of keys: give the key itself as private_key")
	}
	if filepath.IsAbs(name) {
		rel, err := filepath.Rel(o.KeyDir, name)
		if err != nil {
			return nil, fmt.Errorf("private_key_filename %q is outside of the folder of keys", name)
		}
		name = rel
	}
	root, err := os.OpenRoot(o.KeyDir)
	if err != nil {
		return nil, errors.New("private_key_filename: the server's folder of keys cannot be opened")
	}
	defer func() { _ = root.Close() }()
	info, err := root.Stat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxSSHKey {
		return nil, fmt.Errorf("private_key_filename %q is no key file within the folder of keys", name)
	}
	data, err := root.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("private_key_filename %q cannot be read", name)
	}
	return data, nil
}
