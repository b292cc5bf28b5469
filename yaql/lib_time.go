package yaql

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

func timeTable() []entry {
	return []entry{
		{"now(offset: span?=span)", fn, func(c *call) (any, error) {
			off, _ := c.args[0].(Timespan)
			return c.ev.opts.Now().Truncate(time.Microsecond).In(zone(off)), nil
		}},
		{"datetime(string: str, format: str?=null)", fn, func(c *call) (any, error) {
			if c.args[1] == nil {
				return parseTime(c.str(0))
			}
			return strptime(c.str(0), c.str(1))
		}},
		{"datetime(year: pyint, month: pyint, day: pyint, hour: pyint=0, minute: pyint=0, second: pyint=0, microsecond: pyint=0, offset: span=span)",
			fn, func(c *call) (any, error) {
				var p [7]int64
				for i := range p {
					p[i] = c.int(i)
				}
				return makeTime(p, zone(c.args[7].(Timespan)))
			}},
		{"datetime(timestamp: num, offset: span=span)", fn, func(c *call) (any, error) {
			f, _ := toFloat(c.args[0])
			if math.Abs(f) > 253402300799 {
				return nil, errorf(ErrValue, "datetime: timestamp %s is out of range", pyFloat(f))
			}
			return time.UnixMicro(int64(math.RoundToEven(f * 1e6))).In(zone(c.args[1].(Timespan))), nil
		}},
		{"timespan(days: pyint=0, hours: pyint=0, minutes: pyint=0, seconds: int=0, milliseconds: int=0, microseconds: int=0)", fn, timespan},
		{"format(dt: time, format: str)", meth, func(c *call) (any, error) {
			return strftime(c.args[0].(time.Time), c.str(1)), nil
		}},
		{"replace(dt: time, year: pyint?=null, month: pyint?=null, day: pyint?=null, hour: pyint?=null, minute: pyint?=null, " +
			"second: pyint?=null, microsecond: pyint?=null, offset: span?=null)", meth, func(c *call) (any, error) {
			t := c.args[0].(time.Time)
			p := [7]int64{int64(t.Year()), int64(t.Month()), int64(t.Day()), int64(t.Hour()), int64(t.Minute()),
				int64(t.Second()), int64(t.Nanosecond() / 1000)}
			for i := range p {
				if c.has(i + 1) {
					p[i] = c.int(i + 1)
				}
			}
			loc := t.Location()
			if off, ok := c.args[8].(Timespan); ok {
				loc = zone(off)
			}
			return makeTime(p, loc)
		}},
		{"localtz()", fn, func(c *call) (any, error) {
			_, off := c.ev.opts.Now().In(c.ev.opts.Local).Zone()
			return Timespan(int64(off) * microsPerSecond), nil
		}},
		{"utctz()", fn, func(*call) (any, error) { return Timespan(0), nil }},
		{"isDatetime(value)", fn, func(c *call) (any, error) { _, ok := c.args[0].(time.Time); return ok, nil }},
		{"isTimespan(value)", fn, func(c *call) (any, error) { _, ok := c.args[0].(Timespan); return ok, nil }},
	}
}

func zone(off Timespan) *time.Location {
	if off == 0 {
		return time.UTC
	}
	return time.FixedZone("", int(off/Timespan(microsPerSecond)))
}

// makeTime checks year, month, day, hour, minute, second, microsecond.
func makeTime(p [7]int64, loc *time.Location) (any, error) {
	limits := [7][2]int64{{1, 9999}, {1, 12}, {1, 31}, {0, 23}, {0, 59}, {0, 59}, {0, 999999}}
	names := [7]string{"year", "month", "day", "hour", "minute", "second", "microsecond"}
	for i, l := range limits {
		if p[i] < l[0] || p[i] > l[1] {
			return nil, errorf(ErrValue, "datetime: %s %d is out of range", names[i], p[i])
		}
	}
	t := time.Date(int(p[0]), time.Month(p[1]), int(p[2]), int(p[3]), int(p[4]), int(p[5]), int(p[6])*1000, loc)
	if t.Day() != int(p[2]) {
		return nil, errorf(ErrValue, "datetime: day %d is out of range for the month", p[2])
	}
	return t, nil
}

