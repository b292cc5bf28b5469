package messaging

import (
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

func checkQueue(name string) error {
	if name == "" || len(name) > maxQueueName {
		return api.Invalid("queue name %q has %d bytes, expected 1 to %d", name, len(name), maxQueueName)
	}
	for _, c := range name {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return api.Invalid("queue name %q may hold letters, digits, underscores and hyphens only", name)
		}
	}
	return nil
}

// reserved are the metadata that Zaqar shows with their defaults.
func (s *Service) reserved() document {
	return document{
		"_max_messages_post_size": s.cfg.MaxPostSize, "_default_message_ttl": defaultTTL, "_default_message_delay": 0,
		"_dead_letter_queue": nil, "_dead_letter_queue_messages_ttl": nil, "_max_claim_count": nil, "_enable_encrypt_messages": false,
	}
}

// queueMeta reads what was set on a queue. One that does not exist has none:
// queues come with their first message and are never missing (Zaqar v2).
func queueMeta(tx *store.Tx, a actor, queue string) (document, error) {
	meta := document{}
	err := tx.Get([]any{store.JSON(&meta)}, `SELECT metadata FROM messaging_queues WHERE project = ? AND name = ?`, a.project, queue)
	if isNotFound(err) {
		return document{}, checkQueue(queue)
	}
	return meta, err
}

