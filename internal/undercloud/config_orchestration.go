package undercloud

import (
	"github.com/tripleo/tripleo/internal/orchestration"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// orchestrationSection reads the section "orchestration": what projects and stacks may take.
func (r *reader) orchestrationSection(n *yaml11.Node, c *orchestration.Limits) {
	if n == nil {
		return
	}
	n = r.section(n, "orchestration", "max_stacks_per_tenant", "max_resources_per_stack", "max_nested_stack_depth", "max_events_per_stack", "max_template_size", "max_json_body_size")
	r.number(n, "max_stacks_per_tenant", &c.Stacks)
	r.number(n, "max_resources_per_stack", &c.Resources)
	r.number(n, "max_nested_stack_depth", &c.Depth)
	r.number(n, "max_events_per_stack", &c.Events)
	r.number(n, "max_template_size", &c.TemplateSize)
	r.number(n, "max_json_body_size", &c.BodySize)
}
