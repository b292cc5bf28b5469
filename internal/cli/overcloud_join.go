package cli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path"

	"github.com/spf13/cobra"
)

// newNodeJoin prints what makes machines that somebody else installed the servers of a stack.
func newNodeJoin(a *app) *cobra.Command {
	stack := "overcloud"
	cmd := a.verb("join [SERVER...]", "Show the command that makes a machine somebody else installed a server of the stack", cobra.ArbitraryArgs,
		func(ctx context.Context, o *operator, args []string) error {
			found, err := o.deployedServers(ctx, stack)
			if err != nil {
				return err
			}
			want := map[string]bool{}
			for _, n := range args {
				want[n] = true
			}
			for _, s := range found {
				if len(args) > 0 && !want[s.name] {
					continue
				}
				delete(want, s.name)
				_, _ = fmt.Fprintf(a.stdout, "%s: %s\n", s.name, s.command)
			}
			for n := range want {
				return fmt.Errorf("stack %s has no deployed server %s", stack, n)
			}
			if len(found) == 0 {
				return fmt.Errorf("stack %s has no deployed servers: its plan has Nova and Ironic install the machines", stack)
			}
			return nil
		})
	cmd.Long = "Show, for each server of the stack that Nova does not install (OS::Heat::DeployedServer), the command to run on the machine that is to be it. " +
		"The command holds a secret: whoever has it reads what the node is told."
	cmd.Flags().StringVar(&stack, "stack", stack, "name of the stack")
	return cmd
}

type deployedServer struct{ name, command string }

// deployedServers finds the servers of a stack, at any depth, that wait for machines to join.
func (o *operator) deployedServers(ctx context.Context, stack string) ([]deployedServer, error) {
	c, err := o.s.Orchestration()
	if err != nil {
		return nil, err
	}
	v, _, err := o.call(ctx, c, http.MethodGet, below(c, "", "stacks", stack, "resources")+"?nested_depth=10&type=OS%3A%3AHeat%3A%3ADeployedServer", nil, nil)
	if err != nil {
		return nil, err
	}
	list, _ := lookup(v, "resources").([]any)
	var out []deployedServer
	for _, r := range list {
		parent := ""
		links, _ := lookup(r, "links").([]any)
		for _, l := range links {
			if u, err := url.Parse(str(lookup(l, "href"))); err == nil && str(lookup(l, "rel")) == "stack" {
				parent = path.Base(u.Path)
			}
		}
		nested, _, err := o.call(ctx, c, http.MethodGet, below(c, "", "stacks", parent), nil, nil)
		if err != nil {
			return nil, err
		}
		address := below(c, "", "stacks", str(lookup(nested, "stack", "stack_name")), parent, "resources", str(lookup(r, "resource_name")))
		full, _, err := o.call(ctx, c, http.MethodGet, address+"?with_attr=os_collect_config&with_attr=name", nil, nil)
		if err != nil {
			return nil, err
		}
		command, err := joinCommand(lookup(full, "resource", "attributes", "os_collect_config"))
		if err != nil {
			return nil, err
		}
		out = append(out, deployedServer{str(lookup(full, "resource", "attributes", "name")), command})
	}
	return out, nil
}

func joinCommand(config any) (string, error) {
	if u := str(lookup(config, "request", "metadata_url")); u != "" {
		return "tripleo-agent join '" + u + "'", nil
	}
	data, err := json.Marshal(config)
	if err != nil {
		return "", err
	}
	return "tripleo-agent join " + base64.StdEncoding.EncodeToString(data), nil
}
