package resources

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

func waitTypes() []*Type {
	return []*Type{
		heatWaitConditionHandle(), waitCondition("OS::Heat::WaitCondition", "handle", "timeout", "count", "data"),
		awsWaitConditionHandle("AWS::CloudFormation::WaitConditionHandle", false), awsWaitConditionHandle("OS::Heat::UpdateWaitConditionHandle", true),
		waitCondition("AWS::CloudFormation::WaitCondition", "Handle", "Timeout", "Count", "Data"),
		swiftSignalHandle(), swiftSignal(),
	}
}

// heatWaitConditionHandle takes signals {status, reason, data, id} and keeps them by id.
func heatWaitConditionHandle() *Type {
	kind := func(r *Resource) string { return r.Props.Str("signal_transport") }
	return &Type{Name: "OS::Heat::WaitConditionHandle",
		Create: func(ctx context.Context, r *Resource) (Step, error) {
			if _, err := signalling(ctx, r, kind(r), "waitcondition"); err != nil {
				return Step{}, err
			}
			if kind(r) == TokenSignal && r.Str("token") == "" {
				s, err := r.Host.UserSession(ctx, r)
				if err != nil {
					return Step{}, err
				}
				u, err := r.Host.StackUser(ctx, r)
				if err != nil {
					return Step{}, err
				}
				r.Data["token"], r.Data["endpoint"] = s.Provider.Token(), r.Host.HeatSignalURL(r, u.ProjectID)
			}
			return Done(), r.SetID(ctx, r.PhysicalName(0))
		},
		Update: func(context.Context, *Resource) (Step, error) { return Done(), nil },
		Delete: deleteSignals, Signal: keepSignal,
		Attr: func(ctx context.Context, r *Resource, name string) (any, error) {
			switch token := r.Str("token"); name {
			case "signal":
				m, err := signalling(ctx, r, kind(r), "waitcondition")
				return hot.PyJSON(m, false), err
			case "curl_cli":
				if token == "" {
					return nil, nil
				}
				return "curl -i -X POST -H 'X-Auth-Token: " + token + "' -H 'Content-Type: application/json' -H 'Accept: application/json' " + r.Str("endpoint"), nil
			}
			if v := r.Str(name); v != "" {
				return v, nil
			}
			return nil, nil
		},
	}
}

// awsWaitConditionHandle is known by its signed address. update: every update makes a new one, so that new
// signals are waited for.
func awsWaitConditionHandle(name string, update bool) *Type {
	t := &Type{Name: name, AlwaysUpdate: update,
		Create: func(ctx context.Context, r *Resource) (Step, error) {
			u, err := signedURL(ctx, r, "waitcondition", "PUT")
			if err != nil {
				return Step{}, err
			}
			r.Data["url"] = u
			return Done(), r.SetID(ctx, r.PhysicalName(0))
		},
		Update: func(context.Context, *Resource) (Step, error) { return Done(), nil },
		Delete: deleteSignals, Signal: keepSignal, Attr: noAttr,
		Ref: func(r *Resource) any {
			if u := r.Str("url"); u != "" {
				return u
			}
			return hot.Unknown{}
		},
	}
	if update {
		t.Update = func(context.Context, *Resource) (Step, error) { return Replace(), nil }
	}
	return t
}

// keepSignal stores a signal in the words of OS::Heat or of AWS.
func keepSignal(ctx context.Context, r *Resource, body any) error {
	m := asMap(body)
	signals, _ := yaml11.Normalize(r.Data["signals"]).(*Map)
	if signals == nil {
		signals = yaml11.NewMap()
	}
	field := func(missing string, names ...string) string {
		for _, n := range names {
			if v, ok := m.Get(n); ok && v != nil {
				return hot.PyStr(v)
			}
		}
		return missing
	}
	n := signals.Len() + 1
	id, status := field(fmt.Sprint(n), "id", "UniqueId"), strings.ToUpper(field("SUCCESS", "status", "Status"))
	if status != "SUCCESS" && status != "FAILURE" {
		return fmt.Errorf("status must be SUCCESS or FAILURE, got %q", status)
	}
	if signals.Len() >= maxSignals {
		return fmt.Errorf("the handle has %d signals already", maxSignals)
	}
	data, _ := m.Get("data")
	if d, ok := m.Get("Data"); ok {
		data = d
	}
	signals.Set(id, yaml11.MapOf("status", status, "reason", field(fmt.Sprintf("Signal %d received", n), "reason", "Reason"), "data", data))
	r.Data["signals"] = signals
	return r.Host.Save(ctx, r)
}

