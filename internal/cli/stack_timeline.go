package cli

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// barWidth is how many characters the whole operation is wide.
const barWidth = 40

type timelineFlags struct {
	out       outputFlags
	operation int
	all       bool
}

func newStackTimelineCommand(a *app) *cobra.Command {
	var f timelineFlags
	cmd := &cobra.Command{
		Use:   "timeline STACK",
		Short: "When the resources of an operation worked, and which of them it had to wait for",
		Long: `Shows the critical path of the last operation of a stack: the resources, through nested stacks, each of which
could begin only when the one before it had ended. Shortening one of them shortens the operation. Wait is the
time between that end and its own beginning. With --all every resource is shown, those of the path with a "*".`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), a, args[0]) },
	}
	cmd.Flags().IntVar(&f.operation, "operation", 0, "number of the operation, 1 being the first; default: the last")
	cmd.Flags().BoolVar(&f.all, "all", false, "show every resource, not the critical path alone")
	f.out.add(cmd)
	return cmd
}

func (f *timelineFlags) run(ctx context.Context, a *app, stack string) error {
	heat, found, err := a.findStack(ctx, stack)
	if err != nil {
		return err
	}
	url := heat.ServiceURL("stacks", found.Name, found.ID, "timeline")
	if f.operation > 0 {
		url += fmt.Sprintf("?operation=%d", f.operation)
	}
	answer, err := heatCall(ctx, heat, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	t, _ := lookup(answer, "timeline").(*yaml11.OrderedMap)
	if f.out.format == "json" || f.out.format == "yaml" {
		if !f.all {
			t.Delete("resources")
		}
		return f.out.encode(a, t)
	}
	list := items(lookup(t, "critical_path"))
	if f.all {
		list = items(lookup(t, "resources"))
	}
	total := secondsOf(t, "operation", "seconds")
	for _, r := range items(lookup(t, "resources")) { // it may still go on
		total = max(total, secondsOf(r, "offset")+secondsOf(r, "seconds"))
	}
	rows := make([][]any, 0, len(list))
	for _, r := range list {
		offset, seconds, wait := secondsOf(r, "offset"), secondsOf(r, "seconds"), secondsOf(r, "wait")
		mark := ""
		if lookup(r, "critical") == true {
			mark = "*"
		}
		rows = append(rows, []any{fmt.Sprintf("%.3f", offset), fmt.Sprintf("%.3f", seconds), fmt.Sprintf("%.3f", wait), str(lookup(r, "action")) + "_" + str(lookup(r, "status")),
			str(lookup(r, "resource_path")), str(lookup(r, "resource_type")), mark, bar(offset, seconds, total)})
	}
	if f.out.format == "table" {
		op := lookup(t, "operation")
		if _, err := fmt.Fprintf(a.stdout, "%s %s_%s, operation %s of %d, %.3f s\n", stack, str(lookup(op, "action")), str(lookup(op, "status")), str(lookup(op, "number")),
			len(items(lookup(t, "operations"))), total); err != nil {
			return err
		}
	}
	return f.out.list(a, []string{"Start", "Seconds", "Wait", "State", "Resource", "Type", "Critical", "Time"}, rows)
}

// secondsOf reads a number of seconds, 0 if there is none.
func secondsOf(v any, keys ...string) float64 {
	switch x := lookup(v, keys...).(type) {
	case int64:
		return float64(x)
	case float64:
		return x
	}
	return 0
}

// bar draws when something took place within total seconds.
func bar(offset, seconds, total float64) string {
	if total <= 0 {
		return ""
	}
	from := min(int(math.Floor(offset/total*barWidth)), barWidth-1)
	long := max(int(math.Ceil(seconds/total*barWidth)), 1)
	long = min(long, barWidth-from)
	return strings.Repeat(" ", from) + strings.Repeat("=", long)
}
