package messaging

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/tripleo/tripleo/internal/api"
)

// retryPolicy says when a delivery that failed is tried again: some times at
// once, some times after the minimum delay, then with a delay that grows from
// the minimum to the maximum, and some times after the maximum delay.
//
// A queue's metadata or a subscription's options hold it as _retry_policy; the
// subscription's wins unless the queue's says ignore_subscription_override.
// https://docs.openstack.org/zaqar/latest/user/send_request_api.html and the
// specification "support notification delivery policy" name the fields.
type retryPolicy struct {
	NoDelay       int    `json:"retries_with_no_delay"`
	MinimumDelays int    `json:"minimum_delay_retries"`
	Minimum       int    `json:"minimum_delay"` // seconds
	MaximumDelays int    `json:"maximum_delay_retries"`
	Maximum       int    `json:"maximum_delay"` // seconds
	Backoff       string `json:"retry_backoff_function"`
	Override      bool   `json:"ignore_subscription_override"`
}

// backoffSteps is how many retries lie between minimum and maximum delay.
const backoffSteps = 5

func defaultRetries() retryPolicy {
	return retryPolicy{NoDelay: 3, MinimumDelays: 3, Minimum: 5, MaximumDelays: 3, Maximum: 30, Backoff: "linear"}
}

// parseRetries reads a _retry_policy; fields that are absent have defaults.
func parseRetries(v any) (retryPolicy, error) {
	p := defaultRetries()
	if v == nil {
		return p, nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return p, err
	}
	if err := api.DecodeJSON(text, &p); err != nil {
		return p, api.Invalid("_retry_policy: %v", err)
	}
	for _, f := range []struct {
		name  string
		value int
		most  int
	}{
		{"retries_with_no_delay", p.NoDelay, 100}, {"minimum_delay_retries", p.MinimumDelays, 100}, {"maximum_delay_retries", p.MaximumDelays, 100},
		{"minimum_delay", p.Minimum, 3600}, {"maximum_delay", p.Maximum, 3600},
	} {
		if f.value < 0 || f.value > f.most {
			return p, api.Invalid("_retry_policy.%s is %d, expected 0 to %d", f.name, f.value, f.most)
		}
	}
	if p.Minimum > p.Maximum {
		return p, api.Invalid("_retry_policy.minimum_delay is %d, expected at most maximum_delay, which is %d", p.Minimum, p.Maximum)
	}
	switch p.Backoff {
	case "linear", "arithmetic", "geometric", "exponential":
		return p, nil
	}
	return p, api.Invalid("_retry_policy.retry_backoff_function is %q, expected linear, arithmetic, geometric or exponential", p.Backoff)
}

// chooseRetries decides between the policies of a subscription and its queue.
func chooseRetries(options, queue document) (retryPolicy, error) {
	ofQueue, err := parseRetries(queue["_retry_policy"])
	if err != nil {
		return ofQueue, fmt.Errorf("queue: %w", err)
	}
	own, has := options["_retry_policy"]
	if !has || ofQueue.Override {
		return ofQueue, nil
	}
	return parseRetries(own)
}

// delay returns how long to wait before the next attempt when failed attempts
// have been made; false when there is no next one.
func (p retryPolicy) delay(failed int64) (time.Duration, bool) {
	n := int(failed) - 1 // retries made so far
	least, most := float64(p.Minimum), float64(p.Maximum)
	switch {
	case n < p.NoDelay:
		return 0, true
	case n < p.NoDelay+p.MinimumDelays:
		return time.Duration(p.Minimum) * time.Second, true
	}
	n -= p.NoDelay + p.MinimumDelays
	if n >= backoffSteps {
		return time.Duration(p.Maximum) * time.Second, n < backoffSteps+p.MaximumDelays
	}
	x := float64(n+1) / (backoffSteps + 1) // 0 at the minimum, 1 at the maximum
	var d float64
	switch p.Backoff {
	case "arithmetic": // the steps themselves grow evenly
		d = least + (most-least)*x*(x+1)/2
	case "geometric": // each delay is the one before times a constant
		d = math.Max(least, 1) * math.Pow(math.Max(most, 1)/math.Max(least, 1), x)
	case "exponential":
		d = least + (most-least)*(math.Exp2(x*backoffSteps)-1)/(math.Exp2(backoffSteps)-1)
	default:
		d = least + (most-least)*x
	}
	return time.Duration(d * float64(time.Second)), true
}
