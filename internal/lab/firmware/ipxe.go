package firmware

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// maxSteps ends a script that runs in circles.
	maxSteps = 10_000
	// maxChain bounds how deep scripts may chain.
	maxChain = 16
	// maxScript is the largest script in bytes.
	maxScript = 256 << 10
	// maxExpand bounds an expanded line in bytes.
	maxExpand = 64 << 10
)

// Ways a script ends other than by booting or failing.
var (
	// ErrNextDevice: the script left the boot to the next device in the order.
	ErrNextDevice = errors.New("the boot script leaves to the next boot device")
	// ErrReboot and ErrPowerOff: the script asked for it.
	ErrReboot   = errors.New("the boot script asks for a restart")
	ErrPowerOff = errors.New("the boot script asks to power off")
)

// Image is a file a script has loaded.
type Image struct {
	Name string
	URL  string
	Args string
	// Content is where the loader put the bytes.
	Content Blob
}

// Blob is a loaded file.
type Blob interface {
	io.ReaderAt
	Size() int64
}

// BootImage is what a script boots: a kernel with its command line, and initrds in order.
type BootImage struct {
	Kernel  Image
	Initrds []Image
}

// Host is the machine a script runs on.
type Host interface {
	// DHCP configures the network interface again and returns the new settings.
	DHCP(ctx context.Context) (map[string]string, error)
	// Fetch loads a file.
	Fetch(ctx context.Context, u *url.URL) (Blob, error)
	// Printf writes to the console.
	Printf(format string, args ...any)
}

// Script interprets iPXE scripts.
type Script struct {
	host     Host
	settings map[string]string
	images   []Image
	selected int // index of the kernel in images, -1 if none
	steps    int
}

// NewScript returns an interpreter whose settings (net0/mac, uuid, ...) are given.
func NewScript(host Host, settings map[string]string) *Script {
	s := &Script{host: host, settings: map[string]string{}, selected: -1}
	s.merge(settings)
	return s
}

func (s *Script) merge(m map[string]string) {
	for k, v := range m {
		s.settings[k] = v
	}
}

// bootError carries the image out of nested scripts.
type bootError struct{ image BootImage }

func (bootError) Error() string { return "boot" }

// Run fetches the script at rawURL, runs it and returns what it boots.
func (s *Script) Run(ctx context.Context, rawURL string) (*BootImage, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("boot script address: %w", err)
	}
	err = s.chain(ctx, u, 0)
	var b bootError
	if errors.As(err, &b) {
		return &b.image, nil
	}
	if err == nil {
		err = ErrNextDevice // a script that ends returns to the firmware
	}
	return nil, err
}

func (s *Script) chain(ctx context.Context, u *url.URL, depth int) error {
	if depth >= maxChain {
		return fmt.Errorf("scripts chain deeper than %d: %s", maxChain, u)
	}
	blob, err := s.host.Fetch(ctx, u)
	if err != nil {
		return err
	}
	if blob.Size() > maxScript {
		return fmt.Errorf("%s is no boot script: %d bytes", u, blob.Size())
	}
	text, err := io.ReadAll(io.NewSectionReader(blob, 0, blob.Size()))
	if err != nil {
		return fmt.Errorf("read %s: %w", u, err)
	}
	if !strings.HasPrefix(string(text), "#!ipxe") {
		return fmt.Errorf("%s is no iPXE script: it does not begin with #!ipxe", u)
	}
	return s.runText(ctx, u, string(text), depth)
}

// gotoError moves execution to a label of the same script.
type gotoError struct{ label string }

func (e gotoError) Error() string { return "no label :" + e.label }

// exitError leaves the present script.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit %d", e.code) }

func (s *Script) runText(ctx context.Context, u *url.URL, text string, depth int) error {
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		if line == "" || line[0] == '#' || line[0] == ':' {
			continue
		}
		err := s.line(ctx, u, line, depth)
		var g gotoError
		var x exitError
		switch {
		case err == nil:
		case errors.As(err, &g):
			if i = labelLine(lines, g.label); i < 0 {
				return fmt.Errorf("%s: %q: %w", u, line, err)
			}
		case errors.As(err, &x):
			if x.code == 0 {
				return nil
			}
			return fmt.Errorf("%s: the script failed with exit %d", u, x.code)
		case errors.As(err, &bootError{}), errors.Is(err, ErrNextDevice), errors.Is(err, ErrReboot), errors.Is(err, ErrPowerOff):
			return err
		default:
			return fmt.Errorf("%s:%d: %q: %w", u, i+1, line, err)
		}
	}
	return nil
}

