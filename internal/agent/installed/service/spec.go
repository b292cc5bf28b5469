package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

// Spec is the config of a deployment of group `service`.
type Spec struct {
	Step     int       `json:"step"`
	Services []Service `json:"services"`
}

// Service is what one service needs in one step.
type Service struct {
	Name          string      `json:"name"`
	After         []string    `json:"after"`          // services of the same step that come first
	BootstrapOnly Flag        `json:"bootstrap_only"` // nothing of it is done on other nodes than the role's first
	Packages      []string    `json:"packages"`
	Groups        []Group     `json:"groups"`
	Users         []User      `json:"users"`
	Directories   []Directory `json:"directories"`
	Files         []File      `json:"files"`
	FileSets      []FileSet   `json:"file_sets"`
	Firewall      *Firewall   `json:"firewall"`
	MySQL         *MySQL      `json:"mysql"`
	RabbitMQ      *RabbitMQ   `json:"rabbitmq"`
	Commands      []Command   `json:"commands"`
	Units         []Unit      `json:"units"`
	Checks        []Check     `json:"checks"`
	Catalog       *Catalog    `json:"catalog"`
	Logs          []string    `json:"logs"`    // log files whose end is part of an error report
	Secrets       []string    `json:"secrets"` // texts that are taken out of reports and errors
}

// Group is a system group.
type Group struct {
	Name string `json:"name"`
	GID  int    `json:"gid"` // 0: the system chooses
}

// User is a system user.
type User struct {
	Name   string   `json:"name"`
	UID    int      `json:"uid"` // 0: the system chooses
	Group  string   `json:"group"`
	Groups []string `json:"groups"` // further groups, added to those the user has
	Home   string   `json:"home"`
	Shell  string   `json:"shell"`
}

// Directory is a folder with mode and owner.
type Directory struct {
	Path  string `json:"path"`
	Mode  Mode   `json:"mode"`
	Owner string `json:"owner"`
	Group string `json:"group"`
}

// File is a configuration file: exactly one of Content, INI, JSON, Copy; or Absent.
type File struct {
	Path    string          `json:"path"`
	Content *string         `json:"content"`
	INI     map[string]any  `json:"ini"`
	JSON    json.RawMessage `json:"json"`
	Copy    string          `json:"copy"` // another file of the node, byte for byte
	Absent  Flag            `json:"absent"`
	Mode    Mode            `json:"mode"`
	Owner   string          `json:"owner"`
	Group   string          `json:"group"`
	Secret  Flag            `json:"secret"` // 0600, or 0640 with a group, unless mode says otherwise

	verbatim bool // of a FileSet: keys are written without a newline at the end
}

// FileSet is files with the same owner and mode, as a map: path -> {content}. With Purge, other files of that folder are
// removed.
type FileSet struct {
	Files map[string]FileContent `json:"files"`
	Purge string                 `json:"purge"`
	Mode  Mode                   `json:"mode"` // "" is 0600
	Owner string                 `json:"owner"`
	Group string                 `json:"group"`
}

// FileContent is a file of a FileSet.
type FileContent struct {
	Content string `json:"content"`
}

// MySQL is what a service needs of the database server.
type MySQL struct {
	Address       string     `json:"address"` // unix socket path or host:port; "" is Debian's socket
	User          string     `json:"user"`    // "" is root
	Password      string     `json:"password"`
	RootPassword  string     `json:"root_password"` // sets root's; the socket stays open to the system's root
	Databases     []Database `json:"databases"`
	BootstrapOnly *Flag      `json:"bootstrap_only"` // default true: one node speaks for all
	Timeout       Seconds    `json:"timeout"`        // waits so long for the server; 0 is 60 s
}

// Database is a schema with the users that may use it.
type Database struct {
	Name    string   `json:"name"`
	Charset string   `json:"charset"` // "" is utf8mb4
	Users   []DBUser `json:"users"`
}

