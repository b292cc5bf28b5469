package cli

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// progress shows how a workflow goes: on a terminal one live line a stage and a node, else a line a change.
type progress struct {
	w      io.Writer
	live   bool
	size   func() (width, height int) // of the terminal
	start  time.Time
	now    func() time.Time
	stage  string
	began  time.Time // of the stage
	counts string
	nodes  map[string]nodeLine
	drawn  int             // lines of the live block on the screen
	spoke  time.Time       // when the last line was written
	each   func(m message) // sees every message, if not nil
}

// quietTime is how long plain output says nothing before it tells that the deployment still goes on, and what it waits for.
const quietTime = time.Minute

// manyNodes is from how many nodes on they are shown by what they do, and not each on a line of its own.
const manyNodes = 20

type nodeLine struct {
	stage, detail string
	percent       int64
	since         time.Time
}

func (a *app) newProgress(quiet bool) *progress {
	p := &progress{w: a.stdout, start: time.Now(), now: time.Now, nodes: map[string]nodeLine{}}
	p.spoke = p.start
	if f, ok := a.stdout.(*os.File); ok && !quiet && !a.noProgress && term.IsTerminal(int(f.Fd())) { //nolint:gosec // a descriptor fits an int
		p.live = true
		p.size = func() (int, int) {
			if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 20 && h > 5 { //nolint:gosec // as above
				return w, h
			}
			return 80, 24
		}
	}
	return p
}

func clock(d time.Duration) string {
	d = d.Round(time.Second)
	return fmt.Sprintf("%02d:%02d", int(d.Minutes()), int(d.Seconds())%60)
}

// say writes a line that stays.
func (p *progress) say(format string, args ...any) {
	p.erase()
	p.spoke = p.now()
	_, _ = fmt.Fprintf(p.w, "[%s] %s\n", clock(p.now().Sub(p.start)), fmt.Sprintf(format, args...))
	p.draw()
}

// show takes a message of a workflow.
func (p *progress) show(m message) {
	if p.each != nil {
		p.each(m)
	}
	pr, ok := lookup(m.payload, "progress").(*yaml11.OrderedMap)
	if !ok {
		if s := str(lookup(m.payload, "status")); s == "RUNNING" || s == "FAILED" && lookup(m.payload, "node_uuid") != nil {
			if text := str(lookup(m.payload, "message")); text != "" {
				p.say("%s", text)
			}
		}
		return
	}
	if stage := str(lookup(pr, "stage")); stage != "" && stage != p.stage {
		p.enter(stage)
	}
	p.counts = fmt.Sprintf("%s of %s resources", str(lookup(pr, "complete")), str(lookup(pr, "total")))
	if percent := str(lookup(pr, "percent")); percent != "" {
		p.counts += ", " + percent + "%"
	}
	nodes, _ := lookup(pr, "nodes").(*yaml11.OrderedMap)
	many := max(len(p.nodes), nodes.Len()) > manyNodes
	changed := map[string]nodeLine{}
	for name, v := range nodes.All() {
		if p.node(name, v, many) {
			changed[name] = p.nodes[name]
		}
	}
	if !p.live && many {
		for _, line := range byActivity(changed) {
			p.say("%s", line)
		}
	}
	p.redraw()
}

// enter begins a stage; of the one before stays a line with how long it took.
func (p *progress) enter(stage string) {
	last, took := p.stage, p.now().Sub(p.began).Round(time.Second)
	p.began = p.now()
	if !p.live {
		p.stage = stage
		p.say("stage %s", stage)
		return
	}
	p.erase()
	p.stage = "" // nothing is drawn below the line yet
	if last != "" && took > 0 {
		p.say("%s: %s", last, clock(took))
	}
	p.stage = stage
}

// node takes in what a node does, and tells whether that is something else than before. One of many has no line of its own.
func (p *progress) node(name string, v any, many bool) bool {
	old, known := p.nodes[name]
	percent, _ := lookup(v, "percent").(int64)
	n := nodeLine{stage: str(lookup(v, "stage")), detail: str(lookup(v, "detail")), percent: percent, since: old.since}
	changed := !known || n.stage != old.stage || n.detail != old.detail
	if changed {
		n.since = p.now()
	}
	p.nodes[name] = n
	if !p.live && !many && (changed || n.percent/25 != old.percent/25) {
		p.say("%s: %s", name, n.text())
	}
	return changed
}

