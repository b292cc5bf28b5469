package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/spf13/cobra"
)

// workflowClient speaks to the workflow service where gophercloud has no call.
type workflowClient struct{ *gophercloud.ServiceClient }

func (a *app) workflowClient(ctx context.Context) (*workflowClient, error) {
	s, err := a.session(ctx)
	if err != nil {
		return nil, err
	}
	c, err := s.Workflow()
	if err != nil {
		return nil, err
	}
	return &workflowClient{c}, nil
}

func (c *workflowClient) send(ctx context.Context, method, path string, in, out any) error {
	opts := &gophercloud.RequestOpts{OkCodes: []int{200, 201, 202, 204}, JSONResponse: out}
	switch v := in.(type) {
	case nil:
	case string:
		opts.RawBody, opts.MoreHeaders = strings.NewReader(v), map[string]string{"Content-Type": "text/plain"}
	default:
		opts.JSONBody = v
	}
	_, err := c.Request(ctx, method, c.ServiceURL(path), opts) //nolint:bodyclose // gophercloud closes it: JSONResponse is set, or KeepResponseBody is not
	var bad gophercloud.ErrUnexpectedResponseCode
	if errors.As(err, &bad) {
		var fault struct{ Faultstring string }
		if json.Unmarshal(bad.Body, &fault) == nil && fault.Faultstring != "" {
			return errors.New(fault.Faultstring)
		}
	}
	return err
}

// timelineTask is a task of GET executions/ID/timeline; times are milliseconds
// since the start of the execution, nil before they come.
type timelineTask struct {
	ID, Name, State string
	Info            string `json:"state_info"`
	Depth           int
	Critical        bool
	Created         int64  `json:"created_ms"`
	Started         *int64 `json:"started_ms"`
	Finished        *int64 `json:"finished_ms"`
}

type timelineDoc struct {
	ID, State, Version string
	Workflow           string `json:"workflow_name"`
	Info               string `json:"state_info"`
	Duration           int64  `json:"duration_ms"`
	Tasks              []timelineTask
	Path               []string `json:"critical_path"`
}

func (d *timelineDoc) ended() bool {
	return d.State == "SUCCESS" || d.State == "ERROR" || d.State == "CANCELLED"
}

