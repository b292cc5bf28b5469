package introspection

import (
	"context"
	"errors"
	"net/http"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/introspection/rules"
	"github.com/tripleo/tripleo/internal/store"
)

func (s *Service) allRules(ctx context.Context) (list []rules.Rule, err error) {
	err = s.cfg.DB.View(ctx, func(tx *store.Tx) error {
		list = []rules.Rule{}
		return tx.Each(func(scan func(...any) error) error {
			var r rules.Rule
			if err := scan(store.JSON(&r)); err != nil {
				return err
			}
			list = append(list, r)
			return nil
		}, `SELECT doc FROM introspection_rules ORDER BY id`)
	})
	return list, err
}

func (s *Service) ruleDoc(r *rules.Rule, short bool) map[string]any {
	m := map[string]any{"uuid": r.UUID, "description": r.Description, "links": s.link("/v1/rules/" + r.UUID)}
	if !short {
		m["actions"] = r.Actions
		conditions := make([]map[string]any, 0, len(r.Conditions))
		for _, c := range r.Conditions {
			full := map[string]any{"multiple": "any", "invert": false}
			for k, v := range c {
				full[k] = v
			}
			conditions = append(conditions, full)
		}
		m["conditions"] = conditions
	}
	return m
}

func (s *Service) listRules(w http.ResponseWriter, r *http.Request) error {
	list, err := s.allRules(r.Context())
	if err != nil {
		return err
	}
	out := make([]any, 0, len(list))
	for i := range list {
		out = append(out, s.ruleDoc(&list[i], true))
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"rules": out})
}

func (s *Service) createRule(w http.ResponseWriter, r *http.Request) error {
	var rule rules.Rule
	if err := api.ReadJSON(r, &rule); err != nil {
		return err
	}
	if rule.UUID == "" {
		rule.UUID = uuid.NewString()
	} else if _, err := uuid.Parse(rule.UUID); err != nil {
		return api.Invalid("uuid is %q, expected a UUID", rule.UUID)
	}
	if err := rule.Validate(); err != nil {
		return api.Invalid("Validation failed for the rule: %s", err.Error())
	}
	err := s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO introspection_rules (uuid, doc) VALUES (?, ?)`, rule.UUID, store.JSON(&rule))
		if errors.Is(err, store.ErrConflict) {
			return api.Conflict("Rule with UUID %s already exists", rule.UUID)
		}
		return err
	})
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if !api.AtLeast(r, "1.6") {
		status = http.StatusOK
	}
	return api.WriteJSON(w, status, s.ruleDoc(&rule, false))
}

func (s *Service) getRule(w http.ResponseWriter, r *http.Request) error {
	var rule rules.Rule
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		return tx.Get([]any{store.JSON(&rule)}, `SELECT doc FROM introspection_rules WHERE uuid = ?`, r.PathValue("rule"))
	})
	if errors.Is(err, store.ErrNotFound) {
		return api.NotFound("Rule %s was not found", r.PathValue("rule"))
	}
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, s.ruleDoc(&rule, false))
}

func (s *Service) deleteRule(w http.ResponseWriter, r *http.Request) error {
	err := s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		n, err := tx.Exec(`DELETE FROM introspection_rules WHERE uuid = ?`, r.PathValue("rule"))
		if err == nil && n == 0 {
			return api.NotFound("Rule %s was not found", r.PathValue("rule"))
		}
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) deleteRules(w http.ResponseWriter, r *http.Request) error {
	err := s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM introspection_rules`)
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
