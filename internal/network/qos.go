package network

import (
	"net/http"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
)

// QoS policies are kept for clients and templates and are handed to whoever
// wires a port; nothing here shapes packets.

func policyKind() *resource {
	return &resource{
		kind: "policy", plural: "policies", path: "qos/policies", shared: "qos_policy",
		missing: "QoS policy %s could not be found.", missingType: "QosPolicyNotFound",
		inUse: "QoS Policy %s is used by a port, network, router or floating IP.", inUseType: "QosPolicyInUse",
		attrs: described(
			attr{name: "shared", parse: boolean, def: false, mode: both | setBy},
			attr{name: "is_default", parse: boolean, def: false, mode: both},
			attr{name: "rules", mode: unlist},
		),
		prepare: func(c *call, d, old doc) error {
			if !c.admin() {
				return api.Forbidden("(rule:%s_policy) is disallowed by policy", verbOf(old))
			}
			if !d.flag("is_default") {
				return nil
			}
			all, err := c.find(c.s.kinds["policy"], ` AND project_id = ? AND id <> ?`, d.project(), d.id())
			for _, o := range all {
				if o.flag("is_default") {
					return api.Conflict("A default QoS policy exists for project %s: %s.", d.project(), o.id()).Named("QoSPolicyDefaultAlreadyExists")
				}
			}
			return err
		},
		release: func(c *call, d doc) error {
			var n int
			if err := c.tx.Get([]any{&n}, `SELECT COUNT(*) FROM network_refs WHERE to_id = ?`, d.id()); err != nil {
				return err
			}
			if n > 0 {
				return api.Conflict(c.s.kinds["policy"].inUse, d.id()).Named("QosPolicyInUse")
			}
			for _, k := range qosRuleKinds() {
				if _, err := c.tx.Exec(`DELETE FROM network_resources WHERE parent_id = ? AND kind = ?`, d.id(), k.kind); err != nil {
					return err
				}
			}
			return nil
		},
		view: func(c *call, d doc) error {
			rules := []any{}
			for _, k := range qosRuleKinds() {
				found, err := c.children(k, d.id())
				if err != nil {
					return err
				}
				for _, r := range found {
					r["type"] = k.kind[:len(k.kind)-len("_rule")]
					rules = append(rules, map[string]any(r))
				}
			}
			d["rules"] = rules
			return nil
		},
	}
}

// qosRuleKinds are the rules of a policy, one kind a URL.
func qosRuleKinds() []*resource {
	kbps := integer(0, 1<<31-1)
	direction := attr{name: "direction", parse: oneOf("egress", "ingress"), def: "egress", mode: both}
	make := func(name string, attrs ...attr) *resource {
		return &resource{
			kind: name, plural: name + "s", path: name + "s", plain: true, unowned: true, nested: true, parent: "qos_policy_id",
			missing: "QoS rule of type " + name[:len(name)-len("_rule")] + " with id %s could not be found.", missingType: "QosRuleNotFound",
			inUse: "QoS rule %s is in use.", inUseType: "QosRuleInUse",
			attrs: append(attrs, attr{name: "qos_policy_id", def: noDefault{}}),
			prepare: func(c *call, d, old doc) error {
				if n := d.num("max_burst_kbps"); d["max_kbps"] != nil && n > 0 && d.num("max_kbps") == 0 {
					return api.Invalid("max_burst_kbps is %d but max_kbps is 0", n)
				}
				others, err := c.children(c.s.kinds[name], d.str("qos_policy_id"))
				for _, o := range others {
					if o.id() != d.id() && o.str("direction") == d.str("direction") {
						return api.Conflict("Rule %s already exists in QoS Policy %s.", name, d.str("qos_policy_id")).Named("QoSRulesConflict")
					}
				}
				if err != nil {
					return err
				}
				return c.fitsMinimum(name, d)
			},
			view: func(_ *call, d doc) error { delete(d, "qos_policy_id"); return nil },
		}
	}
	return []*resource{
		make("bandwidth_limit_rule", attr{name: "max_kbps", parse: kbps, mode: both | need}, attr{name: "max_burst_kbps", parse: kbps, def: float64(0), mode: both}, direction),
		make("dscp_marking_rule", attr{name: "dscp_mark", parse: dscp, mode: both | need}),
		make("minimum_bandwidth_rule", attr{name: "min_kbps", parse: kbps, mode: both | need}, direction),
		make("minimum_packet_rate_rule", attr{name: "min_kpps", parse: kbps, mode: both | need},
			attr{name: "direction", parse: oneOf("egress", "ingress", "any"), def: "egress", mode: both}),
		make("packet_rate_limit_rule", attr{name: "max_kpps", parse: kbps, mode: both | need}, attr{name: "max_burst_kpps", parse: kbps, def: float64(0), mode: both}, direction),
	}
}

