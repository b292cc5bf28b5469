package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// Map is the ordered mapping of all values.
type Map = yaml11.OrderedMap

// Actions of stacks and resources.
const (
	Create   = "CREATE"
	Update   = "UPDATE"
	Delete   = "DELETE"
	Rollback = "ROLLBACK"
	Check    = "CHECK"
	Suspend  = "SUSPEND"
	Resume   = "RESUME"
	Adopt    = "ADOPT"
	Snapshot = "SNAPSHOT"
	Restore  = "RESTORE"
	Init     = "INIT"
)

// Statuses of stacks and resources.
const (
	InProgress = "IN_PROGRESS"
	Complete   = "COMPLETE"
	Failed     = "FAILED"
)

// Stack is a row of heat_stacks.
type Stack struct {
	ID, Name, ProjectID, UserID, Username string
	ParentID, ParentResource, RootID      string
	Depth                                 int
	Action, Status, Reason                string
	Op                                    int64 // counts operations
	OpStarted, Deadline                   time.Time
	Cancel                                bool
	Def                                   Definition
	Previous                              *Definition // before the update under way, for rollback
	Context                               Context
	Description                           string
	TrustID                               string
	DisableRollback                       bool
	TimeoutMins                           int64
	Tags                                  []string
	Outputs                               *Map
	Fail                                  Failure
	Volatile                              bool // holds resources that every update touches
	Created, Updated, Deleted             time.Time

	partial bool // of ListStacks
}

// Definition is what a stack is to be.
type Definition struct {
	TemplateID, FilesID, EnvID string
	Params                     *Map
	BatchSize                  int
	BatchPause                 time.Duration
	Converge                   bool   // look at the real things before comparing
	Abandon                    bool   // deletion leaves the real things alone
	AdoptID                    string // document that tells what to take over
	SnapshotID                 string // snapshot being taken, or gone back to
}

// Context is what a nested stack needs of its parent's resource, for resource_facade and messages.
type Context struct {
	Metadata       *Map
	DeletionPolicy string
	UpdatePolicy   *Map
	Path           string // path of the resource from the root, such as resources.Controller.resources[0]
}

// Failure says which resource failed and why.
type Failure struct {
	Type, Path, Msg string
}

// Reason writes the failure as Heat does: "Type: path: message".
func (f Failure) Reason() string {
	s := f.Msg
	if f.Path != "" {
		s = f.Path + ": " + s
	}
	if f.Type != "" {
		s = f.Type + ": " + s
	}
	return s
}

const stackColumns = `id, name, project_id, user_id, username, parent_id, parent_resource, root_id, depth, action, status, status_reason,
 op, op_started, deadline, cancel, template_id, files_id, env_id, params, previous, context, description, trust_id, disable_rollback,
 timeout_mins, tags, outputs, fail, volatile, created_at, updated_at, deleted_at`

// defRest is what of a Definition has no column of its own.
type defRest struct {
	Params     *Map          `json:"params"`
	BatchSize  int           `json:"batch_size,omitempty"`
	BatchPause time.Duration `json:"batch_pause,omitempty"`
	Converge   bool          `json:"converge,omitempty"`
	Abandon    bool          `json:"abandon,omitempty"`
	AdoptID    string        `json:"adopt_id,omitempty"`
	SnapshotID string        `json:"snapshot_id,omitempty"`
}

// rest is what of d has no column of its own.
func (d *Definition) rest() defRest {
	return defRest{d.Params, d.BatchSize, d.BatchPause, d.Converge, d.Abandon, d.AdoptID, d.SnapshotID}
}