// maxSignals bounds what a handle keeps.
const maxSignals = 10_000

// PollHandle takes in the signals that wait for a handle where its transport puts them.
func PollHandle(ctx context.Context, r *Resource) error {
	t := r.Props.Str("signal_transport")
	if t == NoSignal && r.Data["signals"] == nil {
		return keepSignal(ctx, r, nil)
	}
	_, err := polled(ctx, r, t, func(body any) error { return keepSignal(ctx, r, body) })
	return err
}

// HandleOf reads which resource of which stack a signed address is for.
func HandleOf(handle string) (stackID, resource string, ok bool) {
	u, err := url.Parse(handle)
	if err != nil || !strings.Contains(handle, "://") {
		return "", "", false
	}
	parts := strings.Split(u.Path, "/")
	for i, p := range parts {
		if p == "resources" && i > 0 && i+1 < len(parts) {
			return parts[i-1], parts[i+1], true
		}
	}
	return "", "", false
}

func waitCondition(name, handle, timeout, count, data string) *Type {
	step := func(ctx context.Context, r *Resource) (Step, error) {
		return waitForSignals(ctx, r, handle, timeout, count)
	}
	return &Type{Name: name, Create: step, Update: step,
		Attr: func(ctx context.Context, r *Resource, attr string) (any, error) {
			if attr != data {
				return nil, nil
			}
			signals, err := r.Host.Signals(ctx, r, r.Props.Str(handle))
			if err != nil {
				return nil, err
			}
			out := yaml11.NewMap()
			for id, v := range signals.All() {
				out.Set(id, get(v.(*Map), "data"))
			}
			return hot.PyJSON(out, false), nil
		},
	}
}

func waitForSignals(ctx context.Context, r *Resource, handle, timeout, count string) (Step, error) {
	if r.PhysicalID == "" {
		if err := r.SetID(ctx, r.PhysicalName(0)); err != nil {
			return Step{}, err
		}
	}
	signals, err := r.Host.Signals(ctx, r, r.Props.Str(handle))
	if err != nil {
		return Step{}, err
	}
	return enough(r, signals, number(r.Props.Get(timeout)), int(r.Props.Int(count)), "WaitCondition")
}

// enough tells whether the signals say that the waiting is over.
func enough(r *Resource, signals *Map, timeout float64, count int, what string) (Step, error) {
	good := 0
	var bad []string
	for _, v := range signals.All() {
		m := v.(*Map)
		if str(m, "status") == "SUCCESS" {
			good++
		} else {
			bad = append(bad, str(m, "reason"))
		}
	}
	if len(bad) > 0 {
		return Step{}, Failed("%sFailure: %s", what, strings.Join(bad, ";"))
	}
	if good >= count {
		return Done(), nil
	}
	left := r.Begun.Add(time.Duration(timeout * float64(time.Second))).Sub(r.Host.Now())
	if left <= 0 {
		return Step{}, Failed("%sTimeout: %d of %d received", what, good, count)
	}
	return Wait(min(left, signalPoll)), nil
}

