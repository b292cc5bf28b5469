package cli

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tripleo/tripleo/internal/yaml11"
)

const (
	registryTime = time.Hour // of one image
	uploads      = 4         // at a time
)

// registryOptions are the credentials of ~/.docker/config.json, if there are such.
func registryOptions(ctx context.Context) []remote.Option {
	return []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
}

func newContainerUpload(a *app) *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "upload",
		Short: "Copy images of containers from their registry into another one",
		Long: `Copy the images of files of "prepare" (container_images: a list of {imagename, push_destination}) to the registry that each names.
Layers that are there already are not sent again. No container engine is needed. Credentials are those of ~/.docker/config.json.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			images, err := readImages(files)
			if err != nil {
				return err
			}
			return uploadContainers(cmd.Context(), a, images)
		},
	}
	cmd.Flags().StringArrayVar(&files, "config-file", nil, "file of images, may be repeated")
	_ = cmd.MarkFlagRequired("config-file")
	return cmd
}

func uploadContainers(ctx context.Context, a *app, images []wantedImage) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(uploads)
	p := a.newProgress(true)
	done := make(chan string, len(images))
	for _, im := range images {
		if im.push == "" {
			return fmt.Errorf("image %s has no push_destination", im.name)
		}
		g.Go(func() error {
			to := pushed(im.name, im.push)
			if err := copyImage(ctx, im.name, to); err != nil {
				return fmt.Errorf("image %s to %s: %w", im.name, to, err)
			}
			done <- to
			return nil
		})
	}
	finished := make(chan error, 1)
	go func() { finished <- g.Wait(); close(done) }()
	for to := range done {
		p.say("Uploaded %s", to)
	}
	return <-finished
}

// copyImage copies an image, or an index with those of all platforms.
func copyImage(ctx context.Context, from, to string) error {
	ctx, cancel := context.WithTimeout(ctx, registryTime)
	defer cancel()
	src, err := name.ParseReference(from)
	if err != nil {
		return err
	}
	dst, err := name.ParseReference(to)
	if err != nil {
		return err
	}
	opts := registryOptions(ctx)
	desc, err := remote.Get(src, opts...)
	if err != nil {
		return err
	}
	if desc.MediaType.IsIndex() {
		idx, err := desc.ImageIndex()
		if err != nil {
			return err
		}
		return remote.WriteIndex(dst, idx, opts...)
	}
	img, err := desc.Image()
	if err != nil {
		return err
	}
	return remote.Write(dst, img, opts...)
}

func newTagDiscover(a *app) *cobra.Command {
	var image, label string
	cmd := &cobra.Command{
		Use:   "discover",
		Short: "Show the tag of an image that is named in its own labels",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			tag, err := discoverTag(cmd.Context(), image, label)
			if err == nil {
				_, err = fmt.Fprintln(a.stdout, tag)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&image, "image", "", "image to look at, [REGISTRY/]NAMESPACE/NAME[:TAG]")
	cmd.Flags().StringVar(&label, "tag-from-label", "rdo_version", "LABEL, or a text with {LABEL} in it")
	_ = cmd.MarkFlagRequired("image")
	return cmd
}

var labelInText = regexp.MustCompile(`\{([^{}]+)\}`)

// discoverTag makes a tag of the labels of an image, and looks whether the image has it.
func discoverTag(ctx context.Context, image, label string) (string, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return "", err
	}
	opts := registryOptions(ctx)
	img, err := remote.Image(ref, opts...)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", image, err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return "", fmt.Errorf("image %s: %w", image, err)
	}
	if !labelInText.MatchString(label) {
		label = "{" + label + "}"
	}
	var missing []string
	tag := labelInText.ReplaceAllStringFunc(label, func(s string) string {
		v := cfg.Config.Labels[s[1:len(s)-1]]
		if v == "" {
			missing = append(missing, s[1:len(s)-1])
		}
		return v
	})
	if len(missing) > 0 {
		return "", fmt.Errorf("image %s has no label %s", image, strings.Join(missing, ", "))
	}
	tagged := ref.Context().Tag(tag)
	if _, err := remote.Head(tagged, opts...); err != nil {
		return "", fmt.Errorf("image %s says that its tag is %s, but there is none: %w", image, tag, err)
	}
	return tag, nil
}

// tagsFromLabel gives every image the tag that its labels name. Images that parameters have in common are asked once.
func tagsFromLabel(ctx context.Context, images *yaml11.OrderedMap, label string) (*yaml11.OrderedMap, error) {
	out := yaml11.NewMap()
	known := map[string]string{}
	for p, v := range images.All() {
		image := str(v)
		if known[image] == "" {
			tag, err := discoverTag(ctx, image, label)
			if err != nil {
				return nil, err
			}
			known[image] = image[:strings.LastIndex(image, ":")+1] + tag
		}
		out.Set(p, known[image])
	}
	return out, nil
}
