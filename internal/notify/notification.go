package notify

import "github.com/tripleo/tripleo/internal/store"

// Notification is what a service tells of a change, with the names that the
// OpenStack service gives its notifications (oslo.messaging). Unlike a topic it
// says what happened; event triggers of the workflow service hear it.
type Notification struct {
	Exchange  string // of the service: "nova", "glance"
	Topic     string // "notifications", "ironic_versioned_notifications"
	EventType string // "compute.instance.create.end"
	Publisher string // "compute.HOST"
	Project   string // whose event triggers hear it; "" leaves it to the public ones
	Payload   any    // encodes as JSON, without secrets
}

// Deliver names who hears notifications: hear runs in the transaction of the
// change, so that a change and its notification are stored both or not at all.
// Call it before the services run.
func (b *Bus) Deliver(hear func(tx *store.Tx, n Notification) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.listener = hear
}

// Tell gives a notification to whoever hears them; without one it does nothing.
func (b *Bus) Tell(tx *store.Tx, n Notification) error {
	b.mu.Lock()
	hear := b.listener
	b.mu.Unlock()
	if hear == nil {
		return nil
	}
	return hear(tx, n)
}
