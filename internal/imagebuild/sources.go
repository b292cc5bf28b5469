package imagebuild

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Sources are package sources in deb822 form, one stanza each.
type Sources []string

// Text is what mmdebstrap reads.
func (s Sources) Text() string { return strings.Join(s, "\n") + "\n" }

// HostSources reads the machine's own /etc/apt (as etc) and keeps what belongs to the suite and its updates and
// security: an image comes from where its builder comes from. Other repositories of the machine stay out.
func HostSources(etc fs.FS, suite string) (Sources, error) {
	files := []string{"sources.list"}
	entries, err := fs.ReadDir(etc, "sources.list.d")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		files = append(files, path.Join("sources.list.d", e.Name()))
	}
	var out Sources
	for _, name := range files {
		data, err := fs.ReadFile(etc, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		switch path.Ext(name) {
		case ".sources":
			out = append(out, stanzas(string(data), suite)...)
		case ".list":
			out = append(out, lines(string(data), suite)...)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("this machine's package sources have nothing for Debian %q: build on a Debian %s machine or give --mirror", suite, suite)
	}
	return out, nil
}

// belongs reports whether a suite name is the release itself, its updates or its security repository.
func belongs(name, suite string) bool {
	return slices.Contains([]string{suite, suite + "-updates", suite + "-security", suite + "/updates"}, name)
}

// stanzas filters deb822 text (sources.list(5)).
func stanzas(text, suite string) Sources {
	var out Sources
	for block := range strings.SplitSeq(strings.ReplaceAll(text, "\r", ""), "\n\n") {
		fields, last := map[string]string{}, ""
		var order []string
		for line := range strings.Lines(block) {
			line = strings.TrimRight(line, "\n")
			switch {
			case strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "":
			case line[0] == ' ' || line[0] == '\t':
				fields[last] += "\n" + line
			default:
				key, value, _ := strings.Cut(line, ":")
				last = strings.TrimSpace(key)
				fields[last] = strings.TrimSpace(value)
				order = append(order, last)
			}
		}
		if !slices.Contains(strings.Fields(fields["Types"]), "deb") || strings.EqualFold(fields["Enabled"], "no") {
			continue
		}
		suites := slices.DeleteFunc(strings.Fields(fields["Suites"]), func(s string) bool { return !belongs(s, suite) })
		if len(suites) == 0 {
			continue
		}
		fields["Suites"], fields["Types"] = strings.Join(suites, " "), "deb"
		var b strings.Builder
		for _, key := range order {
			fmt.Fprintf(&b, "%s: %s\n", key, fields[key])
		}
		out = append(out, b.String())
	}
	return out
}

// lines filters one-line entries and turns them into stanzas.
func lines(text, suite string) Sources {
	var out Sources
	scan := bufio.NewScanner(strings.NewReader(text))
	for scan.Scan() {
		line, _, _ := strings.Cut(scan.Text(), "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb ")
		if !ok {
			continue
		}
		rest = strings.TrimSpace(rest)
		var options string
		if strings.HasPrefix(rest, "[") {
			if options, rest, ok = strings.Cut(rest[1:], "]"); !ok {
				continue
			}
		}
		f := strings.Fields(rest)
		if len(f) < 3 || !belongs(f[1], suite) {
			continue
		}
		var b strings.Builder
		fmt.Fprintf(&b, "Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\n", f[0], f[1], strings.Join(f[2:], " "))
		for _, opt := range strings.Fields(options) {
			switch key, value, _ := strings.Cut(opt, "="); key {
			case "signed-by":
				fmt.Fprintf(&b, "Signed-By: %s\n", value)
			case "arch":
				fmt.Fprintf(&b, "Architectures: %s\n", strings.ReplaceAll(value, ",", " "))
			case "trusted":
				fmt.Fprintf(&b, "Trusted: %s\n", value)
			}
		}
		out = append(out, b.String())
	}
	return out
}

// MirrorSources are sources of one mirror given by the operator.
func MirrorSources(mirror, suite string) Sources {
	return Sources{fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n", mirror, suite)}
}
