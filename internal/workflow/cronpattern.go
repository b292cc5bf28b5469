package workflow

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// pattern is a parsed cron pattern: a set of allowed values for each of minute,
// hour, day of the month, month of the year and day of the week.
type pattern struct {
	minute, hour, dom, month, dow uint64
	anyDom, anyDow                bool
}

func parsePattern(s string) (*pattern, error) {
	switch strings.TrimSpace(s) {
	case "@hourly":
		s = "0 * * * *"
	case "@daily", "@midnight":
		s = "0 0 * * *"
	case "@weekly":
		s = "0 0 * * 0"
	case "@monthly":
		s = "0 0 1 * *"
	case "@yearly", "@annually":
		s = "0 0 1 1 *"
	}
	f := strings.Fields(s)
	if len(f) != 5 {
		return nil, fmt.Errorf("The specified pattern is not valid: %q has %d fields, not 5", s, len(f)) //nolint:revive,staticcheck // Mistral's wording
	}
	p := &pattern{anyDom: f[2] == "*" || f[2] == "?", anyDow: f[4] == "*" || f[4] == "?"}
	months := []string{"", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}
	days := []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
	for i, part := range []struct {
		dst      *uint64
		lo, hi   int
		names    []string
		fieldFor string
	}{{&p.minute, 0, 59, nil, "minute"}, {&p.hour, 0, 23, nil, "hour"}, {&p.dom, 1, 31, nil, "day"},
		{&p.month, 1, 12, months, "month"}, {&p.dow, 0, 7, days, "weekday"}} {
		set, err := parseField(f[i], part.lo, part.hi, part.names)
		if err != nil {
			return nil, fmt.Errorf("The specified pattern is not valid: %s %q: %w", part.fieldFor, f[i], err) //nolint:revive,staticcheck // Mistral's wording
		}
		*part.dst = set
	}
	if p.dow&(1<<7) != 0 { // 7 is Sunday too
		p.dow |= 1
	}
	if p.next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fmt.Errorf("The specified pattern is not valid: %q never comes", s) //nolint:revive,staticcheck // Mistral's wording
	}
	return p, nil
}

func parseField(s string, lo, hi int, names []string) (uint64, error) {
	value := func(v string) (int, error) {
		for i, n := range names {
			if n != "" && strings.EqualFold(n, v) {
				return i, nil
			}
		}
		n, err := strconv.Atoi(v)
		if err != nil || n < lo || n > hi {
			return 0, fmt.Errorf("%q is not in %d-%d", v, lo, hi)
		}
		return n, nil
	}
	var set uint64
	for _, part := range strings.Split(s, ",") {
		rng, stepText, hasStep := strings.Cut(part, "/")
		from, to, step := lo, hi, 1
		var err error
		if hasStep {
			if step, err = strconv.Atoi(stepText); err != nil || step < 1 {
				return 0, fmt.Errorf("step %q is not a positive number", stepText)
			}
		}
		if rng != "*" && rng != "?" {
			a, b, isRange := strings.Cut(rng, "-")
			if from, err = value(a); err != nil {
				return 0, err
			}
			if isRange {
				if to, err = value(b); err != nil {
					return 0, err
				}
			} else if !hasStep {
				to = from
			}
			if to < from {
				return 0, fmt.Errorf("range %q runs backwards", rng)
			}
		}
		for v := from; v <= to; v += step {
			set |= 1 << uint(v)
		}
	}
	return set, nil
}

// next returns the first matching minute after t, zero if none comes within
// five years.
func (p *pattern) next(t time.Time) time.Time {
	t = t.UTC().Truncate(time.Minute).Add(time.Minute)
	end := t.AddDate(5, 0, 0)
	for t.Before(end) {
		switch {
		case p.month&(1<<uint(t.Month())) == 0:
			t = time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, time.UTC)
		case !p.day(t):
			t = time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, 0, time.UTC)
		case p.hour&(1<<uint(t.Hour())) == 0:
			t = t.Truncate(time.Hour).Add(time.Hour)
		case p.minute&(1<<uint(t.Minute())) == 0:
			t = t.Add(time.Minute)
		default:
			return t
		}
	}
	return time.Time{}
}

// day follows cron: with both day fields restricted, either may match.
func (p *pattern) day(t time.Time) bool {
	dom := p.dom&(1<<uint(t.Day())) != 0
	dow := p.dow&(1<<uint(t.Weekday())) != 0
	switch {
	case p.anyDom && p.anyDow:
		return true
	case p.anyDom:
		return dow
	case p.anyDow:
		return dom
	}
	return dom || dow
}
