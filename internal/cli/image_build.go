package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/imagebuild"
)

// imageDir is where images are built and where "image upload" looks for them: ~/.cache/tripleo/images.
func imageDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("where to put images: %w; give --output-directory", err)
	}
	return filepath.Join(cache, "tripleo", "images"), nil
}

// agentBinary finds the tripleo-agent that belongs to this program: beside it, else in PATH.
func agentBinary() (string, error) {
	self, err := os.Executable()
	if err == nil {
		beside := filepath.Join(filepath.Dir(self), "tripleo-agent")
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath("tripleo-agent")
	if err != nil {
		return "", fmt.Errorf("no tripleo-agent beside %s or in PATH: build it, or name it with --agent-binary", self)
	}
	return filepath.Abs(path)
}

type imageBuildFlags struct {
	output, cache, agent, mirror, profile string
	images, packages, configs             []string
	noSkip, bootable                      bool
}

// newImageBuildCommand is "overcloud image build".
func newImageBuildCommand(a *app) *cobra.Command {
	var f imageBuildFlags
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build the images of the nodes and of the deployment ramdisk",
		Long: `Build overcloud-full (the nodes' operating system, a compressed whole-disk image) and
ironic-python-agent (kernel and initramfs of the deployment ramdisk) from this
machine's own Debian package sources. What did not change is not built again; a new
tripleo-agent costs seconds, a new list of packages minutes. Needs root, mmdebstrap
and mke2fs.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.imageBuild(cmd, f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.output, "output-directory", "", "where the images go (default ~/.cache/tripleo/images)")
	fl.StringArrayVar(&f.images, "image-name", nil, "image to build, may be repeated: overcloud-full, ironic-python-agent (default these two), overcloud-minimal, guest")
	fl.BoolVar(&f.noSkip, "no-skip", false, "build everything again, with the newest packages")
	fl.StringArrayVar(&f.configs, "config-file", nil, "YAML file with disk_images, each an imagename with further packages; may be repeated")
	fl.StringArrayVar(&f.packages, "package", nil, "further Debian package for overcloud-full, may be repeated")
	fl.StringVar(&f.profile, "profile", imagebuild.Full, "what is in overcloud-full: full (every service of the default plan) or small (up to Keystone)")
	fl.BoolVar(&f.bootable, "bootable", false, "put kernel and boot loaders (BIOS, UEFI) into overcloud-full, for machines that boot from their disk")
	fl.StringVar(&f.agent, "agent-binary", "", "the static tripleo-agent to put into the images (default: the one beside this program)")
	fl.StringVar(&f.mirror, "mirror", "", "Debian mirror (default: this machine's package sources)")
	fl.StringVar(&f.cache, "cache-directory", "", "where unfinished work is kept (default: \"build\" beside the output directory)")
	return cmd
}

func (a *app) imageBuild(cmd *cobra.Command, f imageBuildFlags) error {
	var err error
	if f.output == "" {
		if f.output, err = imageDir(); err != nil {
			return err
		}
	}
	if f.output, err = filepath.Abs(f.output); err != nil {
		return err
	}
	if f.cache == "" {
		f.cache = filepath.Join(filepath.Dir(f.output), "build")
	}
	if f.cache, err = filepath.Abs(f.cache); err != nil {
		return err
	}
	if f.agent == "" {
		if f.agent, err = agentBinary(); err != nil {
			return err
		}
	}
	recipe, err := imagebuild.ProfileRecipe(f.profile)
	if err != nil {
		return err
	}
	recipe.Bootable = f.bootable
	recipe.Packages = append(recipe.Packages, f.packages...)
	var minimal []string
	for _, name := range f.configs {
		extra, err := readImageConfig(name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		recipe.Packages = append(recipe.Packages, extra[imagebuild.OvercloudFull]...)
		minimal = append(minimal, extra[imagebuild.OvercloudMinimal]...)
	}
	slices.Sort(recipe.Packages)
	recipe.Packages = slices.Compact(recipe.Packages)
	start := time.Now()
	err = imagebuild.Build(cmd.Context(), imagebuild.Options{
		Images: f.images, OutputDir: f.output, CacheDir: f.cache, Agent: f.agent, Recipe: recipe, MinimalPackages: minimal, NoSkip: f.noSkip,
		AptDir: os.DirFS("/etc/apt"), Mirror: f.mirror, Now: time.Now,
		Report: func(line string) {
			_, _ = fmt.Fprintf(a.stdout, "%6.1fs  %s\n", time.Since(start).Seconds(), line)
		},
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "Images are in %s\n", f.output)
	return err
}

func readImageConfig(name string) (map[string][]string, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return imagebuild.ReadConfig(file)
}
