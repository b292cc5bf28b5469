package resources

import (
	"context"
	"crypto/rand"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
)

// named gives a resource its physical name as id, for types that have no other.
func named(_ context.Context, r *Resource) (Step, error) {
	if r.PhysicalID == "" {
		r.PhysicalID = r.PhysicalName(0)
	}
	return Done(), nil
}

func heatNone() *Type {
	return &Type{Name: "OS::Heat::None", Pure: true, AnyProps: true,
		Create: named, Update: named,
		Attr: func(context.Context, *Resource, string) (any, error) { return nil, nil }}
}

func heatValue() *Type {
	return &Type{Name: "OS::Heat::Value", Pure: true,
		Validate: func(p *Props) error {
			_, err := valueOf(p)
			return err
		},
		Create: named, Update: named,
		Attr: func(_ context.Context, r *Resource, _ string) (any, error) { return valueOf(r.Props) }}
}

func valueOf(p *Props) (any, error) {
	v := p.Get("value")
	if t := p.Str("type"); t != "" && v != nil {
		if list, ok := v.([]any); ok && t == hot.TypeList {
			return list, nil // a list property, not a parameter: what is in it keeps its kind, as the tasks of services do
		}
		if t == hot.TypeString {
			switch v.(type) {
			case *Map, []any:
				return nil, fmt.Errorf("value must be a string, got %s", hot.KindOf(v))
			}
			return hot.PyStr(v), nil
		}
		return hot.ConvertParameter(t, v)
	}
	return v, nil
}

// sequences are the character classes of OS::Heat::RandomString.
func sequences() map[string]string {
	const lower, upper, digits, octals = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", "01234567"
	return map[string]string{
		"lettersdigits": lower + upper + digits, "letters": lower + upper, "lowercase": lower, "uppercase": upper, "digits": digits,
		"hexdigits": digits + "ABCDEF", "octdigits": octals,
	}
}

func heatRandomString() *Type {
	return &Type{Name: "OS::Heat::RandomString", Pure: true,
		Validate: func(p *Props) error {
			_, min := charSets(p)
			if min > p.Int("length") {
				return fmt.Errorf("length property cannot be smaller than combined character class and character sequence minimums")
			}
			return nil
		},
		Create: func(ctx context.Context, r *Resource) (Step, error) {
			s, err := randomString(r.Props)
			if err != nil {
				return Step{}, err
			}
			r.Data["value"] = s
			return named(ctx, r)
		},
		Attr: func(_ context.Context, r *Resource, _ string) (any, error) { return r.Data["value"], nil },
	}
}

type charSet struct {
	chars string
	min   int64
}

func charSets(p *Props) (sets []charSet, min int64) {
	known := sequences()
	for _, c := range p.List("character_classes") {
		m := c.(*Map)
		n, _ := m.Get("min")
		i, _ := n.(int64)
		sets = append(sets, charSet{known[str(m, "class")], i})
	}
	for _, c := range p.List("character_sequences") {
		m := c.(*Map)
		n, _ := m.Get("min")
		i, _ := n.(int64)
		sets = append(sets, charSet{str(m, "sequence"), i})
	}
	if s, _ := p.Raw.Get("sequence"); s != nil { // the old way; it takes the place of the default class
		if _, given := p.Raw.Get("character_classes"); !given {
			sets = []charSet{{known[hot.PyStr(s)], 1}}
		}
	}
	if len(sets) == 0 {
		sets = append(sets, charSet{known["lettersdigits"], 1})
	}
	for _, s := range sets {
		min += s.min
	}
	return sets, min
}

