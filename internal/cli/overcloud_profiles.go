package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/deployment"
)

func newProfilesCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "profiles", Short: "Which node is for which role"}
	cmd.AddCommand(newProfilesList(a), newProfilesMatch(a))
	return cmd
}

// roleScale are the flags of the roles' counts and flavors that older command lines have.
type roleScale struct {
	count  int
	flavor string
}

// nodeProfile is what placing knows of a node.
type nodeProfile struct {
	uuid, name, state  string
	caps               map[string]string
	profile            string
	possible           []string
	maintenance, error bool
}

func newNodeProfile(v any) nodeProfile {
	n := nodeProfile{uuid: str(lookup(v, "uuid")), name: str(lookup(v, "name")), state: str(lookup(v, "provision_state")), maintenance: lookup(v, "maintenance") == true}
	caps, err := deployment.ParseCapabilities(lookup(v, "properties", "capabilities"))
	n.caps, n.profile = caps, caps["profile"]
	n.error = n.maintenance || n.state == "error" || strings.HasSuffix(n.state, "failed") || err != nil
	for _, k := range slices.Sorted(maps.Keys(caps)) {
		if p, ok := strings.CutSuffix(k, "_profile"); ok && (caps[k] == "1" || strings.EqualFold(caps[k], "true")) {
			n.possible = append(n.possible, p)
		}
	}
	return n
}

// allNodes are the nodes of Ironic with their properties.
func (o *operator) allNodes(ctx context.Context) ([]nodeProfile, error) {
	c, err := o.s.Baremetal()
	if err != nil {
		return nil, err
	}
	var out []nodeProfile
	for marker := ""; ; marker = out[len(out)-1].uuid {
		v, _, err := o.call(ctx, c, http.MethodGet, below(c, "v1", "nodes")+"?limit=1000&fields=uuid,name,provision_state,maintenance,properties&marker="+url.QueryEscape(marker), nil,
			map[string]string{"X-OpenStack-Ironic-API-Version": "1.36"})
		if err != nil {
			return nil, err
		}
		page := items(lookup(v, "nodes"))
		for _, n := range page {
			out = append(out, newNodeProfile(n))
		}
		if len(page) < 1000 {
			return out, nil
		}
	}
}

func newProfilesList(a *app) *cobra.Command {
	var all bool
	out := &outputFlags{}
	cmd := a.verb("list", "List nodes with their profile and those they could have", cobra.NoArgs, func(ctx context.Context, o *operator, _ []string) error {
		nodes, err := o.allNodes(ctx)
		if err != nil {
			return err
		}
		headers := []string{"Node UUID", "Node Name", "Provision State", "Current Profile", "Possible Profiles"}
		if all {
			headers = append(headers, "Error")
		}
		var rows [][]any
		for _, n := range nodes {
			if !all && (n.error || n.state != "available" && n.state != "active") {
				continue
			}
			row := []any{n.uuid, n.name, n.state, n.profile, strings.Join(n.possible, ", ")}
			if all {
				why := ""
				switch {
				case n.maintenance:
					why = "in maintenance"
				case n.error || n.state != "available" && n.state != "active":
					why = "provision state is " + n.state
				}
				row = append(row, why)
			}
			rows = append(rows, row)
		}
		return out.list(a, headers, rows)
	})
	cmd.Flags().BoolVar(&all, "all", false, "nodes too that nothing can be deployed on, and why")
	out.add(cmd)
	return cmd
}

func newProfilesMatch(a *app) *cobra.Command {
	var dry bool
	scales := map[string]*roleScale{}
	cmd := a.verb("match", "Give nodes the profiles that a deployment needs", cobra.NoArgs, func(ctx context.Context, o *operator, _ []string) error {
		return o.matchProfiles(ctx, scales, dry)
	})
	cmd.Long = `Give nodes the profiles that a deployment needs. A node with the capability PROFILE_profile:1 can have PROFILE;
the counts and flavors of the roles say how many are needed. The flavor "baremetal" takes any node.`
	fl := cmd.Flags()
	fl.BoolVar(&dry, "dry-run", false, "only say what would be done")
	for _, r := range deployment.StockRoles() {
		s := &roleScale{}
		scales[r.Profile] = s
		fl.IntVar(&s.count, r.Profile+"-scale", 0, "number of "+r.Profile+" nodes")
		fl.StringVar(&s.flavor, r.Profile+"-flavor", "", "flavor of "+r.Profile+" nodes (default: any node)")
	}
	return cmd
}

// want is how many nodes of a profile are needed.
type want struct {
	profile string
	count   int
}