func (d *Definition) setRest(r defRest) {
	d.Params, d.BatchSize, d.BatchPause = r.Params, r.BatchSize, r.BatchPause
	d.Converge, d.Abandon, d.AdoptID, d.SnapshotID = r.Converge, r.Abandon, r.AdoptID, r.SnapshotID
	if d.Params == nil {
		d.Params = yaml11.NewMap()
	}
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (s *Stack) values(tx *store.Tx) []any {
	return []any{s.ID, s.Name, s.ProjectID, s.UserID, s.Username, s.ParentID, s.ParentResource, s.RootID, s.Depth, s.Action, s.Status, s.Reason,
		s.Op, store.At(s.OpStarted), store.At(s.Deadline), flag(s.Cancel), s.Def.TemplateID, s.Def.FilesID, s.Def.EnvID, tx.SealedJSON(s.Def.rest(), "heat_stacks.params"), tx.SealedJSON(s.Previous, "heat_stacks.previous"),
		tx.SealedJSON(s.Context, "heat_stacks.context"), s.Description, s.TrustID, flag(s.DisableRollback), s.TimeoutMins, store.JSON(s.Tags), tx.SealedJSON(s.Outputs, "heat_stacks.outputs"), store.JSON(s.Fail),
		flag(s.Volatile), store.At(s.Created), store.At(s.Updated), store.At(s.Deleted)}
}

func scanStack(tx *store.Tx, scan func(...any) error) (*Stack, error) {
	s := &Stack{}
	var rest defRest
	var cancel, rollback, volatile int64
	err := scan(&s.ID, &s.Name, &s.ProjectID, &s.UserID, &s.Username, &s.ParentID, &s.ParentResource, &s.RootID, &s.Depth, &s.Action, &s.Status, &s.Reason,
		&s.Op, store.Time(&s.OpStarted), store.Time(&s.Deadline), &cancel, &s.Def.TemplateID, &s.Def.FilesID, &s.Def.EnvID, tx.SealedJSON(&rest, "heat_stacks.params"), tx.SealedJSON(&s.Previous, "heat_stacks.previous"),
		tx.SealedJSON(&s.Context, "heat_stacks.context"), &s.Description, &s.TrustID, &rollback, &s.TimeoutMins, store.JSON(&s.Tags), tx.SealedJSON(&s.Outputs, "heat_stacks.outputs"), store.JSON(&s.Fail),
		&volatile, store.Time(&s.Created), store.Time(&s.Updated), store.Time(&s.Deleted))
	s.Cancel, s.DisableRollback, s.Volatile = cancel != 0, rollback != 0, volatile != 0
	s.Def.setRest(rest)
	return s, store.Wrap(err)
}

func questions(n int) string {
	in := store.In(n)
	return in[1 : len(in)-1]
}

// GetStack returns a stack by id, deleted or not.
func GetStack(tx *store.Tx, id string) (*Stack, error) {
	return scanStack(tx, tx.QueryRow("SELECT "+stackColumns+" FROM heat_stacks WHERE id = ?", id).Scan)
}

// FindStacks returns stacks by a condition, e.g. "project_id = ? AND parent_id = ” ORDER BY created_at".
func FindStacks(tx *store.Tx, where string, args ...any) ([]*Stack, error) {
	var out []*Stack
	err := tx.Each(func(scan func(...any) error) error {
		s, err := scanStack(tx, scan)
		out = append(out, s)
		return err
	}, "SELECT "+stackColumns+" FROM heat_stacks WHERE "+where, args...)
	return out, err
}

// ListStacks is FindStacks for lists: without parameters, outputs, context and what was before the operation, which have
// to be decrypted and can be long. Such stacks cannot be written.
func ListStacks(tx *store.Tx, where string, args ...any) ([]*Stack, error) {
	var out []*Stack
	err := tx.Each(func(scan func(...any) error) error {
		s, err := scanStack(tx, scan)
		s.partial = true
		out = append(out, s)
		return err
	}, "SELECT "+listColumns+" FROM heat_stacks WHERE "+where, args...)
	return out, err
}

var listColumns = strings.NewReplacer(" params,", " '',", " previous,", " '',", " context,", " '',", " outputs,", " '',").Replace(stackColumns) //nolint:gochecknoglobals // constant

// errPartial keeps a stack of ListStacks from being written.
var errPartial = errors.New("the stack was read for a list")

// InsertStack writes a new stack.
func InsertStack(tx *store.Tx, s *Stack) error {
	v := s.values(tx)
	_, err := tx.Exec("INSERT INTO heat_stacks ("+stackColumns+") VALUES ("+questions(len(v))+")", v...)
	return err
}

// UpdateStack writes a stack whole.
func UpdateStack(tx *store.Tx, s *Stack) error {
	if s.partial {
		return errPartial
	}
	_, err := tx.Exec(`UPDATE heat_stacks SET action=?, status=?, status_reason=?, op=?, op_started=?, deadline=?, cancel=?, template_id=?, files_id=?,
 env_id=?, params=?, previous=?, context=?, description=?, trust_id=?, disable_rollback=?, timeout_mins=?, tags=?, outputs=?, fail=?, volatile=?, updated_at=?, deleted_at=? WHERE id=?`,
		s.Action, s.Status, s.Reason, s.Op, store.At(s.OpStarted), store.At(s.Deadline), flag(s.Cancel), s.Def.TemplateID, s.Def.FilesID, s.Def.EnvID,
		tx.SealedJSON(s.Def.rest(), "heat_stacks.params"), tx.SealedJSON(s.Previous, "heat_stacks.previous"), tx.SealedJSON(s.Context, "heat_stacks.context"), s.Description, s.TrustID,
		flag(s.DisableRollback), s.TimeoutMins, store.JSON(s.Tags), tx.SealedJSON(s.Outputs, "heat_stacks.outputs"), store.JSON(s.Fail), flag(s.Volatile), store.At(s.Updated), store.At(s.Deleted), s.ID)
	return err
}

// Row is a row of heat_resources. Definition, data and attributes are read when somebody asks for them.
type Row struct {
	Brief
	Op       int64 // operation that touched it last
	Begun    time.Time
	Replaced bool // another resource of this name took its place

	def    column[RowDef]
	data   column[map[string]any]
	attrs  column[*Map]
	faults *faults
	isNew  bool
}

// faults remembers the first column of a set of rows that could not be read. Whoever has rows of which it is set must
// not write them.
type faults struct{ err error }

// column is a value that is stored as JSON and decoded on first use; what nobody looked at is written back as it was.
type column[T any] struct {
	stored store.Sealed
	value  T
	known  bool
}

func (c *column[T]) set(v T) { c.value, c.known = v, true }

// get decodes the value; one that cannot be read is its zero value, and noted in f.
func (c *column[T]) get(f *faults, decode func(store.Sealed) (T, error)) *T {
	if !c.known {
		v, err := decode(c.stored)
		if err != nil && f != nil && f.err == nil {
			f.err = err
		}
		c.set(v)
	}
	return &c.value
}

// sql is the value for a statement.
func (c *column[T]) sql(tx *store.Tx, owner string) any {
	if !c.known {
		return c.stored
	}
	return tx.SealedJSON(c.value, owner)
}

// newRow returns a row that is not stored yet.
func newRow(stack, name, typ, target string, def RowDef, now time.Time) *Row {
	row := &Row{Brief: Brief{ID: newID(), StackID: stack, Name: name, Type: typ, Target: target, Created: now}, Begun: now, isNew: true}
	row.SetDef(def)
	row.SetData(map[string]any{})
	row.SetAttrs(yaml11.NewMap())
	return row
}

// Def is the definition the resource was last made or updated with.
func (r *Row) Def() *RowDef {
	return r.def.get(r.faults, func(s store.Sealed) (d RowDef, err error) {
		err = s.Open(&d)
		return d, err
	})
}

// Data is what the type keeps; changes of the map are stored with the row.
func (r *Row) Data() map[string]any {
	return *r.data.get(r.faults, func(s store.Sealed) (map[string]any, error) {
		out := map[string]any{}
		if s.Empty() {
			return out, nil
		}
		var m *Map
		err := s.Open(&m)
		for k, v := range m.All() {
			out[k] = v
		}
		return out, err
	})
}

// Attrs are the attributes somebody refers to.
func (r *Row) Attrs() *Map {
	return *r.attrs.get(r.faults, func(s store.Sealed) (*Map, error) {
		var m *Map
		err := s.Open(&m)
		if m == nil {
			m = yaml11.NewMap()
		}
		return m, err
	})
}

// SetDef replaces the definition.
func (r *Row) SetDef(d RowDef) {
	r.def.set(d)
	r.facts = factsOf(&d)
}

// SetData replaces what the type keeps.
func (r *Row) SetData(m map[string]any) { r.data.set(m) }

// SetAttrs replaces the attributes.
func (r *Row) SetAttrs(m *Map) { r.attrs.set(m) }

// RowDef is the definition a resource was last made or updated with.
type RowDef struct {
	Props        *Map     `json:"props"`
	Metadata     *Map     `json:"metadata,omitempty"`
	Requires     []string `json:"requires,omitempty"`
	Deletion     string   `json:"deletion,omitempty"`
	UpdatePolicy *Map     `json:"update_policy,omitempty"`
	Pos          string   `json:"pos,omitempty"`
	External     bool     `json:"external,omitempty"` // adopted by external_id
	Description  string   `json:"description,omitempty"`
}

const rowColumns = `id, stack_id, name, type, target, physical_id, action, status, status_reason, op, begun, replaced, definition, data, attrs, created_at, updated_at, brief`

func scanRow(tx *store.Tx, scan func(...any) error, f *faults) (*Row, error) {
	r := &Row{faults: f}
	var replaced int64
	r.def.stored, r.data.stored, r.attrs.stored = tx.Unopened("heat_resources.definition"), tx.Unopened("heat_resources.data"), tx.Unopened("heat_resources.attrs")
	err := scan(&r.ID, &r.StackID, &r.Name, &r.Type, &r.Target, &r.PhysicalID, &r.Action, &r.Status, &r.Reason, &r.Op, store.Time(&r.Begun), &replaced,
		&r.def.stored, &r.data.stored, &r.attrs.stored, store.Time(&r.Created), store.Time(&r.Updated), &r.facts)
	r.Replaced = replaced != 0
	return r, store.Wrap(err)
}

// FindRows returns resources by a condition.
func FindRows(tx *store.Tx, where string, args ...any) ([]*Row, error) {
	f := &faults{}
	out, err := findRows(tx, f, where, args...)
	for _, r := range out {
		r.Def()
		r.Data()
		r.Attrs()
	}
	if err == nil {
		err = f.err
	}
	return out, err
}

// findRows leaves the columns closed until they are used; what cannot be read then is noted in f.
func findRows(tx *store.Tx, f *faults, where string, args ...any) ([]*Row, error) {
	var out []*Row
	err := tx.Each(func(scan func(...any) error) error {
		r, err := scanRow(tx, scan, f)
		out = append(out, r)
		return err
	}, "SELECT "+rowColumns+" FROM heat_resources WHERE "+where, args...)
	return out, err
}

func (r *Row) values(tx *store.Tx) []any {
	return []any{r.ID, r.StackID, r.Name, r.Type, r.Target, r.PhysicalID, r.Action, r.Status, r.Reason, r.Op, store.At(r.Begun), flag(r.Replaced),
		r.def.sql(tx, "heat_resources.definition"), r.data.sql(tx, "heat_resources.data"), r.attrs.sql(tx, "heat_resources.attrs"), store.At(r.Created), store.At(r.Updated), r.facts}
}

// writeRows writes resources, new ones together.
func writeRows(tx *store.Tx, rows []*Row) error {
	var made []*Row
	for _, r := range rows {
		if r.isNew {
			made = append(made, r)
			continue
		}
		_, err := tx.Exec(`UPDATE heat_resources SET type=?, target=?, physical_id=?, action=?, status=?, status_reason=?, op=?, begun=?, replaced=?, definition=?, data=?, attrs=?, updated_at=?, brief=? WHERE id=?`,
			r.Type, r.Target, r.PhysicalID, r.Action, r.Status, r.Reason, r.Op, store.At(r.Begun), flag(r.Replaced),
			r.def.sql(tx, "heat_resources.definition"), r.data.sql(tx, "heat_resources.data"), r.attrs.sql(tx, "heat_resources.attrs"), store.At(r.Updated), r.facts, r.ID)
		if err != nil {
			return fmt.Errorf("store resource %s: %w", r.Name, err)
		}
	}
	return insert(tx, "heat_resources", rowColumns, len(made), func(i int) []any { return made[i].values(tx) })
}

// Event is a row of heat_events.
type Event struct {
	Seq                            int64
	ID, StackID, RootID            string
	ResourceName, ResourceType     string
	PhysicalID                     string
	Action, Status, Reason         string
	Path                           string // from the root stack, such as resources.Controller.resources[0]
	Pos                            string // file:line:column of the resource
	Created                        time.Time
	StackName, ParentID, ProjectID string // of the stack; only when read with it
}

const eventColumns = "id, stack_id, root_id, resource_name, resource_type, physical_id, action, status, reason, path, pos, created_at"

func (ev *Event) values() []any {
	return []any{ev.ID, ev.StackID, ev.RootID, ev.ResourceName, ev.ResourceType, ev.PhysicalID, ev.Action, ev.Status, ev.Reason, ev.Path, ev.Pos, store.At(ev.Created)}
}

// insertTogether is how many rows one statement inserts: reading a statement costs as much as carrying it out.
const insertTogether = 40

// insert writes n new rows of a table in few statements.
func insert(tx *store.Tx, table, columns string, n int, values func(i int) []any) error {
	for i := 0; i < n; i += insertTogether {
		var places []string
		var args []any
		for k := i; k < min(i+insertTogether, n); k++ {
			v := values(k)
			places, args = append(places, store.In(len(v))), append(args, v...)
		}
		if _, err := tx.Exec("INSERT INTO "+table+" ("+columns+") VALUES "+strings.Join(places, ", "), args...); err != nil {
			return fmt.Errorf("%s: %w", table, err)
		}
	}
	return nil
}

// rawTemplate is how a template is stored.
type rawTemplate struct {
	File      string          `json:"file"`
	Text      string          `json:"text,omitempty"`
	Value     json.RawMessage `json:"value,omitempty"`
	Generated bool            `json:"generated,omitempty"`
}

// putRaw stores data under its hash.
func putRaw(tx *store.Tx, data []byte, now time.Time) error {
	_, err := tx.Exec("INSERT INTO heat_raw (id, data, used_at) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET used_at = excluded.used_at", rawID(data), tx.SealBytes(data, "heat_raw.data"), store.At(now))
	return err
}

func rawID(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}

func getRaw(tx *store.Tx, id string) ([]byte, error) {
	var data []byte
	err := store.Wrap(tx.QueryRow("SELECT data FROM heat_raw WHERE id = ?", id).Scan(&data))
	if err != nil {
		return nil, fmt.Errorf("stored document %s: %w", id, err)
	}
	return tx.OpenBytes(data, "heat_raw.data")
}
