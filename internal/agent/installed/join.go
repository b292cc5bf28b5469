package installed

import (
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/agent/installed/collect"
	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

// The unit is that of the images this project builds; a test of the image build compares them.
//
//go:embed tripleo-agent.service
var unit []byte

const (
	agentPath = "/usr/bin/tripleo-agent"
	unitPath  = "/etc/systemd/system/tripleo-agent.service"
)

// JoinOptions of Join.
type JoinOptions struct {
	Host    *host.Host   // nil is this machine
	Binary  string       // the agent's program that is to stay on the node; "" is the running one
	NoStart bool         // write the files only
	Client  *http.Client // nil makes one without proxy
	Out     io.Writer
}

// Join makes a machine that somebody else installed a node of a stack: from says where its metadata are, as a URL or as the
// server's os_collect_config in base64. It asks for them once before it changes anything, then installs the agent, its unit
// and that address, and starts it. Joining again changes nothing but the address.
func Join(ctx context.Context, from string, o JoinOptions) error {
	if o.Host == nil {
		o.Host = host.NewReal("/")
	}
	if o.Client == nil {
		o.Client = newClient()
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	config, err := joinConfig(from)
	if err != nil {
		return err
	}
	meta, err := firstMetadata(ctx, config, o)
	if err != nil {
		return fmt.Errorf("the undercloud's metadata cannot be read, nothing was changed: %w", err)
	}
	data, err := json.Marshal(config)
	if err != nil {
		return err
	}
	if err := o.Host.PutState(collect.HeatLocalPath, data); err != nil {
		return err
	}
	if err := installAgent(o); err != nil {
		return err
	}
	if _, err := o.Host.Put(host.FileSpec{Path: unitPath, Data: unit, Mode: 0o644}); err != nil {
		return err
	}
	list, _ := meta["deployments"].([]any)
	_, _ = fmt.Fprintf(o.Out, "joined: %d deployments wait for this node\n", len(list))
	if o.NoStart {
		return nil
	}
	for _, args := range [][]string{{"daemon-reload"}, {"enable", "tripleo-agent.service"}, {"restart", "tripleo-agent.service"}} {
		res, err := o.Host.Run.Run(ctx, host.Command{Args: append([]string{"systemctl"}, args...)})
		if err == nil && res.Code != 0 {
			err = fmt.Errorf("exit code %d: %s", res.Code, strings.TrimSpace(string(res.Stderr)))
		}
		if err != nil {
			return fmt.Errorf("systemctl %s: %w", strings.Join(args, " "), err)
		}
	}
	_, _ = fmt.Fprintln(o.Out, "the agent runs: journalctl -u tripleo-agent")
	return nil
}

// joinConfig reads the argument of join.
func joinConfig(from string) (map[string]any, error) {
	if u, err := url.Parse(from); err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") {
		return map[string]any{"os-collect-config": map[string]any{"request": map[string]any{"metadata_url": from}}}, nil
	}
	data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(from))
	if err != nil {
		return nil, errors.New("expected the URL of the node's metadata, or its os_collect_config in base64, as `tripleo overcloud node join` prints it")
	}
	m, err := collect.ParseMap(data)
	if err != nil {
		return nil, fmt.Errorf("os_collect_config: %w", err)
	}
	if _, wrapped := m["os-collect-config"]; !wrapped {
		m = map[string]any{"os-collect-config": m}
	}
	return m, nil
}

// firstMetadata asks once for the metadata. A queue is not asked: its message would be gone before the agent runs.
func firstMetadata(ctx context.Context, config map[string]any, o JoinOptions) (map[string]any, error) {
	if address := collect.MetadataURL(config); address != "" {
		return (&collect.Request{Client: o.Client}).Fetch(ctx, address, false)
	}
	polled := collect.Merge(config, map[string]any{"os-collect-config": map[string]any{"zaqar": nil}})
	meta, err := (&collect.Server{Client: o.Client, Now: time.Now}).Fetch(ctx, polled)
	if errors.Is(err, collect.ErrNoTransport) && collect.Lookup(config, "os-collect-config", "zaqar") != nil {
		return nil, nil
	}
	return meta, err
}

// installAgent copies the program to its place.
func installAgent(o JoinOptions) error {
	if o.Binary == "" {
		name, err := os.Executable()
		if err != nil {
			return err
		}
		o.Binary = name
	}
	if o.Binary == o.Host.Path(agentPath) {
		return nil
	}
	data, err := os.ReadFile(o.Binary)
	if err != nil {
		return err
	}
	_, err = o.Host.Put(host.FileSpec{Path: agentPath, Data: data, Mode: 0o755})
	return err
}
