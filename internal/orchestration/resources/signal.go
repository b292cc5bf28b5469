package resources

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/auth/ec2sig"
	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// Signal transports: how a machine reports to a resource.
const (
	CFNSignal     = "CFN_SIGNAL"      // POST to a signed address of the CloudFormation-compatible API
	TempURLSignal = "TEMP_URL_SIGNAL" // PUT to a Swift object
	HeatSignal    = "HEAT_SIGNAL"     // signal of the orchestration API, with a token of the resource's user
	ZaqarSignal   = "ZAQAR_SIGNAL"    // message in a queue, with a token of the resource's user
	TokenSignal   = "TOKEN_SIGNAL"    // as HEAT_SIGNAL, with a token made in advance
	NoSignal      = "NO_SIGNAL"       // not at all
)

// signedURL returns an address of the CloudFormation-compatible API, signed with the key of the resource's
// user. It does not expire: it says no time.
func signedURL(ctx context.Context, r *Resource, kind, verb string) (string, error) {
	u, err := r.Host.StackUser(ctx, r)
	if err != nil {
		return "", err
	}
	base, err := url.Parse(r.Host.CFNURL() + "/" + kind + "/" + arnPath(r.Host.Arn(r)))
	if err != nil {
		return "", fmt.Errorf("address of the signal: %w", err)
	}
	req := ec2sig.Request{Host: base.Host, Verb: verb, Path: base.Path, Params: map[string]string{"SignatureMethod": "HmacSHA256", "SignatureVersion": "2", "AWSAccessKeyId": u.Access}}
	q := url.Values{"Signature": {req.V2(u.Secret)}}
	for k, v := range req.Params {
		q.Set(k, v)
	}
	base.RawQuery = q.Encode()
	return base.String(), nil
}

// arnPath escapes an identifier as one piece of a path; its slashes stay.
func arnPath(arn string) string {
	return strings.ReplaceAll(url.PathEscape(arn), "%2F", "/")
}

// signalURL is the signed address at which the resource is signalled.
func signalURL(ctx context.Context, r *Resource) (string, error) {
	return signedURL(ctx, r, "signal", "POST")
}

// signalling returns what a machine needs to signal the resource by a transport, as inputs of a deployment
// and the attribute signal of handles name it.
func signalling(ctx context.Context, r *Resource, transport, kind string) (*Map, error) {
	m := yaml11.NewMap()
	switch transport {
	case CFNSignal:
		verb := "POST"
		if kind == "waitcondition" {
			verb = "PUT"
		}
		u, err := signedURL(ctx, r, kind, verb)
		if err != nil {
			return nil, err
		}
		m.Set("alarm_url", u)
	case TempURLSignal:
		u, err := signalObject(ctx, r)
		if err != nil {
			return nil, err
		}
		m.Set("alarm_url", u)
	case HeatSignal, ZaqarSignal, TokenSignal:
		u, err := r.Host.StackUser(ctx, r)
		if err != nil {
			return nil, err
		}
		for _, e := range [][2]string{{"auth_url", r.Host.AuthURL()}, {"username", u.Name}, {"user_id", u.UserID}, {"password", u.Password},
			{"project_id", u.ProjectID}, {"domain_id", u.DomainID}, {"region_name", r.Host.Region()}} {
			m.Set(e[0], e[1])
		}
		if transport != ZaqarSignal {
			m.Set("alarm_url", r.Host.HeatSignalURL(r, u.ProjectID))
			break
		}
		q, err := signalQueue(ctx, r)
		if err != nil {
			return nil, err
		}
		m.Set("queue_id", q)
	}
	return m, nil
}

// signalObject makes the empty object a machine writes its report to, in a container named as the stack's
// id, as Heat does, and returns its address.
func signalObject(ctx context.Context, r *Resource) (string, error) {
	s, err := r.swift(ctx)
	if err != nil {
		return "", err
	}
	name := r.PhysicalName(0)
	if r.Data["signal_object"] != true {
		if err := s.putContainer(ctx, r.StackID); err != nil {
			return "", fmt.Errorf("container for signals: %w", err)
		}
		if err := s.put(ctx, r.StackID, name, []byte{}); err != nil {
			return "", fmt.Errorf("object for the signal: %w", err)
		}
		r.Data["signal_object"], r.Data["signal_made"] = true, true
	}
	return s.tempURL(ctx, r, "PUT", r.StackID, name)
}

// userZaqar is Zaqar as the resource's user sees it.
func userZaqar(ctx context.Context, r *Resource) (client, error) {
	s, err := r.Host.UserSession(ctx, r)
	if err != nil {
		return client{}, err
	}
	return zaqarOf(s, r)
}

