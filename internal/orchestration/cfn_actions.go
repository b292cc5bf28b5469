package orchestration

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/orchestration/engine"
	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// cfnCall is one request of the CloudFormation-compatible API.
type cfnCall struct {
	id     *auth.Identity
	params url.Values
}

// cfnActions maps actions to what answers them; users of resources may use those with open set.
func (s *Service) cfnActions() map[string]struct {
	open bool
	run  func(context.Context, cfnCall) (*Map, error)
} {
	type action = struct {
		open bool
		run  func(context.Context, cfnCall) (*Map, error)
	}
	return map[string]action{
		"DescribeStackResource":  {true, s.cfnResource},
		"DescribeStackResources": {false, s.cfnResources},
		"ListStackResources":     {false, s.cfnListResources},
		"DescribeStackEvents":    {false, s.cfnEvents},
		"DescribeStacks":         {false, s.cfnStacks},
		"ListStacks":             {false, s.cfnListStacks},
		"GetTemplate":            {false, s.cfnTemplate},
		"DeleteStack":            {false, s.cfnDelete},
		"CancelUpdateStack":      {false, s.cfnCancel},
		"EstimateTemplateCost": {false, func(context.Context, cfnCall) (*Map, error) {
			return yaml11.MapOf("Url", "http://en.wikipedia.org/wiki/Gratis"), nil // as Heat: there is no price
		}},
	}
}

func (s *Service) cfnAction(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return api.Invalid("the request could not be read").Wrap(err)
	}
	params := r.URL.Query()
	if form, err := url.ParseQuery(string(body)); err == nil && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		for k, v := range form {
			params[k] = v
		}
	}
	if params.Get("Action") == "" && r.Method == http.MethodGet {
		return api.WriteJSON(w, http.StatusMultipleChoices, map[string]any{"versions": []any{map[string]any{"id": "v1.0", "status": "CURRENT",
			"links": []any{map[string]any{"rel": "self", "href": strings.Replace(s.cfg.BaseURL, "/orchestration", "/orchestration-cfn", 1) + "/v1/"}}}}})
	}
	id, err := s.cfnCaller(r, params, body)
	if err != nil {
		return err
	}
	name := params.Get("Action")
	act, ok := s.cfnActions()[name]
	if !ok {
		return api.Invalid("the action %q is not available", name).Named("InvalidAction")
	}
	if stackUser(id) && !act.open || !id.HasRole(engine.UserRole, "reader", "member", "admin", "service") {
		return api.Forbidden("You are not authorized to %s.", name)
	}
	if (name == "DeleteStack" || name == "CancelUpdateStack") && !id.HasRole("member", "admin", "service") {
		return api.Forbidden("You are not authorized to %s.", name)
	}
	result, err := act.run(r.Context(), cfnCall{id, params})
	if err != nil {
		return err
	}
	if f := params.Get("ContentType"); f != "" && r.URL.Query().Get("ContentType") == "" {
		q := r.URL.Query()
		q.Set("ContentType", f)
		r.URL.RawQuery = q.Encode()
	}
	cfnWrite(w, r, http.StatusOK, name+"Response", yaml11.MapOf(name+"Result", result))
	return nil
}

// stack finds the stack that a parameter names, by name or identifier.
func (s *Service) cfnStack(ctx context.Context, c cfnCall) (*engine.Stack, error) {
	name := c.params.Get("StackName")
	if name == "" {
		return nil, api.Invalid("The request is missing an action or a required parameter: StackName")
	}
	where, args := "name = ? AND parent_id = '' AND deleted_at = 0", []any{name}
	if _, _, id, _, err := parseArn(name); err == nil {
		where, args = "id = ?", []any{id}
	}
	if stackUser(c.id) { // the name of its own stack, which may be a nested one
		where, args = "id = (SELECT stack_id FROM heat_users WHERE user_id = ?)", []any{c.id.UserID}
	} else if !c.id.IsAdmin() || !strings.HasPrefix(name, "arn:") {
		where, args = where+" AND project_id = ?", append(args, c.id.ProjectID)
	}
	var list []*engine.Stack
	err := s.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		list, err = engine.FindStacks(tx, where, args...)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(list) == 0 || stackUser(c.id) && list[0].Name != name && engine.Arn(list[0]) != name && list[0].Name+"/"+list[0].ID != name {
		return nil, stackNotFound(name)
	}
	return list[0], nil
}

