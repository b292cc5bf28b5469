package introspection

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/objectstorage/v1/containers"
	"github.com/gophercloud/gophercloud/v2/openstack/objectstorage/v1/objects"

	"github.com/tripleo/tripleo/internal/api"
)

const (
	container         = "ironic-inspector"
	unprocessedSuffix = "-UNPROCESSED"
)

func object(id, suffix string) string { return "inspector_data-" + id + suffix }

func (s *Service) swift(ctx context.Context) (*gophercloud.ServiceClient, error) {
	session, err := s.cfg.Cloud.Service(ctx)
	if err != nil {
		return nil, err
	}
	return session.ObjectStore()
}

// save keeps data as a JSON object; the ramdisk's logs are left out, as they
// are no data.
func (s *Service) save(ctx context.Context, id, suffix string, data map[string]any) error {
	c, err := s.swift(ctx)
	if err != nil {
		return fmt.Errorf("object store: %w", err)
	}
	short := make(map[string]any, len(data))
	for k, v := range data {
		if k != "logs" {
			short[k] = v
		}
	}
	body, err := json.Marshal(short)
	if err != nil {
		return err
	}
	if err := containers.Create(ctx, c, container, nil).Err; err != nil {
		return fmt.Errorf("create container %s: %w", container, err)
	}
	opts := objects.CreateOpts{Content: bytes.NewReader(body), ContentType: "application/json"}
	if err := objects.Create(ctx, c, container, object(id, suffix), opts).Err; err != nil {
		return fmt.Errorf("write object %s: %w", object(id, suffix), err)
	}
	return nil
}

func (s *Service) load(ctx context.Context, id, suffix string) ([]byte, error) {
	c, err := s.swift(ctx)
	if err != nil {
		return nil, api.Unavailable("the object store is out of reach").Wrap(err)
	}
	res := objects.Download(ctx, c, container, object(id, suffix), nil)
	if gophercloud.ResponseCodeIs(res.Err, http.StatusNotFound) {
		return nil, api.NotFound("Introspection data not found for node %s", id)
	}
	if res.Err != nil {
		return nil, api.Unavailable("the object store cannot be read").Wrap(res.Err)
	}
	defer func() { _ = res.Body.Close() }()
	return io.ReadAll(io.LimitReader(res.Body, maxData))
}