// DBUser may do everything in its database.
type DBUser struct {
	Name     string   `json:"name"`
	Password string   `json:"password"`
	Hosts    []string `json:"hosts"` // default ["%"]
}

// RabbitMQ is what a service needs of the message broker.
type RabbitMQ struct {
	VHosts        []string     `json:"vhosts"`
	Users         []RabbitUser `json:"users"`
	AbsentUsers   []string     `json:"absent_users"` // e.g. guest
	BootstrapOnly *Flag        `json:"bootstrap_only"`
	Timeout       Seconds      `json:"timeout"` // for the broker to be up; 0 is 60 s
}

// RabbitUser is an account of the broker. Permissions default to everything on "/".
type RabbitUser struct {
	Name        string       `json:"name"`
	Password    string       `json:"password"`
	Tags        []string     `json:"tags"`
	Permissions []Permission `json:"permissions"`
}

// Permission is three regular expressions on a virtual host.
type Permission struct {
	VHost     string `json:"vhost"`
	Configure string `json:"configure"`
	Write     string `json:"write"`
	Read      string `json:"read"`
}

// Command is run once for what it is: another command line, user, key or (with PackageChange) another version of the
// service's packages makes it another command.
type Command struct {
	Name          string            `json:"name"`
	Command       StringList        `json:"command"` // a list of arguments, or text for /bin/sh -c
	User          string            `json:"user"`
	Env           map[string]string `json:"env"` // not part of what it is; values may be secret
	Dir           string            `json:"dir"`
	Unless        StringList        `json:"unless"`         // succeeds: there is nothing to do
	Creates       string            `json:"creates"`        // exists: there is nothing to do
	BootstrapOnly Flag              `json:"bootstrap_only"` // only on the role's first node
	Always        Flag              `json:"always"`         // no marker; Unless or Creates decide
	PackageChange Flag              `json:"on_package_change"`
	Key           json.RawMessage   `json:"key"`  // anything: further texts that make it another command
	When          string            `json:"when"` // before_units (default) or after_units
	Retries       int               `json:"retries"`
	RetryDelay    Seconds           `json:"retry_delay"` // 0 is 2 s
	Timeout       Seconds           `json:"timeout"`     // 0 is 300 s
	Codes         []int             `json:"success_codes"`
	Unchanged     []int             `json:"unchanged_codes"` // success, and there was nothing to do
}

// Unit is a systemd unit.
type Unit struct {
	Name      string   `json:"name"`
	State     string   `json:"state"`      // started (default), stopped or any
	Enable    *Flag    `json:"enable"`     // default: true when started, false when stopped
	Mask      Flag     `json:"mask"`       // with stopped
	RestartOn []string `json:"restart_on"` // paths; absent: every file of this service
	ReloadOn  []string `json:"reload_on"`  // paths that need a reload only
	Timeout   Seconds  `json:"timeout"`    // to become active; 0 is 120 s
}

// Check waits until something answers.
type Check struct {
	Name     string            `json:"name"`
	Type     string            `json:"type"` // http, tcp, unit, mysql, command
	URL      string            `json:"url"`
	Status   []int             `json:"status"`   // default [200]
	Contains string            `json:"contains"` // in the first 64 KiB of the body
	Address  string            `json:"address"`  // of tcp (host:port) and mysql (as MySQL.Address)
	Unit     string            `json:"unit"`
	Command  StringList        `json:"command"`
	User     string            `json:"user"`
	Env      map[string]string `json:"env"`     // of command; values may be secret
	Timeout  Seconds           `json:"timeout"` // 0 is 60 s
}

// Catalog is what the service has to be in Keystone.
type Catalog struct {
	Auth          CatalogAuth      `json:"auth"`
	Region        string           `json:"region"` // "" is regionOne
	Roles         []string         `json:"roles"`
	Projects      []CatalogProject `json:"projects"`
	Users         []CatalogUser    `json:"users"`
	Services      []CatalogService `json:"services"`
	BootstrapOnly *Flag            `json:"bootstrap_only"`
	Timeout       Seconds          `json:"timeout"` // 0 is 60 s
}