func labelLine(lines []string, label string) int {
	for i, l := range lines {
		if f := strings.Fields(l); len(f) > 0 && f[0] == ":"+label {
			return i
		}
	}
	return -1
}

// line runs the commands of a line, joined by && and ||, left to right.
func (s *Script) line(ctx context.Context, u *url.URL, line string, depth int) error {
	var status error
	op := "&&"
	for line != "" {
		cmd, next := line, ""
		nextOp := ""
		if i, o := operator(line); i >= 0 {
			cmd, nextOp, next = line[:i], o, line[i+2:]
		}
		if (op == "&&") == (status == nil) {
			if s.steps++; s.steps > maxSteps {
				return fmt.Errorf("the script takes more than %d steps", maxSteps)
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			err := s.command(ctx, u, strings.TrimSpace(cmd), depth)
			if leaves(err) {
				return err
			}
			status = err
		}
		line, op = next, nextOp
	}
	return status
}

// leaves reports whether an error is not a failure that || could catch.
func leaves(err error) bool {
	var g gotoError
	var x exitError
	var b bootError
	return errors.As(err, &g) || errors.As(err, &x) || errors.As(err, &b) ||
		errors.Is(err, ErrNextDevice) || errors.Is(err, ErrReboot) || errors.Is(err, ErrPowerOff)
}

// operator finds the first && or || that stands alone between words.
func operator(line string) (int, string) {
	for i := 0; i+2 <= len(line); i++ {
		o := line[i : i+2]
		if (o == "&&" || o == "||") && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			return i, o
		}
	}
	return -1, ""
}

// command runs one command after expanding ${settings}.
func (s *Script) command(ctx context.Context, u *url.URL, text string, depth int) error {
	text, err := s.expand(text)
	if err != nil {
		return err
	}
	f := strings.Fields(text)
	if len(f) == 0 {
		return nil
	}
	name, args := f[0], f[1:]
	switch name {
	case "dhcp", "autoboot":
		m, err := s.host.DHCP(ctx)
		s.merge(m)
		return err
	case "set":
		return s.set(args)
	case "clear":
		for _, a := range args {
			delete(s.settings, settingName(a))
		}
		return nil
	case "isset":
		if len(args) == 0 {
			return errors.New("not set")
		}
		return nil
	case "iseq":
		if len(args) != 2 || args[0] != args[1] {
			return errors.New("not equal")
		}
		return nil
	case "goto":
		if len(args) != 1 {
			return errors.New("goto needs a label")
		}
		return gotoError{args[0]}
	case "echo":
		s.host.Printf("%s\n", strings.Join(args, " "))
		return nil
	case "sleep":
		return sleep(ctx, args)
	case "exit":
		return exitCode(args)
	case "kernel", "imgselect", "imgload", "initrd", "imgfetch", "module":
		return s.load(ctx, u, name, args)
	case "imgargs":
		return s.imgargs(args)
	case "imgfree":
		s.images, s.selected = nil, -1
		return nil
	case "boot":
		return s.boot()
	case "chain":
		return s.chainCommand(ctx, u, args, depth)
	case "sanboot":
		return ErrNextDevice
	case "reboot":
		return ErrReboot
	case "poweroff":
		return ErrPowerOff
	case "cpuid", "console", "sync", "ntp", "ifopen", "ifstat", "route", "imgstat", "cpair", "colour":
		return nil // succeed on this machine (x86-64, link up) and change nothing
	case "prompt":
		if strings.Contains(text, "--timeout") {
			return errors.New("no key pressed")
		}
		return nil
	}
	return fmt.Errorf("command %q is not known to this firmware", name)
}

func sleep(ctx context.Context, args []string) error {
	n := 0
	if len(args) == 1 {
		n, _ = strconv.Atoi(args[0])
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Duration(min(max(n, 0), 300)) * time.Second):
		return nil
	}
}

