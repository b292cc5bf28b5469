package messaging

import (
	"encoding/json"
	"sync"
)

// pushedMessage is a message on its way to subscribers.
type pushedMessage struct {
	seq   int64
	queue string
	body  json.RawMessage
	ttl   int64
}

// hub hands messages posted in this process to the sockets that subscribed:
// also those that are consumed or whose queue is deleted before a socket gets
// round to reading them from the store. What other processes post, sockets
// read from the store.
type hub struct {
	mu    sync.Mutex
	subs  map[string]map[*socket]struct{} // topic -> sockets
	count int
}

func newHub() *hub { return &hub{subs: map[string]map[*socket]struct{}{}} }

func (h *hub) sockets() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.count
}

// enter counts a socket; false means that there are too many.
func (h *hub) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.count >= maxSockets {
		return false
	}
	h.count++
	return true
}

func (h *hub) leave(k *socket, topics []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count--
	for _, t := range topics {
		h.drop(k, t)
	}
}

func (h *hub) subscribe(k *socket, topic string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs[topic] == nil {
		h.subs[topic] = map[*socket]struct{}{}
	}
	h.subs[topic][k] = struct{}{}
}

func (h *hub) unsubscribe(k *socket, topic string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(k, topic)
}

// drop removes one subscription; h.mu is held.
func (h *hub) drop(k *socket, topic string) {
	delete(h.subs[topic], k)
	if len(h.subs[topic]) == 0 {
		delete(h.subs, topic)
	}
}

func (h *hub) publish(topic string, in []pushedMessage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k := range h.subs[topic] {
		k.offer(topic, in)
	}
}