// byActivity puts nodes together that do the same, many of them first; failed ones come before all others and one by one.
func byActivity(nodes map[string]nodeLine) []string {
	groups := map[string][]string{}
	var failed []string
	for name, n := range nodes {
		if n.stage == "failed" {
			failed = append(failed, name+": "+n.text())
			continue
		}
		n.percent = -1
		groups[n.text()] = append(groups[n.text()], name)
	}
	texts := make([]string, 0, len(groups))
	for text, names := range groups {
		sort.Strings(names)
		texts = append(texts, text)
	}
	slices.SortFunc(texts, func(a, b string) int {
		return cmp.Or(len(groups[b])-len(groups[a]), strings.Compare(a, b))
	})
	sort.Strings(failed)
	out := failed
	for _, text := range texts {
		names := groups[text]
		const most = 3
		line := fmt.Sprintf("%d nodes %s: %s", len(names), text, strings.Join(names[:min(most, len(names))], ", "))
		if len(names) == 1 {
			line = names[0] + ": " + text
		}
		if len(names) > most {
			line += fmt.Sprintf(" and %d more", len(names)-most)
		}
		out = append(out, line)
	}
	return out
}

func (n nodeLine) text() string {
	s := n.stage
	if n.detail != "" {
		s += ": " + n.detail
	}
	if n.percent >= 0 && n.percent <= 100 && (n.percent > 0 || n.detail != "") {
		s += fmt.Sprintf(" %d%%", n.percent)
	}
	return s
}

func (p *progress) erase() {
	if p.live && p.drawn > 0 {
		_, _ = fmt.Fprintf(p.w, "\x1b[%dA\x1b[J", p.drawn)
		p.drawn = 0
	}
}

// unfinished are the names of the nodes that are not done.
func (p *progress) unfinished() []string {
	var out []string
	for name, n := range p.nodes {
		if n.stage != "done" {
			out = append(out, name)
		}
	}
	sort.Strings(out)
	return out
}

// waitsFor says which nodes are not done yet and what they do; "" when there is none.
func (p *progress) waitsFor() string {
	names := p.unfinished()
	if len(names) == 0 {
		return ""
	}
	const most = 3
	var out []string
	for _, name := range names[:min(most, len(names))] {
		out = append(out, fmt.Sprintf("%s (%s)", name, p.nodes[name].text()))
	}
	s := "; waits for " + strings.Join(out, ", ")
	if len(names) > most {
		s += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return s
}

// redraw shows the live lines again with the time that has passed. Plain output says after a while of silence what is
// waited for.
func (p *progress) redraw() {
	if !p.live && p.stage != "" && p.now().Sub(p.spoke) >= quietTime {
		p.say("still %s (%s): %s%s", p.stage, clock(p.now().Sub(p.began)), p.counts, p.waitsFor())
	}
	if p.live {
		p.erase()
		p.draw()
	}
}

func (p *progress) draw() {
	if !p.live || p.stage == "" {
		return
	}
	now := p.now()
	width, height := p.size()
	room := max(1, height-3) // lines of nodes; a block larger than the screen could not be erased
	lines := []string{fmt.Sprintf("[%s] %s (%s)  %s", clock(now.Sub(p.start)), p.stage, clock(now.Sub(p.began)), p.counts)}
	if len(p.nodes) > max(room, manyNodes) {
		lines = append(lines, p.crowd(room)...)
		p.put(lines, width)
		return
	}
	names := p.unfinished() // first, should there be no room for all
	var done []string
	for n := range p.nodes {
		if !slices.Contains(names, n) {
			done = append(done, n)
		}
	}
	sort.Strings(done)
	names = append(names, done...)
	for i, name := range names {
		if i == room-1 && len(names) > room {
			lines = append(lines, fmt.Sprintf("  … and %d more", len(names)-i))
			break
		}
		n := p.nodes[name]
		lines = append(lines, fmt.Sprintf("  %-28s %s  %s", name, clock(now.Sub(n.since)), n.text()))
	}
	p.put(lines, width)
}

// crowd are the lines of nodes that have no room for a line each.
func (p *progress) crowd(room int) []string {
	lines := byActivity(p.nodes)
	if len(lines) > room {
		lines = append(lines[:room-1], fmt.Sprintf("… and %d more", len(lines)-room+1))
	}
	for i := range lines {
		lines[i] = "  " + lines[i]
	}
	return lines
}

// put draws the live block.
func (p *progress) put(lines []string, width int) {
	for i, l := range lines {
		if rs := []rune(l); len(rs) >= width {
			lines[i] = string(rs[:width-1])
		}
	}
	_, _ = io.WriteString(p.w, strings.Join(lines, "\n")+"\n")
	p.drawn = len(lines)
}

// done ends the live block; it stays on the screen.
func (p *progress) done() { p.drawn, p.stage = 0, "" }