func randomString(p *Props) (string, error) {
	sets, _ := charSets(p)
	pick := func(chars string) (byte, error) {
		if chars == "" {
			return 0, Failed("a character sequence is empty")
		}
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(chars))))
		if err != nil {
			return 0, fmt.Errorf("random number: %w", err)
		}
		return chars[n.Int64()], nil
	}
	var out []byte
	var all strings.Builder
	for _, s := range sets {
		all.WriteString(s.chars)
		for range s.min {
			c, err := pick(s.chars)
			if err != nil {
				return "", err
			}
			out = append(out, c)
		}
	}
	for int64(len(out)) < p.Int("length") {
		c, err := pick(all.String())
		if err != nil {
			return "", err
		}
		out = append(out, c)
	}
	for i := len(out) - 1; i > 0; i-- {
		j, err := rand.Int(rand.Reader, big.NewInt(int64(i+1)))
		if err != nil {
			return "", fmt.Errorf("random number: %w", err)
		}
		out[i], out[j.Int64()] = out[j.Int64()], out[i]
	}
	return string(out), nil
}

// waitSecs waits until secs have passed since the resource began.
func waitSecs(r *Resource, secs float64) (Step, bool) {
	left := r.Begun.Add(time.Duration(secs * float64(time.Second))).Sub(r.Host.Now())
	if left > 0 {
		return Wait(left), false
	}
	return Step{}, true
}

func number(v any) float64 {
	switch x := v.(type) {
	case int64:
		return float64(x)
	case float64:
		return x
	}
	return 0
}

// actionSecs is how long a test resource takes for an action.
func actionSecs(r *Resource, action string) float64 {
	if v, ok := r.Props.Map("action_wait_secs").Get(action); ok && v != nil {
		return number(v)
	}
	return number(r.Props.Get("wait_secs"))
}

func heatTestResource() *Type {
	run := func(ctx context.Context, r *Resource, action string) (Step, error) {
		if s, ok := waitSecs(r, actionSecs(r, action)); !ok {
			return s, nil
		}
		if r.Props.Bool("fail") {
			return Step{}, Failed("Test Resource failed %s", r.Name)
		}
		r.Data["output"] = r.Props.Get("value")
		return named(ctx, r)
	}
	return &Type{Name: "OS::Heat::TestResource",
		Create: func(ctx context.Context, r *Resource) (Step, error) { return run(ctx, r, "create") },
		Update: func(ctx context.Context, r *Resource) (Step, error) {
			if r.Props.Bool("update_replace") || r.Changed["update_replace_value"] {
				return Replace(), nil
			}
			return run(ctx, r, "update")
		},
		Delete: func(_ context.Context, r *Resource) (Step, error) {
			if s, ok := waitSecs(r, actionSecs(r, "delete")); !ok {
				return s, nil
			}
			return Done(), nil
		},
		Attr: func(_ context.Context, r *Resource, _ string) (any, error) { return r.Data["output"], nil },
	}
}

func heatDelay() *Type {
	return &Type{Name: "OS::Heat::Delay",
		Create: func(ctx context.Context, r *Resource) (Step, error) { return delayStep(ctx, r) },
		Update: func(ctx context.Context, r *Resource) (Step, error) { return delayStep(ctx, r) },
		Delete: func(ctx context.Context, r *Resource) (Step, error) { return delayStep(ctx, r) },
	}
}

func delayStep(ctx context.Context, r *Resource) (Step, error) {
	for _, a := range r.Props.Strs("actions") {
		if a != r.Action {
			continue
		}
		secs, ok := r.Data["wait_"+a].(float64)
		if !ok {
			jitter := number(r.Props.Get("max_jitter")) * number(r.Props.Get("jitter_multiplier"))
			secs = number(r.Props.Get("min_wait"))
			if jitter > 0 {
				n, err := rand.Int(rand.Reader, big.NewInt(int64(jitter*1000)+1))
				if err != nil {
					return Step{}, fmt.Errorf("random number: %w", err)
				}
				secs += float64(n.Int64()) / 1000
			}
			r.Data["wait_"+a] = secs
			if err := r.Host.Save(ctx, r); err != nil {
				return Step{}, err
			}
		}
		if s, ok := waitSecs(r, secs); !ok {
			return s, nil
		}
	}
	return named(ctx, r)
}
