package resources

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// scaled is what the groups have in common whose size a policy changes: where their properties stand, and
// what a member is.
type scaled struct {
	min, max, desired, cooldown string // properties; "" if the group has none
	definition                  func(r *Resource) (*Map, error)
	rolling                     func(r *Resource) (minimum, size int, pause time.Duration, ok bool)
}

func (s scaled) bounds(p *Props) (low, high int) {
	if s.min == "" {
		return 0, math.MaxInt32
	}
	return int(p.Int(s.min)), int(p.Int(s.max))
}

func (s scaled) validate(p *Props) error {
	low, high := s.bounds(p)
	switch d := p.Get(s.desired); {
	case high < low:
		return fmt.Errorf("MinSize can not be greater than MaxSize")
	case s.min != "" && d != nil && (int(p.Int(s.desired)) < low || int(p.Int(s.desired)) > high):
		return fmt.Errorf("DesiredCapacity must be between MinSize and MaxSize")
	}
	return nil
}

// nested gives the group its members: the size it has, or that its properties or a policy want now.
func (s scaled) nested(r *Resource, uses []AttrUse) (*Nested, error) {
	def, err := s.definition(r)
	if err != nil {
		return nil, err
	}
	m := loadMembers(r)
	hash := m.learn(def)
	minimum, size, pause, rolling := s.rolling(r)
	low, high := s.bounds(r.Props)
	shape := r.Props.shape()
	want, resized := r.Data["resize"].(int64)
	if resized {
		delete(r.Data, "batches_of")
		delete(r.Data, "resize")
	}
	next, more := steps(r, func() []batch {
		current := len(m.list)
		target := current
		switch {
		case resized:
			return []batch{{int(want), int(want)}}
		case current == 0 && r.Str("shape") == "":
			if target = low; r.Props.Has(s.desired) {
				target = int(r.Props.Int(s.desired))
			}
			return []batch{{target, target}}
		case r.Str("shape") != shape && r.Props.Has(s.desired):
			target = int(r.Props.Int(s.desired))
		}
		target = max(low, min(high, target))
		var out []batch
		if rolling && anyOf(m.list, func(e member) bool { return e.def != hash }) {
			out = rollingBatches(min(target, current), current, size, minimum, false)
		}
		return append(out, batch{target, target})
	})
	r.Data["shape"] = shape
	if next.total >= 0 {
		m.plan(hash, next.total, next.updates, func() string {
			n, _ := r.Data["made"].(int64)
			r.Data["made"] = n + 1
			return ShortID(configID(r.ID, fmt.Sprint("member", n)))
		})
		m.save(r)
	}
	var g group
	for _, e := range m.list {
		d := m.defs[e.def]
		props, _ := d.Get("properties")
		meta, _ := d.Get("metadata")
		g.add(e.name, str(d, "type"), dropNull(props), meta, "")
	}
	return &Nested{Template: g.template(scaledAttrs(uses)), Generated: true, File: r.Pos, More: more, Pause: pause}, nil
}

// shape tells whether properties are the same as before.
func (p *Props) shape() string { return configID(hot.PyJSON(p.vals, true), "shape") }

// scaledAttrs lists the attributes of members that references to the group need.
func scaledAttrs(uses []AttrUse) []string {
	var mapped []AttrUse
	for _, u := range uses {
		switch u.Attr {
		case "outputs", "outputs_list":
			u.Attr = "attributes"
		case "InstanceList":
			u.Attr = "first_address"
		case "current_size":
			continue
		}
		mapped = append(mapped, u)
	}
	return memberAttrs(mapped)
}

