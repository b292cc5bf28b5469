package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Zaqar. The url ends in /v2. Every request names a client, as Zaqar wants.

const batch = 20

var messageClient = map[string]string{"Client-ID": "4f1bc26a-9d09-4b1f-8c4c-4d6f1a3a5c11"}

// message is the body of a message, some 200 bytes as TripleO's progress is.
var message = `{"ttl":3600,"body":{"type":"compare","payload":"` + strings.Repeat("x", 150) + `"}}`

func prepareMessages(s *side) error {
	queues := []string{"posted-1", "posted-20"}
	for w := range s.workers {
		queues = append(queues, fmt.Sprintf("cycle-1-%d", w), fmt.Sprintf("cycle-20-%d", w))
	}
	for _, q := range queues {
		if err := s.document(http.MethodPut, "/queues/"+q, messageClient, "{}", nil); err != nil {
			return err
		}
	}
	return nil
}

// post puts count messages into a queue.
func post(s *side, queue string, count int) error {
	body := `{"messages":[` + strings.Repeat(message+",", count-1) + message + `]}`
	return s.document(http.MethodPost, "/queues/"+queue+"/messages", messageClient, body, nil)
}

// claimAndDelete claims up to count messages and deletes them; how many there were.
func claimAndDelete(s *side, queue string, count int) (int, error) {
	var claimed struct {
		Messages []struct{ ID, Href string }
	}
	err := s.document(http.MethodPost, fmt.Sprintf("/queues/%s/claims?limit=%d", queue, count), messageClient, `{"ttl":120,"grace":60}`, &claimed)
	if err != nil || len(claimed.Messages) == 0 {
		return 0, err
	}
	var ids []string
	claim := ""
	for _, m := range claimed.Messages {
		u, err := url.Parse(m.Href)
		if err != nil {
			return 0, fmt.Errorf("href %q of a claimed message: %w", m.Href, err)
		}
		ids, claim = append(ids, u.Path[strings.LastIndexByte(u.Path, '/')+1:]), u.Query().Get("claim_id")
	}
	path := fmt.Sprintf("/queues/%s/messages/%s?claim_id=%s", queue, ids[0], claim)
	if len(ids) > 1 {
		path = fmt.Sprintf("/queues/%s/messages?ids=%s&claim_ids=%s", queue, strings.Join(ids, ","), claim)
	}
	_, err = s.do(http.MethodDelete, path, messageClient, nil, true)
	return len(ids), err
}

func posting(count int) func(*side) (work, error) {
	return func(s *side) (work, error) {
		return s.load(func(int, int) (int, error) {
			return count, post(s, fmt.Sprintf("posted-%d", count), count)
		})
	}
}

// cycle has a queue for each connection: two claims at once may both get a
// message from Zaqar where it keeps messages in Swift.
func cycle(count int) func(*side) (work, error) {
	return func(s *side) (work, error) {
		return s.load(func(w, _ int) (int, error) {
			queue := fmt.Sprintf("cycle-%d-%d", count, w)
			if err := post(s, queue, count); err != nil {
				return 0, err
			}
			return claimAndDelete(s, queue, count)
		})
	}
}

var messageMeasures = []measure{
	{"posted one by one", "messages/s", posting(1)},
	{"posted 20 at a time", "messages/s", posting(batch)},
	{"post, claim, delete, one by one", "messages/s", cycle(1)},
	{"post, claim, delete, 20 at a time", "messages/s", cycle(batch)},
}
