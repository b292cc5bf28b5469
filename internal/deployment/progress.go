package deployment

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// Waiting: woken when the stack changes, changes within gather are looked at together; looks anyway after maxLook,
// for what tells nobody (a foreign Heat).
const (
	gather      = 300 * time.Millisecond
	maxLook     = 2 * time.Second
	maxPause    = 4 * time.Second
	maxPages    = 100
	stageDone   = "done"
	stageFailed = "failed"
)

// follow waits until the stack of a plan has come to an end, and posts what changes meanwhile to the queue: inputs
// container, queue_name, type (of the messages), timeout (minutes). The result is
// {status: SUCCESS|FAILED, stack_status, message, failures}.
func follow(r *run, in input) (any, error) {
	container := in.str("container")
	if r.ac.Attempt > 1 { // woken: let what happens at the same time come together
		select {
		case <-time.After(gather):
		case <-r.ctx.Done():
			return nil, r.ctx.Err()
		}
	}
	st, err := r.findStack(container)
	if err != nil {
		return nil, err
	}
	if st == nil {
		return yaml11.MapOf("status", "FAILED", "stack_status", "DELETE_COMPLETE", "message", "The stack "+container+" was deleted.", "failures", []any{}), nil
	}
	status := text(st, "stack_status")
	if strings.HasSuffix(status, inProgress) {
		timeout, err := in.integer("timeout", 240)
		if err != nil {
			return nil, err
		}
		if r.ac.Now().Sub(r.ac.Started) > time.Duration(timeout+10)*time.Minute {
			return nil, fmt.Errorf("stack %s is still %s after %d minutes", container, status, timeout+10)
		}
		began := time.Now()
		if err := r.report(in, st); err != nil {
			return nil, err
		}
		select { // a look at a thousand machines is no small work: it may cost a tenth of the time
		case <-time.After(min(9*time.Since(began), maxPause)):
		case <-r.ctx.Done():
			return nil, r.ctx.Err()
		}
		return nil, actions.Wait(maxLook, "orchestration/stack/"+text(st, "id"))
	}
	if err := r.report(in, st); err != nil {
		return nil, err
	}
	if err := r.deleteObject(container+"-messages", r.progressObject()); err != nil {
		return nil, err
	}
	if strings.HasSuffix(status, "_COMPLETE") {
		return yaml11.MapOf("status", "SUCCESS", "stack_status", status, "message", "Overcloud deployed.", "failures", []any{}), nil
	}
	list, err := r.failures(st)
	if err != nil {
		return nil, err
	}
	return yaml11.MapOf("status", "FAILED", "stack_status", status, "message", failureText(list), "failures", list), nil
}

