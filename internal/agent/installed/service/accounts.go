package service

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

// packages makes sure that every package is there.
func (r *run) packages(ctx context.Context) error {
	want := r.service.Packages
	if len(want) == 0 {
		return nil
	}
	begin := r.Host.Now()
	have, err := r.installed(ctx, want)
	if err != nil {
		return err
	}
	var missing []string
	for _, p := range want {
		if have[p] == "" {
			missing = append(missing, p)
		}
	}
	if missing == nil {
		return nil
	}
	names := strings.Join(missing, " ")
	if !r.AllowApt {
		return r.fail("packages", names, errors.New("not in the image, and this agent may not install packages (add them to the image, or start the agent with --allow-apt)"))
	}
	cmd := append([]string{"apt-get", "install", "--yes", "--no-install-recommends", "--"}, missing...)
	if _, err := r.must(ctx, "packages", names, host.Command{Args: cmd}); err != nil {
		return err
	}
	r.report("packages", names, true, "installed", begin)
	return nil
}

// installed returns the versions of the packages that are installed.
func (r *run) installed(ctx context.Context, names []string) (map[string]string, error) {
	for _, n := range names {
		if n == "" || strings.HasPrefix(n, "-") || strings.ContainsAny(n, " \t\n*?[") {
			return nil, r.fail("packages", n, errors.New("this is no package name"))
		}
	}
	args := append([]string{"dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status} ${Version}\\n"}, names...)
	res, err := r.Host.Run.Run(ctx, host.Command{Args: args}) // code 1: some are unknown
	if err != nil {
		return nil, r.fail("packages", strings.Join(names, " "), err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(res.Stdout)) {
		f := strings.Fields(line)
		if len(f) == 3 && f[1] == "installed" {
			out[f[0]] = f[2]
		}
	}
	return out, nil
}

func (r *run) groups(ctx context.Context) error {
	for _, g := range r.service.Groups {
		begin := r.Host.Now()
		if _, err := r.Host.GroupID(g.Name); err == nil {
			continue
		} else if !errors.Is(err, host.ErrNoAccount) {
			return r.fail("group", g.Name, err)
		}
		args := []string{"groupadd", "--system"}
		if g.GID > 0 {
			args = append(args, "--gid", strconv.Itoa(g.GID))
		}
		if _, err := r.must(ctx, "group", g.Name, host.Command{Args: append(args, "--", g.Name)}); err != nil {
			return err
		}
		r.report("group", g.Name, true, "created", begin)
	}
	return nil
}

func (r *run) users(ctx context.Context) error {
	for _, u := range r.service.Users {
		begin := r.Host.Now()
		_, err := r.Host.Account(u.Name)
		switch {
		case errors.Is(err, host.ErrNoAccount):
			if _, err := r.must(ctx, "user", u.Name, host.Command{Args: useradd(u)}); err != nil {
				return err
			}
			r.report("user", u.Name, true, "created", begin)
		case err != nil:
			return r.fail("user", u.Name, err)
		}
		if err := r.memberships(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

func useradd(u User) []string {
	args := []string{"useradd", "--system"}
	if u.UID > 0 {
		args = append(args, "--uid", strconv.Itoa(u.UID))
	}
	if u.Group != "" {
		args = append(args, "--gid", u.Group)
	} else {
		args = append(args, "--user-group")
	}
	home, shell := u.Home, u.Shell
	if home == "" {
		home = path.Join("/var/lib", u.Name)
	}
	if shell == "" {
		shell = "/usr/sbin/nologin"
	}
	return append(args, "--home-dir", home, "--shell", shell, "--", u.Name)
}

// memberships adds the user to groups it is not in; it takes none away.
func (r *run) memberships(ctx context.Context, u User) error {
	if len(u.Groups) == 0 {
		return nil
	}
	begin := r.Host.Now()
	a, err := r.Host.Account(u.Name)
	if err != nil {
		return r.fail("user", u.Name, err)
	}
	var missing []string
	for _, g := range u.Groups {
		gid, err := r.Host.GroupID(g)
		if err != nil {
			return r.fail("user", u.Name, err)
		}
		if gid != a.GID && !slices.Contains(a.Groups, uint32(gid)) {
			missing = append(missing, g)
		}
	}
	if missing == nil {
		return nil
	}
	list := strings.Join(missing, ",")
	if _, err := r.must(ctx, "user", u.Name, host.Command{Args: []string{"usermod", "--append", "--groups", list, "--", u.Name}}); err != nil {
		return err
	}
	r.report("user", u.Name, true, fmt.Sprintf("added to %s", list), begin)
	return nil
}
