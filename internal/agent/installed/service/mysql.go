package service

import (
	"context"
	"crypto/sha1" //nolint:gosec // mysql_native_password is defined with it
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"regexp"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// DebianSocket is where Debian's MariaDB listens; the system's root is root there without a password.
const DebianSocket = "/run/mysqld/mysqld.sock"

const (
	dbTimeout  = 180 * time.Second
	dbInterval = 500 * time.Millisecond
)

// SQLDriver opens a database server. Tests give their own.
type SQLDriver interface {
	Open(m MySQL) (*sql.DB, error)
}

type mysqlDriver struct{}

// Open implements SQLDriver.
func (mysqlDriver) Open(m MySQL) (*sql.DB, error) {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd = m.User, m.Password
	if cfg.User == "" {
		cfg.User = "root"
	}
	cfg.Net, cfg.Addr = "tcp", m.Address
	if cfg.Addr == "" {
		cfg.Addr = DebianSocket
	}
	if strings.HasPrefix(cfg.Addr, "/") {
		cfg.Net = "unix"
	}
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = 5*time.Second, time.Minute, time.Minute
	cfg.InterpolateParams = true // CREATE USER and the like cannot be prepared
	cfg.Logger = log.New(io.Discard, "", 0)
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	return db, nil
}

func (r *run) mysql(ctx context.Context) error {
	m := r.service.MySQL
	if m == nil || (flagOr(m.BootstrapOnly, true) && !r.bootstrap) {
		return nil
	}
	db, err := r.openDB(ctx, *m)
	if err != nil {
		return r.fail("mysql", m.target(), err)
	}
	defer func() { _ = db.Close() }()
	w := &dbWork{run: r, db: db}
	if m.RootPassword != "" {
		if err := w.rootPassword(ctx, m.RootPassword); err != nil {
			return r.fail("mysql", "root", err)
		}
	}
	for _, d := range m.Databases {
		if err := w.database(ctx, d); err != nil {
			return r.fail("mysql", "database "+d.Name, err)
		}
	}
	return nil
}

func (m *MySQL) target() string {
	if m.Address == "" {
		return DebianSocket
	}
	return m.Address
}

func (r *run) openDB(ctx context.Context, m MySQL) (*sql.DB, error) {
	db, err := r.SQL.Open(m)
	if err != nil {
		return nil, err
	}
	err = r.until(ctx, m.Timeout.or(dbTimeout), dbInterval, func(ctx context.Context) error {
		err := db.PingContext(ctx)
		// 1045: access denied; the server is up, and no waiting lets us in.
		if e, ok := errors.AsType[*mysql.MySQLError](err); ok && e.Number == 1045 {
			return finalError{err}
		}
		return err
	})
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

type dbWork struct {
	run *run
	db  *sql.DB
}

var (
	sqlNameRE    = regexp.MustCompile(`^[A-Za-z0-9_]{1,64}$`)
	sqlCharsetRE = regexp.MustCompile(`^[a-z0-9]{1,32}$`)
)

func (w *dbWork) database(ctx context.Context, d Database) error {
	begin := w.run.Host.Now()
	charset := d.Charset
	if charset == "" {
		charset = "utf8mb4"
	}
	if !sqlNameRE.MatchString(d.Name) || !sqlCharsetRE.MatchString(charset) {
		return fmt.Errorf("name %q or charset %q cannot be used", d.Name, charset)
	}
	var n int
	if err := w.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?", d.Name).Scan(&n); err != nil {
		return err
	}
	if n == 0 {
		// Names cannot be parameters; both were checked above.
		if _, err := w.db.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS `"+d.Name+"` CHARACTER SET "+charset); err != nil {
			return err
		}
		w.run.report("mysql", "database "+d.Name, true, "created", begin)
	}
	for _, u := range d.Users {
		hosts := u.Hosts
		if len(hosts) == 0 {
			hosts = []string{"%"}
		}
		for _, h := range hosts {
			if err := w.user(ctx, d.Name, u.Name, h, u.Password); err != nil {
				return fmt.Errorf("user %s@%s: %w", u.Name, h, err)
			}
		}
	}
	return nil
}

func (w *dbWork) user(ctx context.Context, database, name, from, password string) error {
	begin := w.run.Host.Now()
	target := "user " + name + "@" + from
	if password == "" {
		return errors.New("it has no password")
	}
	var auth string
	err := w.db.QueryRowContext(ctx, "SELECT authentication_string FROM mysql.user WHERE User = ? AND Host = ?", name, from).Scan(&auth)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		if _, err := w.db.ExecContext(ctx, "CREATE USER IF NOT EXISTS ?@? IDENTIFIED BY ?", name, from, password); err != nil {
			return err
		}
		w.run.report("mysql", target, true, "created", begin)
	case err != nil:
		return err
	case !strings.EqualFold(auth, nativeHash(password)):
		if _, err := w.db.ExecContext(ctx, "ALTER USER ?@? IDENTIFIED BY ?", name, from, password); err != nil {
			return err
		}
		w.run.report("mysql", target, true, "password set", begin)
	}
	var n int
	// Patterns of SCHEMA_PRIVILEGES are stored as they were granted, with the underscore escaped or not.
	err = w.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM mysql.db WHERE User = ? AND Host = ? AND REPLACE(Db, '\\\\', '') = ? AND Create_priv = 'Y' AND Insert_priv = 'Y'",
		name, from, database).Scan(&n)
	if err != nil {
		return err
	}
	if n == 0 {
		pattern := strings.ReplaceAll(database, "_", `\_`) // in a grant the underscore is a wildcard
		if _, err := w.db.ExecContext(ctx, "GRANT ALL PRIVILEGES ON `"+pattern+"`.* TO ?@?", name, from); err != nil {
			return err
		}
		w.run.report("mysql", target, true, "granted "+database, begin)
	}
	return nil
}

// rootPassword gives root a password beside the socket, which keeps working for the system's root and for this agent.
func (w *dbWork) rootPassword(ctx context.Context, password string) error {
	begin := w.run.Host.Now()
	var auth string
	if err := w.db.QueryRowContext(ctx, "SELECT Priv FROM mysql.global_priv WHERE User = 'root' AND Host = 'localhost'").Scan(&auth); err != nil {
		return err
	}
	if strings.Contains(strings.ToUpper(auth), nativeHash(password)) && strings.Contains(auth, "unix_socket") {
		return nil
	}
	if _, err := w.db.ExecContext(ctx, "ALTER USER root@localhost IDENTIFIED VIA unix_socket OR mysql_native_password USING PASSWORD(?)", password); err != nil {
		return err
	}
	w.run.report("mysql", "user root@localhost", true, "password set", begin)
	return nil
}

// nativeHash is how mysql_native_password stores a password: "*" and the hex of SHA1(SHA1(password)).
func nativeHash(password string) string {
	one := sha1.Sum([]byte(password)) //nolint:gosec // see the import
	two := sha1.Sum(one[:])           //nolint:gosec // see the import
	return "*" + strings.ToUpper(hex.EncodeToString(two[:]))
}
