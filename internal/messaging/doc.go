// Package messaging is Zaqar v2: queues of messages that consumers list, claim
// or are told of, over HTTP and over WebSocket.
//
// A message is in the store before its post is answered; its sequence number
// is its place in the queue. Subscriptions are of two kinds: a webhook is a row
// and its deliveries are durable jobs; a WebSocket's lives as long as its
// socket, which is pushed every message that is posted after the subscription,
// as the bare message {"body", "ttl", "queue_name", "Message_Type"} without the
// envelope of a reply.
//
// Queues are made by their first message, and a subscription outlives its
// queue: clients delete the queue they share when they leave, and the others go
// on listening.
//
// API reference: https://docs.openstack.org/api-ref/message/.
package messaging