func exitCode(args []string) error {
	code := 0
	if len(args) > 0 {
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return fmt.Errorf("exit code %q is not a number", args[0])
		}
		code = n
	}
	return exitError{code}
}

func (s *Script) set(args []string) error {
	if len(args) == 0 {
		return errors.New("set needs a name")
	}
	s.settings[settingName(args[0])] = strings.Join(args[1:], " ")
	return nil
}

// load fetches an image; options before the address: --name N, --timeout T, --autofree.
func (s *Script) load(ctx context.Context, base *url.URL, cmd string, args []string) error {
	name := ""
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "--name", "-n", "--timeout", "-t":
			if len(args) < 2 {
				return fmt.Errorf("%s: %s needs a value", cmd, args[0])
			}
			if args[0] == "--name" || args[0] == "-n" {
				name = args[1]
			}
			args = args[2:]
		default:
			args = args[1:]
		}
	}
	if len(args) == 0 {
		return fmt.Errorf("%s needs an address", cmd)
	}
	u, err := base.Parse(args[0])
	if err != nil {
		return fmt.Errorf("address %q: %w", args[0], err)
	}
	blob, err := s.host.Fetch(ctx, u)
	if err != nil {
		return err
	}
	if name == "" {
		name = u.Path[strings.LastIndexByte(u.Path, '/')+1:]
	}
	s.images = append(s.images, Image{Name: name, URL: u.String(), Args: strings.Join(args[1:], " "), Content: blob})
	if cmd == "kernel" || cmd == "imgselect" || cmd == "imgload" {
		s.selected = len(s.images) - 1
	}
	return nil
}

func (s *Script) imgargs(args []string) error {
	if len(args) == 0 {
		return errors.New("imgargs needs an image")
	}
	for i := range s.images {
		if s.images[i].Name == args[0] {
			s.images[i].Args = strings.Join(args[1:], " ")
			return nil
		}
	}
	return fmt.Errorf("no image %q", args[0])
}

func (s *Script) boot() error {
	if s.selected < 0 {
		return errors.New("no kernel is loaded")
	}
	b := BootImage{Kernel: s.images[s.selected]}
	for i, img := range s.images {
		if i != s.selected {
			b.Initrds = append(b.Initrds, img)
		}
	}
	return bootError{b}
}

func (s *Script) chainCommand(ctx context.Context, base *url.URL, args []string, depth int) error {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		args = args[1:]
	}
	if len(args) == 0 {
		return errors.New("chain needs an address")
	}
	u, err := base.Parse(args[0])
	if err != nil {
		return fmt.Errorf("address %q: %w", args[0], err)
	}
	return s.chain(ctx, u, depth+1)
}

// settingName reduces a setting's written form to the name it is kept under:
// net0, netX and no scope are the same interface here, types do not matter.
func settingName(n string) string {
	n, _, _ = strings.Cut(n, ":")
	if scope, rest, ok := strings.Cut(n, "/"); ok && (scope == "net0" || scope == "netX" || scope == "smbios") {
		n = rest
	}
	return n
}

// expand replaces ${name} and ${name:type}, innermost first.
func (s *Script) expand(text string) (string, error) {
	for {
		end := strings.IndexByte(text, '}')
		for end >= 0 && strings.LastIndex(text[:end], "${") < 0 {
			next := strings.IndexByte(text[end+1:], '}')
			if next < 0 {
				return text, nil
			}
			end += 1 + next
		}
		if end < 0 {
			return text, nil
		}
		start := strings.LastIndex(text[:end], "${")
		value := s.value(text[start+2 : end])
		if strings.Contains(value, "${") {
			return "", fmt.Errorf("setting %q contains an expansion", text[start+2:end])
		}
		text = text[:start] + value + text[end+1:]
		if len(text) > maxExpand {
			return "", fmt.Errorf("a line expands to more than %d bytes", maxExpand)
		}
	}
}

// value formats a setting as its type asks.
func (s *Script) value(ref string) string {
	v := s.settings[settingName(ref)]
	_, typ, _ := strings.Cut(ref, ":")
	switch typ {
	case "hexhyp":
		return strings.ReplaceAll(v, ":", "-")
	case "hexraw":
		return strings.NewReplacer(":", "", "-", "").Replace(v)
	case "uristring":
		return url.QueryEscape(v)
	}
	return v
}
