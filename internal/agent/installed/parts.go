package installed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

// The rules of dib-run-parts, which os-refresh-config runs its scripts with: names of letters, digits, "_" and "-" only, so that neither
// backups of an editor nor packages' leftovers run; in the order of the numbers they begin with; after the files of environment.d.
var (
	partName    = regexp.MustCompile(`^[0-9A-Za-z_-]+$`)
	envFileName = regexp.MustCompile(`^[0-9A-Za-z_.-]+$`)
	partNumber  = regexp.MustCompile(`^-?[0-9]+`)
)

// sourceEnvironment is run by bash with the number of files, the files and the script: what the files export is what the script sees.
const sourceEnvironment = `set -eu; n=$1; shift; while [ "$n" -gt 0 ]; do source "$1"; shift; n=$((n-1)); done; exec "$1"`

// runParts runs the executables of a folder, with OS_CONFIG_FILES as os-collect-config sets it. The first that fails ends it.
func (a *agent) runParts(ctx context.Context, name string) error {
	scripts, err := a.parts(name, func(n string, m fs.FileMode) bool { return partName.MatchString(n) && m&0o111 != 0 })
	if err != nil || len(scripts) == 0 {
		return err
	}
	slices.SortStableFunc(scripts, byNumber)
	sourced, err := a.parts("environment.d", func(n string, _ fs.FileMode) bool { return envFileName.MatchString(n) })
	if err != nil {
		return err
	}
	slices.Sort(sourced) // they have no number: sort(1) sees their whole path
	var before []string
	if len(sourced) > 0 {
		before = []string{"/bin/bash", "-c", sourceEnvironment, "environment.d", strconv.Itoa(len(sourced))}
		for _, f := range sourced {
			before = append(before, a.host.Path(path.Join(phaseDir, "environment.d", f)))
		}
	}
	files := configFiles()
	for i, f := range files {
		files[i] = a.host.Path(f)
	}
	for _, s := range scripts {
		p := path.Join(phaseDir, name, s)
		res, err := a.host.Run.Run(ctx, host.Command{
			Args: append(slices.Clone(before), a.host.Path(p)),
			Env:  []string{"OS_CONFIG_FILES=" + strings.Join(files, ":"), "OS_REFRESH_CONFIG_BASE_DIR=" + phaseDir},
		})
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		if res.Code != 0 {
			return fmt.Errorf("%s: exit code %d: %s", p, res.Code, strings.TrimSpace(string(res.Stderr)))
		}
	}
	return nil
}

// parts are the names of a folder's files, and of links to files, that take accepts.
func (a *agent) parts(folder string, take func(name string, mode fs.FileMode) bool) ([]string, error) {
	dir := a.host.Path(path.Join(phaseDir, folder))
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		info, err := os.Stat(path.Join(dir, e.Name()))
		if err == nil && info.Mode().IsRegular() && take(e.Name(), info.Mode()) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// byNumber is the order of sort -n in the locale C: by the number at the beginning, 0 where there is none, then byte by byte.
func byNumber(x, y string) int {
	return cmp.Or(compareNumbers(partNumber.FindString(x), partNumber.FindString(y)), strings.Compare(x, y))
}

// compareNumbers compares decimal numbers of any length.
func compareNumbers(x, y string) int {
	value := func(s string) (negative bool, digits string) {
		digits, negative = strings.CutPrefix(s, "-")
		digits = strings.TrimLeft(digits, "0")
		return negative && digits != "", digits
	}
	xn, xd := value(x)
	yn, yd := value(y)
	switch {
	case xn && !yn:
		return -1
	case yn && !xn:
		return 1
	case xn:
		xd, yd = yd, xd
	}
	return cmp.Or(cmp.Compare(len(xd), len(yd)), strings.Compare(xd, yd))
}
