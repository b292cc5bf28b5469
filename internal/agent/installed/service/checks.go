package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

const (
	checkTimeout  = 180 * time.Second // a controller that starts twenty services at once on few cores takes its time
	checkInterval = 300 * time.Millisecond
	oneTry        = 10 * time.Second
	// A client's command may take that long to start on a node that has just got much to do.
	oneCommand = 60 * time.Second
)

// checks waits until each check of the service passes.
func (r *run) checks(ctx context.Context) error {
	for _, c := range r.service.Checks {
		begin := r.Host.Now()
		err := r.until(ctx, c.Timeout.or(checkTimeout), checkInterval, func(ctx context.Context) error {
			limit := oneTry
			if c.Type == "command" {
				limit = oneCommand
			}
			ctx, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			return r.check(ctx, c)
		})
		if err != nil {
			return r.fail("check", c.label(), err)
		}
		r.report("check", c.label(), false, "", begin)
	}
	return nil
}

func (c Check) label() string {
	if c.Name != "" {
		return c.Name
	}
	return strings.TrimSpace(c.Type + " " + c.URL + c.Address + c.Unit)
}

func (r *run) check(ctx context.Context, c Check) error {
	switch c.Type {
	case "http":
		return r.checkHTTP(ctx, c)
	case "tcp":
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.Address)
		if err != nil {
			return err
		}
		return conn.Close()
	case "unit":
		st, err := r.show(ctx, c.Unit)
		if err == nil && st.Active != "active" {
			err = fmt.Errorf("it is %s (%s)", st.Active, st.Sub)
		}
		return err
	case "mysql":
		db, err := r.SQL.Open(MySQL{Address: c.Address})
		if err != nil {
			return err
		}
		err = db.PingContext(ctx)
		return errors.Join(err, db.Close())
	default: // command; ParseSpec let nothing else through
		res, err := r.Host.Run.Run(ctx, host.Command{Args: c.Command, User: c.User, Env: envList(c.Env)})
		if err == nil && res.Code != 0 {
			err = fmt.Errorf("exit code %d: %s", res.Code, lastLines(res, 5))
		}
		return err
	}
}

func (r *run) checkHTTP(ctx context.Context, c Check) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, nil)
	if err != nil {
		return finalError{err}
	}
	resp, err := r.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return err
	}
	want := c.Status
	if len(want) == 0 {
		want = []int{http.StatusOK}
	}
	if !slices.Contains(want, resp.StatusCode) {
		return fmt.Errorf("%s answered %s, expected %v", c.URL, resp.Status, want)
	}
	if c.Contains != "" && !strings.Contains(string(body), c.Contains) {
		return fmt.Errorf("%s answered without %q", c.URL, c.Contains)
	}
	return nil
}
