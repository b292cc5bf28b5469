package engine

import (
	"fmt"

	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/store"
)

// readInbox delivers signals.
func (r *run) readInbox() error {
	type message struct {
		seq                  int64
		resource, kind, body string
	}
	var list []message
	err := r.e.cfg.DB.View(r.ctx, func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			var m message
			err := scan(&m.seq, &m.resource, &m.kind, tx.SealedText(&m.body, "heat_inbox.body"))
			list = append(list, m)
			return err
		}, "SELECT seq, resource_id, kind, body FROM heat_inbox WHERE stack_id = ? ORDER BY seq LIMIT 100", r.st.ID)
	})
	if err != nil {
		return fmt.Errorf("signals: %w", err)
	}
	for _, m := range list {
		r.later(func(tx *store.Tx) error {
			_, err := tx.Exec("DELETE FROM heat_inbox WHERE seq = ?", m.seq)
			return err
		})
		for _, row := range r.allRows() {
			switch {
			case row.ID != m.resource:
			case m.kind == "hook":
				r.unsetHook(row, m.body)
			default:
				r.signal(row, m.body)
			}
		}
	}
	return r.flush()
}

func (r *run) signal(row *Row, body string) {
	typ, err := r.e.typeOf(row.Target, r.files)
	if err != nil || typ.Signal == nil {
		return
	}
	props, err := r.rowProps(row, typ)
	if err != nil {
		return
	}
	res := r.resource(row, typ, props)
	if err := typ.Signal(r.ctx, res, fromText(body)); err != nil {
		r.e.cfg.Log.WarnContext(r.ctx, "signal failed", "stack", r.st.Name, "resource", row.Name, "error", err)
		return
	}
	row.SetData(res.Data)
	r.e.naps.drop(row.ID)
	if row.Attrs().Len() > 0 && typ.Attr != nil {
		var uses []resources.AttrUse
		for k := range row.Attrs().All() {
			uses = append(uses, resources.AttrUse{Attr: k})
		}
		if attrs, err := fetchAttrs(r.ctx, typ, res, uses, nil); err == nil {
			row.SetAttrs(attrs)
		}
	}
	r.touch(row)
	ev := r.eventOf(row)
	ev.Action, ev.Status, ev.Reason = "SIGNAL", Complete, "Signal received"
	r.events = append(r.events, ev)
}