// CatalogAuth is an administrator.
type CatalogAuth struct {
	URL      string `json:"url"` // with or without /v3
	User     string `json:"user"`
	Password string `json:"password"`
	Project  string `json:"project"`
	Domain   string `json:"domain"` // "" is Default
}

// CatalogProject is a project of the domain Default.
type CatalogProject struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

// CatalogUser is a user of the domain Default with roles in projects.
type CatalogUser struct {
	Name     string              `json:"name"`
	Password string              `json:"password"`
	Roles    map[string][]string `json:"roles"` // project -> roles
}

// CatalogService is an entry of the catalog.
type CatalogService struct {
	Name        string            `json:"name"`
	Type        string            `json:"type"`
	Description string            `json:"description"`
	Endpoints   map[string]string `json:"endpoints"` // public, internal, admin -> URL
}

// ParseSpec reads a config whose references are expanded. Unknown keys are errors: a misspelt one must not be silently
// without effect.
func ParseSpec(config map[string]any) (*Spec, error) {
	data, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	var raw struct {
		Step     Number            `json:"step"`
		Services []json.RawMessage `json:"services"`
	}
	if err := strict(data, &raw); err != nil {
		return nil, err
	}
	spec := &Spec{Step: int(raw.Step)}
	for i, r := range raw.Services {
		var name struct {
			Name string `json:"name"`
		}
		if string(r) == "null" {
			continue // a service without work in this step
		}
		if err := json.Unmarshal(r, &name); err != nil {
			return nil, fmt.Errorf("services, entry %d: %w", i, err)
		}
		var s Service
		if err := strict(r, &s); err != nil {
			return nil, fmt.Errorf("service %s (entry %d): %w", name.Name, i, err)
		}
		if err := s.check(); err != nil {
			return nil, fmt.Errorf("service %s (entry %d): %w", s.Name, i, err)
		}
		if s.Firewall != nil {
			text, err := s.Firewall.text()
			if err != nil {
				return nil, fmt.Errorf("service %s (entry %d): firewall: %w", s.Name, i, err)
			}
			s.Files = append(s.Files, File{Path: FirewallPath, Content: &text, Mode: 0o600})
		}
		spec.Services = append(spec.Services, s)
	}
	return spec, nil
}

func strict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}

func (s *Service) check() error {
	if s.Name == "" {
		return errors.New("name is missing")
	}
	for i, f := range s.Files {
		n := 0
		for _, given := range []bool{f.Content != nil, f.INI != nil, len(f.JSON) > 0 && string(f.JSON) != "null", f.Copy != "", bool(f.Absent)} {
			if given {
				n++
			}
		}
		if !path.IsAbs(f.Path) || n != 1 || f.Copy != "" && !path.IsAbs(f.Copy) {
			return fmt.Errorf("files, entry %d (%s): needs an absolute path and exactly one of content, ini, json, copy (an absolute path), absent", i, f.Path)
		}
	}
	for i, f := range s.FileSets {
		if f.Purge != "" && !path.IsAbs(f.Purge) {
			return fmt.Errorf("file_sets, entry %d: purge %q is no absolute path", i, f.Purge)
		}
		for p := range f.Files {
			if !path.IsAbs(p) {
				return fmt.Errorf("file_sets, entry %d: %q is no absolute path", i, p)
			}
		}
	}
	for i, d := range s.Directories {
		if !path.IsAbs(d.Path) {
			return fmt.Errorf("directories, entry %d: %q is no absolute path", i, d.Path)
		}
	}
	for i, c := range s.Commands {
		if c.Name == "" || len(c.Command) == 0 {
			return fmt.Errorf("commands, entry %d (%s): needs name and command", i, c.Name)
		}
		if c.When != "" && c.When != whenBefore && c.When != whenAfter {
			return fmt.Errorf("commands, entry %d (%s): when is before_units or after_units, not %q", i, c.Name, c.When)
		}
	}
	for i, u := range s.Units {
		switch u.State {
		case "", stateStarted, stateStopped, stateAny:
		default:
			return fmt.Errorf("units, entry %d (%s): state is started, stopped or any, not %q", i, u.Name, u.State)
		}
		if u.Name == "" || strings.HasPrefix(u.Name, "-") {
			return fmt.Errorf("units, entry %d: %q is no unit name", i, u.Name)
		}
	}
	for i, c := range s.Checks {
		if err := c.check(); err != nil {
			return fmt.Errorf("checks, entry %d (%s): %w", i, c.Name, err)
		}
	}
	return nil
}