func newWorkflowRun(a *app) *cobra.Command {
	var name, params string
	var keep bool
	cmd := &cobra.Command{
		Use:   "run FILE [INPUT]",
		Short: "Run a workflow straight from a file, with its progress, and print its output",
		Long: `Run a workflow straight from a file, with its progress, and print its output.

The definitions of FILE are stored in a namespace of their own for the time of the run. INPUT is a JSON object or a file with one.
The workflow is the first of the file, or that of --workflow. The exit code is 1 unless the execution ends in SUCCESS.
An interrupt cancels the execution.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readDefinition(args[0])
			if err != nil {
				return err
			}
			input := ""
			if len(args) > 1 {
				if input, err = jsonArgument(args[1]); err != nil {
					return err
				}
			}
			return a.runWorkflow(cmd.Context(), runOptions{text: text, name: name, input: input, params: params, keep: keep})
		},
	}
	cmd.Flags().StringVarP(&name, "workflow", "w", "", "the workflow of the file to run")
	cmd.Flags().StringVarP(&params, "params", "p", "", `params of the execution, a JSON object, e.g. {"env": {…}}`)
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the definitions in their namespace")
	return cmd
}

// jsonArgument takes a JSON object or the name of a file with one.
func jsonArgument(s string) (string, error) {
	data := []byte(s)
	if !strings.HasPrefix(strings.TrimSpace(s), "{") {
		var err error
		if data, err = os.ReadFile(s); err != nil {
			return "", err
		}
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		return "", fmt.Errorf("the input is not a JSON object: %w", err)
	}
	return string(data), nil
}

type runOptions struct {
	text, name, input, params string
	keep                      bool
}

func (a *app) runWorkflow(ctx context.Context, o runOptions) error {
	book, list, err := definitions(o.text)
	if err != nil {
		return err
	}
	if o.name == "" {
		o.name = list[0].Name
	}
	target, kind := o.name, "workflows"
	if book != "" {
		target, kind = book+"."+o.name, "workbooks"
	}
	c, err := a.workflowClient(ctx)
	if err != nil {
		return err
	}
	namespace := "run-" + uuid.NewString()[:8]
	ns := "?namespace=" + namespace
	if err := c.send(ctx, http.MethodPost, kind+ns, o.text, nil); err != nil {
		return err
	}
	if !o.keep {
		defer func() {
			ctx := context.WithoutCancel(ctx)
			if book != "" {
				_ = c.send(ctx, http.MethodDelete, "workbooks/"+url.PathEscape(book)+ns, nil, nil)
				return
			}
			for _, w := range list {
				_ = c.send(ctx, http.MethodDelete, "workflows/"+url.PathEscape(w.Name)+ns, nil, nil)
			}
		}()
	}
	body := map[string]any{"workflow_name": target, "workflow_namespace": namespace, "description": "tripleo workflow run"}
	if o.input != "" {
		body["input"] = o.input
	}
	if o.params != "" {
		body["params"] = o.params
	}
	var x struct{ ID, Output string }
	if err := c.send(ctx, http.MethodPost, "executions", body, &x); err != nil {
		return err
	}
	doc, err := a.follow(ctx, c, x.ID)
	if err != nil {
		if ctx.Err() != nil {
			_ = c.send(context.WithoutCancel(ctx), http.MethodPut, "executions/"+x.ID, map[string]any{"state": "CANCELLED", "state_info": "interrupted"}, nil)
		}
		return err
	}
	if err := c.send(ctx, http.MethodGet, "executions/"+x.ID, nil, &x); err != nil {
		return err
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, []byte(x.Output), "", "  "); err == nil {
		x.Output = pretty.String()
	}
	if _, err := fmt.Fprintln(a.stdout, x.Output); err != nil {
		return err
	}
	if doc.State != "SUCCESS" {
		return fmt.Errorf("execution %s ended in %s: %s", x.ID, doc.State, strings.TrimSpace(doc.Info))
	}
	return nil
}

// follow prints each change of a task's state until the execution ends. The
// server answers when there is news.
func (a *app) follow(ctx context.Context, c *workflowClient, id string) (*timelineDoc, error) {
	shown := map[string]string{}
	seen := ""
	for {
		doc := &timelineDoc{}
		if err := c.send(ctx, http.MethodGet, "executions/"+id+"/timeline?wait=30&seen="+seen, nil, doc); err != nil {
			return nil, err
		}
		for _, t := range doc.Tasks {
			if shown[t.ID] == t.State {
				continue
			}
			shown[t.ID] = t.State
			if err := progressLine(a.stderr, doc, t); err != nil {
				return nil, err
			}
		}
		if doc.ended() {
			_, err := fmt.Fprintf(a.stderr, "%8s  %-9s %s\n", seconds(doc.Duration), doc.State, doc.Workflow)
			return doc, err
		}
		seen = doc.Version
	}
}

func progressLine(w io.Writer, doc *timelineDoc, t timelineTask) error {
	at := t.Created
	switch {
	case t.Finished != nil:
		at = *t.Finished
	case t.Started != nil:
		at = *t.Started
	}
	line := fmt.Sprintf("%8s  %-9s %s%s", seconds(at), t.State, strings.Repeat("  ", t.Depth), t.Name)
	if t.State == "ERROR" && t.Info != "" {
		line += ": " + firstLine(t.Info)
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

func seconds(ms int64) string { return fmt.Sprintf("%.3fs", float64(ms)/1000) }

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return s
}

func newWorkflowTimeline(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "timeline EXECUTION",
		Short: "Show when each task of an execution ran; * marks the critical path",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.workflowClient(cmd.Context())
			if err != nil {
				return err
			}
			path := "executions/" + url.PathEscape(args[0]) + "/timeline"
			if asJSON {
				var raw any
				if err := c.send(cmd.Context(), http.MethodGet, path, nil, &raw); err != nil {
					return err
				}
				enc := json.NewEncoder(a.stdout)
				enc.SetIndent("", "  ")
				return enc.Encode(raw)
			}
			doc := &timelineDoc{}
			if err := c.send(cmd.Context(), http.MethodGet, path, nil, doc); err != nil {
				return err
			}
			return drawTimeline(a.stdout, doc, 60)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the API's answer")
	return cmd
}

// drawTimeline prints a bar a task: "-" is waiting, "#" running.
func drawTimeline(w io.Writer, doc *timelineDoc, width int) error {
	total := max(doc.Duration, 1)
	name := len("task")
	for _, t := range doc.Tasks {
		name = max(name, min(2*t.Depth+len(t.Name), 48))
	}
	if _, err := fmt.Fprintf(w, "%s  %s  %s\n", doc.Workflow, doc.State, seconds(doc.Duration)); err != nil {
		return err
	}
	var critical int64
	for _, t := range doc.Tasks {
		end := doc.Duration
		if t.Finished != nil {
			end = *t.Finished
		}
		start := end
		if t.Started != nil {
			start = *t.Started
		}
		at := func(ms int64) int { return int(min(max(ms, 0), total) * int64(width) / total) }
		bar := []byte(strings.Repeat(" ", width+1))
		for i := at(t.Created); i < at(start); i++ {
			bar[i] = '-'
		}
		for i := at(start); i <= at(end); i++ {
			bar[i] = '#'
		}
		mark := " "
		if t.Critical {
			mark = "*"
			if t.Depth == 0 {
				critical += end - t.Created
			}
		}
		label := strings.Repeat("  ", t.Depth) + t.Name
		if len(label) > 48 {
			label = label[:47] + "…"
		}
		if _, err := fmt.Fprintf(w, "%s %-*s |%s| %9s %s\n", mark, name, label, bar, seconds(end-t.Created), t.State); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "critical path: %d tasks, %s of %s\n", len(doc.Path), seconds(critical), seconds(doc.Duration))
	return err
}
