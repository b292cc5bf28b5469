package engine

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/yaml11"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config is what an engine needs.
type Config struct {
	DB      *store.DB
	Bus     *notify.Bus
	Jobs    *jobs.Queue
	Log     *slog.Logger
	Cloud   *cloud.Cloud // may be nil where no type needs it
	Types   []*resources.Type
	NodeURL string
	BaseURL string // of the API, as clients reach it
	AuthURL string
	Region  string
	Now     func() time.Time
	// SignalTransport is used by deployments that name none; "" is TEMP_URL_SIGNAL.
	SignalTransport string
	Limits          Limits
	// Workers is how many stacks advance at the same time; 0 is 4.
	Workers int
	// SafetyPoll is how long a waiting stack sleeps at most without a wake-up; 0 is 15 s.
	SafetyPoll time.Duration
}

// Engine runs stacks.
type Engine struct {
	cfg   Config
	types map[string]*resources.Type
	yaql  *hot.Yaql

	naps      naps
	pace      pace
	contents  contents
	userMu    sync.Mutex // see StackUser
	mu        sync.Mutex
	templates map[string]*hot.Template
	shapes    map[string]*shape // of generated templates
	fileTypes map[fileKey]*resources.Type
	envs      map[string]*hot.Environment
	files     map[string]map[string]string
	childEnvs map[string]string // see childEnvID
	stored    map[string]bool   // documents known to be stored
}

type ctxType = context.Context

// JobStack and JobMetadata are the kinds of the engine's jobs.
const (
	JobStack    = "heat.stack"
	JobMetadata = "heat.metadata"
)

// New prepares an engine: migrates its tables and registers its jobs.
func New(ctx context.Context, cfg Config) (*Engine, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Workers == 0 {
		cfg.Workers = 4
	}
	if cfg.SafetyPoll == 0 {
		cfg.SafetyPoll = 15 * time.Second
	}
	if cfg.SignalTransport == "" {
		cfg.SignalTransport = "TEMP_URL_SIGNAL"
	}
	e := &Engine{cfg: cfg, types: map[string]*resources.Type{}, yaql: hot.NewYaql(), templates: map[string]*hot.Template{},
		shapes: map[string]*shape{}, fileTypes: map[fileKey]*resources.Type{},
		envs: map[string]*hot.Environment{}, files: map[string]map[string]string{}, childEnvs: map[string]string{}, stored: map[string]bool{}}
	for _, t := range cfg.Types {
		e.types[t.Name] = t
	}
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("orchestration migrations: %w", err)
	}
	if err := cfg.DB.Migrate(ctx, "heat", sub); err != nil {
		return nil, fmt.Errorf("orchestration tables: %w", err)
	}
	cfg.Jobs.Register(JobStack, cfg.Workers, e.runStack)
	cfg.Jobs.Register(JobMetadata, 4, e.runMetadata)
	cfg.Jobs.Register(JobSink, 2, e.runSink)
	cfg.Jobs.Register(JobSnapshot, 2, e.runSnapshot)
	return e, nil
}

// Types returns the resource types.
func (e *Engine) Types() []*resources.Type { return e.cfg.Types }

// Type returns a native resource type by name, nil if there is none.
func (e *Engine) Type(name string) *resources.Type { return e.types[name] }

// Yaql returns the evaluator of yaql expressions.
func (e *Engine) Yaql() *hot.Yaql { return e.yaql }

func (e *Engine) now() time.Time { return e.cfg.Now().UTC().Truncate(time.Microsecond) }

func newID() string { return uuid.NewString() }

const cacheSize = 2000

// template returns a stored template, parsed.
func (e *Engine) template(tx *store.Tx, id string) (*hot.Template, error) {
	e.mu.Lock()
	t := e.templates[id]
	e.mu.Unlock()
	if t != nil {
		return t, nil
	}
	data, err := getRaw(tx, id)
	if err != nil {
		return nil, err
	}
	var raw rawTemplate
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("stored template: %w", err)
	}
	if t, err = raw.parse(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.templates) > cacheSize {
		clear(e.templates)
	}
	e.templates[id] = t
	return t, nil
}

func (raw *rawTemplate) parse() (*hot.Template, error) {
	if raw.Value == nil {
		t, _, err := hot.Parse(raw.File, []byte(raw.Text))
		return t, err
	}
	v, err := yaml11.DecodeJSON(raw.Value)
	if err != nil {
		return nil, fmt.Errorf("stored template: %w", err)
	}
	if raw.Generated {
		return hot.ParseGenerated(raw.File, v)
	}
	return hot.ParseValue(raw.File, v)
}

func (e *Engine) env(tx *store.Tx, id string) (*hot.Environment, error) {
	e.mu.Lock()
	env := e.envs[id]
	e.mu.Unlock()
	if env != nil {
		return env, nil
	}
	data, err := getRaw(tx, id)
	if err != nil {
		return nil, err
	}
	v, err := yaml11.DecodeJSON(data)
	if err != nil {
		return nil, fmt.Errorf("stored environment: %w", err)
	}
	if env, err = hot.EnvironmentFromValue("environment", v); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.envs) > cacheSize {
		clear(e.envs)
	}
	e.envs[id] = env
	return env, nil
}

func (e *Engine) filesOf(tx *store.Tx, id string) (map[string]string, error) {
	e.mu.Lock()
	f := e.files[id]
	e.mu.Unlock()
	if f != nil {
		return f, nil
	}
	data, err := getRaw(tx, id)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("stored files: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.files) > 20 {
		clear(e.files)
	}
	e.files[id] = f
	return f, nil
}

// childEnvID stores the environment of a nested stack and returns its id. Most nested stacks share few
// environments, so the id is remembered by what it depends on.
func (e *Engine) childEnvID(ctx context.Context, envID string, env *hot.Environment, resource string, used *hot.Mapping) (string, error) {
	key := envID
	if used != nil && used.Resource == "" {
		key += "|" + used.Key
	}
	if env.Registry.NamesResources() {
		key += "||" + resource
	}
	e.mu.Lock()
	id := e.childEnvs[key]
	e.mu.Unlock()
	if id != "" {
		return id, nil
	}
	child := env.Child(yaml11.NewMap(), resource, used)
	b, err := yaml11.EncodeJSON(child.Value())
	if err != nil {
		return "", fmt.Errorf("store environment: %w", err)
	}
	if id, err = e.ensureRaw(ctx, b); err != nil {
		return "", err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.childEnvs) > cacheSize {
		clear(e.childEnvs)
	}
	e.childEnvs[key] = id
	return id, nil
}

// Secret returns a random secret of the installation, made on first use.
func (e *Engine) Secret(ctx context.Context, name string) (string, error) {
	var value string
	err := e.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		err := tx.Get([]any{tx.SealedText(&value, "heat_secrets.value")}, "SELECT value FROM heat_secrets WHERE name = ?", name)
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		b := make([]byte, 32)
		if _, err := rand.Read(b); err != nil {
			return fmt.Errorf("random secret: %w", err)
		}
		value = hex.EncodeToString(b)
		_, err = tx.Exec("INSERT INTO heat_secrets (name, value) VALUES (?, ?)", name, tx.SealedText(&value, "heat_secrets.value"))
		return err
	})
	return value, err
}

// publish wakes whoever follows the stack.
func (e *Engine) publish(tx *store.Tx, st *Stack) {
	topics := []string{"orchestration/stack/" + st.ID}
	if st.RootID != st.ID {
		topics = append(topics, "orchestration/stack/"+st.RootID)
	}
	e.cfg.Bus.PublishTx(tx, topics...)
}
