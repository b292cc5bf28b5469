package cli

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"

	"github.com/tripleo/tripleo/internal/yaml11"
)

const (
	sshTime      = time.Minute // of one command on one node
	overcloudSSH = "tripleo-admin"
)

// configDownload deploys the configuration of a stack with Ansible over SSH: the undercloud gets a user on the nodes, by their agents or,
// with --overcloud-ssh-key, over the operator's own way into them, and then runs the playbooks of the plan.
func (o *operator) configDownload(ctx context.Context, f *deployFlags) error {
	hosts, err := o.nodeAddresses(ctx, f.stack)
	if err != nil {
		return err
	}
	in := map[string]any{"ssh_servers": hosts, "overcloud_admin": overcloudSSH, "queue_name": defaultQueue}
	if f.sshKey != "" {
		private, public, mark, err := temporaryKey()
		if err != nil {
			return err
		}
		defer func() { // the way in is closed even when the operator stops watching
			for _, h := range hosts {
				_ = f.ssh(context.WithoutCancel(ctx), h, "sed -i '/"+mark+"/d' ~/.ssh/authorized_keys", "")
			}
		}()
		for _, h := range hosts {
			if err := f.ssh(ctx, h, "umask 077; mkdir -p ~/.ssh && cat >>~/.ssh/authorized_keys", public); err != nil {
				return err
			}
		}
		in["ssh_private_key"], in["ssh_user"] = private, f.sshUser
	}
	if _, err := o.run(ctx, "tripleo.access.v1.enable_ssh_admin", in); err != nil {
		return err
	}
	in = map[string]any{"plan_name": f.stack, "timeout": f.timeout, "verbosity": 1, "queue_name": defaultQueue}
	if f.outputDir != "" {
		in["work_dir"] = f.outputDir
	}
	_, err = o.run(ctx, "tripleo.deployment.v1.config_download_deploy", in)
	return err
}

// temporaryKey is a key pair for the time of one deployment; mark is in its comment.
func temporaryKey() (private, public, mark string, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", "", err
	}
	mark = "tripleo-temporary-" + uuid.NewString()
	block, err := ssh.MarshalPrivateKey(priv, mark)
	if err != nil {
		return "", "", "", err
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		return "", "", "", err
	}
	return string(pem.EncodeToMemory(block)), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) + " " + mark + "\n", mark, nil
}

// ssh runs a command on a node with the program ssh, which knows the operator's configuration and agent. Keys of hosts are not
// compared: nodes get new ones with every installation.
func (f *deployFlags) ssh(ctx context.Context, host, command, stdin string) error {
	ctx, cancel := context.WithTimeout(ctx, sshTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", //nolint:gosec // arguments of the operator
		"-i", f.sshKey, "-l", f.sshUser, "--", host, command)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("ssh %s@%s: %w: %s", f.sshUser, host, err, strings.TrimSpace(out.String()))
	}
	return nil
}

// nodeAddresses are the addresses on the control plane of all nodes of a stack.
func (o *operator) nodeAddresses(ctx context.Context, stack string) ([]string, error) {
	out, err := o.stackOutputs(ctx, stack)
	if err != nil {
		return nil, err
	}
	var hosts []string
	roles, _ := lookup(out, "RoleNetIpMap").(*yaml11.OrderedMap)
	for _, nets := range roles.All() {
		for _, ip := range items(lookup(nets, "ctlplane")) {
			hosts = append(hosts, str(ip))
		}
	}
	if len(hosts) == 0 {
		return nil, fmt.Errorf("stack %s has no nodes in its output RoleNetIpMap, which --config-download needs", stack)
	}
	return hosts, nil
}

// stackOutputs are the outputs of a stack by their names.
func (o *operator) stackOutputs(ctx context.Context, stack string) (*yaml11.OrderedMap, error) {
	c, err := o.s.Orchestration()
	if err != nil {
		return nil, err
	}
	v, _, err := o.call(ctx, c, http.MethodGet, below(c, "", "stacks", stack), nil, nil)
	if err != nil {
		return nil, err
	}
	m := yaml11.NewMap()
	for _, out := range items(lookup(v, "stack", "outputs")) {
		m.Set(str(lookup(out, "output_key")), lookup(out, "output_value"))
	}
	return m, nil
}

// tempestInput is what a configuration of Tempest needs to know of clouds that this program deploys.
const tempestInput = `[auth]
tempest_roles = member

[compute]
volume_device_name = vdb

[compute-feature-enabled]
attach_encrypted_volume = false

[network]
project_network_cidr = 192.168.0.0/24

[object-storage]
operator_role = swiftoperator

[orchestration]
stack_owner_role = member

[volume]
backend1_name = tripleo_iscsi

[volume-feature-enabled]
bootable = true
`

// finished says where the new cloud is and leaves the files about it.
func (o *operator) finished(ctx context.Context, f *deployFlags) error {
	err := o.credentials(ctx, f.stack, ".", f.noProxy)
	if err != nil && strings.Contains(err.Error(), "does not have a KeystoneURL output") {
		_, _ = fmt.Fprintln(o.a.stdout, "The plan has no output KeystoneURL: no credentials are written") // a plan without a Keystone is fine
		return nil
	}
	if err != nil {
		return err
	}
	out, err := o.stackOutputs(ctx, f.stack)
	if err != nil {
		return err
	}
	if u := str(lookup(out, "EndpointMap", "HorizonPublic", "uri")); u != "" {
		_, _ = fmt.Fprintf(o.a.stdout, "Overcloud Horizon Dashboard URL: %s\n", u)
	}
	return writePrivate("tempest-deployer-input.conf", []byte(tempestInput))
}
