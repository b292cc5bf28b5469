package baremetal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"github.com/tripleo/tripleo/internal/baremetal/boot"
)

// instanceImage is what is known of the image a node is deployed with.
type instanceImage struct {
	ID              string `json:"id"`
	Name            string `json:"name,omitempty"`
	URL             string `json:"url,omitempty"`  // fetched by the ramdisk itself
	File            string `json:"file,omitempty"` // served from here
	Size            int64  `json:"size,omitempty"` // bytes
	Checksum        string `json:"checksum,omitempty"`
	HashAlgo        string `json:"os_hash_algo,omitempty"`
	HashValue       string `json:"os_hash_value,omitempty"`
	DiskFormat      string `json:"disk_format"`
	ContainerFormat string `json:"container_format"`
	WholeDisk       bool   `json:"whole_disk"`
	Raw             bool   `json:"raw,omitempty"` // the image service's raw form, which the other fields describe then
}

func infoString(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

// instanceImage reads instance_info: image_source is a UUID or name of the
// image service, or an http(s) or file URL with its checksum beside it.
func (s *Service) instanceImage(ctx context.Context, n *Node) (instanceImage, error) {
	src := infoString(n.InstanceInfo, "image_source")
	if src == "" {
		return instanceImage{}, fmt.Errorf("%w: instance_info has no image_source", errPermanent)
	}
	if !strings.Contains(src, "://") {
		return s.glanceImage(ctx, strings.TrimPrefix(src, "glance:"))
	}
	img := instanceImage{ID: src, Name: src, URL: src, DiskFormat: infoString(n.InstanceInfo, "image_disk_format"),
		ContainerFormat: infoString(n.InstanceInfo, "image_container_format"), Checksum: infoString(n.InstanceInfo, "image_checksum"),
		HashAlgo: infoString(n.InstanceInfo, "image_os_hash_algo"), HashValue: infoString(n.InstanceInfo, "image_os_hash_value"), WholeDisk: true}
	if img.DiskFormat == "" {
		img.DiskFormat = "raw"
		if strings.Contains(src, ".qcow2") {
			img.DiskFormat = "qcow2"
		}
	}
	if img.ContainerFormat == "" {
		img.ContainerFormat = "bare"
		if strings.HasSuffix(src, ".zst") || strings.HasSuffix(src, ".gz") {
			img.ContainerFormat = "compressed"
		}
	}
	if img.Checksum == "" && img.HashValue == "" {
		return img, fmt.Errorf("%w: instance_info needs image_checksum, or image_os_hash_algo and image_os_hash_value, for the image %s", errPermanent, src)
	}
	if path, ok := strings.CutPrefix(src, "file://"); ok {
		if err := s.fileAllowed(path); err != nil {
			return img, err
		}
		img.URL, img.File = "", path
	}
	return img, nil
}

// fileAllowed keeps file URLs inside the folders the operator has opened.
func (s *Service) fileAllowed(path string) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("%w: file %s: %w", errPermanent, path, err)
	}
	for _, dir := range s.cfg.FileURLFolders {
		if rel, err := filepath.Rel(dir, real); err == nil && filepath.IsLocal(rel) {
			return nil
		}
	}
	return fmt.Errorf("%w: file %s is outside of the folders allowed for file URLs", errPermanent, path)
}

func (s *Service) glance(ctx context.Context) (*gophercloud.ServiceClient, error) {
	if s.cfg.Cloud == nil {
		return nil, fmt.Errorf("%w: no cloud is configured, images must be URLs", errPermanent)
	}
	session, err := s.cfg.Cloud.Service(ctx)
	if err != nil {
		return nil, err
	}
	return session.Image()
}

// findImage finds an image by UUID, or by a name that only one has.
func (s *Service) findImage(ctx context.Context, ident string) (*images.Image, error) {
	c, err := s.glance(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := uuid.Parse(ident); err == nil {
		img, err := images.Get(ctx, c, ident).Extract()
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", ident, err)
		}
		return img, nil
	}
	pages, err := images.List(c, images.ListOpts{Name: ident}).AllPages(ctx)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", ident, err)
	}
	list, err := images.ExtractImages(pages)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", ident, err)
	}
	if len(list) != 1 {
		return nil, fmt.Errorf("%w: there are %d images named %q, expected one", errPermanent, len(list), ident)
	}
	return &list[0], nil
}

