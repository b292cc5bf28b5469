package workflow

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/store"
)

func TestCronPattern(t *testing.T) {
	from := time.Date(2026, 2, 27, 23, 59, 30, 0, time.UTC) // a Friday
	tests := []struct{ reason, pattern, want string }{
		{"every minute", "* * * * *", "2026-02-28 00:00"},
		{"steps", "*/15 * * * *", "2026-02-28 00:00"},
		{"a time of day", "30 4 * * *", "2026-02-28 04:30"},
		{"a weekday by name", "0 0 * * mon", "2026-03-02 00:00"},
		{"7 is Sunday", "0 0 * * 7", "2026-03-01 00:00"},
		{"lists and ranges", "5,10 8-9 1-3 */2 *", "2026-03-01 08:05"},
		{"either day field", "0 0 13 * fri", "2026-03-06 00:00"},
		{"a leap day", "0 0 29 2 *", "2028-02-29 00:00"},
	}
	for _, tt := range tests {
		p, err := parsePattern(tt.pattern)
		if err != nil {
			t.Errorf("%s: %v", tt.reason, err)
			continue
		}
		if got := p.next(from).Format("2006-01-02 15:04"); got != tt.want {
			t.Errorf("%s: %s: got %s, want %s", tt.reason, tt.pattern, got, tt.want)
		}
	}
	for _, bad := range []string{"", "* * * *", "60 * * * *", "* * 31 2 *", "*/0 * * * *", "5-3 * * * *", "a * * * *"} {
		if _, err := parsePattern(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestCronFires(t *testing.T) {
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	b := newBench(t, func(c *Config) { c.Now = now })
	b.call("member", "POST", "/v2/workflows", "version: '2.0'\nw: {input: [n], tasks: {a: {publish: {n: <% $.n %>}}}}", 201)
	tr := b.call("member", "POST", "/v2/cron_triggers", map[string]any{"name": "c", "workflow_name": "w", "workflow_input": `{"n": 3}`,
		"pattern": "* * * * *", "remaining_executions": 2}, 201)
	b.call("member", "POST", "/v2/cron_triggers", map[string]any{"name": "d", "workflow_name": "w", "pattern": "* * * * *"}, 400)
	for i := range 2 {
		ahead.Add(int64(time.Minute))
		err := b.svc.cfg.DB.Tx(t.Context(), func(tx *store.Tx) error { return b.svc.cfg.Jobs.Poke(tx, kindCron, tr["id"].(string), nil) })
		if err != nil {
			t.Fatal(err)
		}
		b.eventually(func() bool {
			list := b.call("member", "GET", "/v2/executions?state=SUCCESS&include_output=true", nil, 200)["executions"].([]any)
			return len(list) == i+1 && list[0].(map[string]any)["output"] == `{"n":3}`
		})
	}
	b.call("member", "GET", "/v2/cron_triggers/c", nil, 404) // its count is used up
}

// eventually waits for executions to change until the condition holds.
func (b *bench) eventually(cond func() bool) {
	b.t.Helper()
	sub := b.bus.Subscribe("workflow/execution/*")
	defer sub.Close()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for !cond() {
		select {
		case <-sub.C():
		case <-deadline.C:
			b.t.Fatal("it did not happen")
		}
	}
}
