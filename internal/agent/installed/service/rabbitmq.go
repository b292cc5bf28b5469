package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

const brokerInterval = time.Second

// Broker manages the accounts of a message broker. rabbitmqctl is behind it: the broker's only other interface is a plugin
// that has to be switched on and costs memory on every node.
type Broker interface {
	Ready(ctx context.Context) error
	Users(ctx context.Context) (map[string][]string, error) // name -> tags
	Check(ctx context.Context, user, password string) (bool, error)
	AddUser(ctx context.Context, user, password string) error
	SetPassword(ctx context.Context, user, password string) error
	SetTags(ctx context.Context, user string, tags []string) error
	DeleteUser(ctx context.Context, user string) error
	VHosts(ctx context.Context) ([]string, error)
	AddVHost(ctx context.Context, vhost string) error
	Permissions(ctx context.Context, vhost string) (map[string]Permission, error) // user -> permission
	SetPermission(ctx context.Context, user string, p Permission) error
}

func (r *run) rabbitmq(ctx context.Context) error {
	q := r.service.RabbitMQ
	if q == nil || (flagOr(q.BootstrapOnly, true) && !r.bootstrap) {
		return nil
	}
	if err := r.until(ctx, q.Timeout.or(dbTimeout), brokerInterval, r.Broker.Ready); err != nil {
		return r.fail("rabbitmq", "broker", err)
	}
	vhosts, err := r.Broker.VHosts(ctx)
	if err != nil {
		return r.fail("rabbitmq", "virtual hosts", err)
	}
	for _, v := range q.VHosts {
		if slices.Contains(vhosts, v) {
			continue
		}
		begin := r.Host.Now()
		if err := r.Broker.AddVHost(ctx, v); err != nil {
			return r.fail("rabbitmq", "vhost "+v, err)
		}
		r.report("rabbitmq", "vhost "+v, true, "created", begin)
	}
	users, err := r.Broker.Users(ctx)
	if err != nil {
		return r.fail("rabbitmq", "users", err)
	}
	for _, u := range q.Users {
		if err := r.rabbitUser(ctx, u, users); err != nil {
			return r.fail("rabbitmq", "user "+u.Name, err)
		}
	}
	if err := r.rabbitPermissions(ctx, q.Users); err != nil {
		return err
	}
	for _, name := range q.AbsentUsers {
		if _, there := users[name]; !there {
			continue
		}
		begin := r.Host.Now()
		if err := r.Broker.DeleteUser(ctx, name); err != nil {
			return r.fail("rabbitmq", "user "+name, err)
		}
		r.report("rabbitmq", "user "+name, true, "removed", begin)
	}
	return nil
}

func (r *run) rabbitUser(ctx context.Context, u RabbitUser, users map[string][]string) error {
	begin := r.Host.Now()
	if u.Password == "" {
		return errors.New("it has no password")
	}
	tags, there := users[u.Name]
	if !there {
		if err := r.Broker.AddUser(ctx, u.Name, u.Password); err != nil {
			return err
		}
		r.report("rabbitmq", "user "+u.Name, true, "created", begin)
	} else if ok, err := r.Broker.Check(ctx, u.Name, u.Password); err != nil {
		return err
	} else if !ok {
		if err := r.Broker.SetPassword(ctx, u.Name, u.Password); err != nil {
			return err
		}
		r.report("rabbitmq", "user "+u.Name, true, "password set", begin)
	}
	if u.Tags != nil && !slices.Equal(slices.Sorted(slices.Values(tags)), slices.Sorted(slices.Values(u.Tags))) {
		if err := r.Broker.SetTags(ctx, u.Name, u.Tags); err != nil {
			return err
		}
		r.report("rabbitmq", "user "+u.Name, true, "tags "+strings.Join(u.Tags, " "), begin)
	}
	return nil
}

func (r *run) rabbitPermissions(ctx context.Context, users []RabbitUser) error {
	have := map[string]map[string]Permission{}
	for _, u := range users {
		perms := u.Permissions
		if perms == nil {
			perms = []Permission{{VHost: "/", Configure: ".*", Write: ".*", Read: ".*"}}
		}
		for _, p := range perms {
			begin := r.Host.Now()
			if have[p.VHost] == nil {
				m, err := r.Broker.Permissions(ctx, p.VHost)
				if err != nil {
					return r.fail("rabbitmq", "vhost "+p.VHost, err)
				}
				have[p.VHost] = m
			}
			if have[p.VHost][u.Name] == p {
				continue
			}
			if err := r.Broker.SetPermission(ctx, u.Name, p); err != nil {
				return r.fail("rabbitmq", "user "+u.Name, err)
			}
			r.report("rabbitmq", "user "+u.Name, true, "permissions on "+p.VHost, begin)
		}
	}
	return nil
}

