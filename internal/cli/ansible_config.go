package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/deployment"
)

// newTopConfigCommand is "tripleo config", beside "tripleo overcloud config".
func newTopConfigCommand(a *app) *cobra.Command {
	var user, dir string
	ansible := &cobra.Command{
		Use:   "ansible",
		Short: "Write the ansible.cfg that deployments use",
		Long:  "Write an ansible.cfg as the undercloud's own runs of Ansible have it. One that is there is kept as ansible.cfg.old.",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			file, err := writeAnsibleConfig(dir, user)
			if err == nil {
				_, err = fmt.Fprintln(a.stdout, file)
			}
			return err
		},
	}
	ansible.Flags().StringVar(&user, "deployment-user", "", "user that Ansible logs in as")
	ansible.Flags().StringVar(&dir, "output-dir", "", "folder of the file (default: the home folder)")
	generate := &cobra.Command{Use: "generate", Short: "Write configuration files"}
	generate.AddCommand(ansible)
	cmd := &cobra.Command{Use: "config", Short: "Configuration files of this machine"}
	cmd.AddCommand(generate)
	return cmd
}

func writeAnsibleConfig(dir, user string) (string, error) {
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		dir = home
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "ansible.cfg")
	if err := os.Rename(file, file+".old"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return file, os.WriteFile(file, []byte(deployment.AnsibleConfig(dir, user, "", false)), 0o600)
}
