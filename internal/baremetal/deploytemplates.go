package baremetal

import (
	"errors"
	"slices"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// DeployTemplate is a named list of deploy steps; an instance gets them by the
// trait of that name.
type DeployTemplate struct {
	base
	Name  string           `json:"name"`
	Steps []map[string]any `json:"steps"` // as the client gave them, checked
}

func deployTemplateGroup() group {
	return group{
		name: "deploy_templates", path: "deploy_templates", title: "Deploy template", notFound: "DeployTemplateNotFound",
		table: "baremetal_deploy_templates", named: true, writable: []string{"name", "steps", "extra"},
		summary: []string{"uuid", "name", "links"}, sortable: []string{"uuid", "name"},
		empty: func(*Service) groupItem { return &DeployTemplate{} },
	}
}

func (t *DeployTemplate) set(doc map[string]any) (err error) {
	if v, ok := doc["name"]; ok {
		if t.Name, err = wantString("name", v, 255); err != nil {
			return err
		}
	}
	if err := checkTrait(t.Name); err != nil {
		return api.Invalid("Deploy template name must be a valid trait: %s", errText(err))
	}
	if t.Extra, err = wantMap("extra", doc["extra"]); err != nil {
		return err
	}
	list, ok := doc["steps"].([]any)
	if !ok || len(list) == 0 {
		return api.Invalid("steps: expected a list with at least one step")
	}
	t.Steps = nil
	for i, v := range list {
		m, ok := v.(map[string]any)
		if !ok {
			return api.Invalid("steps[%d] holds a %T, expected an object", i, v)
		}
		if _, ok := m["args"].(map[string]any); !ok {
			return api.Invalid("steps[%d]: args is required and holds an object", i)
		}
		t.Steps = append(t.Steps, m)
	}
	steps, err := wantSteps("steps", t.Steps, true)
	if err != nil {
		return err
	}
	for i, st := range steps {
		if slices.ContainsFunc(steps[:i], func(h HWStep) bool { return h.name() == st.name() }) {
			return api.Invalid("steps[%d]: duplicate deploy step %s", i, st.name())
		}
	}
	return nil
}

func (t *DeployTemplate) insert(_ *Service, tx *store.Tx) error {
	_, err := tx.Exec(`INSERT INTO baremetal_deploy_templates (uuid, name, doc) VALUES (?, ?, ?)`, t.UUID, t.Name, store.JSON(t))
	return t.conflict(err)
}

func (t *DeployTemplate) update(_ *Service, tx *store.Tx) error {
	_, err := tx.Exec(`UPDATE baremetal_deploy_templates SET name = ?, doc = ? WHERE uuid = ?`, t.Name, store.JSON(t), t.UUID)
	return t.conflict(err)
}

func (t *DeployTemplate) conflict(err error) error {
	if errors.Is(err, store.ErrConflict) {
		return api.Conflict("A deploy template with name %s or UUID %s already exists.", t.Name, t.UUID).Named("DeployTemplateDuplicateName").Wrap(err)
	}
	return err
}

// templateSteps are the steps of the templates that the instance's traits name.
func templateSteps(tx *store.Tx, n *Node) ([]HWStep, error) {
	traits, _ := n.InstanceInfo["traits"].([]any)
	var out []HWStep
	for _, v := range traits {
		name, _ := v.(string)
		var t DeployTemplate
		err := tx.Get([]any{store.JSON(&t)}, `SELECT doc FROM baremetal_deploy_templates WHERE name = ?`, name)
		if errors.Is(err, store.ErrNotFound) {
			continue // most traits are no templates
		}
		if err != nil {
			return nil, err
		}
		steps, err := wantSteps("deploy template "+name, t.Steps, true)
		if err != nil {
			return nil, err
		}
		out = append(out, steps...)
	}
	return out, nil
}