// maxSpan is Python's largest timedelta, within 64 bits of microseconds.
const maxSpan = 106_751_990 * microsPerDay

func timespan(c *call) (any, error) {
	units := []int64{microsPerDay, 3600 * microsPerSecond, 60 * microsPerSecond, microsPerSecond, 1000, 1}
	total := int64(0)
	for i, u := range units {
		n := c.int(i)
		if n > maxSpan/u || n < -maxSpan/u {
			return nil, overflow()
		}
		total += n * u
		if total > maxSpan || total < -maxSpan {
			return nil, overflow()
		}
	}
	return Timespan(total), nil
}

func addSpan(t time.Time, s Timespan) time.Time {
	return t.AddDate(0, 0, int(int64(s)/microsPerDay)).Add(time.Duration(int64(s)%microsPerDay) * time.Microsecond)
}

func timeProperty(name string) func(t time.Time) any {
	midnight := func(t time.Time) time.Time {
		return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, t.Location())
	}
	offset := func(t time.Time) int64 { _, off := t.Zone(); return int64(off) }
	switch name {
	case "year":
		return func(t time.Time) any { return int64(t.Year()) }
	case "month":
		return func(t time.Time) any { return int64(t.Month()) }
	case "day":
		return func(t time.Time) any { return int64(t.Day()) }
	case "hour":
		return func(t time.Time) any { return int64(t.Hour()) }
	case "minute":
		return func(t time.Time) any { return int64(t.Minute()) }
	case "second":
		return func(t time.Time) any { return int64(t.Second()) }
	case "microsecond":
		return func(t time.Time) any { return int64(t.Nanosecond() / 1000) }
	case "weekday": // Monday is 0
		return func(t time.Time) any { return int64(t.Weekday()+6) % 7 }
	case "timestamp":
		return func(t time.Time) any { return float64(t.UnixMicro()) / 1e6 }
	case "offset":
		return func(t time.Time) any { return Timespan(offset(t) * microsPerSecond) }
	case "utc": // keeps the offset while shifting, as the original does
		return func(t time.Time) any { return t.Add(-time.Duration(offset(t)) * time.Second) }
	case "date":
		return func(t time.Time) any { return midnight(t) }
	case "time":
		return func(t time.Time) any { return Timespan(t.Sub(midnight(t)) / time.Microsecond) }
	}
	return nil
}

func spanUnit(name string) (int64, bool) {
	u, ok := map[string]int64{"days": microsPerDay, "hours": 3600 * microsPerSecond, "minutes": 60 * microsPerSecond,
		"seconds": microsPerSecond, "milliseconds": 1000, "microseconds": 1}[name]
	return u, ok
}

// timeFormat lets "{0:%Y}".format(time) work.
func timeFormat(v any, spec string) string {
	if t, ok := v.(time.Time); ok {
		return strftime(t, spec)
	}
	return ""
}

// strftime is C's, in the C locale.
func strftime(t time.Time, f string) string {
	var b strings.Builder
	for i := 0; i < len(f); i++ {
		if f[i] != '%' || i+1 == len(f) {
			b.WriteByte(f[i])
			continue
		}
		i++
		if f[i] == '-' && i+1 < len(f) {
			i++
			b.WriteString(strings.TrimLeft(directive(t, f[i])[:], "0"))
			continue
		}
		b.WriteString(directive(t, f[i]))
	}
	return b.String()
}