func (s scaled) attr(r *Resource, name string, path []any) (any, error) {
	list := loadMembers(r).list
	values := func(attr string) *Map {
		all, _ := r.Outputs.Get(attrOutput(attr))
		m, _ := all.(*Map)
		return m
	}
	switch {
	case name == "current_size":
		return int64(len(list)), nil
	case (name == "outputs" || name == "outputs_list") && len(path) > 0:
		of := values(hot.PyStr(path[0]))
		byName, inOrder := yaml11.NewMap(), []any{}
		for _, e := range list {
			if v, ok := of.Get(e.name); ok {
				byName.Set(e.name, hot.Dig(v, path[1:]))
				inOrder = append(inOrder, hot.Dig(v, path[1:]))
			}
		}
		if name == "outputs" {
			return byName, nil
		}
		return inOrder, nil
	case name == "InstanceList":
		of := values("first_address")
		var ips []string
		for _, e := range list {
			if v, ok := of.Get(e.name); ok {
				ips = append(ips, hot.PyStr(v))
			}
		}
		return strings.Join(ips, ","), nil
	case strings.HasPrefix(name, "resource."): // members have an index here, not a name
		parts := strings.SplitN(name, ".", 3)
		n, ok := hot.ToNumber(parts[1])
		i, whole := n.(int64)
		if !ok || !whole || i < 0 || int(i) >= len(list) {
			return nil, fmt.Errorf("member '%s' not found in group resource '%s'", parts[1], r.Name)
		}
		parts[1] = list[i].name
		return groupAttr(r, strings.Join(parts, "."), path)
	}
	return groupAttr(r, name, path)
}

// Adjust changes the wanted size as a policy says and returns whether the group has to follow. Source of
// the arithmetic: the API reference of Heat, adjustment_type.
func (s scaled) adjust(g *Resource, now time.Time, amount float64, kind string, step int64, cooldown any) bool {
	current := len(loadMembers(g).list)
	low, high := s.bounds(g.Props)
	var to int
	switch strings.ToLower(strings.ReplaceAll(kind, "_", "")) {
	case "changeincapacity":
		to = current + int(amount)
	case "exactcapacity":
		to = int(amount)
	default:
		delta := float64(current) * amount / 100
		n := int(delta) // towards zero, but never to zero
		if math.Abs(delta) < 1 && delta != 0 {
			n = int(math.Copysign(1, delta))
		}
		if step > 0 && int(step) > int(math.Abs(float64(n))) {
			n = int(math.Copysign(float64(step), float64(n)))
			if amount < 0 {
				n = -int(step)
			}
		}
		to = current + n
	}
	to = max(low, min(high, to))
	if to == current {
		return false
	}
	if until, err := time.Parse(time.RFC3339Nano, g.Str("cooldown_end")); err == nil && now.Before(until) {
		return false
	}
	if cooldown == nil {
		cooldown = g.Props.Get(s.cooldown)
	}
	if secs := number(cooldown); secs > 0 {
		g.Data["cooldown_end"] = now.Add(time.Duration(secs * float64(time.Second))).Format(time.RFC3339Nano)
	}
	g.Data["resize"] = int64(to)
	return true
}

func heatAutoScalingGroup() *Type {
	s := scaled{min: "min_size", max: "max_size", desired: "desired_capacity", cooldown: "cooldown",
		definition: func(r *Resource) (*Map, error) { return r.Props.Map("resource"), nil },
		rolling: func(r *Resource) (int, int, time.Duration, bool) {
			p := r.Props.Map("rolling_updates")
			least, _ := p.Get("min_in_service")
			size, _ := p.Get("max_batch_size")
			pause, _ := p.Get("pause_time")
			return int(number(least)), int(number(size)), time.Duration(number(pause) * float64(time.Second)), true
		}}
	return s.typ("OS::Heat::AutoScalingGroup")
}

func (s scaled) typ(name string) *Type {
	return &Type{Name: name, Validate: s.validate, Nested: s.nested, NestedAttr: s.attr,
		Adjust: s.adjust}
}

// scalingPolicy resizes a group when it is signalled.
func scalingPolicy(name, group, amount, kind, cooldown, step string) *Type {
	return &Type{Name: name,
		Create: func(ctx context.Context, r *Resource) (Step, error) { return Done(), r.SetID(ctx, r.PhysicalName(0)) },
		Update: func(context.Context, *Resource) (Step, error) { return Done(), nil },
		Delete: deleteSignals,
		Signal: func(ctx context.Context, r *Resource, body any) error {
			return r.Host.Adjust(ctx, r, r.Props.Str(group), func(g *Resource) bool {
				return g.Type.Adjust(g, r.Host.Now(), number(r.Props.Get(amount)), r.Props.Str(kind), r.Props.Int(step), r.Props.Get(cooldown))
			})
		},
		Attr: func(ctx context.Context, r *Resource, attr string) (any, error) {
			if attr == "signal_url" {
				return r.Host.HeatSignalURL(r, ""), nil
			}
			return signalURL(ctx, r)
		},
	}
}

