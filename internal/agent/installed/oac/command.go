package oac

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/agent/installed/collect"
	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

// FilesList names the files whose contents, merged, are the metadata.
const FilesList = "/var/lib/os-collect-config/os_config_files.json"

// ExitError is an error that only says how the process ends.
type ExitError int

func (e ExitError) Error() string { return "exit code " + strconv.Itoa(int(e)) }

// valueTypes are the forms that --type can ask a key's value for.
func valueTypes() map[string]string {
	return map[string]string{
		"int": `^[0-9]+$`, "default": `^[A-Za-z0-9_]*$`, "netaddress": `^[A-Za-z0-9/.:-]*$`, "netdevice": `^[A-Za-z0-9/.:-]*$`,
		"dsn":          `^[a-zA-Z0-9]+://([a-zA-Z0-9+_-]+(:[^@]+)?)?(@?[a-zA-Z0-9/_.-]+)?(/[a-zA-Z0-9_-]+)?(\?[a-zA-Z0-9=_-]+)?$`,
		"swiftdevices": `^(r\d+z\d+-[A-Za-z0-9.-_]+:%PORT%/[^,]+,?)+$`, "username": `^[A-Za-z0-9_-]+$`, "raw": ``,
	}
}

type options struct {
	templates, output, subhash, key, typ, booleanKey, files string
	keyDefault                                              *string
	metadata, fallback                                      []string
	validate, printTemplates                                bool
}

// Command is os-apply-config on the command line, for scripts of operators.
func Command(h *host.Host) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:          "os-apply-config",
		Short:        "Render the node's templates, or print one value of its metadata",
		Args:         cobra.ArbitraryArgs, // more files of --metadata, which takes several
		SilenceUsage: true, SilenceErrors: true,
	}
	f := cmd.Flags()
	f.StringVarP(&o.templates, "templates", "t", TemplatesDir, "folder of the templates")
	f.StringVarP(&o.output, "output", "o", "/", "where the paths of the files begin")
	f.StringArrayVarP(&o.metadata, "metadata", "m", nil, "file of metadata instead of those of OS_CONFIG_FILES; may be repeated")
	f.StringArrayVar(&o.fallback, "fallback-metadata", []string{"/var/cache/heat-cfntools/last_metadata", collect.HeatLocalPath, "/var/lib/cloud/data/cfn-init-data"}, "files that are read before")
	f.BoolVarP(&o.validate, "validate", "v", false, "write nothing")
	f.BoolVar(&o.printTemplates, "print-templates", false, "print the folder of the templates")
	f.StringVarP(&o.subhash, "subhash", "s", "", "use what is under this key, A.B, instead of the whole metadata")
	f.StringVar(&o.key, "key", "", "print the value under this key, A.B")
	f.StringVar(&o.typ, "type", "default", "what the value of --key has to be: int, default, netaddress, netdevice, dsn, swiftdevices, username or raw")
	keyDefault := f.String("key-default", "", "print this when there is no value")
	f.StringVar(&o.booleanKey, "boolean-key", "", "exit with 0 when the value is true, 1 when it is false, 255 else")
	f.StringVar(&o.files, "os-config-files", FilesList, "file that lists the files of metadata")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if f.Changed("key-default") {
			o.keyDefault = keyDefault
		}
		if len(o.metadata) > 0 {
			o.metadata = append(o.metadata, args...)
		} else if len(args) > 0 {
			return fmt.Errorf("unexpected argument %q", args[0])
		}
		return o.run(cmd, h)
	}
	return cmd
}

func (o options) run(cmd *cobra.Command, h *host.Host) error {
	if o.printTemplates {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), o.templates)
		return err
	}
	config, err := o.config(h)
	if err != nil {
		return err
	}
	switch {
	case o.key != "":
		return o.printKey(cmd, config)
	case o.booleanKey != "":
		v, isBool := at(config, o.booleanKey).(bool)
		switch {
		case !isBool:
			return ExitError(255)
		case !v:
			return ExitError(1)
		}
		return nil
	}
	if o.subhash != "" {
		m, ok := at(config, o.subhash).(map[string]any)
		if !ok {
			return fmt.Errorf("key %q of the metadata is no map", o.subhash)
		}
		config = m
	}
	changes, err := Applier{Host: h, Templates: o.templates, Output: o.output}.Apply(cmd.Context(), config, o.validate)
	for _, c := range changes {
		cmd.PrintErrln(c)
	}
	return err
}

// config reads and merges the files of metadata; those that do not exist are left out.
func (o options) config(h *host.Host) (map[string]any, error) {
	names := o.metadata
	if len(names) == 0 {
		if v, ok := os.LookupEnv("OS_CONFIG_FILES"); ok {
			names = strings.Split(v, ":")
		} else {
			data, err := h.ReadFile(o.files)
			if err == nil {
				err = json.Unmarshal(data, &names)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("%s: expected a list of files: %w", o.files, err)
			}
		}
	}
	var all []map[string]any
	for _, name := range append(append([]string{}, o.fallback...), names...) {
		if name == "" {
			continue
		}
		data, err := h.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		m, err := collect.ParseMap(data)
		if err != nil {
			return nil, fmt.Errorf("metadata %s: %w", name, err)
		}
		all = append(all, m)
	}
	return collect.Merge(all...), nil
}

// at follows keys with dots; numbers are places in lists. A null is nothing.
func at(v any, key string) any {
	for k := range strings.SplitSeq(key, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[k]
		case []any:
			i, err := strconv.Atoi(k)
			if err != nil || i < 0 || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func (o options) printKey(cmd *cobra.Command, config map[string]any) error {
	form, ok := valueTypes()[o.typ]
	if !ok {
		return fmt.Errorf("--type %q is unknown", o.typ)
	}
	v := at(config, o.key)
	if v == nil {
		if o.keyDefault == nil {
			return fmt.Errorf("key %s does not exist in the metadata", o.key)
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), *o.keyDefault)
		return err
	}
	as := text(v)
	if b, ok := v.(bool); ok { // what Python makes of it is compared
		as = map[bool]string{true: "True", false: "False"}[b]
	}
	if re, err := regexp.Compile(form); err != nil || !re.MatchString(as) {
		return fmt.Errorf("the value of key %s is no %s", o.key, o.typ) // not shown: it may be a password
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), text(v))
	return err
}
