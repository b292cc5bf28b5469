package collect

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/auth/ec2sig"
)

// maxPop is how many messages of a queue are taken at once; only the last one counts.
const maxPop = 20

// Server asks the orchestration service itself for a node's metadata, by the transports POLL_SERVER_CFN (the default of
// TripleO's plans), POLL_SERVER_HEAT and ZAQAR_MESSAGE, as os-collect-config's collectors of those names do.
type Server struct {
	Client *http.Client
	Now    func() time.Time
	sum    [sha256.Size]byte
}

// ErrNoTransport says that the configuration names none of the transports.
var ErrNoTransport = errors.New("no transport of metadata is configured")

type cfnConfig struct {
	MetadataURL string `json:"metadata_url"`
	AccessKey   string `json:"access_key_id"`
	SecretKey   string `json:"secret_access_key"`
	StackName   string `json:"stack_name"`
	Path        string `json:"path"`
}

type heatConfig struct {
	Account
	StackID      string `json:"stack_id"`
	ResourceName string `json:"resource_name"`
}

type zaqarConfig struct {
	Account
	QueueID string `json:"queue_id"`
}

// Fetch asks once, by the transport that the merged configuration names: the metadata, ErrNotModified when they are as
// they were, ErrNoTransport, or what went wrong.
func (s *Server) Fetch(ctx context.Context, merged map[string]any) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, LongPoll+longPollSlack)
	defer cancel()
	for _, t := range []struct {
		name string
		read func(context.Context, []byte) ([]byte, error)
	}{{"cfn", s.cfn}, {"heat", s.heat}, {"zaqar", s.zaqar}} {
		section, ok := Lookup(merged, "os-collect-config", t.name).(map[string]any)
		if !ok || len(section) == 0 {
			continue
		}
		config, err := json.Marshal(section)
		if err != nil {
			return nil, err
		}
		data, err := t.read(ctx, config)
		if err != nil {
			if errors.Is(err, ErrNotModified) {
				return nil, err
			}
			return nil, fmt.Errorf("collector %s: %w", t.name, err)
		}
		sum := sha256.Sum256(data)
		if sum == s.sum {
			return nil, ErrNotModified
		}
		m, err := ParseMap(data)
		if err != nil {
			return nil, fmt.Errorf("collector %s: %w", t.name, err)
		}
		s.sum = sum
		return m, nil
	}
	return nil, ErrNoTransport
}

// cfn calls DescribeStackResource with a signature of version 2.
func (s *Server) cfn(ctx context.Context, config []byte) ([]byte, error) {
	var c cfnConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, err
	}
	u, err := url.Parse(c.MetadataURL)
	if err != nil || u.Host == "" {
		return nil, errors.New("metadata_url cannot be parsed")
	}
	name, _, _ := strings.Cut(c.Path, ".")
	params := map[string]string{
		"Action": "DescribeStackResource", "Version": "2010-05-15", "ContentType": "JSON", "StackName": c.StackName, "LogicalResourceId": name,
		"AWSAccessKeyId": c.AccessKey, "SignatureVersion": "2", "SignatureMethod": "HmacSHA256", "Timestamp": s.Now().UTC().Format("2006-01-02T15:04:05Z"),
	}
	if u.Path == "" {
		u.Path = "/"
	}
	signed := ec2sig.Request{Verb: http.MethodGet, Host: u.Host, Path: u.Path, Params: params}
	query := url.Values{"Signature": {signed.V2(c.SecretKey)}}
	for k, v := range params {
		query.Set(k, v)
	}
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errors.New("metadata_url cannot be parsed")
	}
	_, data, err := answer(s.Client, req, maxMetadata)
	if err != nil {
		return nil, err
	}
	var out struct {
		Response struct {
			Result struct {
				Detail struct{ Metadata json.RawMessage } `json:"StackResourceDetail"`
			} `json:"DescribeStackResourceResult"`
		} `json:"DescribeStackResourceResponse"`
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, err
	}
	meta := []byte(out.Response.Result.Detail.Metadata)
	var asText string
	if json.Unmarshal(meta, &asText) == nil { // Heat writes the metadata as text within the JSON
		meta = []byte(asText)
	}
	return meta, nil
}

// heat reads the metadata of the resource as its own user.
func (s *Server) heat(ctx context.Context, config []byte) ([]byte, error) {
	var c heatConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, err
	}
	session, err := c.Open(ctx, s.Client)
	if err != nil {
		return nil, err
	}
	stack, id, _ := strings.Cut(c.StackID, "/")
	address, err := session.URL("orchestration", "stacks", stack, id, "resources", c.ResourceName, "metadata")
	if err != nil {
		return nil, err
	}
	data, err := session.Call(ctx, http.MethodGet, address, nil, nil)
	if err != nil {
		return nil, err
	}
	var out struct{ Metadata json.RawMessage }
	err = json.Unmarshal(data, &out)
	return out.Metadata, err
}

// zaqar takes what the orchestration service has put into the node's queue. An empty queue is no news.
func (s *Server) zaqar(ctx context.Context, config []byte) ([]byte, error) {
	var c zaqarConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, err
	}
	session, err := c.Open(ctx, s.Client)
	if err != nil {
		return nil, err
	}
	address, err := session.URL("messaging", "v2", "queues", c.QueueID, "messages")
	if err != nil {
		return nil, err
	}
	data, err := session.Call(ctx, http.MethodDelete, fmt.Sprintf("%s?pop=%d", address, maxPop), http.Header{"Client-Id": {"00000000-0000-4000-8000-000000000001"}}, nil)
	if err != nil {
		return nil, err
	}
	var out struct {
		Messages []struct{ Body json.RawMessage }
	}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &out); err != nil {
			return nil, err
		}
	}
	if len(out.Messages) == 0 {
		return nil, ErrNotModified
	}
	return out.Messages[len(out.Messages)-1].Body, nil
}