// place chooses nodes for profiles: those that have the profile count first, then free ones that could have it, those
// with the fewest other possibilities first. It returns what each chosen node gets, and what is missing.
func place(nodes []nodeProfile, wants []want) (changes map[string]string, missing []want) {
	changes = map[string]string{}
	for _, w := range wants {
		need := w.count
		var free []nodeProfile
		for _, n := range nodes {
			switch {
			case n.profile == w.profile:
				need--
			case n.profile == "" && changes[n.uuid] == "" && slices.Contains(n.possible, w.profile):
				free = append(free, n)
			}
		}
		sort.SliceStable(free, func(i, j int) bool { return len(free[i].possible) < len(free[j].possible) })
		for _, n := range free {
			if need <= 0 {
				break
			}
			changes[n.uuid] = w.profile
			need--
		}
		if need > 0 {
			missing = append(missing, want{w.profile, need})
		}
	}
	return changes, missing
}

func (o *operator) matchProfiles(ctx context.Context, scales map[string]*roleScale, dry bool) error {
	wants, anyNode, err := o.wantedProfiles(ctx, scales)
	if err != nil {
		return err
	}
	all, err := o.allNodes(ctx)
	if err != nil {
		return err
	}
	var nodes []nodeProfile
	for _, n := range all {
		if !n.error && (n.state == "available" || n.state == "active") {
			nodes = append(nodes, n)
		}
	}
	changes, missing := place(nodes, wants)
	total := anyNode
	for _, w := range wants {
		total += w.count
	}
	for _, n := range nodes {
		p := changes[n.uuid]
		if p == "" {
			continue
		}
		_, _ = fmt.Fprintf(o.a.stdout, "Node %s: profile %s\n", firstNonEmpty(n.name, n.uuid), p)
		if dry {
			continue
		}
		if err := o.setProfile(ctx, n, p); err != nil {
			return fmt.Errorf("node %s: %w", firstNonEmpty(n.name, n.uuid), err)
		}
	}
	if len(missing) > 0 || total > len(nodes) {
		var lines []string
		for _, m := range missing {
			lines = append(lines, fmt.Sprintf("%d more nodes with the possible profile %s are needed", m.count, m.profile))
		}
		if total > len(nodes) {
			lines = append(lines, fmt.Sprintf("%d nodes are wanted, %d are available or active", total, len(nodes)))
		}
		return fmt.Errorf("not enough nodes:\n  %s", strings.Join(lines, "\n  "))
	}
	return nil
}

// wantedProfiles asks Nova which profile each flavor is for; anyNode are those without one.
func (o *operator) wantedProfiles(ctx context.Context, scales map[string]*roleScale) (wants []want, anyNode int, err error) {
	c, err := o.s.Compute()
	if err != nil {
		return nil, 0, err
	}
	v, _, err := o.call(ctx, c, http.MethodGet, below(c, "", "flavors", "detail")+"?is_public=None", nil, nil)
	if err != nil {
		return nil, 0, err
	}
	ids := map[string]string{}
	for _, f := range items(lookup(v, "flavors")) {
		ids[str(lookup(f, "name"))] = str(lookup(f, "id"))
	}
	counts := map[string]int{}
	for _, r := range deployment.StockRoles() {
		s := scales[r.Profile]
		if s.count == 0 {
			continue
		}
		if s.flavor == "" {
			anyNode += s.count
			continue
		}
		flavor := s.flavor
		if ids[flavor] == "" {
			return nil, 0, fmt.Errorf("--%s-flavor: there is no flavor %s", r.Profile, flavor)
		}
		specs, _, err := o.call(ctx, c, http.MethodGet, below(c, "", "flavors", ids[flavor], "os-extra_specs"), nil, nil)
		if err != nil {
			return nil, 0, err
		}
		p := str(lookup(specs, "extra_specs", "capabilities:profile"))
		switch {
		case p != "":
			if counts[p] == 0 {
				wants = append(wants, want{profile: p})
			}
			counts[p] += s.count
		case flavor == "baremetal":
			anyNode += s.count
		default:
			return nil, 0, fmt.Errorf("flavor %s has no extra spec capabilities:profile", flavor)
		}
	}
	for i := range wants {
		wants[i].count = counts[wants[i].profile]
	}
	return wants, anyNode, nil
}

func (o *operator) setProfile(ctx context.Context, n nodeProfile, profile string) error {
	c, err := o.s.Baremetal()
	if err != nil {
		return err
	}
	caps := maps.Clone(n.caps)
	caps["profile"] = profile
	patch, err := json.Marshal([]any{map[string]any{"op": "add", "path": "/properties/capabilities", "value": deployment.JoinCapabilities(caps)}})
	if err != nil {
		return err
	}
	_, _, err = o.call(ctx, c, http.MethodPatch, below(c, "v1", "nodes", n.uuid), patch, map[string]string{"Content-Type": "application/json-patch+json"})
	return err
}
