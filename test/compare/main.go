// Command compare puts one load on two services that speak one API and prints
// what each did with it, so that ours and OpenStack's own can be measured alike
// (scripts/compare.sh starts both). The two take turns, measure by measure and
// round by round, so that what else the machine does falls on both. Every load
// ends by itself. It speaks to loopback only.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// measure is one kind of request, put on either side in turn.
type measure struct {
	name string
	unit string
	// run is one round.
	run func(*side) (work, error)
}

// work is what was done in a round.
type work struct {
	units float64
	took  time.Duration
}

// service is what is compared of one service.
type service struct {
	// prepare makes what the measures need; may be nil.
	prepare  func(*side) error
	measures []measure
}

var services = map[string]service{
	"objects":  {prepare: prepareObjects, measures: objectMeasures},
	"tokens":   {prepare: prepareTokens, measures: tokenMeasures},
	"images":   {prepare: prepareImages, measures: imageMeasures},
	"messages": {prepare: prepareMessages, measures: messageMeasures},
}

// config is the command line.
type config struct {
	service string
	rounds  int
	sides   [2]*side
}

// parse reads the command line. Errors name the flag, its value and what was expected.
func parse() (*config, error) {
	c := &config{sides: [2]*side{{name: "ours"}, {name: "theirs"}}}
	flag.StringVar(&c.service, "service", "", "objects, tokens, images or messages")
	flag.IntVar(&c.rounds, "rounds", 3, "rounds of each measure, 1 to 20")
	seconds := flag.Duration("seconds", 4*time.Second, "time for each kind of request in a round, at most a minute")
	workers := flag.Int("connections", 8, "connections, at most 64")
	urls, files := [2]*string{}, [2]*string{}
	for i, s := range c.sides {
		urls[i] = flag.String(s.name, "", "endpoint of "+s.name+", on loopback")
		files[i] = flag.String(s.name+"-auth", "", "file with the body of a request for a token")
		flag.Func(s.name+"-sessions", "ids of the sessions that the processes of "+s.name+" are in, with commas between", s.setSessions)
		flag.StringVar(&s.token, s.name+"-token", os.Getenv("COMPARE_TOKEN_"+strings.ToUpper(s.name)), "token of every request (environment COMPARE_TOKEN_"+strings.ToUpper(s.name)+")")
	}
	flag.Parse()
	if _, ok := services[c.service]; !ok {
		return nil, fmt.Errorf("-service %q: expected objects, tokens, images or messages", c.service)
	}
	if *seconds <= 0 || *seconds > time.Minute {
		return nil, fmt.Errorf("-seconds %s: expected more than 0 and at most 1m", *seconds)
	}
	if *workers < 1 || *workers > 64 {
		return nil, fmt.Errorf("-connections %d: expected 1 to 64", *workers)
	}
	if c.rounds < 1 || c.rounds > 20 {
		return nil, fmt.Errorf("-rounds %d: expected 1 to 20", c.rounds)
	}
	for i, s := range c.sides {
		u, err := url.Parse(*urls[i])
		if err != nil {
			return nil, fmt.Errorf("-%s: %w", s.name, err)
		}
		if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsLoopback() {
			return nil, fmt.Errorf("-%s %q: expected an address of loopback", s.name, *urls[i])
		}
		s.url = strings.TrimSuffix(*urls[i], "/")
		s.seconds, s.workers = *seconds, *workers
		s.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
		if *files[i] != "" {
			b, err := os.ReadFile(*files[i])
			if err != nil {
				return nil, fmt.Errorf("-%s-auth: %w", s.name, err)
			}
			s.auth = string(b)
		}
	}
	return c, nil
}

// run puts every measure on both sides and prints a line for each: medians of
// the rounds, the smallest and the largest, what a unit cost in processor time
// (which hardly depends on what else the machine does), and the ratios of the medians.
func run() error {
	c, err := parse()
	if err != nil {
		return err
	}
	what := services[c.service]
	if what.prepare != nil {
		for _, s := range c.sides {
			if err := what.prepare(s); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	fmt.Printf("%-34s %-10s %23s %22s %8s %17s %8s\n", c.service, "", "ours (min-max)", "theirs (min-max)", "ratio", "processor ms each", "ratio")
	for _, m := range what.measures {
		var rates, costs [2][]float64
		for round := range c.rounds {
			for turn := range c.sides {
				i := (turn + round) % 2
				rate, cost, err := c.sides[i].measured(m)
				if err != nil {
					return fmt.Errorf("%s: %s: %w", m.name, c.sides[i].name, err)
				}
				rates[i], costs[i] = append(rates[i], rate), append(costs[i], cost)
			}
		}
		fmt.Printf("%-34s %-10s %23s %22s %7.1fx %8.2f %8.2f %7.1fx\n", m.name, m.unit, spread(rates[0]), spread(rates[1]), median(rates[0])/median(rates[1]),
			median(costs[0]), median(costs[1]), median(costs[1])/median(costs[0]))
	}
	return nil
}

// measured runs one round on a side: units a second, and milliseconds of a
// processor that the side's processes spent on a unit.
func (s *side) measured(m measure) (rate, cost float64, err error) {
	before, err := processor(s.sessions)
	if err != nil {
		return 0, 0, err
	}
	done, err := m.run(s)
	if err != nil {
		return 0, 0, err
	}
	after, err := processor(s.sessions)
	if err != nil {
		return 0, 0, err
	}
	if done.units == 0 {
		return 0, 0, errors.New("nothing was done in the time")
	}
	return done.units / done.took.Seconds(), float64((after - before).Microseconds()) / 1000 / done.units, nil
}

func median(v []float64) float64 {
	s := slices.SortedFunc(slices.Values(v), cmp.Compare[float64])
	if len(s)%2 == 1 {
		return s[len(s)/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}

// spread prints median, minimum and maximum.
func spread(v []float64) string {
	digits := 0
	if median(v) < 100 {
		digits = 1
	}
	return fmt.Sprintf("%.*f (%.*f-%.*f)", digits, median(v), digits, slices.Min(v), digits, slices.Max(v))
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