func (s *Service) glanceImage(ctx context.Context, ident string) (instanceImage, error) {
	img, err := s.findImage(ctx, ident)
	if err != nil {
		return instanceImage{}, err
	}
	if img.Status != images.ImageStatusActive {
		return instanceImage{}, fmt.Errorf("%w: image %s (%s) is %s, expected active", errPermanent, img.Name, img.ID, img.Status)
	}
	if img.Properties["kernel_id"] != nil || img.DiskFormat == "ari" || img.DiskFormat == "aki" {
		return instanceImage{}, fmt.Errorf("%w: image %s (%s) is not a whole-disk image", errPermanent, img.Name, img.ID)
	}
	algo, _ := img.Properties["os_hash_algo"].(string)
	value, _ := img.Properties["os_hash_value"].(string)
	if value == "" && img.Checksum == "" {
		return instanceImage{}, fmt.Errorf("%w: image %s (%s) has neither os_hash_value nor checksum", errPermanent, img.Name, img.ID)
	}
	return instanceImage{ID: img.ID, Name: img.Name, Size: img.SizeBytes, Checksum: img.Checksum, HashAlgo: algo, HashValue: value,
		DiskFormat: img.DiskFormat, ContainerFormat: img.ContainerFormat, WholeDisk: true}, nil
}

// rawImage has the image service convert a qcow2 image, unless it has done so
// for an earlier machine, and describes the raw form to the ramdisk: that is
// read once and in order, and its checksum is of what is written. An image
// service that knows no raw form leaves the image as it was uploaded, which our
// ramdisk reads as well.
func rawImage(ctx context.Context, w *work) outcome {
	img, err := w.n.image()
	if err != nil {
		return failed(err)
	}
	if w.s.cfg.ImagesAsUploaded || img.URL != "" || img.File != "" || img.DiskFormat != "qcow2" || img.ContainerFormat != "bare" {
		return done()
	}
	c, err := w.s.glance(ctx)
	if err != nil {
		return w.cloudTrouble(ctx, err)
	}
	res, err := c.Request(ctx, http.MethodHead, rawURL(c, img.ID), &gophercloud.RequestOpts{OkCodes: []int{http.StatusOK, http.StatusAccepted, http.StatusConflict}}) //nolint:bodyclose // the library closes it
	if err != nil {
		return w.cloudTrouble(ctx, fmt.Errorf("raw form of image %s (%s): %w", img.Name, img.ID, err))
	}
	hash := res.Header.Get("X-Image-Hash-Sha512")
	switch {
	case res.StatusCode == http.StatusAccepted:
		return again(w.s.cfg.CloudRetry)
	case res.StatusCode == http.StatusConflict:
		return failed(w.s.whyNotRaw(ctx, c, img))
	case hash == "" || res.ContentLength <= 0:
		return done()
	}
	img.Raw, img.DiskFormat, img.Size = true, "raw", res.ContentLength
	img.Checksum, img.HashAlgo, img.HashValue = res.Header.Get("Content-Md5"), "sha512", hash
	return brokenOr(w.save(ctx, func(n *Node) { n.DriverInternalInfo["image"] = img }), done())
}

// whyNotRaw asks again in a way that has the reason in the answer.
func (s *Service) whyNotRaw(ctx context.Context, c *gophercloud.ServiceClient, img instanceImage) error {
	_, err := c.Request(ctx, http.MethodGet, rawURL(c, img.ID), &gophercloud.RequestOpts{OkCodes: []int{http.StatusNoContent}}) //nolint:bodyclose // the library closes it
	return fmt.Errorf("image %s (%s) has no raw form; upload a sound image, or set baremetal.force_raw_images to false to have the ramdisk read it as it is: %w", img.Name, img.ID, err)
}

func rawURL(c *gophercloud.ServiceClient, id string) string {
	return c.ServiceURL("images", id, "file") + "?format=raw"
}

