package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// remember appends an overcloud or undercloud command to ~/.tripleo/history, without its secrets. The line is that of
// python-tripleoclient: time, the verb with dashes, the arguments.
func remember(root *cobra.Command, home string, now time.Time, args []string) error {
	cmd, rest, err := root.Find(args)
	if err != nil || !cmd.Runnable() {
		return nil //nolint:nilerr // a command that there is not is no history
	}
	verb := strings.TrimPrefix(cmd.CommandPath(), root.Name()+" ")
	if !strings.HasPrefix(verb, "overcloud ") && !strings.HasPrefix(verb, "undercloud ") {
		return nil
	}
	dir := filepath.Join(home, ".tripleo")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, "history"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s %s %s\n", now.Format(time.DateTime), strings.ReplaceAll(verb, " ", "-"), strings.Join(withoutSecrets(verb, rest), " "))
	return errors.Join(err, f.Close())
}

// userInfo is the part of a URL that has a name and a password.
var userInfo = regexp.MustCompile(`://[^/?#\s]*@`)

// withoutSecrets hides the values of flags that have passwords, parameters that are given in the line, and what URLs
// say about users.
func withoutSecrets(verb string, args []string) []string {
	out := slices.Clone(args)
	for i, a := range out {
		out[i] = userInfo.ReplaceAllString(a, "://***@")
		switch {
		case verb == "overcloud parameters set" && isInline(a):
			out[i] = "***"
		case strings.HasPrefix(a, "--credentials="):
			out[i] = "--credentials=***"
		case a == "--credentials" && i+1 < len(out):
			out[i+1] = "***"
		}
		out[i] = strings.ReplaceAll(out[i], "\n", " ")
	}
	return out
}