// ensureQueue makes a queue; made is false if it exists.
func (s *Service) ensureQueue(tx *store.Tx, a actor, queue string, meta document) (made bool, err error) {
	if err := checkQueue(queue); err != nil {
		return false, err
	}
	if meta == nil {
		meta = document{}
	}
	if err := checkMeta(meta); err != nil {
		return false, err
	}
	n, err := tx.Exec(`INSERT INTO messaging_queues (project, name, metadata, created) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		a.project, queue, store.JSON(meta), store.At(s.now()))
	if err == nil && n == 0 && len(meta) > 0 {
		_, err = tx.Exec(`UPDATE messaging_queues SET metadata = ? WHERE project = ? AND name = ?`, store.JSON(meta), a.project, queue)
	}
	return n > 0, err
}

func checkMeta(meta document) error {
	text, err := json.Marshal(meta)
	if err != nil {
		return err
	}
	if len(text) > maxMetadata {
		return api.Invalid("queue metadata has %d bytes, at most %d are allowed", len(text), maxMetadata)
	}
	bounds := map[string][2]float64{
		"_default_message_ttl": {minTTL, maxTTL}, "_default_message_delay": {0, maxDelay}, "_max_messages_post_size": {1, maxBody},
		"_max_claim_count": {1, 1_000_000}, "_dead_letter_queue_messages_ttl": {minTTL, maxTTL},
	}
	nullable := map[string]bool{"_max_claim_count": true, "_dead_letter_queue_messages_ttl": true}
	for name, b := range bounds {
		v, ok := meta[name]
		if v == nil && nullable[name] {
			continue
		}
		if n, isNumber := v.(float64); ok && (!isNumber || n < b[0] || n > b[1] || n != math.Trunc(n)) {
			return api.Invalid("queue metadata %s is %v, expected %.0f to %.0f", name, v, b[0], b[1])
		}
	}
	if v := meta["_dead_letter_queue"]; v != nil {
		name, ok := v.(string)
		if !ok {
			return api.Invalid("queue metadata _dead_letter_queue is %v, expected the name of a queue", v)
		}
		if err := checkQueue(name); err != nil {
			return err
		}
	}
	if v := meta["_enable_encrypt_messages"]; v != nil {
		if _, ok := v.(bool); !ok {
			return api.Invalid("queue metadata _enable_encrypt_messages is %v, expected true or false", v)
		}
	}
	_, err = parseRetries(meta["_retry_policy"])
	return err
}

func (s *Service) createQueue(r requestContext, a actor, queue string, meta document) (bool, error) {
	made := false
	err := s.db.Tx(r, func(tx *store.Tx) (err error) {
		made, err = s.ensureQueue(tx, a, queue, meta)
		return err
	})
	return made, err
}

func (s *Service) putQueue(w http.ResponseWriter, r *http.Request, a actor) error {
	var meta document
	if r.ContentLength != 0 {
		if err := api.ReadJSON(r, &meta); err != nil {
			return err
		}
	}
	queue := r.PathValue("queue")
	made, err := s.createQueue(r.Context(), a, queue, meta)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v2/queues/"+queue)
	if made {
		w.WriteHeader(http.StatusCreated)
	} else {
		w.WriteHeader(http.StatusNoContent)
	}
	return nil
}

func (s *Service) showQueue(ctx requestContext, a actor, queue string) (document, error) {
	out := s.reserved()
	err := s.db.View(ctx, func(tx *store.Tx) error {
		meta, err := queueMeta(tx, a, queue)
		for k, v := range meta {
			out[k] = v
		}
		return err
	})
	return out, err
}

func (s *Service) getQueue(w http.ResponseWriter, r *http.Request, a actor) error {
	out, err := s.showQueue(r.Context(), a, r.PathValue("queue"))
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, out)
}

type patchOp struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// patchQueue answers PATCH: add, replace and remove of /metadata/NAME.
func (s *Service) patchQueue(w http.ResponseWriter, r *http.Request, a actor) error {
	var ops []patchOp
	if err := api.ReadJSON(r, &ops); err != nil {
		return err
	}
	queue := r.PathValue("queue")
	var meta document
	err := s.db.Tx(r.Context(), func(tx *store.Tx) (err error) {
		if meta, err = queueMeta(tx, a, queue); err != nil {
			return err
		}
		for _, op := range ops {
			if err := s.applyMeta(meta, op); err != nil {
				return err
			}
		}
		if err := checkMeta(meta); err != nil {
			return err
		}
		n, err := tx.Exec(`UPDATE messaging_queues SET metadata = ? WHERE project = ? AND name = ?`, store.JSON(meta), a.project, queue)
		if err == nil && n == 0 {
			return api.NotFound("Queue %s does not exist.", queue)
		}
		return err
	})
	if err != nil {
		return err
	}
	out := s.reserved()
	for k, v := range meta {
		out[k] = v
	}
	return api.WriteJSON(w, http.StatusOK, out)
}

func (s *Service) applyMeta(meta document, op patchOp) error {
	name, ok := strings.CutPrefix(op.Path, "/metadata/")
	if !ok || name == "" {
		return api.Invalid("patch path is %q, expected /metadata/NAME", op.Path)
	}
	name = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
	_, exists := meta[name]
	_, fixed := s.reserved()[name]
	switch op.Op {
	case "add":
	case "replace", "remove":
		if !exists && !fixed {
			return api.Conflict("queue metadata %s does not exist", name)
		}
	default:
		return api.Invalid("patch operation is %q, expected add, replace or remove", op.Op)
	}
	if op.Op == "remove" {
		delete(meta, name)
	} else {
		meta[name] = op.Value
	}
	return nil
}

// dropQueue deletes a queue with its messages; one that does not exist is no
// error, as in Zaqar.
func (s *Service) dropQueue(ctx requestContext, a actor, queue string) error {
	return s.db.Tx(ctx, func(tx *store.Tx) error {
		for _, q := range []string{
			`DELETE FROM messaging_messages WHERE project = ? AND queue = ?`,
			`DELETE FROM messaging_claims WHERE project = ? AND queue = ?`,
			`DELETE FROM messaging_queues WHERE project = ? AND name = ?`,
		} {
			if _, err := tx.Exec(q, a.project, queue); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Service) deleteQueue(w http.ResponseWriter, r *http.Request, a actor) error {
	if err := s.dropQueue(r.Context(), a, r.PathValue("queue")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) purge(ctx requestContext, a actor, queue string, kinds []string) error {
	if len(kinds) == 0 {
		kinds = []string{"messages", "subscriptions"}
	}
	return s.db.Tx(ctx, func(tx *store.Tx) error {
		if _, err := queueMeta(tx, a, queue); err != nil {
			return err
		}
		for _, kind := range kinds {
			if kind != "messages" && kind != "subscriptions" {
				return api.Invalid("resource type is %q, expected messages or subscriptions", kind)
			}
			var err error
			if kind == "subscriptions" {
				err = s.dropSubscriptions(tx, `project = ? AND queue = ?`, a.project, queue)
			} else {
				_, err = tx.Exec(`DELETE FROM messaging_messages WHERE project = ? AND queue = ?`, a.project, queue)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Service) purgeQueue(w http.ResponseWriter, r *http.Request, a actor) error {
	var req struct {
		Kinds []string `json:"resource_types"`
	}
	if r.ContentLength != 0 {
		if err := api.ReadJSON(r, &req); err != nil {
			return err
		}
	}
	if err := s.purge(r.Context(), a, r.PathValue("queue"), req.Kinds); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) stats(ctx requestContext, a actor, queue string) (document, error) {
	now := s.now()
	out := document{}
	err := s.db.View(ctx, func(tx *store.Tx) error {
		if _, err := queueMeta(tx, a, queue); err != nil {
			return err
		}
		var claimed, total int64
		err := tx.Get([]any{&claimed, &total}, `SELECT COALESCE(SUM(CASE WHEN claim_expires > ? THEN 1 ELSE 0 END), 0), COUNT(*)
			FROM messaging_messages WHERE project = ? AND queue = ? AND expires > ?`, store.At(now), a.project, queue, store.At(now))
		if err != nil {
			return err
		}
		out["claimed"], out["total"], out["free"] = claimed, total, total-claimed
		for name, order := range map[string]string{"oldest": "", "newest": " DESC"} {
			m, err := scanMessage(tx.QueryRow(`SELECT `+messageColumns+` FROM messaging_messages
				WHERE project = ? AND queue = ? AND expires > ? ORDER BY seq`+order+` LIMIT 1`, a.project, queue, store.At(now)).Scan)
			if isNotFound(err) {
				continue
			}
			if err != nil {
				return err
			}
			out[name] = document{"href": m.href(queue), "age": m.age(now), "created": m.created.UTC().Format(api.TimeFormat)}
		}
		return nil
	})
	return document{"messages": out}, err
}

func (s *Service) queueStats(w http.ResponseWriter, r *http.Request, a actor) error {
	out, err := s.stats(r.Context(), a, r.PathValue("queue"))
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, out)
}

// pageQuery is how a list was asked for.
type pageQuery struct {
	marker   string
	limit    int
	detailed bool
	name     string // queues whose names hold it
	count    bool
}

func (s *Service) queues(ctx requestContext, a actor, p pageQuery) (docs []document, more bool, total int64, err error) {
	docs = []document{}
	err = s.db.View(ctx, func(tx *store.Tx) error {
		if p.count {
			if err := tx.Get([]any{&total}, `SELECT COUNT(*) FROM messaging_queues WHERE project = ?`, a.project); err != nil {
				return err
			}
		}
		like := "%" + strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(p.name) + "%"
		return tx.Each(func(scan func(...any) error) error {
			var name string
			meta := document{}
			if err := scan(&name, store.JSON(&meta)); err != nil {
				return err
			}
			if len(docs) == p.limit {
				more = true
				return nil
			}
			doc := document{"name": name, "href": "/v2/queues/" + name}
			if p.detailed {
				full := s.reserved()
				for k, v := range meta {
					full[k] = v
				}
				doc["metadata"] = full
			}
			docs = append(docs, doc)
			return nil
		}, `SELECT name, metadata FROM messaging_queues WHERE project = ? AND name > ? AND name LIKE ? ESCAPE '!' ORDER BY name LIMIT ?`,
			a.project, p.marker, like, p.limit+1)
	})
	return docs, more, total, err
}

func parsePage(q url.Values, limit, most int) (pageQuery, error) {
	p := pageQuery{marker: q.Get("marker"), limit: limit, name: q.Get("name")}
	var err error
	if p.detailed, err = boolean(q, "detailed"); err != nil {
		return p, err
	}
	if p.count, err = boolean(q, "with_count"); err != nil {
		return p, err
	}
	if v := q.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > most {
			return p, api.Invalid("Limit must be at least 1 and no greater than %d.", most)
		}
		p.limit = n
	}
	return p, nil
}

// boolean reads a parameter as oslo's strutils does; absent is false.
func boolean(q url.Values, name string) (bool, error) {
	v := strings.ToLower(q.Get(name))
	switch {
	case slices.Contains([]string{"true", "1", "yes", "on", "t", "y"}, v):
		return true, nil
	case v == "" || slices.Contains([]string{"false", "0", "no", "off", "f", "n"}, v):
		return false, nil
	}
	return false, api.Invalid("%s is %q, expected true or false", name, q.Get(name))
}

func (s *Service) listQueues(w http.ResponseWriter, r *http.Request, a actor) error {
	q := r.URL.Query()
	p, err := parsePage(q, defaultPage, maxQueuesPage)
	if err != nil {
		return err
	}
	docs, more, total, err := s.queues(r.Context(), a, p)
	if err != nil {
		return err
	}
	out := document{"queues": docs, "links": []document{}}
	if more {
		q.Set("marker", docs[len(docs)-1]["name"].(string))
		q.Set("limit", strconv.Itoa(p.limit))
		out["links"] = []document{{"rel": "next", "href": "/v2/queues?" + q.Encode()}}
	}
	if p.count {
		out["count"] = total
	}
	return api.WriteJSON(w, http.StatusOK, out)
}