// swiftSignalHandle is an object of Swift that machines write signals to; versions keep those that follow
// each other.
func swiftSignalHandle() *Type {
	endpoint := func(ctx context.Context, r *Resource) (string, error) {
		s, err := r.swift(ctx)
		if err != nil {
			return "", err
		}
		return s.tempURL(ctx, r, "PUT", r.StackID, r.PhysicalName(0))
	}
	return &Type{Name: "OS::Heat::SwiftSignalHandle",
		Create: func(ctx context.Context, r *Resource) (Step, error) {
			s, err := r.swift(ctx)
			if err != nil {
				return Step{}, err
			}
			if _, _, err := s.do(ctx, "PUT", url.PathEscape(r.StackID), map[string]string{"X-Versions-Location": r.StackID}, []byte{}); err != nil {
				return Step{}, err
			}
			u, err := endpoint(ctx, r)
			if err != nil {
				return Step{}, err
			}
			r.Data["url"] = u
			return Done(), r.SetID(ctx, r.PhysicalName(0))
		},
		Delete: func(ctx context.Context, r *Resource) (Step, error) {
			s, err := r.swift(ctx)
			if err != nil {
				return Step{}, err
			}
			for range maxSignals { // each deletion brings the version before back
				_, _, err := s.do(ctx, "DELETE", objectPath(r.StackID, r.PhysicalName(0)), nil, nil)
				if isNotFound(err) {
					break
				}
				if err != nil {
					return Step{}, err
				}
			}
			return Done(), s.drop(ctx, r.StackID, r.PhysicalName(0))
		},
		Ref: func(r *Resource) any { return r.Str("url") },
		Attr: func(_ context.Context, r *Resource, name string) (any, error) {
			switch name {
			case "endpoint":
				return r.Str("url"), nil
			case "curl_cli":
				return "curl -i -X PUT '" + r.Str("url") + "'", nil
			}
			return "", nil
		},
	}
}

func swiftSignal() *Type {
	step := func(ctx context.Context, r *Resource) (Step, error) {
		if r.PhysicalID == "" {
			if err := r.SetID(ctx, r.PhysicalName(0)); err != nil {
				return Step{}, err
			}
		}
		signals, topic, err := swiftSignals(ctx, r)
		if err != nil {
			return Step{}, err
		}
		st, err := enough(r, signals, number(r.Props.Get("timeout")), int(r.Props.Int("count")), "SwiftSignal")
		st.Topics = append(st.Topics, topic)
		return st, err
	}
	return &Type{Name: "OS::Heat::SwiftSignal", Create: step,
		Attr: func(ctx context.Context, r *Resource, _ string) (any, error) {
			signals, _, err := swiftSignals(ctx, r)
			if err != nil {
				return nil, err
			}
			out := yaml11.NewMap()
			for id, v := range signals.All() {
				out.Set(id, get(v.(*Map), "data"))
			}
			return hot.PyJSON(out, false), nil
		},
	}
}

// swiftSignals reads every version of the object that the handle names.
func swiftSignals(ctx context.Context, r *Resource) (signals *Map, topic string, err error) {
	u, err := url.Parse(r.Props.Str("handle"))
	parts := strings.Split(strings.TrimPrefix(u.Path, "/object-store"), "/") // "", v1, account, container, object
	if err != nil || len(parts) != 5 || parts[1] != "v1" || parts[3] != r.StackID {
		return nil, "", Failed("%q is not a valid SwiftSignalHandle: it must be a temporary URL of the container %s", r.Props.Str("handle"), r.StackID)
	}
	s, err := r.swift(ctx)
	if err != nil {
		return nil, "", err
	}
	data, _, err := s.do(ctx, "GET", url.PathEscape(r.StackID)+"?format=json&limit=10000", nil, nil)
	if isNotFound(err) {
		return yaml11.NewMap(), s.topic(r.StackID, parts[4]), nil
	}
	if err != nil {
		return nil, "", err
	}
	var list []struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, "", fmt.Errorf("list of signals: %w", err)
	}
	box := &Resource{Data: map[string]any{}, Host: noSave{}}
	for _, o := range list {
		if !strings.Contains(o.Name, parts[4]) {
			continue
		}
		text, err := s.get(ctx, r.StackID, o.Name)
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		var body any
		if len(strings.TrimSpace(string(text))) > 0 {
			if body, err = yaml11.DecodeJSON(text); err != nil {
				return nil, "", Failed("Failed to parse JSON data: %v", err)
			}
		}
		if err := keepSignal(ctx, box, body); err != nil {
			return nil, "", Failed("%v", err)
		}
	}
	signals, _ = box.Data["signals"].(*Map)
	return signals, s.topic(r.StackID, parts[4]), nil
}

// noSave is the Host of a resource that exists for a calculation only.
type noSave struct{ Host }

// Save does nothing.
func (noSave) Save(context.Context, *Resource) error { return nil }