// instanceGroup is a group of servers made from a launch configuration: OS::Heat::InstanceGroup and
// AWS::AutoScaling::AutoScalingGroup. Its members are servers of Nova.
func instanceGroup(name, policy string, s scaled) *Type {
	s.definition = func(r *Resource) (*Map, error) {
		if r.Host == nil { // validation: nothing is known of the members yet
			return yaml11.MapOf("type", "OS::Heat::None", "properties", yaml11.NewMap()), nil
		}
		conf, err := r.Host.Sibling(r, r.Props.Str("LaunchConfigurationName"))
		if err != nil {
			return nil, err
		}
		return serverOf(r, conf), nil
	}
	s.rolling = func(r *Resource) (int, int, time.Duration, bool) {
		v, _ := r.UpdatePolicy.Get(policy)
		m, ok := v.(*Map)
		least, _ := m.Get("MinInstancesInService")
		size, given := m.Get("MaxBatchSize")
		if !given {
			size = int64(1)
		}
		pause, err := isoDuration(str(m, "PauseTime"))
		return int(number(least)), int(number(size)), pause, ok && err == nil
	}
	return s.typ(name)
}

// serverOf is the definition of a member that a launch configuration describes.
func serverOf(r *Resource, conf *Props) *Map {
	p := yaml11.NewMap()
	for from, to := range map[string]string{"ImageId": "image", "InstanceType": "flavor", "KeyName": "key_name", "UserData": "user_data", "SecurityGroups": "security_groups"} {
		if v := conf.Get(from); v != nil {
			p.Set(to, v)
		}
	}
	hints := yaml11.NewMap()
	for _, h := range conf.List("NovaSchedulerHints") {
		hints.Set(str(h.(*Map), "Key"), str(h.(*Map), "Value"))
	}
	if hints.Len() > 0 {
		p.Set("scheduler_hints", hints)
	}
	meta := yaml11.MapOf("metering.groupname", r.Name)
	for _, t := range r.Props.List("Tags") {
		meta.Set(str(t.(*Map), "Key"), str(t.(*Map), "Value"))
	}
	p.Set("metadata", meta)
	p.Set("user_data_format", "RAW")
	if zones := r.Props.Strs("AvailabilityZones"); len(zones) > 0 && zones[0] != "" {
		p.Set("availability_zone", zones[0])
	}
	if nets := r.Props.List("VPCZoneIdentifier"); len(nets) > 0 {
		p.Set("networks", []any{yaml11.MapOf("subnet", nets[0])})
	}
	return yaml11.MapOf("type", "OS::Nova::Server", "properties", p)
}

// isoDuration reads the durations of update policies: PT1H30M5S. "" is none.
func isoDuration(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	rest, ok := strings.CutPrefix(s, "PT")
	d, err := time.ParseDuration(strings.ToLower(rest))
	if !ok || err != nil {
		return 0, fmt.Errorf("%q is no duration such as PT5M", s)
	}
	return d, nil
}

// launchConfiguration describes members of a group; it is nothing by itself.
func launchConfiguration() *Type {
	return &Type{Name: "AWS::AutoScaling::LaunchConfiguration", Pure: true, Create: named, Update: nil, Attr: noAttr}
}

func scalingTypes() []*Type {
	return []*Type{heatAutoScalingGroup(), launchConfiguration(),
		instanceGroup("OS::Heat::InstanceGroup", "RollingUpdate", scaled{desired: "Size"}),
		instanceGroup("AWS::AutoScaling::AutoScalingGroup", "AutoScalingRollingUpdate", scaled{min: "MinSize", max: "MaxSize", desired: "DesiredCapacity", cooldown: "Cooldown"}),
		scalingPolicy("OS::Heat::ScalingPolicy", "auto_scaling_group_id", "scaling_adjustment", "adjustment_type", "cooldown", "min_adjustment_step"),
		scalingPolicy("AWS::AutoScaling::ScalingPolicy", "AutoScalingGroupName", "ScalingAdjustment", "AdjustmentType", "Cooldown", "MinAdjustmentStep"),
	}
}
