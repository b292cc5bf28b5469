// Package store is the relational store of all services: one database, SQLite
// by default and PostgreSQL when configured, behind transactions.
//
// Services keep their own tables (prefixed with the service's name), declare
// the few statements they need next to their types, and write them once with
// '?' placeholders in the SQL both databases share.
//
// SQLite runs in WAL mode with one writing connection: a Tx is short and never
// calls another service, the network or the clock's sleep while it is open.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Errors that callers tell apart; everything else is an internal error.
var (
	// ErrNotFound says that the row asked for does not exist.
	ErrNotFound = errors.New("not found")
	// ErrConflict says that a row with the same unique key exists already, or
	// that a referenced row does not.
	ErrConflict = errors.New("conflict")
	// ErrFull says that the database found no space to write to.
	ErrFull = errors.New("no space left for the database")
)

type dialect int

const (
	dialectSQLite dialect = iota
	dialectPostgres
)

// DB is an open database.
type DB struct {
	dialect dialect
	write   *sql.DB // SQLite: one connection; PostgreSQL: the pool
	read    *sql.DB
	sync    *syncer // nil: a commit is on the disk when it returns
	spare   *spare  // nil: the database looks after its disk itself
	vault   Vault   // see Protect
	fail    atomic.Pointer[func(committed bool) error]
	group   group
}

// FailCommits has f called at the end of each Tx, before its commit and, with
// committed set, after it. An error before undoes the transaction, one after is
// all that the caller learns. Tests kill a process at every commit with it.
func (db *DB) FailCommits(f func(committed bool) error) { db.fail.Store(&f) }

// Open opens the database named by dsn: "sqlite:/path/to/file.db" or a
// "postgres://" URL. The file is created when it does not exist.
func Open(ctx context.Context, dsn string) (*DB, error) {
	if path, ok := strings.CutPrefix(dsn, "sqlite:"); ok {
		return openSQLite(ctx, path)
	}
	if strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		pool, err := sql.Open("pgx", dsn)
		if err != nil {
			return nil, fmt.Errorf("open postgres: %w", err)
		}
		pool.SetMaxOpenConns(32)
		if err := pool.PingContext(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("connect to postgres: %w", err), pool.Close())
		}
		return &DB{dialect: dialectPostgres, write: pool, read: pool}, nil
	}
	scheme, _, _ := strings.Cut(dsn, ":")
	return nil, fmt.Errorf("database URL has scheme %q, expected sqlite: or postgres://", scheme)
}

func openSQLite(ctx context.Context, path string) (*DB, error) {
	q := url.Values{"_pragma": {
		"journal_mode(WAL)", "synchronous(NORMAL)", "busy_timeout(10000)", "foreign_keys(ON)",
		"temp_store(MEMORY)", "cache_size(-16000)",
	}}
	base := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
	write := sql.OpenDB(newConnector(base + "&_txlock=immediate"))
	write.SetMaxOpenConns(1)
	if err := write.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), write.Close())
	}
	read := sql.OpenDB(newConnector(base + "&_txlock=deferred"))
	readers := max(4, runtime.NumCPU())
	read.SetMaxOpenConns(readers)
	read.SetMaxIdleConns(readers) // opening one costs more than a read: pragmas and the whole schema
	return &DB{dialect: dialectSQLite, write: write, read: read, sync: newWALSyncer(path), spare: &spare{database: path}}, nil
}

// Close closes all connections.
func (db *DB) Close() error {
	err := db.write.Close()
	if db.read != db.write {
		err = errors.Join(err, db.read.Close())
	}
	if db.sync != nil {
		err = errors.Join(err, db.sync.close())
	}
	return err
}

// Tx is an open transaction.
type Tx struct {
	ctx     context.Context
	tx      *sql.Tx
	dialect dialect
	vault   Vault
	after   []func()
	memo    map[any]any
	view    bool
}

// Tx runs fn in a writing transaction and commits it when fn returns nil. On
// PostgreSQL a serialisation failure runs fn again, so fn must have no effect
// but on the database.
func (db *DB) Tx(ctx context.Context, fn func(tx *Tx) error) error {
	fn = db.spare.guarded(fn)
	if f := db.fail.Load(); f != nil {
		return db.txFailing(ctx, fn, *f)
	}
	for attempt := 0; ; attempt++ {
		err := db.run(ctx, db.write, &sql.TxOptions{}, fn)
		if err == nil || !retryable(err) || attempt == 5 || ctx.Err() != nil {
			return err
		}
	}
}

func (db *DB) txFailing(ctx context.Context, fn func(tx *Tx) error, fail func(committed bool) error) error {
	err := db.run(ctx, db.write, &sql.TxOptions{}, func(tx *Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		return fail(false)
	})
	if err != nil {
		return err
	}
	return fail(true)
}

// View runs fn on a consistent snapshot. fn must not write.
func (db *DB) View(ctx context.Context, fn func(tx *Tx) error) error {
	opts := &sql.TxOptions{}
	if db.dialect == dialectPostgres {
		opts.ReadOnly, opts.Isolation = true, sql.LevelRepeatableRead
	}
	return db.run(ctx, db.read, opts, func(tx *Tx) error {
		tx.view = true
		return fn(tx)
	})
}

