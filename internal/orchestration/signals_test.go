package orchestration_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/users"

	"github.com/tripleo/tripleo/internal/agent/installed/collect"
	"github.com/tripleo/tripleo/internal/auth/ec2sig"
)

// as sends a request with a token of a user of a resource, as an agent would get one.
func (u *undercloud) as(userID, password, project, method, address string, body any) (int, string) {
	u.T.Helper()
	auth := map[string]any{"auth": map[string]any{"identity": map[string]any{"methods": []string{"password"}, "password": map[string]any{"user": map[string]any{"id": userID, "password": password}}},
		"scope": map[string]any{"project": map[string]any{"id": project}}}}
	b, err := json.Marshal(auth)
	if err != nil {
		u.T.Fatal(err)
	}
	req, err := http.NewRequestWithContext(u.T.Context(), http.MethodPost, u.AuthURL+"/auth/tokens", strings.NewReader(string(b)))
	if err != nil {
		u.T.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		u.T.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		u.T.Fatalf("token: %s", resp.Status)
	}
	if req, err = http.NewRequestWithContext(u.T.Context(), method, address, strings.NewReader(text(body))); err != nil {
		u.T.Fatal(err)
	}
	req.Header.Set("X-Auth-Token", resp.Header.Get("X-Subject-Token"))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Client-ID", "11111111-1111-4111-8111-111111111111")
	if resp, err = http.DefaultClient.Do(req); err != nil {
		u.T.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var out strings.Builder
	dec := json.NewDecoder(resp.Body)
	var v any
	if dec.Decode(&v) == nil {
		out.WriteString(text(v))
	}
	return resp.StatusCode, out.String()
}

// TestSignalTransports runs a deployment over each transport, from create to delete, and looks that the user
// of its resource goes with it.
func TestSignalTransports(t *testing.T) {
	u := newUndercloud(t)
	for _, transport := range []string{"CFN_SIGNAL", "TEMP_URL_SIGNAL", "HEAT_SIGNAL", "ZAQAR_SIGNAL", "NO_SIGNAL"} {
		t.Run(transport, func(t *testing.T) {
			u.T = t
			name := "s-" + strings.ToLower(strings.ReplaceAll(transport, "_", "-"))
			id := u.createStack(name, map[string]any{"template": hot + `resources:
  server: {type: OS::Heat::DeployedServer, properties: {deployment_swift_data: {container: c, object: o` + transport + `}}}
  config: {type: OS::Heat::SoftwareConfig, properties: {config: echo, group: script, outputs: [{name: result}]}}
  deploy: {type: OS::Heat::SoftwareDeployment, properties: {server: {get_resource: server}, config: {get_resource: config}, signal_transport: ` + transport + `}}
outputs:
  result: {value: {get_attr: [deploy, result]}}
`})
			if transport == "NO_SIGNAL" {
				u.stack(name, "CREATE_COMPLETE")
			} else {
				d := u.waiting(name)
				report := map[string]any{"result": "fine", "deploy_status_code": 0, "deploy_stdout": "o", "deploy_stderr": ""}
				u.report(d, id, report)
				if out := outputsOf(u.stack(name, "CREATE_COMPLETE")); out["result"] != "fine" {
					t.Errorf("outputs %v", out)
				}
			}
			u.request("DELETE", "stacks/"+name+"/"+id, nil)
			u.stack(name, "DELETE_COMPLETE")
			if n := u.stackUsers(); n != 0 {
				t.Errorf("%d users of resources are left", n)
			}
		})
	}
}

// waiting waits until the deployment of a stack is on its way and returns its config.
func (u *undercloud) waiting(stack string) map[string]any {
	u.T.Helper()
	var cfg map[string]any
	u.eventually("a deployment in progress", func() bool {
		if _, out := u.request("GET", "stacks?name="+stack, nil); strings.Contains(text(out), "FAILED") {
			u.T.Fatal(u.overview())
		}
		_, out := u.request("GET", "software_deployments", nil)
		l, _ := out["software_deployments"].([]any)
		for _, d := range l {
			m := d.(map[string]any)
			if m["status"] == "IN_PROGRESS" {
				_, c := u.request("GET", "software_configs/"+m["config_id"].(string), nil)
				cfg, _ = c["software_config"].(map[string]any)
				return cfg != nil
			}
		}
		return false
	})
	return cfg
}

// report sends the outcome of a deployment as heat-config-notify does.
func (u *undercloud) report(d map[string]any, stackID string, outputs map[string]any) {
	u.T.Helper()
	if input(d, "deploy_signal_id") != nil {
		u.signal(d, outputs)
		return
	}
	user, password, project := input(d, "deploy_user_id").(string), input(d, "deploy_password").(string), input(d, "deploy_project_id").(string)
	if q := input(d, "deploy_queue_id"); q != nil {
		code, out := u.as(user, password, project, "POST", u.URL+"/messaging/v2/queues/"+q.(string)+"/messages", map[string]any{"messages": []any{map[string]any{"body": outputs, "ttl": 600}}})
		if code != http.StatusCreated {
			u.T.Fatalf("message: %d %s", code, out)
		}
		return
	}
	base := u.URL + "/orchestration/v1/" + project + "/stacks/" + input(d, "deploy_stack_id").(string) + "/resources/"
	if code, out := u.as(user, password, project, "POST", base+"config/signal", outputs); code != 403 {
		u.T.Errorf("a signal to another resource: %d %s", code, out)
	}
	if code, out := u.as(user, password, project, "GET", u.URL+"/orchestration/v1/"+project+"/stacks", nil); code != 403 {
		u.T.Errorf("a list of stacks: %d %s", code, out)
	}
	if code, out := u.as(user, password, project, "GET", u.URL+"/network/v2.0/networks", nil); code != 403 {
		u.T.Errorf("a list of networks: %d %s", code, out)
	}
	if code, out := u.as(user, password, project, "GET", base+"server/metadata", nil); code != 403 {
		u.T.Errorf("metadata of another resource: %d %s", code, out)
	}
	if code, out := u.as(user, password, project, "POST", base+input(d, "deploy_resource_name").(string)+"/signal", outputs); code != http.StatusOK {
		u.T.Fatalf("signal: %d %s", code, out)
	}
	_ = stackID
}

// stackUsers counts the users in the domain of the resources' users.
func (u *undercloud) stackUsers() int {
	u.T.Helper()
	keystone, err := u.admin.Identity()
	if err != nil {
		u.T.Fatal(err)
	}
	var domains struct{ Domains []struct{ ID string } }
	if _, err := keystone.Get(u.T.Context(), keystone.ServiceURL("domains")+"?name=heat_stack", &domains, nil); err != nil {
		u.T.Fatal(err)
	}
	if len(domains.Domains) == 0 {
		return 0
	}
	pages, err := users.List(keystone, users.ListOpts{DomainID: domains.Domains[0].ID}).AllPages(u.T.Context())
	if err != nil {
		u.T.Fatal(err)
	}
	l, err := users.ExtractUsers(pages)
	if err != nil {
		u.T.Fatal(err)
	}
	return len(l)
}

// cfn calls the CloudFormation-compatible API with a signature of version 2.
func (u *undercloud) cfn(access, secret, action string, params map[string]string) (int, string) {
	u.T.Helper()
	p := map[string]string{"Action": action, "AWSAccessKeyId": access, "SignatureVersion": "2", "SignatureMethod": "HmacSHA256", "ContentType": "JSON"}
	for k, v := range params {
		p[k] = v
	}
	req := ec2sig.Request{Verb: "GET", Host: strings.TrimPrefix(u.URL, "http://"), Path: "/orchestration-cfn/v1/", Params: p}
	q := url.Values{"Signature": {req.V2(secret)}}
	for k, v := range p {
		q.Set(k, v)
	}
	return u.fetch("GET", u.URL+"/orchestration-cfn/v1/?"+q.Encode(), "")
}

// TestServerTransports boots a server with each transport and reads its metadata as its agent would.
func TestServerTransports(t *testing.T) {
	u := newUndercloud(t)
	u.ctlplane()
	for i, transport := range []string{"POLL_SERVER_CFN", "POLL_SERVER_HEAT", "ZAQAR_MESSAGE"} {
		t.Run(transport, func(t *testing.T) {
			u.T = t
			name := fmt.Sprintf("t%d", i)
			id := u.createStack(name, map[string]any{"template": hot + `resources:
  policy: {type: OS::Heat::AccessPolicy, properties: {AllowedResources: [other]}}
  other: {type: OS::Heat::TestResource, metadata: {secret: shared}}
  closed: {type: OS::Heat::TestResource, metadata: {secret: mine}}
  server: {type: OS::Nova::Server, metadata: {mine: 1}, properties: {flavor: baremetal, image: overcloud-full, user_data_format: SOFTWARE_CONFIG, software_config_transport: ` + transport + `}}
  config: {type: OS::Heat::SoftwareConfig, properties: {config: echo, group: script}}
  deploy: {type: OS::Heat::SoftwareDeployment, properties: {server: {get_resource: server}, config: {get_resource: config}, signal_transport: NO_SIGNAL, name: step}}
`})
			server := u.boot(1, "ACTIVE")[0]
			u.stack(name, "CREATE_COMPLETE")
			data, err := base64.StdEncoding.DecodeString(server["user_data"].(string))
			if err != nil {
				t.Fatal(err)
			}
			start := strings.Index(string(data), `{"mine"`)
			if start < 0 {
				t.Fatalf("user data %s", data)
			}
			dec := json.NewDecoder(strings.NewReader(string(data)[start:]))
			var first map[string]any
			if err := dec.Decode(&first); err != nil {
				t.Fatal(err)
			}
			occ := first["os-collect-config"].(map[string]any)
			get := func(m map[string]any, k string) string { s, _ := m[k].(string); return s }
			var got string
			switch transport {
			case "POLL_SERVER_CFN":
				c := occ["cfn"].(map[string]any)
				read := func(res string) (int, string) {
					return u.cfn(get(c, "access_key_id"), get(c, "secret_access_key"), "DescribeStackResource", map[string]string{"StackName": get(c, "stack_name"), "LogicalResourceId": res})
				}
				if get(c, "path") != "server.Metadata" || get(c, "metadata_url") != u.URL+"/orchestration-cfn/v1/" {
					t.Errorf("cfn %v", c)
				}
				_, got = read("server")
				if code, out := read("other"); code != 200 || !strings.Contains(out, "shared") {
					t.Errorf("what the policy allows: %d %s", code, out)
				}
				if code, out := read("closed"); code != 403 {
					t.Errorf("what the policy does not name: %d %s", code, out)
				}
				if code, out := u.cfn(get(c, "access_key_id"), "wrong", "DescribeStackResource", map[string]string{"StackName": name, "LogicalResourceId": "server"}); code != 401 {
					t.Errorf("a wrong key: %d %s", code, out)
				}
				if code, out := u.cfn(get(c, "access_key_id"), get(c, "secret_access_key"), "ListStacks", nil); code != 403 {
					t.Errorf("a list of stacks: %d %s", code, out)
				}
			case "POLL_SERVER_HEAT":
				c := occ["heat"].(map[string]any)
				_, got = u.as(get(c, "user_id"), get(c, "password"), get(c, "project_id"), "GET", u.URL+"/orchestration/v1/"+get(c, "project_id")+"/stacks/"+get(c, "stack_id")+"/resources/"+get(c, "resource_name")+"/metadata", nil)
			case "ZAQAR_MESSAGE":
				c := occ["zaqar"].(map[string]any)
				u.eventually("a message with the metadata", func() bool {
					_, got = u.as(get(c, "user_id"), get(c, "password"), get(c, "project_id"), "GET", u.URL+"/messaging/v2/queues/"+get(c, "queue_id")+"/messages?echo=true", nil)
					return strings.Contains(got, "deploy_action")
				})
			}
			if !strings.Contains(got, "deploy_action") || !strings.Contains(got, "step") {
				t.Errorf("metadata %s", got)
			}
			agent := collect.Server{Client: http.DefaultClient, Now: time.Now}
			if m, err := agent.Fetch(t.Context(), first); err != nil || !strings.Contains(text(m), "deploy_action") {
				t.Errorf("as the agent sees it: %v %v", m, err)
			}
			if _, err := agent.Fetch(t.Context(), first); !errors.Is(err, collect.ErrNotModified) {
				t.Errorf("nothing new: %v", err)
			}
			u.request("DELETE", "stacks/"+name+"/"+id, nil)
			u.stack(name, "DELETE_COMPLETE")
			if n := u.stackUsers(); n != 0 {
				t.Errorf("%d users of resources are left", n)
			}
		})
	}
}

// TestWaitConditions waits for signals to each kind of handle.
func TestWaitConditions(t *testing.T) {
	u := newUndercloud(t)
	for _, tc := range []struct{ name, handle, wait, data, body string }{
		{"heat-token", "OS::Heat::WaitConditionHandle", "OS::Heat::WaitCondition", "data", `{"status": "SUCCESS", "data": "d"}`},
		{"heat-cfn", "OS::Heat::WaitConditionHandle, properties: {signal_transport: CFN_SIGNAL}", "OS::Heat::WaitCondition", "data", `{"data": "d"}`},
		{"heat-swift", "OS::Heat::WaitConditionHandle, properties: {signal_transport: TEMP_URL_SIGNAL}", "OS::Heat::WaitCondition", "data", `{"data": "d"}`},
		{"aws", "AWS::CloudFormation::WaitConditionHandle", "AWS::CloudFormation::WaitCondition", "Data", `{"Status": "SUCCESS", "UniqueId": "1", "Data": "d", "Reason": "r"}`},
		{"update", "OS::Heat::UpdateWaitConditionHandle", "AWS::CloudFormation::WaitCondition", "Data", `{"Status": "SUCCESS", "UniqueId": "1", "Data": "d", "Reason": "r"}`},
		{"swift", "OS::Heat::SwiftSignalHandle", "OS::Heat::SwiftSignal", "data", `{"data": "d"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u.T = t
			handle, timeout := "handle", "timeout"
			if tc.data == "Data" {
				handle, timeout = "Handle", "Timeout"
			}
			id := u.createStack(tc.name, map[string]any{"template": hot + `resources:
  h: {type: ` + tc.handle + `}
  w: {type: ` + tc.wait + `, properties: {` + handle + `: {get_resource: h}, ` + timeout + `: 60}}
outputs:
  data: {value: {get_attr: [w, ` + tc.data + `]}}
  ref: {value: {get_resource: h}}
  all: {value: {get_attr: [h]}}
`})
			var res map[string]any
			u.eventually("the handle", func() bool {
				_, out := u.request("GET", "stacks/"+tc.name+"/"+id+"/resources/h", nil)
				res, _ = out["resource"].(map[string]any)
				if s := fmt.Sprint(res["resource_status"]); strings.HasSuffix(s, "FAILED") {
					t.Fatal(u.overview())
				}
				return res["resource_status"] == "CREATE_COMPLETE"
			})
			_, out := u.request("GET", "stacks/"+tc.name+"/"+id, nil)
			o := outputsOf(out["stack"].(map[string]any))
			attrs, _ := o["all"].(map[string]any)
			address, method := fmt.Sprint(o["ref"]), "PUT"
			switch {
			case tc.name == "heat-token":
				address, method = attrs["endpoint"].(string), "POST"
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(tc.body))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("X-Auth-Token", attrs["token"].(string))
				req.Header.Set("Content-Type", "application/json")
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Fatalf("signal: %s", resp.Status)
				}
				address = ""
			case strings.HasPrefix(tc.name, "heat-"):
				var s map[string]string
				if err := json.Unmarshal([]byte(attrs["signal"].(string)), &s); err != nil {
					t.Fatal(err)
				}
				address = s["alarm_url"]
			}
			if address != "" {
				if code, body := u.fetch(method, address, tc.body); code/100 != 2 {
					t.Fatalf("signal to %s: %d %s", address, code, body)
				}
			}
			if out := outputsOf(u.stack(tc.name, "CREATE_COMPLETE")); !strings.Contains(fmt.Sprint(out["data"]), `"d"`) {
				t.Errorf("data %v", out["data"])
			}
			u.request("DELETE", "stacks/"+tc.name+"/"+id, nil)
			u.stack(tc.name, "DELETE_COMPLETE")
			if n := u.stackUsers(); n != 0 {
				t.Errorf("%d users of resources are left", n)
			}
		})
	}
}

// TestCloudFormationAPI calls the API with an EC2 credential of a member.
func TestCloudFormationAPI(t *testing.T) {
	u := newUndercloud(t)
	u.createStack("one", map[string]any{"template": simple})
	u.stack("one", "CREATE_COMPLETE")
	keystone, err := u.admin.Identity()
	if err != nil {
		t.Fatal(err)
	}
	var made struct {
		Credential struct{ Access, Secret string }
	}
	if _, err := keystone.Post(t.Context(), keystone.ServiceURL("users", u.admin.UserID, "credentials", "OS-EC2"), map[string]any{"tenant_id": u.admin.ProjectID}, &made, nil); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		action string
		params map[string]string
		code   int
		want   string
	}{
		{"ListStacks", nil, 200, `"StackName":"one"`},
		{"DescribeStacks", map[string]string{"StackName": "one"}, 200, `"ParameterValue":"******"`},
		{"DescribeStackResources", map[string]string{"StackName": "one"}, 200, `"LogicalResourceId":"b"`},
		{"DescribeStackResource", map[string]string{"StackName": "one", "LogicalResourceId": "a"}, 200, `"ResourceStatus":"CREATE_COMPLETE"`},
		{"ListStackResources", map[string]string{"StackName": "one"}, 200, `"StackResourceSummaries"`},
		{"DescribeStackEvents", map[string]string{"StackName": "one"}, 200, `"EventId"`},
		{"GetTemplate", map[string]string{"StackName": "one"}, 200, "heat_template_version"},
		{"EstimateTemplateCost", nil, 200, "Url"},
		{"DescribeStackResource", map[string]string{"StackName": "one"}, 400, "LogicalResourceId"},
		{"DescribeStacks", map[string]string{"StackName": "none"}, 400, "could not be found"},
		{"Launch", nil, 400, "Launch"},
		{"DeleteStack", map[string]string{"StackName": "one"}, 200, "DeleteStackResult"},
	} {
		code, out := u.cfn(made.Credential.Access, made.Credential.Secret, tc.action, tc.params)
		if code != tc.code || !strings.Contains(out, tc.want) {
			t.Errorf("%s %v: %d %s", tc.action, tc.params, code, out)
		}
	}
	u.stack("one", "DELETE_COMPLETE")
	if code, out := u.fetch("GET", u.URL+"/orchestration-cfn/v1/?Action=ListStacks", ""); code != 401 || !strings.Contains(out, "<ErrorResponse><Error><Message>") {
		t.Errorf("without a signature: %d %s", code, out)
	}
}

// TestGivenUpDeploymentsFail: what a server was asked to do has failed when the operation that waits for it ends
// without it, in nested stacks too, and a late report changes nothing.
func TestGivenUpDeploymentsFail(t *testing.T) {
	u := newUndercloud(t)
	id := u.createStack("s", map[string]any{"disable_rollback": true, "template": hot + `resources:
  server: {type: OS::Heat::DeployedServer, properties: {deployment_swift_data: {container: c, object: o}}}
  config: {type: OS::Heat::SoftwareConfig, properties: {config: echo, group: script}}
  deploy: {type: OS::Heat::SoftwareDeployments, properties: {servers: {'0': {get_resource: server}}, config: {get_resource: config}}}
`})
	d := u.waiting("s")
	if code, out := u.request("POST", "stacks/s/"+id+"/actions", map[string]any{"cancel_without_rollback": nil}); code >= 300 {
		t.Fatal(code, out)
	}
	u.stack("s", "CREATE_FAILED")
	deployment := func() map[string]any {
		_, out := u.request("GET", "software_deployments", nil)
		return out["software_deployments"].([]any)[0].(map[string]any)
	}
	u.eventually("a failed deployment", func() bool { return deployment()["status"] == "FAILED" })
	u.signal(d, map[string]any{"deploy_status_code": 0})
	if got := deployment(); got["status"] != "FAILED" || got["status_reason"] != "Deployment cancelled." {
		t.Errorf("after a late report %v", got)
	}
}