// fitsMinimum refuses a limit below what the same policy guarantees.
func (c *call) fitsMinimum(name string, d doc) error {
	other := map[string]string{"bandwidth_limit_rule": "minimum_bandwidth_rule", "minimum_bandwidth_rule": "bandwidth_limit_rule"}[name]
	if other == "" {
		return nil
	}
	rules, err := c.children(c.s.kinds[other], d.str("qos_policy_id"))
	for _, o := range rules {
		limit, least := d.num("max_kbps"), o.num("min_kbps")
		if other == "bandwidth_limit_rule" {
			limit, least = o.num("max_kbps"), d.num("min_kbps")
		}
		if o.str("direction") == d.str("direction") && limit < least {
			return api.Conflict("Rule %s conflicts with %s in QoS Policy %s: %d kbps are guaranteed, at most %d allowed.", name, other, d.str("qos_policy_id"), least, limit).Named("QoSRuleParameterConflict")
		}
	}
	return err
}

// dscpMarks are the valid marks (RFC 2474, 2597, 3246, 5865).
var dscpMarks = []int{0, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 46, 48, 56} //nolint:gochecknoglobals // constant table

func dscp(v any) (any, string) {
	n, why := integer(0, 63)(v)
	if why == "" && !slices.Contains(dscpMarks, int(n.(float64))) {
		why = show(v) + " is not a valid DSCP mark."
	}
	return n, why
}

// qosRule serves one kind of rule below its policy, or, with alias, on its own.
func (s *Service) qosRule(k *resource, alias bool, fn func(c *call, w http.ResponseWriter, policy, rule doc) (any, int, error), write bool) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		var out any
		var status int
		err := s.in(r, write, func(c *call) error {
			forbidden := api.Forbidden("(rule:%s) is disallowed by policy", k.kind)
			if r.Method == http.MethodPost && !c.admin() {
				return forbidden
			}
			var rule doc
			var err error
			if id := r.PathValue("id"); id != "" {
				if rule, err = c.load(k, id); err != nil {
					return err
				}
			}
			policyID := r.PathValue("policy")
			if alias {
				policyID = rule.str("qos_policy_id")
			}
			policy, err := c.see(c.s.kinds["policy"], policyID)
			if err != nil {
				return err
			}
			if rule != nil && rule.str("qos_policy_id") != policyID {
				return k.notFound(rule.id())
			}
			if write && !c.admin() {
				return forbidden
			}
			out, status, err = fn(c, w, policy, rule)
			return err
		})
		if err != nil {
			return err
		}
		if status == http.StatusNoContent {
			w.WriteHeader(status)
			return nil
		}
		return api.WriteJSON(w, status, out)
	}
}

func (s *Service) qosRoutes() []api.Route {
	out := []api.Route{
		{Method: "GET", Pattern: "/v2.0/qos/rule-types", Policy: api.Reader, Handler: s.listRuleTypes},
		{Method: "GET", Pattern: "/v2.0/qos/rule-types/{type}", Policy: api.Admin, Handler: s.showRuleType},
	}
	for _, k := range qosRuleKinds() {
		k := s.kinds[k.kind]
		base := "/v2.0/qos/policies/{policy}/" + k.path
		alias := "/v2.0/qos/alias-" + strings.ReplaceAll(k.path, "_", "-") + "/{id}"
		out = append(out, api.Route{Method: "GET", Pattern: base, Policy: api.Reader, Handler: s.listQosRules(k)},
			api.Route{Method: "POST", Pattern: base, Policy: api.Member, Handler: s.createQosRule(k)})
		for _, at := range []struct {
			pattern string
			alias   bool
		}{{base + "/{id}", false}, {alias, true}} {
			out = append(out,
				api.Route{Method: "GET", Pattern: at.pattern, Policy: api.Reader, Handler: s.qosRule(k, at.alias, showQosRule(k), false)},
				api.Route{Method: "PUT", Pattern: at.pattern, Policy: api.Member, Handler: s.putQosRule(k, at.alias)},
				api.Route{Method: "DELETE", Pattern: at.pattern, Policy: api.Member, Handler: s.qosRule(k, at.alias, deleteQosRule(k), true)})
		}
	}
	return out
}