func (db *DB) run(ctx context.Context, pool *sql.DB, opts *sql.TxOptions, fn func(tx *Tx) error) error {
	sqlTx, err := pool.BeginTx(ctx, opts)
	if err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	tx := &Tx{ctx: ctx, tx: sqlTx, dialect: db.dialect, vault: db.vault}
	done := false
	defer func() {
		if !done { // fn panicked
			_ = sqlTx.Rollback()
		}
	}()
	if err := fn(tx); err != nil {
		done = true
		return errors.Join(err, ignoreDone(sqlTx.Rollback()))
	}
	done = true
	if err := sqlTx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", Wrap(err))
	}
	if db.sync != nil && pool == db.write {
		db.sync.commits.Add(1)
	}
	for _, f := range tx.after {
		f()
	}
	return nil
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// Context returns the context of the transaction.
func (tx *Tx) Context() context.Context { return tx.ctx }

// AfterCommit registers f to run once the transaction has committed.
func (tx *Tx) AfterCommit(f func()) { tx.after = append(tx.after, f) }

// Exec runs a statement and returns how many rows it changed.
func (tx *Tx) Exec(q string, args ...any) (int64, error) {
	res, err := tx.tx.ExecContext(tx.ctx, rebind(tx.dialect, q), args...)
	if err != nil {
		return 0, Wrap(err)
	}
	return res.RowsAffected()
}

// Query runs a query; the caller closes the rows.
func (tx *Tx) Query(q string, args ...any) (*sql.Rows, error) {
	rows, err := tx.tx.QueryContext(tx.ctx, rebind(tx.dialect, q), args...)
	return rows, Wrap(err)
}

// QueryRow runs a query for at most one row. Pass Scan's error to Wrap.
func (tx *Tx) QueryRow(q string, args ...any) *sql.Row {
	return tx.tx.QueryRowContext(tx.ctx, rebind(tx.dialect, q), args...)
}

// Get scans the only row of a query into dest; ErrNotFound if there is none.
func (tx *Tx) Get(dest []any, q string, args ...any) error {
	return Wrap(tx.QueryRow(q, args...).Scan(dest...))
}

// Each runs a query and calls fn for each row; fn calls scan once.
func (tx *Tx) Each(fn func(scan func(dest ...any) error) error, q string, args ...any) error {
	rows, err := tx.Query(q, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return err
		}
	}
	return Wrap(rows.Err())
}

// ForUpdate is the suffix that locks the rows a SELECT reads in a Tx: nothing
// on SQLite, where a Tx has the whole database to itself, and nothing in a View,
// which does not write.
func (tx *Tx) ForUpdate() string {
	if tx.dialect == dialectPostgres && !tx.view {
		return " FOR UPDATE"
	}
	return ""
}

// Shared says whether other processes may use the same database now.
func (tx *Tx) Shared() bool { return tx.dialect == dialectPostgres }

// SkipLocked is like ForUpdate but passes over rows that others hold.
func (tx *Tx) SkipLocked() string {
	if tx.dialect == dialectPostgres {
		return " FOR UPDATE SKIP LOCKED"
	}
	return ""
}

// Wrap turns the drivers' errors into ErrNotFound and ErrConflict, keeping the
// cause; nil stays nil.
func Wrap(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%w (%w)", ErrNotFound, err)
	}
	var se *sqlite.Error
	if errors.As(err, &se) {
		switch se.Code() & 0xff {
		case sqlite3.SQLITE_CONSTRAINT:
			return fmt.Errorf("%w (%w)", ErrConflict, err)
		case sqlite3.SQLITE_FULL:
			return fmt.Errorf("%w (%w)", ErrFull, err)
		}
	}
	var pe *pgconn.PgError
	if errors.As(err, &pe) && strings.HasPrefix(pe.Code, "23") { // class 23: integrity constraint violation
		return fmt.Errorf("%w (%w)", ErrConflict, err)
	}
	if pe != nil && pe.Code == "53100" { // disk_full
		return fmt.Errorf("%w (%w)", ErrFull, err)
	}
	return err
}

func retryable(err error) bool {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Code == "40001" || pe.Code == "40P01" // serialization_failure, deadlock_detected
	}
	var se *sqlite.Error
	return errors.As(err, &se) && se.Code()&0xff == sqlite3.SQLITE_BUSY
}

// rebind turns '?' placeholders outside quotes into PostgreSQL's $1, $2, ….
func rebind(d dialect, q string) string {
	if d != dialectPostgres || !strings.Contains(q, "?") {
		return q
	}
	var b strings.Builder
	b.Grow(len(q) + 16)
	n, quoted := 0, false
	for i := range len(q) {
		switch c := q[i]; {
		case c == '\'':
			quoted = !quoted
			b.WriteByte(c)
		case c == '?' && !quoted:
			n++
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(n))
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// In returns "(?, ?, …)" for n values and is meant for IN clauses; n of 0 gives
// "(NULL)", which matches nothing.
func In(n int) string {
	if n == 0 {
		return "(NULL)"
	}
	return "(" + strings.Repeat("?, ", n-1) + "?)"
}

// Args turns a slice into query arguments.
func Args[T any](values []T) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}

// timeOf and micros define how times are kept: microseconds since the epoch in
// UTC, 0 for the zero time.
func timeOf(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