func zaqarOf(s *cloud.Session, r *Resource) (client, error) {
	if !s.Has("messaging") {
		return client{}, Unavailable(r.TypeName, "zaqar")
	}
	c, err := s.Messaging(configID(r.StackID, "zaqar")) // Zaqar wants a client id; ours is the stack
	if err != nil {
		return client{}, err
	}
	c.ResourceBase = c.Endpoint + "v2/"
	return client{c}, nil
}

// signalQueue is the name of the queue a machine posts its report to; Zaqar makes it with the first message.
func signalQueue(ctx context.Context, r *Resource) (string, error) {
	if q := r.Str("signal_queue"); q != "" {
		return q, nil
	}
	if _, err := userZaqar(ctx, r); err != nil {
		return "", err
	}
	r.Data["signal_queue"] = r.PhysicalName(64)
	return r.Str("signal_queue"), r.Host.Save(ctx, r)
}

// polled reads the reports that wait where the transport puts them, and hands each to take. topics wake
// the resource when another arrives.
func polled(ctx context.Context, r *Resource, transport string, take func(body any) error) (topics []string, err error) {
	switch transport {
	case TempURLSignal:
		return polledObject(ctx, r, take)
	case ZaqarSignal:
		c, err := userZaqar(ctx, r)
		if err != nil {
			return nil, err
		}
		path := "queues/" + url.PathEscape(r.Str("signal_queue")) + "/messages?pop=20"
		m, err := c.call(ctx, "DELETE", path, nil)
		if err != nil && !isNotFound(err) {
			return nil, err
		}
		for _, e := range items(m, "messages") {
			v, _ := e.Get("body")
			if err := take(v); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

func polledObject(ctx context.Context, r *Resource, take func(body any) error) ([]string, error) {
	s, err := r.swift(ctx)
	if err != nil {
		return nil, err
	}
	name := r.PhysicalName(0)
	topics := []string{s.topic(r.StackID, name)}
	data, h, err := s.do(ctx, "GET", objectPath(r.StackID, name), nil, nil)
	if isNotFound(err) {
		return topics, nil
	}
	if err != nil {
		return nil, fmt.Errorf("signal of the node: %w", err)
	}
	if len(strings.TrimSpace(string(data))) == 0 || h.Get("Etag") == r.Str("signal_seen") {
		return topics, nil
	}
	body, err := yaml11.DecodeJSON(data)
	if err != nil {
		return nil, Failed("the node's signal is not JSON: %v", err)
	}
	if err := take(body); err != nil {
		return nil, err
	}
	r.Data["signal_seen"] = h.Get("Etag")
	return topics, r.Host.Save(ctx, r)
}

// deleteSignals removes what signalling made: object, queue and user.
func deleteSignals(ctx context.Context, r *Resource) (Step, error) {
	if r.Data["signal_made"] == true {
		s, err := r.swift(ctx)
		if err != nil {
			return Step{}, err
		}
		if err := s.drop(ctx, r.StackID, r.PhysicalName(0)); err != nil {
			return Step{}, err
		}
	}
	if err := dropQueue(ctx, r, "signal_queue"); err != nil {
		return Step{}, err
	}
	if r.Str("user_id") != "" {
		if err := r.Host.DropStackUser(ctx, r); err != nil {
			return Step{}, err
		}
	}
	return Done(), nil
}

// dropQueue deletes a queue of the resource's user. A user that is gone took its queues out of reach.
func dropQueue(ctx context.Context, r *Resource, key string) error {
	q := r.Str(key)
	if q == "" {
		return nil
	}
	c, err := userZaqar(ctx, r)
	if gophercloud.ResponseCodeIs(err, 401) {
		return nil
	}
	if err != nil {
		return err
	}
	return c.remove(ctx, "queues/"+url.PathEscape(q))
}

// signalPoll is how often a transport that cannot wake us is looked at.
const signalPoll = 5 * time.Second

func pollAfter(transport string) time.Duration {
	if transport == ZaqarSignal {
		return signalPoll
	}
	return 30 * time.Second
}

func asMap(v any) *Map {
	m, ok := v.(*Map)
	if !ok {
		m = yaml11.NewMap()
	}
	return m
}

// messageLife is how long a message with metadata stays in its queue, in seconds: as long as Zaqar lets it.
const messageLife = 1209600

// PostMetadata posts the metadata of a server to its queue.
func PostMetadata(ctx context.Context, r *Resource, queue string, meta *Map) error {
	c, err := userZaqar(ctx, r)
	if err != nil {
		return err
	}
	_, err = c.call(ctx, "POST", "queues/"+url.PathEscape(queue)+"/messages", yaml11.MapOf("messages", []any{yaml11.MapOf("body", meta, "ttl", int64(messageLife))}))
	return err
}
