package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tripleo/tripleo/internal/deployment"
	"github.com/tripleo/tripleo/internal/yaml11"
	"github.com/tripleo/tripleo/jinja"
)

const (
	stockTemplates = "/usr/share/openstack-tripleo-heat-templates"
	maxTemplates   = 2000 // of one search for images
)

// newContainerCommand is "tripleo overcloud container": images of containers of plans whose services run in such.
func newContainerCommand(a *app) *cobra.Command {
	tag := &cobra.Command{Use: "tag", Short: "Tags of images"}
	tag.AddCommand(newTagDiscover(a))
	image := &cobra.Command{Use: "image", Short: "Images of containers, for plans whose services run in containers"}
	image.AddCommand(newContainerPrepare(a), newContainerBuild(a), newContainerUpload(a), tag)
	cmd := &cobra.Command{Use: "container", Short: "Containers of an overcloud"}
	cmd.AddCommand(image)
	return cmd
}

// prepareFlags are the flags of "overcloud container image prepare".
type prepareFlags struct {
	deploy                         deployFlags // environments, roles and templates only
	names                          deployment.ImageNames
	set, exclude                   []string
	pullSource, push, tagFromLabel string
	templateFile                   string
	imagesFile, envFile            string
	oldEnvFiles                    []string
}

func newContainerPrepare(a *app) *cobra.Command {
	f := &prepareFlags{names: deployment.DefaultImageNames()}
	cmd := &cobra.Command{
		Use:   "prepare",
		Short: "Write which images of containers a plan needs",
		Long: `Read from the templates which parameters name images of containers, and write an environment that gives each its image
(--output-env-file) and the list of these images (--output-images-file), which "upload" takes. Without either the list goes to the
standard output. With -e only services count that these environments map to templates of containers and that a role with nodes has.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.prepare(cmd.Context(), a) },
	}
	fl := cmd.Flags()
	f.add(fl)
	return cmd
}

func (f *prepareFlags) add(fl *pflag.FlagSet) {
	fl.StringVar(&f.deploy.templates, "templates", "", "folder of templates (default "+stockTemplates+")")
	fl.StringArrayVarP(&f.deploy.environments, "environment-file", "e", nil, "environment file of the deployment, may be repeated")
	fl.StringArrayVar(&f.deploy.envDirs, "environment-directory", nil, "folder whose *.yaml are environment files, before those of -e")
	fl.StringVarP(&f.deploy.roles, "roles-file", "r", "", "roles_data.yaml instead of that of the templates")
	fl.StringVar(&f.templateFile, "template-file", "", "file of images as a Jinja template (container_images_template), instead of what the templates ask for")
	fl.StringVar(&f.names.Namespace, "namespace", f.names.Namespace, "registry and namespace of the images")
	fl.StringVar(&f.names.Prefix, "prefix", f.names.Prefix, "what every image's name begins with")
	fl.StringVar(&f.names.Suffix, "suffix", "", "what every image's name ends with")
	fl.StringVar(&f.names.Tag, "tag", f.names.Tag, "tag of the images")
	fl.StringVar(&f.tagFromLabel, "tag-from-label", "", "take each image's tag from a label of it: LABEL, or a text with {LABEL} in it")
	fl.StringArrayVar(&f.set, "set", nil, "KEY=VALUE, may be repeated: namespace, name_prefix, name_suffix, tag, ceph_namespace, ceph_image, ceph_tag, neutron_driver (ovn, odl)")
	fl.StringArrayVar(&f.exclude, "exclude", nil, "leave out images whose name this regular expression finds, may be repeated")
	fl.StringVar(&f.push, "push-destination", "", "registry the images are to be uploaded to; the environment names them there")
	fl.StringVar(&f.pullSource, "pull-source", "", "registry of a namespace that has none")
	fl.StringVar(&f.imagesFile, "output-images-file", "", "file for the list of images")
	fl.StringVar(&f.envFile, "output-env-file", "", "file for the environment")
	// Names of older releases.
	fl.StringVar(&f.imagesFile, "images-file", "", "file for the list of images")
	fl.StringVar(&f.envFile, "env-file", "", "file for the environment")
	fl.StringArrayVar(&f.oldEnvFiles, "service-environment-file", nil, "environment file of the deployment")
	for old, now := range map[string]string{"images-file": "output-images-file", "env-file": "output-env-file", "service-environment-file": "environment-file"} {
		_ = fl.MarkDeprecated(old, "it is --"+now+" now")
	}
}

func (f *prepareFlags) prepare(ctx context.Context, a *app) error {
	if err := f.apply(); err != nil {
		return err
	}
	images, err := f.images(ctx)
	if err != nil {
		return err
	}
	if images.Len() == 0 {
		return fmt.Errorf("no service of %s runs in a container: nothing needs an image", f.deploy.templates)
	}
	if images, err = f.without(images); err != nil {
		return err
	}
	if f.tagFromLabel != "" {
		if images, err = tagsFromLabel(ctx, images, f.tagFromLabel); err != nil {
			return err
		}
	}
	list, env := f.lists(images)
	if f.envFile != "" {
		if err := writeYAML(f.envFile, yaml11.MapOf("parameter_defaults", env)); err != nil {
			return err
		}
	}
	if f.imagesFile != "" {
		return writeYAML(f.imagesFile, yaml11.MapOf("container_images", list))
	}
	if f.envFile != "" {
		return nil
	}
	data, err := yaml11.Marshal(yaml11.MapOf("container_images", list))
	if err == nil {
		_, err = a.stdout.Write(data)
	}
	return err
}

// apply checks the flags and takes --set into the names.
func (f *prepareFlags) apply() error {
	targets := map[string]*string{"namespace": &f.names.Namespace, "name_prefix": &f.names.Prefix, "name_suffix": &f.names.Suffix, "tag": &f.names.Tag,
		"ceph_namespace": &f.names.CephNamespace, "ceph_image": &f.names.CephImage, "ceph_tag": &f.names.CephTag, "neutron_driver": &f.names.NeutronDriver}
	for _, s := range f.set {
		k, v, ok := strings.Cut(s, "=")
		if !ok || targets[k] == nil {
			return fmt.Errorf("--set %s: expected KEY=VALUE with one of the keys that --help names", s)
		}
		*targets[k] = v
	}
	if first, _, more := strings.Cut(f.names.Namespace, "/"); f.pullSource != "" && (!more || !strings.ContainsAny(first, ".:")) {
		f.names.Namespace = f.pullSource + "/" + f.names.Namespace
	}
	f.deploy.environments = append(f.oldEnvFiles, f.deploy.environments...)
	if f.deploy.templates == "" {
		f.deploy.templates = stockTemplates
	}
	st, err := os.Stat(f.deploy.templates)
	if err == nil && !st.IsDir() {
		err = errors.New("it is no folder")
	}
	if err != nil {
		return fmt.Errorf("--templates %s: %w (the built-in plan has no containers)", f.deploy.templates, err)
	}
	return nil
}

// images are the parameters that want an image, and their images.
func (f *prepareFlags) images(ctx context.Context) (*yaml11.OrderedMap, error) {
	if f.templateFile != "" {
		return f.imagesOfTemplate(ctx)
	}
	params, err := f.parameters()
	if err != nil {
		return nil, err
	}
	return f.names.Images(params), nil
}

// imagesOfTemplate reads a list container_images_template of {imagename, params, services} after rendering it.
func (f *prepareFlags) imagesOfTemplate(ctx context.Context) (*yaml11.OrderedMap, error) {
	text, err := readFile(f.templateFile)
	if err != nil {
		return nil, err
	}
	n := f.names
	text, err = jinja.New(jinja.Options{Sandbox: true}).RenderString(ctx, f.templateFile, text, map[string]any{"namespace": n.Namespace, "name_prefix": n.Prefix, "name_suffix": n.Suffix,
		"tag": n.Tag, "ceph_namespace": n.CephNamespace, "ceph_image": n.CephImage, "ceph_tag": n.CephTag, "neutron_driver": n.NeutronDriver})
	if err != nil {
		return nil, err
	}
	m, err := parseMapping(f.templateFile, []byte(text))
	if err != nil {
		return nil, err
	}
	list, ok := lookup(m, "container_images_template").([]any)
	if !ok {
		return nil, fmt.Errorf("%s: expected a list container_images_template", f.templateFile)
	}
	envs, err := f.deploy.environmentFiles()
	if err != nil {
		return nil, err
	}
	var services map[string]string
	if len(envs) > 0 {
		if services, err = f.containerServices(envs); err != nil {
			return nil, err
		}
	}
	out := yaml11.NewMap()
	for i, e := range list {
		name := str(lookup(e, "imagename"))
		if name == "" {
			return nil, fmt.Errorf("%s: entry %d has no imagename", f.templateFile, i+1)
		}
		wanted := items(lookup(e, "services"))
		if services != nil && len(wanted) > 0 && !slices.ContainsFunc(wanted, func(s any) bool { return services[str(s)] != "" }) {
			continue
		}
		for _, p := range items(lookup(e, "params")) {
			out.Set(str(p), name)
		}
	}
	return out, nil
}

// parameters are the names of the parameters that want an image.
func (f *prepareFlags) parameters() ([]string, error) {
	files, err := f.serviceTemplates()
	if err != nil {
		return nil, err
	}
	w := &templateWalk{seen: map[string]bool{}, found: map[string]bool{}}
	for _, file := range files {
		if err := w.visit(file); err != nil {
			return nil, err
		}
	}
	out := make([]string, 0, len(w.found))
	for p := range w.found {
		out = append(out, p)
	}
	slices.Sort(out)
	return out, nil
}

// serviceTemplates are the templates of services in containers: all of the folder, or those that the environments map and roles with
// nodes have.
func (f *prepareFlags) serviceTemplates() ([]string, error) {
	envs, err := f.deploy.environmentFiles()
	if err != nil {
		return nil, err
	}
	if len(envs) == 0 {
		var out []string
		for _, dir := range []string{"docker/services", "deployment"} {
			err := filepath.WalkDir(filepath.Join(f.deploy.templates, dir), func(p string, d os.DirEntry, err error) error {
				if err == nil && !d.IsDir() && strings.HasSuffix(p, ".yaml") && !strings.HasSuffix(p, ".j2.yaml") {
					out = append(out, p)
				}
				if errors.Is(err, os.ErrNotExist) {
					return nil
				}
				return err
			})
			if err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	services, err := f.containerServices(envs)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, file := range services {
		out = append(out, file)
	}
	slices.Sort(out)
	return out, nil
}

// containerServices are the services that environments map to templates of containers and that roles with nodes have.
func (f *prepareFlags) containerServices(envs []string) (map[string]string, error) {
	enabled, err := f.enabledServices()
	if err != nil {
		return nil, err
	}
	mapped := map[string]string{}
	for _, e := range envs {
		data, err := os.ReadFile(e) //nolint:gosec // named by the operator
		if errors.Is(err, os.ErrNotExist) && !filepath.IsAbs(e) {
			e = filepath.Join(f.deploy.templates, e)
			data, err = os.ReadFile(e) //nolint:gosec // as above
		}
		if err != nil {
			return nil, err
		}
		m, err := parseMapping(e, data)
		if err != nil {
			return nil, err
		}
		reg, _ := lookup(m, "resource_registry").(*yaml11.OrderedMap)
		for typ, v := range reg.All() {
			delete(mapped, typ) // the last environment counts
			file := filepath.ToSlash(filepath.Join(filepath.Dir(e), str(v)))
			if (strings.Contains(file, "/docker/services/") || strings.Contains(file, "/deployment/")) && (enabled == nil || enabled[typ]) {
				mapped[typ] = file
			}
		}
	}
	return mapped, nil
}

// enabledServices are the services of roles that have nodes; nil where there is no roles file.
func (f *prepareFlags) enabledServices() (map[string]bool, error) {
	roles, err := f.deploy.localRoles()
	if err != nil || roles == nil {
		return nil, err
	}
	params, err := f.deploy.localParameters(nil)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, role := range roles {
		name := str(lookup(role, "name"))
		count, given := params.Get(name + "Count")
		if !given {
			count = lookup(role, "CountDefault")
		}
		if number(count) == 0 {
			continue
		}
		list := items(lookup(role, "ServicesDefault"))
		if v, ok := params.Get(name + "Services"); ok {
			list = items(v)
		}
		for _, s := range list {
			out[str(s)] = true
		}
	}
	return out, nil
}

// templateWalk collects the parameters of images of templates and of those they nest.
type templateWalk struct{ seen, found map[string]bool }

func (w *templateWalk) visit(file string) error {
	file = filepath.Clean(file)
	if w.seen[file] {
		return nil
	}
	if w.seen[file] = true; len(w.seen) > maxTemplates {
		return fmt.Errorf("more than %d templates", maxTemplates)
	}
	data, err := os.ReadFile(file) //nolint:gosec // a template of the operator's folder
	if err != nil {
		return err
	}
	m, err := parseMapping(file, data)
	if err != nil {
		return err
	}
	for _, p := range deployment.ImageParameters(m) {
		w.found[p] = true
	}
	resources, _ := lookup(m, "resources").(*yaml11.OrderedMap)
	for _, r := range resources.All() {
		typ := str(lookup(r, "type"))
		if !strings.HasSuffix(typ, ".yaml") {
			continue
		}
		next := filepath.Join(filepath.Dir(file), typ)
		if _, err := os.Stat(next); err == nil { // one that is rendered later has no images of its own
			if err := w.visit(next); err != nil {
				return err
			}
		}
	}
	return nil
}

// without leaves out the images that --exclude finds.
func (f *prepareFlags) without(images *yaml11.OrderedMap) (*yaml11.OrderedMap, error) {
	out := yaml11.NewMap()
	var rules []*regexp.Regexp
	for _, e := range f.exclude {
		re, err := regexp.Compile(e)
		if err != nil {
			return nil, fmt.Errorf("--exclude %s: %w", e, err)
		}
		rules = append(rules, re)
	}
	for p, image := range images.All() {
		if !slices.ContainsFunc(rules, func(re *regexp.Regexp) bool { return re.MatchString(str(image)) }) {
			out.Set(p, image)
		}
	}
	return out, nil
}

// lists are the images, each once, and the environment.
func (f *prepareFlags) lists(images *yaml11.OrderedMap) ([]any, *yaml11.OrderedMap) {
	env := yaml11.NewMap()
	var names []string
	for p, v := range images.All() {
		image := str(v)
		names = append(names, image)
		env.Set(p, pushed(image, f.push))
	}
	slices.Sort(names)
	list := []any{}
	for _, n := range slices.Compact(names) {
		entry := yaml11.MapOf("imagename", n)
		if f.push != "" {
			entry.Set("push_destination", f.push)
		}
		list = append(list, entry)
	}
	return list, env
}

// pushed is the name of an image in another registry: the part before the first slash is the registry if it looks like a host.
func pushed(image, registry string) string {
	if registry == "" {
		return image
	}
	if first, rest, ok := strings.Cut(image, "/"); ok && (strings.ContainsAny(first, ".:") || first == "localhost") {
		image = rest
	}
	return strings.TrimSuffix(registry, "/") + "/" + image
}

// wantedImage is an entry of a file of images.
type wantedImage struct{ name, push string }

// readImages reads files with container_images; later files add to earlier ones.
func readImages(files []string) ([]wantedImage, error) {
	var out []wantedImage
	for _, file := range files {
		text, err := readFile(file)
		if err != nil {
			return nil, err
		}
		m, err := parseMapping(file, []byte(text))
		if err != nil {
			return nil, err
		}
		list, ok := lookup(m, "container_images").([]any)
		if !ok {
			return nil, fmt.Errorf("%s: expected a list container_images", file)
		}
		for i, e := range list {
			im := wantedImage{str(lookup(e, "imagename")), str(lookup(e, "push_destination"))}
			if im.name == "" {
				return nil, fmt.Errorf("%s: entry %d has no imagename", file, i+1)
			}
			if !slices.Contains(out, im) {
				out = append(out, im)
			}
		}
	}
	return out, nil
}

func writeYAML(file string, v any) error {
	data, err := yaml11.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644) //nolint:gosec // an environment without secrets, for others to read
}