func showQosRule(k *resource) func(*call, http.ResponseWriter, doc, doc) (any, int, error) {
	return func(c *call, _ http.ResponseWriter, _, rule doc) (any, int, error) {
		shown, err := c.shown(k, rule)
		return map[string]any{k.kind: shown}, http.StatusOK, err
	}
}

func (s *Service) listQosRules(k *resource) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		page, err := api.ParsePage(r, 0)
		if err != nil {
			return err
		}
		if err := k.checkQuery(r, page); err != nil {
			return err
		}
		var out []doc
		err = s.in(r, false, func(c *call) error {
			policy, err := c.see(c.s.kinds["policy"], r.PathValue("policy"))
			if err != nil {
				return err
			}
			rules, err := c.children(k, policy.id())
			for _, rule := range rules {
				shown, err := c.shown(k, rule)
				if err != nil {
					return err
				}
				if matches(shown, r) {
					out = append(out, shown)
				}
			}
			return err
		})
		if err != nil {
			return err
		}
		return respondDocs(w, r, s.cfg.BaseURL+r.URL.Path, k.plural, out, page)
	}
}

func (s *Service) createQosRule(k *resource) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		items, _, err := body(r, k)
		if err != nil {
			return err
		}
		return s.qosRule(k, false, func(c *call, _ http.ResponseWriter, policy, _ doc) (any, int, error) {
			d, err := c.accept(k, cloned(items[0]), nil)
			if err != nil {
				return nil, 0, err
			}
			d["qos_policy_id"] = policy.id()
			if err := c.add(k, d); err != nil {
				return nil, 0, err
			}
			shown, err := c.shown(k, d)
			if err != nil {
				return nil, 0, err
			}
			return map[string]any{k.kind: shown}, http.StatusCreated, c.touch(c.s.kinds["policy"], policy.id())
		}, true)(w, r)
	}
}

// putQosRule reads what is asked before its transaction begins: a slow client
// must not hold the others up.
func (s *Service) putQosRule(k *resource, alias bool) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		items, _, err := body(r, k)
		if err != nil {
			return err
		}
		return s.qosRule(k, alias, changeQosRule(k, items[0]), true)(w, r)
	}
}

func changeQosRule(k *resource, given map[string]any) func(*call, http.ResponseWriter, doc, doc) (any, int, error) {
	return func(c *call, _ http.ResponseWriter, policy, rule doc) (any, int, error) {
		d, err := c.change(k, rule, cloned(given))
		if err != nil {
			return nil, 0, err
		}
		shown, err := c.shown(k, d)
		if err != nil {
			return nil, 0, err
		}
		return map[string]any{k.kind: shown}, http.StatusOK, c.touch(c.s.kinds["policy"], policy.id())
	}
}

func deleteQosRule(k *resource) func(*call, http.ResponseWriter, doc, doc) (any, int, error) {
	return func(c *call, _ http.ResponseWriter, policy, rule doc) (any, int, error) {
		if err := c.destroy(k, rule); err != nil {
			return nil, 0, err
		}
		return nil, http.StatusNoContent, c.touch(c.s.kinds["policy"], policy.id())
	}
}

func (s *Service) listRuleTypes(w http.ResponseWriter, r *http.Request) error {
	out := []any{}
	for _, k := range qosRuleKinds() {
		out = append(out, map[string]any{"type": k.kind[:len(k.kind)-len("_rule")]})
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"rule_types": out})
}

// showRuleType says that no driver here carries the rule out.
func (s *Service) showRuleType(w http.ResponseWriter, r *http.Request) error {
	for _, k := range qosRuleKinds() {
		if k.kind == r.PathValue("type")+"_rule" {
			return api.WriteJSON(w, http.StatusOK, map[string]any{"rule_type": map[string]any{"type": r.PathValue("type"), "drivers": []any{}}})
		}
	}
	return api.NotFound("QoS rule type %s could not be found.", r.PathValue("type"))
}
