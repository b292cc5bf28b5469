package messaging

import (
	"strings"
	"testing"
	"time"
)

func TestRetryPolicies(t *testing.T) {
	for _, tc := range []struct {
		reason string
		policy any
		want   []int // seconds between attempts, until it gives up
	}{
		{"the default: at once, after the minimum, growing, after the maximum", nil, []int{0, 0, 0, 5, 5, 5, 9, 13, 18, 22, 26, 30, 30, 30}},
		{"no pauses at all", document{"retries_with_no_delay": 2, "minimum_delay_retries": 0, "maximum_delay_retries": 0, "minimum_delay": 0, "maximum_delay": 0}, []int{0, 0, 0, 0, 0, 0, 0}},
		{"geometric", document{"retries_with_no_delay": 0, "minimum_delay_retries": 1, "minimum_delay": 1, "maximum_delay": 64, "maximum_delay_retries": 1, "retry_backoff_function": "geometric"}, []int{1, 2, 4, 8, 16, 32, 64}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			p, err := parseRetries(tc.policy)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range tc.want {
				got, again := p.delay(int64(i + 1))
				if !again || int(got.Round(time.Second).Seconds()) != want {
					t.Errorf("attempt %d: %v, %t; expected %d s", i+2, got, again, want)
				}
			}
			if _, again := p.delay(int64(len(tc.want) + 1)); again {
				t.Errorf("goes on after %d attempts", len(tc.want)+1)
			}
		})
	}
	for _, f := range []string{"linear", "arithmetic", "geometric", "exponential"} {
		p := retryPolicy{Minimum: 5, Maximum: 100, Backoff: f}
		last := 5 * time.Second
		for i := range backoffSteps {
			d, again := p.delay(int64(i + 1))
			if !again || d <= last || d >= 100*time.Second {
				t.Errorf("%s: step %d is %v after %v, expected growth between minimum and maximum", f, i, d, last)
			}
			last = d
		}
	}
}

func TestWhichRetryPolicyCounts(t *testing.T) {
	queue := document{"_retry_policy": document{"minimum_delay": 7.0}}
	own := document{"_retry_policy": document{"minimum_delay": 9.0}}
	firm := document{"_retry_policy": document{"minimum_delay": 7.0, "ignore_subscription_override": true}}
	for _, tc := range []struct {
		reason         string
		options, queue document
		want           int
	}{
		{"neither", document{}, document{}, 5}, {"the queue's", document{}, queue, 7},
		{"the subscription's", own, queue, 9}, {"the queue's, firmly", own, firm, 7},
	} {
		p, err := chooseRetries(tc.options, tc.queue)
		if err != nil || p.Minimum != tc.want {
			t.Errorf("%s: minimum delay %d (%v), expected %d", tc.reason, p.Minimum, err, tc.want)
		}
	}
	for _, tc := range []struct {
		policy document
		want   string
	}{
		{document{"minimum_delay": 50.0}, "at most maximum_delay"}, {document{"retry_backoff_function": "cubic"}, "cubic"},
		{document{"retries_with_no_delay": -1.0}, "retries_with_no_delay"}, {document{"minimum_delay": "x"}, "_retry_policy"},
	} {
		if _, err := parseRetries(tc.policy); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: %v, expected an error with %q", tc.policy, err, tc.want)
		}
	}
}
