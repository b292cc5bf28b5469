package workflow

import (
	"context"
	_ "embed"

	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/workflow/dsl"
)

// standard holds the workflows that every Mistral comes with.
//
//go:embed standard.yaml
var standard string

// installWorkflows stores the standard workflows, public, if their text has
// changed.
func (s *Service) installWorkflows(ctx context.Context, owner *auth.Identity) error {
	list, err := dsl.ParseWorkflows(standard, s.eng.Check)
	if err != nil {
		return err
	}
	have := map[string]string{}
	return s.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		err := tx.Each(func(scan func(...any) error) error {
			var name, text string
			err := scan(&name, &text)
			have[name] = text
			return err
		}, `SELECT name, definition FROM workflow_definitions WHERE kind = 'workflow' AND project_id = '' AND workbook = ''`)
		if err != nil {
			return err
		}
		for _, wf := range list {
			if have[wf.Name] == wf.Text {
				continue
			}
			if _, err := s.put(tx, owner, workflowRow("", wf), save{scope: "public", create: true, replace: true}, s.cfg.Now()); err != nil {
				return err
			}
		}
		return nil
	})
}
