package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/deployment"
)

// buildFlags are the flags of "overcloud container image build".
type buildFlags struct {
	files, kolla, exclude  []string
	list, listDependencies bool
}

func newContainerBuild(a *app) *cobra.Command {
	f := &buildFlags{}
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build images of containers with kolla-build",
		Long: `Build the images of files of "prepare" with the program kolla-build, which has to be installed, as has the container engine it uses.
What kolla-build needs to know besides (base, registry, namespace) is in its own files, --kolla-config-file.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.build(cmd.Context(), a) },
	}
	fl := cmd.Flags()
	fl.StringArrayVar(&f.files, "config-file", nil, "file of images, may be repeated")
	fl.StringArrayVar(&f.kolla, "kolla-config-file", nil, "configuration of kolla-build, may be repeated")
	fl.StringArrayVar(&f.exclude, "exclude", nil, "leave out images whose name this regular expression finds, may be repeated")
	fl.BoolVar(&f.list, "list-images", false, "show the images that would be built, build none")
	fl.BoolVar(&f.listDependencies, "list-dependencies", false, "show which image is built upon which, build none")
	_ = cmd.MarkFlagRequired("config-file")
	cmd.MarkFlagsMutuallyExclusive("list-images", "list-dependencies")
	return cmd
}

func (f *buildFlags) build(ctx context.Context, a *app) error {
	images, err := readImages(f.files)
	if err != nil {
		return err
	}
	var args []string
	for _, k := range f.kolla {
		args = append(args, "--config-file", k)
	}
	if f.list {
		args = append(args, "--list-images")
	}
	if f.listDependencies {
		args = append(args, "--list-dependencies")
	}
	names, err := f.names(images)
	if err != nil {
		return err
	}
	return a.program(ctx, "kolla-build", append(args, names...), "pip install kolla")
}

// names are regular expressions of kolla-build, one an image: neutron-api of docker.io/tripleoqueens/centos-binary-neutron-api:tag.
func (f *buildFlags) names(images []wantedImage) ([]string, error) {
	var out []string
	for _, im := range images {
		base := im.name[strings.LastIndex(im.name, "/")+1:]
		base, _, _ = strings.Cut(base, ":")
		base = strings.TrimPrefix(base, deployment.DefaultImageNames().Prefix)
		skip := false
		for _, e := range f.exclude {
			re, err := regexp.Compile(e)
			if err != nil {
				return nil, fmt.Errorf("--exclude %s: %w", e, err)
			}
			skip = skip || re.MatchString(im.name)
		}
		if n := "^" + regexp.QuoteMeta(base) + "$"; !skip && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no image is left to build")
	}
	return out, nil
}

// program runs a program of this machine with our output; hint tells how to get one that is missing.
func (a *app) program(ctx context.Context, name string, args []string, hint string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("the program %s is not installed (%s)", name, hint)
	}
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // arguments of the operator
	cmd.Stdout, cmd.Stderr = a.stdout, a.stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// newTopContainerCommand is "tripleo container", beside "tripleo overcloud container".
func newTopContainerCommand(a *app) *cobra.Command {
	image := &cobra.Command{Use: "image", Short: "Images of containers"}
	image.AddCommand(newHotfix(a))
	cmd := &cobra.Command{Use: "container", Short: "Containers of an overcloud"}
	cmd.AddCommand(image)
	return cmd
}

func newHotfix(a *app) *cobra.Command {
	var image, packages, tag string
	cmd := &cobra.Command{
		Use:   "hotfix",
		Short: "Make an image that has packages more, or newer ones",
		Long: `Make a new image of an image of containers and the packages of a folder (*.rpm, or *.deb), with podman, buildah or docker, whichever
is there. It is called as the image is, with --tag in place of its tag.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return hotfix(cmd.Context(), a, image, packages, tag) },
	}
	cmd.Flags().StringVar(&image, "image", "", "image to begin with")
	cmd.Flags().StringVar(&packages, "rpms-path", "", "folder of the packages")
	cmd.Flags().StringVar(&tag, "tag", "latest", "tag of the new image")
	_ = cmd.MarkFlagRequired("image")
	_ = cmd.MarkFlagRequired("rpms-path")
	return cmd
}

func hotfix(ctx context.Context, a *app, image, dir, tag string) error {
	command, files := "", []string(nil)
	for _, kind := range [][2]string{{"*.rpm", "rpm -Uvh"}, {"*.deb", "dpkg -i"}} {
		found, err := filepath.Glob(filepath.Join(dir, kind[0]))
		if err != nil {
			return err
		}
		if len(found) > 0 {
			if command != "" {
				return fmt.Errorf("%s has packages of both kinds, *.rpm and *.deb", dir)
			}
			command, files = kind[1]+" /tmp/hotfix/"+kind[0], found
		}
	}
	if command == "" {
		return fmt.Errorf("%s has no packages, neither *.rpm nor *.deb", dir)
	}
	engine := ""
	for _, e := range []string{"podman", "buildah", "docker"} {
		if _, err := exec.LookPath(e); err == nil {
			engine = e
			break
		}
	}
	if engine == "" {
		return errors.New("there is no container engine: install podman (or buildah, or docker)")
	}
	user, err := imageUser(ctx, engine, image)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "tripleo-hotfix-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if err := os.Mkdir(filepath.Join(tmp, "hotfix"), 0o750); err != nil {
		return err
	}
	for _, f := range files {
		data, err := os.ReadFile(f) //nolint:gosec // of the operator's folder
		if err == nil {
			err = os.WriteFile(filepath.Join(tmp, "hotfix", filepath.Base(f)), data, 0o600)
		}
		if err != nil {
			return err
		}
	}
	text := "FROM " + image + "\nUSER root\nCOPY hotfix /tmp/hotfix\nRUN " + command + " && rm -rf /tmp/hotfix\n"
	if user != "" {
		text += "USER " + user + "\n"
	}
	file := filepath.Join(tmp, "Dockerfile")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	to := image
	if i := strings.LastIndex(image, ":"); i > strings.LastIndex(image, "/") {
		to = image[:i]
	}
	to += ":" + tag
	args := []string{"build", "-f", file, "-t", to, tmp}
	if engine == "buildah" {
		args[0] = "bud"
	}
	if err := a.program(ctx, engine, args, ""); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "Made %s of %s and %d packages\n", to, image, len(files))
	return err
}

// imageUser is the user that an image's programs run as.
func imageUser(ctx context.Context, engine, image string) (string, error) {
	inspect := []string{"image", "inspect", "--format", "{{.Config.User}}", image}
	if engine == "buildah" {
		inspect = []string{"inspect", "--type", "image", "--format", "{{.OCIv1.Config.User}}", image}
	}
	out, err := exec.CommandContext(ctx, engine, inspect...).Output() //nolint:gosec // arguments of the operator
	if err != nil {
		if out, perr := exec.CommandContext(ctx, engine, "pull", image).CombinedOutput(); perr != nil { //nolint:gosec // as above
			return "", fmt.Errorf("%s pull %s: %w: %s", engine, image, perr, strings.TrimSpace(string(out)))
		}
		if out, err = exec.CommandContext(ctx, engine, inspect...).Output(); err != nil { //nolint:gosec // as above
			return "", fmt.Errorf("%s inspect %s: %w", engine, image, err)
		}
	}
	return strings.TrimSpace(string(out)), nil
}