func directive(t time.Time, c byte) string {
	layouts := map[byte]string{'Y': "2006", 'm': "01", 'd': "02", 'H': "15", 'I': "03", 'M': "04", 'S': "05", 'y': "06",
		'b': "Jan", 'h': "Jan", 'B': "January", 'a': "Mon", 'A': "Monday", 'p': "PM", 'z': "-0700", 'F': "2006-01-02",
		'T': "15:04:05", 'D': "01/02/06", 'R': "15:04", 'c': "Mon Jan _2 15:04:05 2006", 'x': "01/02/06", 'X': "15:04:05", 'e': "_2"}
	if l, ok := layouts[c]; ok {
		return t.Format(l)
	}
	switch c {
	case 'f':
		return fmt.Sprintf("%06d", t.Nanosecond()/1000)
	case 'j':
		return fmt.Sprintf("%03d", t.YearDay())
	case 's':
		return strconv.FormatInt(t.Unix(), 10)
	case 'w':
		return strconv.Itoa(int(t.Weekday()))
	case 'u':
		return strconv.Itoa(int(t.Weekday()+6)%7 + 1)
	case 'Z':
		if _, off := t.Zone(); off == 0 {
			return "UTC"
		}
		return ""
	case 'U':
		return fmt.Sprintf("%02d", (t.YearDay()+6-int(t.Weekday()))/7)
	case 'W':
		return fmt.Sprintf("%02d", (t.YearDay()+6-int(t.Weekday()+6)%7)/7)
	case 'G', 'V':
		y, w := t.ISOWeek()
		if c == 'G' {
			return strconv.Itoa(y)
		}
		return fmt.Sprintf("%02d", w)
	case 'n':
		return "\n"
	case 't':
		return "\t"
	case '%':
		return "%"
	}
	return "%" + string(c)
}

// parseTime reads the usual notations (the original uses dateutil).
func parseTime(s string) (any, error) {
	s = strings.TrimSpace(s)
	dates := []string{"2006-01-02", "20060102", "2006/01/02", "01/02/2006", "Jan 2 2006", "Jan 2, 2006", "2 Jan 2006", "Mon, 2 Jan 2006",
		"January 2 2006", "January 2, 2006", "2 January 2006"}
	clocks := []string{"", "15:04", "15:04:05", "15:04:05.999999", "150405", "3:04 PM", "3:04:05 PM", "3PM"}
	zones := []string{"", "Z07:00", " Z07:00", "Z0700", " -0700", " MST", "-07"}
	for _, d := range dates {
		for _, c := range clocks {
			if c == "" {
				if t, err := time.Parse(d, s); err == nil {
					return t.UTC(), nil
				}
				continue
			}
			for _, sep := range []string{"T", " "} {
				for _, z := range zones {
					if t, err := time.Parse(d+sep+c+z, s); err == nil {
						_, off := t.Zone()
						return t.In(zone(Timespan(int64(off) * microsPerSecond))), nil
					}
				}
			}
		}
	}
	if t, err := time.Parse("Mon Jan _2 15:04:05 2006", s); err == nil {
		return t.UTC(), nil
	}
	return nil, errorf(ErrValue, "datetime: %s is not a date and time", pyQuote(shorten(s, 50)))
}

// strptime reads a time by a format of C's directives.
func strptime(s, format string) (any, error) {
	layouts := map[byte]string{'Y': "2006", 'm': "01", 'd': "02", 'H': "15", 'I': "03", 'M': "04", 'S': "05", 'y': "06",
		'b': "Jan", 'B': "January", 'a': "Mon", 'A': "Monday", 'p': "PM", 'z': "-0700", 'F': "2006-01-02", 'T': "15:04:05",
		'D': "01/02/06", 'R': "15:04", 'j': "002", 'Z': "MST", '%': "%", 'f': "000000"}
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		l, ok := layouts[format[i]]
		if !ok {
			return nil, errorf(ErrValue, "datetime: the format's directive %%%c is not known", format[i])
		}
		b.WriteString(l)
	}
	t, err := time.Parse(b.String(), s)
	if err != nil {
		return nil, errorf(ErrValue, "datetime: %s does not have the format %s", pyQuote(shorten(s, 50)), pyQuote(format))
	}
	_, off := t.Zone()
	return t.In(zone(Timespan(int64(off) * microsPerSecond))), nil
}