// rabbitctl is the Broker that runs rabbitmqctl. Passwords go in on stdin: arguments are seen by every process.
type rabbitctl struct{ host *host.Host }

func (b rabbitctl) run(ctx context.Context, stdin string, args ...string) (string, int, error) {
	cmd := host.Command{Args: append([]string{"rabbitmqctl", "--quiet"}, args...), Stdin: []byte(stdin), User: "rabbitmq"}
	res, err := b.host.Run.Run(ctx, cmd)
	if err != nil {
		return "", 0, err
	}
	if res.Code != 0 {
		return "", res.Code, fmt.Errorf("%s: exit code %d: %s", cmd.String(), res.Code, lastLines(res, 5))
	}
	return string(res.Stdout), 0, nil
}

func (b rabbitctl) do(ctx context.Context, stdin string, args ...string) error {
	_, _, err := b.run(ctx, stdin, args...)
	return err
}

func (b rabbitctl) list(ctx context.Context, v any, args ...string) error {
	out, _, err := b.run(ctx, "", append(args, "--formatter", "json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), v); err != nil {
		return fmt.Errorf("rabbitmqctl %s: unexpected answer: %w", strings.Join(args, " "), err)
	}
	return nil
}

func (b rabbitctl) Ready(ctx context.Context) error {
	return b.do(ctx, "", "await_startup", "--timeout", "60")
}

func (b rabbitctl) Users(ctx context.Context) (map[string][]string, error) {
	var rows []struct {
		User string   `json:"user"`
		Tags []string `json:"tags"`
	}
	if err := b.list(ctx, &rows, "list_users"); err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for _, row := range rows {
		out[row.User] = row.Tags
	}
	return out, nil
}

func (b rabbitctl) Check(ctx context.Context, user, password string) (bool, error) {
	_, code, err := b.run(ctx, password+"\n", "authenticate_user", "--", user)
	if code == 65 { // EX_DATAERR: the broker refused the credentials
		return false, nil
	}
	return err == nil, err
}

func (b rabbitctl) AddUser(ctx context.Context, user, password string) error {
	return b.do(ctx, password+"\n", "add_user", "--", user)
}

func (b rabbitctl) SetPassword(ctx context.Context, user, password string) error {
	return b.do(ctx, password+"\n", "change_password", "--", user)
}

func (b rabbitctl) SetTags(ctx context.Context, user string, tags []string) error {
	return b.do(ctx, "", append([]string{"set_user_tags", "--", user}, tags...)...)
}

func (b rabbitctl) DeleteUser(ctx context.Context, user string) error {
	return b.do(ctx, "", "delete_user", "--", user)
}

func (b rabbitctl) VHosts(ctx context.Context) ([]string, error) {
	var rows []struct {
		Name string `json:"name"`
	}
	if err := b.list(ctx, &rows, "list_vhosts"); err != nil {
		return nil, err
	}
	var out []string
	for _, row := range rows {
		out = append(out, row.Name)
	}
	return out, nil
}

func (b rabbitctl) AddVHost(ctx context.Context, vhost string) error {
	return b.do(ctx, "", "add_vhost", "--", vhost)
}

func (b rabbitctl) Permissions(ctx context.Context, vhost string) (map[string]Permission, error) {
	var rows []struct {
		User      string `json:"user"`
		Configure string `json:"configure"`
		Write     string `json:"write"`
		Read      string `json:"read"`
	}
	if err := b.list(ctx, &rows, "list_permissions", "--vhost", vhost); err != nil {
		return nil, err
	}
	out := map[string]Permission{}
	for _, row := range rows {
		out[row.User] = Permission{VHost: vhost, Configure: row.Configure, Write: row.Write, Read: row.Read}
	}
	return out, nil
}

func (b rabbitctl) SetPermission(ctx context.Context, user string, p Permission) error {
	return b.do(ctx, "", "set_permissions", "--vhost", p.VHost, "--", user, p.Configure, p.Write, p.Read)
}