func (c *Check) check() error {
	missing := map[string]string{"http": c.URL, "tcp": c.Address, "unit": c.Unit, "mysql": "-", "command": strings.Join(c.Command, "")}
	v, ok := missing[c.Type]
	if !ok {
		return fmt.Errorf("type is http, tcp, unit, mysql or command, not %q", c.Type)
	}
	if v == "" {
		return fmt.Errorf("type %s needs its target (url, address, unit or command)", c.Type)
	}
	return nil
}

// Mode is the permission bits, written as octal text ("0640"). A number is refused: YAML would have read 0640 as 416.
type Mode fs.FileMode

// UnmarshalJSON implements json.Unmarshaler.
func (m *Mode) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("mode has to be octal text in quotes, such as \"0640\", not %s", b)
	}
	if s == "" {
		return nil
	}
	n, err := strconv.ParseUint(s, 8, 12)
	if err != nil {
		return fmt.Errorf("mode has to be octal text such as \"0640\", not %q", s)
	}
	*m = Mode(n)
	return nil
}

// Number is an integer that may come as text, as template functions make text of everything.
type Number int

// UnmarshalJSON implements json.Unmarshaler.
func (n *Number) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	if text == "" || text == "null" {
		return nil
	}
	v, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("expected an integer, got %s", b)
	}
	*n = Number(v)
	return nil
}

// Seconds is a duration in seconds, a number or text; 0 asks for the default.
type Seconds time.Duration

// UnmarshalJSON implements json.Unmarshaler.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	if text == "" || text == "null" {
		return nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v < 0 || v > 86400 {
		return fmt.Errorf("expected seconds from 0 to 86400, got %s", b)
	}
	*s = Seconds(v * float64(time.Second))
	return nil
}

func (s Seconds) or(d time.Duration) time.Duration {
	if s == 0 {
		return d
	}
	return time.Duration(s)
}

// Flag is a boolean that may come as the text Python makes of it.
type Flag bool

// UnmarshalJSON implements json.Unmarshaler.
func (f *Flag) UnmarshalJSON(b []byte) error {
	switch strings.ToLower(strings.Trim(string(b), `"`)) {
	case "true", "yes", "1", "on":
		*f = true
	case "false", "no", "0", "off", "", "null":
		*f = false
	default:
		return fmt.Errorf("expected true or false, got %s", b)
	}
	return nil
}

func flagOr(f *Flag, def bool) bool {
	if f == nil {
		return def
	}
	return bool(*f)
}

// StringList is a list of texts; one text is text for a shell where a command is meant.
type StringList []string

// UnmarshalJSON implements json.Unmarshaler.
func (l *StringList) UnmarshalJSON(b []byte) error {
	b = bytes.TrimSpace(b)
	if len(b) > 0 && b[0] == '[' {
		var raw []json.RawMessage
		if err := json.Unmarshal(b, &raw); err != nil {
			return err
		}
		for _, r := range raw {
			var s string
			if err := json.Unmarshal(r, &s); err != nil {
				s = string(r) // a number
			}
			*l = append(*l, s)
		}
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("expected a text or a list of texts, got %s", b)
	}
	if s != "" {
		*l = StringList{"/bin/sh", "-c", s}
	}
	return nil
}