// imageData opens the bytes of an image or of its raw form, or a range of them.
func (s *Service) imageData(ctx context.Context, id, byteRange string, raw bool) (*http.Response, error) {
	c, err := s.glance(ctx)
	if err != nil {
		return nil, err
	}
	opts := &gophercloud.RequestOpts{KeepResponseBody: true, OkCodes: []int{200, 206, 416}}
	if byteRange != "" {
		opts.MoreHeaders = map[string]string{"Range": byteRange}
	}
	url := c.ServiceURL("images", id, "file")
	if raw {
		url = rawURL(c, id)
	}
	return c.Request(ctx, http.MethodGet, url, opts)
}

// bootImage names the kernel or the ramdisk of a node.
func (s *Service) bootImage(n *Node, kind string) string {
	ref := n.info("deploy_" + kind)
	if ref == "" && kind == "kernel" {
		ref = s.cfg.DeployKernel
	} else if ref == "" {
		ref = s.cfg.DeployRamdisk
	}
	return strings.TrimPrefix(ref, "glance:")
}

// checkBootImages finds out early whether the ramdisk can be served at all.
func (s *Service) checkBootImages(ctx context.Context, n *Node) error {
	if n.Interfaces["boot"] == "fake" {
		return nil
	}
	for _, kind := range []string{"kernel", "ramdisk"} {
		if err := s.bootRefUsable(ctx, s.bootImage(n, kind)); err != nil {
			return fmt.Errorf("deploy_%s: %w", kind, err)
		}
	}
	return nil
}

// serveBootImage serves a node's kernel or ramdisk, from the cache if it comes
// from the image service.
func (s *Service) serveBootImage(w http.ResponseWriter, r *http.Request, ref string) error {
	path, err := s.bootImagePath(r.Context(), ref)
	if err != nil {
		return err
	}
	return serveFile(w, r, path)
}

// bootImagePath is a local file of a kernel, a ramdisk or a CD.
func (s *Service) bootImagePath(ctx context.Context, ref string) (string, error) {
	if path, ok := strings.CutPrefix(ref, "file://"); ok {
		return path, s.fileAllowed(path)
	}
	if strings.Contains(ref, "://") {
		return "", fmt.Errorf("%w: %s is not fetched by the undercloud: an image of the image service or a file:// URL is needed here", errPermanent, ref)
	}
	img, err := s.findImage(ctx, strings.TrimPrefix(ref, "glance:"))
	if err != nil {
		return "", err
	}
	value, _ := img.Properties["os_hash_value"].(string)
	algo, _ := img.Properties["os_hash_algo"].(string)
	sum := boot.Sum{Algo: algo, Hex: value}
	if value == "" {
		sum = boot.Sum{Algo: "md5", Hex: img.Checksum}
	}
	return s.cache.Get(ctx, img.ID, sum, func(ctx context.Context) (io.ReadCloser, error) {
		res, err := s.imageData(ctx, img.ID, "", false)
		if err != nil {
			return nil, err
		}
		return res.Body, nil
	})
}

func serveFile(w http.ResponseWriter, r *http.Request, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", st.ModTime(), f)
	return nil
}

// streamImage passes an image of the image service through, ranges included,
// without keeping it.
func (s *Service) streamImage(w http.ResponseWriter, r *http.Request, img instanceImage) error {
	res, err := s.imageData(r.Context(), img.ID, r.Header.Get("Range"), img.Raw)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	for _, h := range []string{"Content-Length", "Content-Range", "Accept-Ranges", "Etag"} {
		if v := res.Header.Get(h); v != "" {
			w.Header().Set(h, v)
		}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.WriteHeader(res.StatusCode)
	if r.Method == http.MethodHead {
		return nil
	}
	if _, err := io.Copy(w, res.Body); err != nil && !errors.Is(err, context.Canceled) {
		s.log.Info("image stream ended early", "image", img.ID, "error", err)
	}
	return nil
}

// nodeBase is this service's address as machines see it.
func (s *Service) nodeBase() string { return strings.TrimSuffix(s.cfg.NodeURL, "/") + "/baremetal" }

// nodeHost is the IP address machines reach the undercloud at.
func (s *Service) nodeHost() string {
	u, err := url.Parse(s.cfg.NodeURL)
	if err != nil {
		return ""
	}
	return u.Hostname()
}
