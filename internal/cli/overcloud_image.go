package cli

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/imagebuild"
)

type uploadFlags struct {
	dir, arch, platform string
	system, ramdisk     string // names of the images, without an extension; system may be empty: what is there
	update              bool
}

func newImageUploadCommand(a *app) *cobra.Command {
	var f uploadFlags
	cmd := &cobra.Command{
		Use:   "upload",
		Short: "Upload the built images to Glance",
		Long: `Upload overcloud-full, bm-deploy-kernel and bm-deploy-ramdisk. An image that is
there already is left alone; if its content differs, --update-existing renames it and
uploads the new one.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := a.operator(cmd.Context())
			if err != nil {
				return err
			}
			return o.uploadImages(cmd.Context(), f)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.dir, "image-path", "", "folder of the images (default ~/.cache/tripleo/images)")
	fl.BoolVar(&f.update, "update-existing", false, "replace images whose content changed")
	fl.StringVar(&f.arch, "architecture", "", "architecture of the machines, for the names of the images")
	fl.StringVar(&f.system, "os-image-name", "", "image of the nodes, overcloud-full.qcow2 (default: what is there of overcloud-full and overcloud-minimal)")
	fl.StringVar(&f.ramdisk, "ironic-python-agent-name", imagebuild.Ramdisk, "name of the files of the deployment ramdisk")
	_ = fl.Bool("whole-disk", false, "no effect")
	_ = fl.MarkDeprecated("whole-disk", "every image is a whole disk; it has no effect")
	_ = fl.String("http-boot", "", "no effect")
	_ = fl.MarkDeprecated("http-boot", "the undercloud takes kernel and ramdisk from Glance; it has no effect")
	fl.StringVar(&f.platform, "platform", "", "platform of the machines; needs --architecture")
	return cmd
}

// upload is one image to upload: a file with its Glance record.
type upload struct {
	name, file, diskFormat, containerFormat string
	hash                                    string // SHA-512, known from the manifest or computed
	properties                              map[string]any
}

func (o *operator) uploadImages(ctx context.Context, f uploadFlags) error {
	if f.platform != "" && f.arch == "" {
		return errors.New("--platform needs --architecture")
	}
	var err error
	if f.dir == "" {
		if f.dir, err = imageDir(); err != nil {
			return err
		}
	}
	images, err := imagesIn(f)
	if err != nil {
		return err
	}
	for _, im := range images {
		if err := o.uploadImage(ctx, im, f.update); err != nil {
			return fmt.Errorf("image %s: %w", im.name, err)
		}
	}
	return nil
}

func imagesIn(f uploadFlags) ([]upload, error) {
	prefix := ""
	props := map[string]any{}
	if f.arch != "" {
		prefix = f.arch + "-"
		props["hw_architecture"] = f.arch
	}
	if f.platform != "" {
		prefix = f.platform + "-" + prefix
		props["tripleo_platform"] = f.platform
	}
	var out []upload
	systems := []string{imagebuild.OvercloudFull, imagebuild.OvercloudMinimal}
	if f.system != "" {
		systems = []string{strings.TrimSuffix(f.system, ".qcow2")}
	}
	for _, name := range systems {
		im, err := systemImage(f.dir, name)
		if err != nil {
			return nil, err
		}
		if im == nil && f.system != "" {
			return nil, fmt.Errorf("%s has no image %s", f.dir, name)
		}
		if im != nil {
			im.name = prefix + im.name
			out = append(out, *im)
		}
	}
	ramdisk := filepath.Join(f.dir, firstNonEmpty(f.ramdisk, imagebuild.Ramdisk))
	if _, err := os.Stat(ramdisk + ".initramfs"); err == nil {
		out = append(out,
			upload{prefix + "bm-deploy-kernel", ramdisk + ".kernel", "aki", "aki", "", map[string]any{}},
			upload{prefix + "bm-deploy-ramdisk", ramdisk + ".initramfs", "ari", "ari", "", map[string]any{}})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no images: run `tripleo overcloud image build`", f.dir)
	}
	for i := range out {
		for k, v := range props {
			out[i].properties[k] = v
		}
		if out[i].hash == "" {
			var err error
			if out[i].hash, err = hashFile(out[i].file); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// systemImage reads what was built of an operating system image; nil if nothing was.
func systemImage(dir, name string) (*upload, error) {
	manifest := filepath.Join(dir, name+".json")
	data, err := os.ReadFile(manifest) //nolint:gosec // the operator's own folder
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var m imagebuild.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", manifest, err)
	}
	im := &upload{m.Name, filepath.Join(dir, m.File), m.DiskFormat, m.ContainerFormat, "", map[string]any{}}
	if m.HashAlgo == "sha512" {
		im.hash = m.HashValue
	}
	if m.VirtualSize > 0 {
		im.properties["virtual_size_bytes"] = fmt.Sprint(m.VirtualSize)
	}
	return im, nil
}

func hashFile(name string) (string, error) {
	f, err := os.Open(name) //nolint:gosec // the operator's own folder
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := sha512.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (o *operator) uploadImage(ctx context.Context, im upload, update bool) error {
	c, err := o.s.Image()
	if err != nil {
		return err
	}
	v, _, err := o.call(ctx, c, http.MethodGet, below(c, "v2", "images")+"?name="+url.QueryEscape(im.name), nil, nil)
	if err != nil {
		return err
	}
	for _, have := range items(lookup(v, "images")) {
		id := str(lookup(have, "id"))
		if str(lookup(have, "status")) != "active" { // an upload that was cut short
			if _, _, err := o.call(ctx, c, http.MethodDelete, below(c, "v2", "images", id), nil, nil); err != nil {
				return err
			}
			continue
		}
		if str(lookup(have, "os_hash_value")) == im.hash {
			_, _ = fmt.Fprintf(o.a.stdout, "Image %q is up-to-date, skipping.\n", im.name)
			return nil
		}
		if !update {
			_, _ = fmt.Fprintf(o.a.stdout, "Image %q already exists and can be updated with --update-existing.\n", im.name)
			return nil
		}
		digits := strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return r
			}
			return -1
		}, str(lookup(have, "created_at")))
		patch := []byte(fmt.Sprintf(`[{"op":"replace","path":"/name","value":%q}]`, im.name+"_"+digits))
		if _, _, err := o.call(ctx, c, http.MethodPatch, below(c, "v2", "images", id), patch, map[string]string{"Content-Type": "application/openstack-images-v2.1-json-patch"}); err != nil {
			return fmt.Errorf("rename the old one: %w", err)
		}
	}
	return o.sendImage(ctx, im)
}

func (o *operator) sendImage(ctx context.Context, im upload) error {
	c, err := o.s.Image()
	if err != nil {
		return err
	}
	f, err := os.Open(im.file) //nolint:gosec // the operator's own folder
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	body := map[string]any{"name": im.name, "disk_format": im.diskFormat, "container_format": im.containerFormat, "visibility": "public"}
	for k, v := range im.properties {
		body[k] = v
	}
	v, _, err := o.call(ctx, c, http.MethodPost, below(c, "v2", "images"), body, nil)
	if err != nil {
		return err
	}
	id := str(lookup(v, "id"))
	if _, _, err := o.raw(ctx, c, http.MethodPut, below(c, "v2", "images", id, "file"), io.Reader(f), map[string]string{"Content-Type": "application/octet-stream"}); err != nil {
		return err
	}
	if v, _, err = o.call(ctx, c, http.MethodGet, below(c, "v2", "images", id), nil, nil); err != nil {
		return err
	}
	if got := str(lookup(v, "os_hash_value")); got != "" && str(lookup(v, "os_hash_algo")) == "sha512" && got != im.hash {
		return fmt.Errorf("Glance has other content than %s: SHA-512 %s, not %s", im.file, got, im.hash)
	}
	_, _ = fmt.Fprintf(o.a.stdout, "Image %q was uploaded, id %s.\n", im.name, id)
	return nil
}