func (s *Service) cfnResource(ctx context.Context, c cfnCall) (*Map, error) {
	st, err := s.cfnStack(ctx, c)
	if err != nil {
		return nil, err
	}
	name := c.params.Get("LogicalResourceId")
	if name == "" {
		return nil, api.Invalid("The request is missing an action or a required parameter: LogicalResourceId")
	}
	_, row, err := s.rowOf(ctx, st.ID, "", name)
	if err != nil {
		return nil, err
	}
	if ok, err := s.mayUse(ctx, c.id, st, row, false); err != nil || !ok {
		if err == nil {
			err = api.Forbidden("You are not authorized to read resource %s.", name)
		}
		return nil, err
	}
	meta, err := s.e.Metadata(ctx, row)
	if err != nil {
		return nil, err
	}
	return yaml11.MapOf("StackResourceDetail", yaml11.MapOf("Description", row.Def().Description, "LastUpdatedTimestamp", api.FormatTime(row.Updated), "LogicalResourceId", row.Name,
		"Metadata", hot.PyJSON(meta, false), "PhysicalResourceId", row.PhysicalID, "ResourceStatus", row.Action+"_"+row.Status, "ResourceStatusReason", row.Reason,
		"ResourceType", row.Type, "StackId", engine.Arn(st), "StackName", st.Name)), nil
}

func (s *Service) cfnRows(ctx context.Context, c cfnCall) (*engine.Stack, []*engine.Row, error) {
	st, err := s.cfnStack(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	var rows []*engine.Row
	err = s.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		rows, err = engine.FindRows(tx, "stack_id = ? AND replaced = 0 ORDER BY name", st.ID)
		return err
	})
	return st, rows, err
}

func (s *Service) cfnResources(ctx context.Context, c cfnCall) (*Map, error) {
	st, rows, err := s.cfnRows(ctx, c)
	if err != nil {
		return nil, err
	}
	out := []any{}
	for _, row := range rows {
		if n := c.params.Get("LogicalResourceId"); n != "" && n != row.Name {
			continue
		}
		out = append(out, yaml11.MapOf("StackId", engine.Arn(st), "StackName", st.Name, "LogicalResourceId", row.Name, "PhysicalResourceId", row.PhysicalID, "ResourceType", row.Type,
			"ResourceStatus", row.Action+"_"+row.Status, "ResourceStatusReason", row.Reason, "Timestamp", api.FormatTime(row.Updated), "Description", row.Def().Description))
	}
	return yaml11.MapOf("StackResources", out), nil
}

func (s *Service) cfnListResources(ctx context.Context, c cfnCall) (*Map, error) {
	_, rows, err := s.cfnRows(ctx, c)
	if err != nil {
		return nil, err
	}
	out := []any{}
	for _, row := range rows {
		out = append(out, yaml11.MapOf("LogicalResourceId", row.Name, "PhysicalResourceId", row.PhysicalID, "ResourceType", row.Type, "LastUpdatedTimestamp", api.FormatTime(row.Updated),
			"ResourceStatus", row.Action+"_"+row.Status, "ResourceStatusReason", row.Reason))
	}
	return yaml11.MapOf("StackResourceSummaries", out), nil
}

// cfnEventLimit bounds the events of one answer.
const cfnEventLimit = 1000