// failureText is one line a failure.
func failureText(list []any) string {
	var lines []string
	for _, f := range list {
		line := text(f, "path") + ": " + firstText(text(f, "cause"), text(f, "reason"))
		if p := text(f, "template"); p != "" {
			line += " (" + p + ")"
		}
		if n := text(f, "node"); n != "" {
			line = n + ": " + line
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// snapshot is how far a deployment is.
type snapshot struct {
	stage           string
	complete, total int
	nodes           map[string]nodeProgress
}

type nodeProgress struct {
	stage, detail string
	percent       int64
}

func (r *run) progressObject() string { return "progress/" + r.ac.ActionExecutionID + ".json" }

// report posts what changed since the last time.
func (r *run) report(in input, st *yaml11.OrderedMap) error {
	last := any(yaml11.NewMap())
	container := in.str("container") + "-messages"
	data, err := r.getObject(container, r.progressObject())
	if err == nil {
		if last, err = yaml11.DecodeJSON(data); err != nil {
			return err
		}
	} else if !isStatus(err, 404) {
		return err
	}
	snap, err := r.snapshot(st, last)
	if err != nil {
		return err
	}
	now := snap.value()
	delta, changed := progressDelta(last, now)
	if !changed {
		return nil
	}
	body, err := now.MarshalJSON()
	if err != nil {
		return err
	}
	if err := r.createContainer(container, nil); err != nil {
		return err
	}
	if err := r.putObject(container, r.progressObject(), body); err != nil {
		return err
	}
	payload := yaml11.MapOf("status", "RUNNING", "message", snap.text(), "deployment_status", "DEPLOYING", "plan_name", in.str("container"),
		"execution_id", r.ac.WorkflowExecutionID, "root_execution_id", r.ac.RootExecutionID,
		"execution", yaml11.MapOf("id", r.ac.WorkflowExecutionID, "root_execution_id", r.ac.RootExecutionID, "input", yaml11.MapOf("container", in.str("container"))),
		"progress", delta)
	return r.post(in.str("queue_name"), yaml11.MapOf("type", in.str("type"), "payload", payload))
}

// post puts one message on a queue.
func (r *run) post(queue string, body any) error {
	if queue == "" {
		return nil
	}
	c, err := r.s.Messaging(uuid.NewString())
	if err != nil {
		return err
	}
	msg := map[string]any{"messages": []any{map[string]any{"body": body, "ttl": 3600}}}
	_, err = r.request(c, http.MethodPost, versioned(c, "v2", "queues", url.PathEscape(queue), "messages"), msg, nil, 200, 201)
	return err
}

func (s *snapshot) text() string {
	return fmt.Sprintf("%s: %d of %d resources", s.stage, s.complete, s.total)
}

func (s *snapshot) value() *yaml11.OrderedMap {
	nodes := yaml11.NewMap()
	var names []string
	for n := range s.nodes {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		p := s.nodes[n]
		nodes.Set(n, yaml11.MapOf("stage", p.stage, "detail", p.detail, "percent", p.percent))
	}
	percent := int64(0)
	if s.total > 0 {
		percent = int64(100 * s.complete / s.total)
	}
	return yaml11.MapOf("stage", s.stage, "complete", int64(s.complete), "total", int64(s.total), "percent", percent, "nodes", nodes)
}

// progressDelta keeps of a snapshot only the nodes that changed since the last one.
func progressDelta(last any, now *yaml11.OrderedMap) (*yaml11.OrderedMap, bool) {
	out := now.Clone()
	changedNodes := yaml11.NewMap()
	nodes, _ := dig(now, "nodes").(*yaml11.OrderedMap)
	for n, v := range nodes.All() {
		old := dig(last, "nodes", n)
		if text(old, "stage") != text(v, "stage") || text(old, "detail") != text(v, "detail") || text(old, "percent") != text(v, "percent") {
			changedNodes.Set(n, v)
		}
	}
	out.Set("nodes", changedNodes)
	same := changedNodes.Len() == 0
	for _, k := range []string{"stage", "complete", "total"} {
		same = same && text(last, k) == text(now, k)
	}
	return out, !same
}

var stepName = regexp.MustCompile(`(?i)step_?(\d)`)

// snapshot looks at the stack's resources, its servers, the machines below them and the deployments on them. last is the
// snapshot before, whose nodes belong to the stack.
func (r *run) snapshot(st *yaml11.OrderedMap, last any) (*snapshot, error) {
	s := &snapshot{nodes: map[string]nodeProgress{}}
	working, err := r.count(st, s)
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	deployNames := map[string]string{}
	busy := []string{}
	labels := paths(working)
	for i, res := range working {
		ids[res.physicalID] = true
		if strings.HasSuffix(res.status, inProgress) {
			busy = append(busy, res.name)
			deployNames[res.physicalID] = label(labels[i])
		}
	}
	servers, err := r.stackServers(st, ids, last)
	if err != nil {
		return nil, err
	}
	var machines map[string]any
	building, unsettled := false, false
	for _, srv := range servers {
		status := text(srv, "status")
		building = building || status == "BUILD"
		unsettled = unsettled || status != "ACTIVE" && status != "ERROR"
	}
	if unsettled { // of the others nothing is said
		if machines, err = r.machines(); err != nil {
			return nil, err
		}
	}
	running, err := r.runningDeployments(deployNames)
	if err != nil {
		return nil, err
	}
	for _, srv := range servers {
		id := text(srv, "id")
		s.nodes[text(srv, "name")] = serverProgress(srv, machines[id], running[id])
	}
	s.stage = stageOf(text(st, "stack_status"), busy, building)
	return s, nil
}

// count counts the resources of a stack and returns those that are in progress. A Heat that does not count is asked for
// all of them, and all are returned.
func (r *run) count(st *yaml11.OrderedMap, s *snapshot) ([]resource, error) {
	working, counts, err := r.chosenResources(st, stackDepth, url.Values{"status": {"IN_PROGRESS"}, "with_counts": {"true"}})
	if err != nil {
		return nil, err
	}
	if counts != nil {
		for state, n := range counts.All() {
			k, _ := n.(int64)
			s.total += int(k)
			if strings.HasSuffix(state, "_COMPLETE") {
				s.complete += int(k)
			}
		}
		return working, nil
	}
	all, err := r.resources(st, stackDepth)
	if err != nil {
		return nil, err
	}
	s.total = len(all)
	for _, res := range all {
		if strings.HasSuffix(res.status, "_COMPLETE") {
			s.complete++
		}
	}
	return all, nil
}

// idsTogether is how many ids one request names.
const idsTogether = 100

// stackServers returns the servers of the stack: those among ids, those that the last snapshot had, and those of which
// the stack says so.
func (r *run) stackServers(st *yaml11.OrderedMap, ids map[string]bool, last any) ([]any, error) {
	servers, err := r.servers()
	if err != nil {
		return nil, err
	}
	var unknown []string
	for _, srv := range servers {
		id := text(srv, "id")
		switch {
		case ids[id]:
		case dig(last, "nodes", text(srv, "name")) != nil:
			ids[id] = true
		default:
			unknown = append(unknown, id)
		}
	}
	for len(unknown) > 0 {
		n := min(len(unknown), idsTogether)
		list, _, err := r.chosenResources(st, stackDepth, url.Values{"physical_resource_id": unknown[:n]})
		if err != nil {
			return nil, err
		}
		for _, res := range list {
			ids[res.physicalID] = true
		}
		unknown = unknown[n:]
	}
	return slices.DeleteFunc(servers, func(srv any) bool { return !ids[text(srv, "id")] }), nil
}

// label is the name of a resource for people: a member of a group, which is numbered, has that of its group.
func label(path string) string {
	parts := strings.Split(path, ".")
	for i := len(parts) - 1; i >= 0; i-- {
		if _, err := strconv.Atoi(parts[i]); err != nil {
			return parts[i]
		}
	}
	return path
}

func stageOf(status string, busy []string, building bool) string {
	if !strings.HasSuffix(status, inProgress) {
		if strings.HasSuffix(status, "_FAILED") {
			return stageFailed
		}
		return stageDone
	}
	step := ""
	network := false
	for _, n := range busy {
		if m := stepName.FindStringSubmatch(n); m != nil && (step == "" || m[1] > step) {
			step = m[1]
		}
		network = network || strings.Contains(n, "Network")
	}
	switch {
	case building:
		return "nodes"
	case step != "":
		return "step " + step
	case network:
		return "networks"
	case strings.HasPrefix(status, "DELETE"):
		return "deleting"
	}
	return "stack"
}

// serverProgress says in a word what a node does: from Nova's status, Ironic's state, and what runs on it.
func serverProgress(srv, machine any, deployment string) nodeProgress {
	switch text(srv, "status") {
	case "ACTIVE":
		if deployment != "" {
			return nodeProgress{stage: "configuring", detail: deployment, percent: -1}
		}
		return nodeProgress{stage: "installed", percent: -1}
	case "ERROR":
		return nodeProgress{stage: "failed", detail: text(srv, "fault", "message"), percent: -1}
	}
	if machine == nil {
		return nodeProgress{stage: "scheduling", percent: -1}
	}
	p := nodeProgress{stage: text(machine, "provision_state"), percent: -1}
	info := dig(machine, "driver_internal_info")
	p.detail = firstText(text(machine, "deploy_step", "step"), text(info, "agent_status_message"))
	if v, ok := dig(info, "deploy_progress").(int64); ok && p.detail == "write-image" {
		p.percent = v
	}
	return p
}

func firstText(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// machines returns the Ironic nodes by the server that is on them.
func (r *run) machines() (map[string]any, error) {
	c, err := r.s.Baremetal()
	if err != nil {
		return nil, err
	}
	list, err := r.pages(c, c.ServiceURL("nodes")+"?detail=True&associated=True&limit=1000", "nodes", "uuid")
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	for _, n := range list {
		out[text(n, "instance_uuid")] = n
	}
	return out, nil
}

// runningDeployments names, for each server, a deployment that runs on it.
func (r *run) runningDeployments(names map[string]string) (map[string]string, error) {
	c, err := r.s.Orchestration()
	if err != nil {
		return nil, err
	}
	var out any
	if _, err := r.request(c, http.MethodGet, c.ServiceURL("software_deployments")+"?status=IN_PROGRESS", nil, &out); err != nil { // a Heat that knows no status gives all
		return nil, err
	}
	list, _ := dig(out, "software_deployments").([]any)
	byServer := map[string]string{}
	for _, d := range list {
		if text(d, "status") != "IN_PROGRESS" {
			continue
		}
		if n := names[text(d, "id")]; n != "" {
			byServer[text(d, "server_id")] = n
		}
	}
	return byServer, nil
}

// pages reads a listing by markers until a page is empty or repeats.
func (r *run) pages(c *gophercloud.ServiceClient, u, key, id string) ([]any, error) {
	var all []any
	marker := ""
	for range maxPages {
		page := u
		if marker != "" {
			page += "&marker=" + url.QueryEscape(marker)
		}
		var out any
		if _, err := r.request(c, http.MethodGet, page, nil, &out); err != nil {
			return nil, err
		}
		list, _ := dig(out, key).([]any)
		all = append(all, list...)
		if len(list) < 1000 {
			return all, nil
		}
		marker = text(list[len(list)-1], id)
	}
	return all, nil
}
