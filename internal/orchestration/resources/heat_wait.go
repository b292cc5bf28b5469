package resources

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// heatWaitConditionHandle takes signals {status, reason, data, id} and keeps them by id.
func heatWaitConditionHandle() *Type {
	return &Type{Name: "OS::Heat::WaitConditionHandle",
		Create: func(ctx context.Context, r *Resource) (Step, error) {
			return Done(), r.SetID(ctx, r.PhysicalName(0))
		},
		Update: func(context.Context, *Resource) (Step, error) { return Done(), nil },
		Attr: func(ctx context.Context, r *Resource, name string) (any, error) {
			url, err := r.Host.SignalURL(ctx, r)
			if err != nil {
				return nil, err
			}
			switch name {
			case "curl_cli":
				return "curl -i -X POST -H 'Content-Type: application/json' -H 'Accept: application/json' '" + url + "'", nil
			case "token":
				return "", nil
			case "signal":
				return hot.PyJSON(yaml11.MapOf("alarm_url", url, "verb", "POST"), false), nil
			}
			return url, nil
		},
		Signal: func(ctx context.Context, r *Resource, body any) error {
			m, ok := body.(*Map)
			if !ok {
				m = yaml11.NewMap()
			}
			signals, _ := yaml11.Normalize(r.Data["signals"]).(*Map)
			if signals == nil {
				signals = yaml11.NewMap()
			}
			field := func(names ...string) string {
				for _, n := range names {
					if v, ok := m.Get(n); ok && v != nil {
						return hot.PyStr(v)
					}
				}
				return ""
			}
			id, status := field("id", "UniqueId"), strings.ToUpper(field("status", "Status"))
			if id == "" {
				id = fmt.Sprint(signals.Len() + 1)
			}
			if status == "" {
				status = "SUCCESS"
			}
			if status != "SUCCESS" && status != "FAILURE" {
				return fmt.Errorf("status must be SUCCESS or FAILURE, got %q", status)
			}
			data, _ := m.Get("data")
			if d, ok := m.Get("Data"); ok {
				data = d
			}
			signals.Set(id, yaml11.MapOf("status", status, "reason", field("reason", "Reason"), "data", data))
			r.Data["signals"] = signals
			return r.Host.Save(ctx, r)
		},
	}
}

func heatWaitCondition() *Type {
	return &Type{Name: "OS::Heat::WaitCondition",
		Create: waitForSignals, Update: waitForSignals,
		Attr: func(ctx context.Context, r *Resource, _ string) (any, error) {
			signals, err := r.Host.Signals(ctx, r, r.Props.Str("handle"))
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

func waitForSignals(ctx context.Context, r *Resource) (Step, error) {
	if r.PhysicalID == "" {
		if err := r.SetID(ctx, r.PhysicalName(0)); err != nil {
			return Step{}, err
		}
	}
	signals, err := r.Host.Signals(ctx, r, r.Props.Str("handle"))
	if err != nil {
		return Step{}, err
	}
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
		return Step{}, Failed("WaitConditionFailure: %s", strings.Join(bad, ";"))
	}
	count := int(r.Props.Int("count"))
	if good >= count {
		return Done(), nil
	}
	left := r.Begun.Add(time.Duration(r.Props.Int("timeout")) * time.Second).Sub(r.Host.Now())
	if left <= 0 {
		return Step{}, Failed("WaitConditionTimeout: %d of %d received", good, count)
	}
	return Wait(left), nil
}