func (s *Service) cfnEvents(ctx context.Context, c cfnCall) (*Map, error) {
	st, err := s.cfnStack(ctx, c)
	if err != nil {
		return nil, err
	}
	out := []any{}
	events, _, err := s.e.Events(ctx, engine.EventQuery{StackID: st.ID, RootID: st.RootID, Depth: st.Depth, Limit: cfnEventLimit, Descending: true})
	for _, e := range events {
		out = append(out, yaml11.MapOf("EventId", e.ID, "StackId", engine.Arn(st), "StackName", st.Name, "LogicalResourceId", e.ResourceName, "PhysicalResourceId", e.PhysicalID,
			"ResourceType", e.ResourceType, "ResourceStatus", e.Action+"_"+e.Status, "ResourceStatusReason", e.Reason, "Timestamp", api.FormatTime(e.Created)))
	}
	return yaml11.MapOf("StackEvents", out), err
}

func (s *Service) cfnStacks(ctx context.Context, c cfnCall) (*Map, error) {
	var list []*engine.Stack
	if c.params.Get("StackName") != "" {
		st, err := s.cfnStack(ctx, c)
		if err != nil {
			return nil, err
		}
		list = append(list, st)
	} else if err := s.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		list, err = engine.FindStacks(tx, "project_id = ? AND parent_id = '' AND deleted_at = 0 ORDER BY created_at DESC", c.id.ProjectID)
		return err
	}); err != nil {
		return nil, err
	}
	out := []any{}
	for _, st := range list {
		params, outputs := []any{}, []any{}
		if look, err := s.e.Look(ctx, st.ID); err == nil {
			for _, p := range look.Template().Parameters {
				params = append(params, yaml11.MapOf("ParameterKey", p.Name, "ParameterValue", showText(p, look.Params()[p.Name])))
			}
		}
		for k, v := range st.Outputs.All() {
			outputs = append(outputs, yaml11.MapOf("OutputKey", k, "OutputValue", hot.PyStr(v), "Description", ""))
		}
		out = append(out, yaml11.MapOf("StackId", engine.Arn(st), "StackName", st.Name, "Description", st.Description, "CreationTime", api.FormatTime(st.Created), "LastUpdatedTime", api.FormatTime(st.Updated),
			"StackStatus", st.Action+"_"+st.Status, "StackStatusReason", st.Reason, "DisableRollback", st.DisableRollback, "TimeoutInMinutes", st.TimeoutMins, "NotificationARNs", []any{}, "Capabilities", []any{},
			"Parameters", params, "Outputs", outputs))
	}
	return yaml11.MapOf("Stacks", out), nil
}

func (s *Service) cfnListStacks(ctx context.Context, c cfnCall) (*Map, error) {
	out := []any{}
	err := s.cfg.DB.View(ctx, func(tx *store.Tx) error {
		list, err := engine.FindStacks(tx, "project_id = ? AND parent_id = '' AND deleted_at = 0 ORDER BY created_at DESC", c.id.ProjectID)
		for _, st := range list {
			out = append(out, yaml11.MapOf("StackId", engine.Arn(st), "StackName", st.Name, "TemplateDescription", st.Description, "CreationTime", api.FormatTime(st.Created),
				"StackStatus", st.Action+"_"+st.Status, "StackStatusReason", st.Reason))
		}
		return err
	})
	return yaml11.MapOf("StackSummaries", out), err
}

func (s *Service) cfnTemplate(ctx context.Context, c cfnCall) (*Map, error) {
	st, err := s.cfnStack(ctx, c)
	if err != nil {
		return nil, err
	}
	t, _, _, err := s.e.Source(ctx, st)
	if err != nil {
		return nil, err
	}
	return yaml11.MapOf("TemplateBody", hot.PyJSON(t.Value(), false)), nil
}

func (s *Service) cfnDelete(ctx context.Context, c cfnCall) (*Map, error) {
	st, err := s.cfnStack(ctx, c)
	if err != nil {
		return nil, err
	}
	_, err = s.e.DeleteStack(ctx, st.ID, false)
	return yaml11.NewMap(), err
}

func (s *Service) cfnCancel(ctx context.Context, c cfnCall) (*Map, error) {
	st, err := s.cfnStack(ctx, c)
	if err != nil {
		return nil, err
	}
	return yaml11.NewMap(), s.e.Cancel(ctx, st.ID, true)
}
